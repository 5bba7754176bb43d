//! Local files, in and out, with errors that name the file and say what to do.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::{Failure, text};

/// Largest schema, job or spec file. The server takes no more.
pub(crate) const MAX_TEXT: u64 = 4 << 20;

/// Reads a text file. `what` it is, such as `job file`, is for messages.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String, Failure> {
    let bytes = read_bytes(path, what, MAX_TEXT)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|b| **b == b'\n').count() + 1;
        Failure::input(
            format!("the {what} {} is not UTF-8 text (line {line})", path.display()),
            format!("a {what} is JSON or YAML; is this another file?"),
        )
    })?;
    if text.trim().is_empty() {
        return Err(empty(path, what));
    }
    // A byte order mark is no part of the text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Failure::input(
            format!("the {what} {name} does not exist"),
            match std::env::current_dir() {
                Ok(folder) if path.is_relative() => format!("the path is relative to {}", folder.display()),
                _ => "check the path".into(),
            },
        ),
        ErrorKind::PermissionDenied => {
            Failure::input(format!("the {what} {name} may not be read: {error}"), "check its permissions")
        }
        _ => Failure::input(format!("cannot read the {what} {name}: {error}"), ""),
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(Failure::input(format!("{name} is a directory, not a {what}"), "name the file in it"));
    }
    if metadata.len() > limit {
        return Err(too_large(path, what, limit));
    }
    let mut bytes = Vec::new();
    // The bound holds for a pipe too, whose length nobody knows beforehand.
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, what, limit));
    }
    if bytes.is_empty() {
        return Err(empty(path, what));
    }
    Ok(bytes)
}

fn too_large(path: &Path, what: &str, limit: u64) -> Failure {
    Failure::input(
        format!("the {what} {} is larger than {}, the most that is taken", path.display(), text::size(limit)),
        "is this the right file?",
    )
}

fn empty(path: &Path, what: &str) -> Failure {
    Failure::input(format!("the {what} {} is empty", path.display()), "was it saved, or its build interrupted?")
}

/// Writes a file so that whoever opens it sees all of it or what was there before.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    stage(path, |file| file.write_all(bytes))?.commit()
}

/// A file that is written in full and has yet to take its place. Dropped before that, it is gone.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    target: PathBuf,
    /// None: a device or a pipe, which has got everything already.
    file: Option<tempfile::NamedTempFile>,
}

/// Writes a file beside its place.
pub(crate) fn stage(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Staged, Failure> {
    let failed = |error: io::Error| unwritable(path, &error);
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target) {
        Ok(found) if found.is_dir() => {
            return Err(Failure::input(format!("{} is a directory", path.display()), "name a file with -o FILE"));
        }
        // A device or a pipe cannot be replaced, and must not be.
        Ok(found) if !found.is_file() => {
            let written = File::options().write(true).open(&target).and_then(|mut file| write(&mut file));
            return written.map_err(failed).map(|()| Staged { path: path.to_owned(), target, file: None });
        }
        _ => {}
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".flamectl-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: what the user's mask leaves.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder_of(&target)).map_err(failed)?;
    write(&mut file).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    Ok(Staged { path: path.to_owned(), target, file: Some(file) })
}

impl Staged {
    /// Puts the file in its place, durably.
    pub(crate) fn commit(self) -> Result<(), Failure> {
        let Self { path, target, file } = self;
        let Some(file) = file else { return Ok(()) };
        file.persist(&target).map_err(|error| unwritable(&path, &error.error))?;
        // The rename itself, where the system can say that it is on the disk.
        #[cfg(unix)]
        File::open(folder_of(&target))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| unwritable(&path, &error))?;
        Ok(())
    }
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::input(
        format!("cannot write {}: {error}", path.display()),
        "name a file in a folder that you may write to with -o FILE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<String, Failure>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn every_kind_of_wrong_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("empty"), "").unwrap();
        fs::write(at("blank"), " \n").unwrap();
        fs::write(at("binary"), b"{\n\"a\": \xff}").unwrap();
        File::create(at("large")).unwrap().set_len(MAX_TEXT + 1).unwrap();
        let read = |name: &str| message(read_text(&at(name), "job file"));
        assert!(read("absent").ends_with("absent does not exist"));
        assert!(read("empty").ends_with("empty is empty"));
        assert!(read("blank").ends_with("blank is empty"));
        assert!(read("binary").ends_with("binary is not UTF-8 text (line 2)"));
        assert!(read("large").ends_with("larger than 4.0 MiB, the most that is taken"));
        assert!(read("").ends_with("is a directory, not a job file"));
    }

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        for content in ["one", "two"] {
            write_atomically(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_atomically(folder.path(), b"x").unwrap_err().to_string().contains("is a directory"));
    }
}
