//! Data sets that a participant grants to tasks: read-only, on the host, loaded once.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use flame_model::Tensor;
use indexmap::IndexMap;

use crate::idx;

/// Why a data set cannot be granted.
#[derive(Debug, thiserror::Error)]
#[error("data set `{name}` at {path}: {reason}", path = path.display())]
pub struct DatasetError {
    name: String,
    path: PathBuf,
    reason: String,
}

/// Arrays of equal length, such as `images` and `labels`; the first axis is the row.
#[derive(Debug, Clone)]
pub struct Dataset {
    name: String,
    arrays: IndexMap<String, Tensor>,
    rows: u64,
}

impl Dataset {
    /// Loads `--data name=path`: one IDX file or a folder of them, `.gz` or plain.
    ///
    /// An array is named like its file without `.gz` and `-idxN-ubyte`: `images-idx3-ubyte.gz` is `images`. Where the
    /// files of a folder have prefixes, as the MNIST files do (`train-images…`, `test-images…`), each prefix makes a data
    /// set of its own: `train` has the name `name`, any other `name-prefix`, such as `mnist-test`.
    pub fn load(name: &str, path: &Path) -> Result<Vec<Self>, DatasetError> {
        let fail = |reason: String| DatasetError { name: name.to_owned(), path: path.to_owned(), reason };
        if !valid_name(name) {
            return Err(fail("a name has 1 to 64 letters, digits, dots, underscores and hyphens".into()));
        }
        let files = idx_files(path).map_err(fail)?;
        let mut sets: IndexMap<String, IndexMap<String, Tensor>> = IndexMap::new();
        for file in files {
            let array = array_name(&file);
            let (split, array) = match array.rsplit_once('-') {
                Some((split, array)) => (split.to_owned(), array.to_owned()),
                None => (String::new(), array),
            };
            let open = File::open(&file).map_err(|error| fail(format!("{}: {error}", file.display())))?;
            let gzipped = file.extension().is_some_and(|extension| extension == "gz");
            let tensor = idx::read(BufReader::new(open), gzipped)
                .map_err(|reason| fail(format!("{}: {reason}", file.display())))?;
            sets.entry(split).or_default().insert(array, tensor);
        }
        // A folder with a single split is that data set, whatever its files' prefix says.
        let single = sets.len() == 1;
        sets.into_iter()
            .map(|(split, arrays)| {
                let name = match split.as_str() {
                    _ if single => name.to_owned(),
                    "" | "train" => name.to_owned(),
                    other => format!("{name}-{other}"),
                };
                Self::new(name, arrays).map_err(fail)
            })
            .collect()
    }

    /// A data set of arrays that are in memory already.
    pub fn new(name: String, arrays: IndexMap<String, Tensor>) -> Result<Self, String> {
        let mut rows = None;
        for (array, tensor) in &arrays {
            let len = *tensor.shape().first().ok_or_else(|| format!("array `{array}` has no rows"))?;
            match rows {
                None => rows = Some((array, len)),
                Some((first, expected)) if expected != len => {
                    return Err(format!(
                        "`{first}` has {expected} rows and `{array}` has {len}; the arrays of a data set belong together row \
                         by row, so keep those of different sets in folders of their own"
                    ));
                }
                Some(_) => {}
            }
        }
        let rows = rows.ok_or("there are no IDX files")?.1;
        Ok(Self { name, arrays, rows })
    }

    /// The name under which it is granted.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of rows of every array.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Names and arrays, in the order of their files' names.
    pub fn arrays(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.arrays.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// One array by name.
    pub fn array(&self, name: &str) -> Option<&Tensor> {
        self.arrays.get(name)
    }
}

fn valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// `path` itself, or the files in it, in the order of their names.
fn idx_files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| error.to_string())?.path();
        let looks_like_idx = file.file_name().is_some_and(|name| name.to_string_lossy().contains("-idx"));
        if looks_like_idx && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err("the folder has no IDX files, such as images-idx3-ubyte.gz and labels-idx1-ubyte.gz".into());
    }
    files.sort();
    Ok(files)
}

fn array_name(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.split_once("-idx") {
        Some((array, _)) => array.to_owned(),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, rows: u32) {
        let mut file = vec![0, 0, 8, 1];
        file.extend(rows.to_be_bytes());
        file.extend((0..rows).map(|row| u8::try_from(row).unwrap()));
        std::fs::write(folder.join(name), file).unwrap();
    }

    #[test]
    fn a_folder_of_idx_files_is_a_data_set() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "images-idx1-ubyte", 3);
        write(folder.path(), "labels-idx1-ubyte", 3);
        std::fs::write(folder.path().join("README.md"), "not data").unwrap();
        let sets = Dataset::load("mnist", folder.path()).unwrap();
        let [set] = &sets[..] else { panic!("{sets:?}") };
        assert_eq!((set.name(), set.rows()), ("mnist", 3));
        assert_eq!(set.arrays().map(|(name, _)| name).collect::<Vec<_>>(), ["images", "labels"]);
    }

    #[test]
    fn splits_of_a_folder_become_data_sets_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        for (split, rows) in [("train", 5), ("test", 2)] {
            write(folder.path(), &format!("{split}-images-idx1-ubyte"), rows);
            write(folder.path(), &format!("{split}-labels-idx1-ubyte"), rows);
        }
        let mut sets = Dataset::load("mnist", folder.path()).unwrap();
        sets.sort_by_key(Dataset::rows);
        let shown: Vec<_> = sets.iter().map(|set| (set.name(), set.rows())).collect();
        assert_eq!(shown, [("mnist-test", 2), ("mnist", 5)]);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Dataset::load("mnist", folder.path()).unwrap_err().to_string();
        assert!(error.contains("no IDX files") && error.contains("mnist"), "{error}");
        write(folder.path(), "images-idx1-ubyte", 3);
        write(folder.path(), "labels-idx1-ubyte", 4);
        let error = Dataset::load("mnist", folder.path()).unwrap_err().to_string();
        assert!(error.contains("3 rows") && error.contains('4'), "{error}");
        assert!(Dataset::load("../x", folder.path()).is_err());
        assert!(Dataset::load("x", &folder.path().join("nowhere")).is_err());
    }
}
