//! What a task keeps over its restarts: one file in a folder of the agent's own, private, replaced in one durable step.
//!
//! It never leaves: nothing in this crate reads it but the next run of the same task. A file is safetensors with a digest behind
//! it; a damaged one is told and never half used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flame_model::safetensors::{self, MAX_HEADER_BYTES};
use flame_model::{EndId, Metric, Model, SharedBufferMut, Tensor};
use serde::{Deserialize, Serialize};

use crate::cache::{is_ours, make_private, private_file};

const FORMAT: &str = "flame-checkpoint-1";
/// Bytes of the digest behind the file.
const DIGEST: usize = blake3::OUT_LEN;

/// What a task keeps.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) round: u64,
    /// The guest's own words.
    pub(crate) state: Vec<u8>,
    pub(crate) models: Vec<(String, Model)>,
    pub(crate) aggregators: Vec<SavedAggregator>,
    /// Measurements of rounds that nobody has stored yet: a run that is killed cannot deliver them any more.
    pub(crate) metrics: Vec<(u64, Vec<Metric>)>,
}

/// An aggregator's state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SavedAggregator {
    /// Which one the task made, from 0.
    pub(crate) number: usize,
    pub(crate) rule: String,
    pub(crate) state: Vec<(String, Model)>,
}

/// Where a task's checkpoint is.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    folder: PathBuf,
    name: String,
}

/// What a file holds, beside the numbers.
#[derive(Serialize, Deserialize)]
struct Contents {
    format: String,
    task: String,
    round: u64,
    models: Vec<String>,
    aggregators: Vec<SavedNames>,
}

#[derive(Serialize, Deserialize)]
struct SavedNames {
    number: usize,
    rule: String,
    state: Vec<String>,
}

impl Checkpoint {
    /// Bytes of everything in it.
    pub(crate) fn bytes(&self) -> u64 {
        let states = self.aggregators.iter().flat_map(|aggregator| &aggregator.state);
        let models = self.models.iter().chain(states).map(|(_, model)| model.byte_size());
        let metrics = self.metrics.iter().flat_map(|(_, row)| row).map(|metric| metric.name.len() as u64 + 8);
        models.chain(metrics).fold(self.state.len() as u64, u64::saturating_add)
    }
}

impl CheckpointFile {
    pub(crate) fn new(folder: &Path, task: &EndId) -> Self {
        Self { folder: folder.to_owned(), name: file_name(task) }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Replaces the checkpoint: after this the new one is on the disk, before it the old one. What is written over is the
    /// one before: its pages and blocks are there, and new ones can cost ten times the writing.
    pub(crate) fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let about = fs::symlink_metadata(&self.folder)?;
        if !about.is_dir() || !is_ours(&about) {
            return Err(io::Error::other("it is a link, no folder, or another user's"));
        }
        make_private(&self.folder)?;
        let (numbers, contents) = pack(checkpoint, &self.name)?;
        let metadata = BTreeMap::from([("contents".to_owned(), contents)]);
        let spare = self.folder.join(spare_name(&self.name));
        let mut file = open_spare(&spare)?;
        let (mut digest, mut written) = (blake3::Hasher::new(), Ok(()));
        safetensors::write_parts(&numbers, &metadata, |part| {
            digest.update(part);
            if written.is_ok() {
                written = file.write_all(part);
            }
        });
        written?;
        file.write_all(digest.finalize().as_bytes())?;
        let len = file.stream_position()?;
        file.set_len(len)?;
        file.sync_all()?;
        exchange(&spare, &self.path())?;
        // As long as the disk may have the names of before, the other file must not be written to.
        File::open(&self.folder)?.sync_all().inspect_err(|_| drop(fs::remove_file(&spare)))
    }

    /// The checkpoint, if there is one. `most` bounds what is read, as a grant does.
    pub(crate) fn read(&self, most: u64) -> Result<Option<Checkpoint>, String> {
        let path = self.path();
        let about = match fs::symlink_metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if !about.is_file() || !is_ours(&about) {
            return Err("it is a link, no file, or another user's".into());
        }
        let most = most.saturating_add(MAX_HEADER_BYTES).saturating_add(1 << 10);
        let length = usize::try_from(about.len()).ok().filter(|_| about.len() <= most);
        let length =
            length.ok_or_else(|| format!("it has {} bytes, more than the grant lets a task keep", about.len()))?;
        let mut buffer = SharedBufferMut::for_overwrite(length).map_err(|error| error.to_string())?;
        let read = File::open(&path).and_then(|mut file| file.read_exact(buffer.as_mut_bytes()));
        read.map_err(|error| error.to_string())?;
        let buffer = buffer.freeze();
        let data = length.checked_sub(DIGEST).ok_or("it is cut off")?;
        let (file, digest) = buffer.as_bytes().split_at_checked(data).ok_or("it is cut off")?;
        if blake3::hash(file).as_bytes() != digest {
            return Err("its digest does not hold".into());
        }
        let file = buffer.slice(0, data).ok_or("it is cut off")?;
        let (numbers, metadata) = safetensors::from_buffer(&file).map_err(|error| error.to_string())?;
        let contents = metadata.get("contents").ok_or("it does not say what is in it")?;
        let contents: Contents = serde_json::from_str(contents).map_err(|error| error.to_string())?;
        if contents.format != FORMAT || contents.task != self.name {
            return Err("it is of another version or another task".into());
        }
        unpack(numbers, contents).map(Some)
    }
}

/// Lets go of the checkpoint of a task that has ended, if it left one.
pub fn remove_checkpoint(folder: &Path, task: &EndId) -> io::Result<()> {
    let name = file_name(task);
    [spare_name(&name), name].iter().try_for_each(|name| match fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

fn file_name(task: &EndId) -> String {
    format!("{task}.checkpoint")
}

/// The checkpoint before, or what a run left that was killed in the middle of writing.
fn spare_name(name: &str) -> String {
    format!(".{name}")
}

/// A file to write to: the spare one, if it is a file of ours, or a new one.
fn open_spare(path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_file() && is_ours(&about) => return fs::OpenOptions::new().write(true).open(path),
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    private_file().open(path)
}

/// Puts `new` in the place of `old` in one step, and `old` in that of `new` where the system can.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    // There is no old one yet, or the file system does not exchange.
    fs::rename(new, old)
}

/// All numbers as one model, each tensor under its model's number; storage is shared.
fn pack(checkpoint: &Checkpoint, task: &str) -> io::Result<(Model, String)> {
    let aggregator = |aggregator: &SavedAggregator| SavedNames {
        number: aggregator.number,
        rule: aggregator.rule.clone(),
        state: aggregator.state.iter().map(|(name, _)| name.clone()).collect(),
    };
    let contents = Contents {
        format: FORMAT.to_owned(),
        task: task.to_owned(),
        round: checkpoint.round,
        models: checkpoint.models.iter().map(|(name, _)| name.clone()).collect(),
        aggregators: checkpoint.aggregators.iter().map(aggregator).collect(),
    };
    let states = checkpoint.aggregators.iter().flat_map(|aggregator| &aggregator.state);
    let models = checkpoint.models.iter().chain(states).enumerate();
    let mut numbers: Model = models
        .flat_map(|(at, (_, model))| model.iter().map(move |(name, tensor)| (format!("{at}/{name}"), tensor.clone())))
        .collect();
    for (name, bytes) in [("state", &checkpoint.state), ("metrics", &serde_json::to_vec(&checkpoint.metrics)?)] {
        numbers.insert(name, Tensor::from_elements(&[bytes.len() as u64], bytes).map_err(io::Error::other)?);
    }
    Ok((numbers, serde_json::to_string(&contents)?))
}

fn unpack(numbers: Model, contents: Contents) -> Result<Checkpoint, String> {
    let states: usize = contents.aggregators.iter().map(|aggregator| aggregator.state.len()).sum();
    let mut models = vec![Model::new(); contents.models.len().saturating_add(states)];
    let (mut state, mut metrics) = (Vec::new(), Vec::new());
    for (name, tensor) in numbers {
        match name.as_str() {
            "state" => {
                state = tensor.bytes().to_vec();
                continue;
            }
            "metrics" => {
                metrics = serde_json::from_slice(tensor.bytes()).map_err(|error| error.to_string())?;
                continue;
            }
            _ => {}
        }
        let (at, name) = name.split_once('/').ok_or("a tensor belongs to no model")?;
        let model = at.parse::<usize>().ok().and_then(|at| models.get_mut(at)).ok_or("a tensor belongs to no model")?;
        model.insert(name, tensor);
    }
    let mut models = models.into_iter();
    let named = |names: Vec<String>, models: &mut std::vec::IntoIter<Model>| names.into_iter().zip(models).collect();
    let own = named(contents.models, &mut models);
    let aggregators = contents.aggregators.into_iter().map(|SavedNames { number, rule, state }| SavedAggregator {
        number,
        rule,
        state: named(state, &mut models),
    });
    Ok(Checkpoint { round: contents.round, state, aggregators: aggregators.collect(), models: own, metrics })
}

#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "a test ends where its assumption does")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn model(value: f32) -> Model {
        [("a/b", Tensor::from_f32(&[3], &[value; 3]).unwrap())].into_iter().collect()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            round: 7,
            state: b"words".to_vec(),
            models: vec![("model".into(), model(1.0)), ("control".into(), model(2.0))],
            aggregators: vec![
                SavedAggregator { number: 0, rule: "fedavg".into(), state: Vec::new() },
                SavedAggregator { number: 2, rule: "fedadam".into(), state: vec![("m".into(), model(3.0))] },
            ],
            metrics: vec![(6, vec![Metric::new("accuracy", 0.5)]), (7, Vec::new())],
        }
    }

    fn file(folder: &Path) -> CheckpointFile {
        CheckpointFile::new(folder, &EndId::new(&"a".repeat(40)).unwrap())
    }

    #[test]
    fn what_was_kept_comes_back_and_is_this_users_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        let file = file(&folder);
        assert_eq!(file.read(1 << 20), Ok(None));
        let mut kept = checkpoint();
        for round in [1, 2] {
            kept.round = round;
            file.write(&kept).unwrap();
            assert_eq!(file.read(1 << 20).as_ref(), Ok(&Some(kept.clone())));
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&file.path())), (0o700, 0o600));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "the last one and the one before");
        remove_checkpoint(&folder, &EndId::new(&"a".repeat(40)).unwrap()).unwrap();
        assert_eq!(file.read(1 << 20), Ok(None));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        remove_checkpoint(&folder, &EndId::new(&"a".repeat(40)).unwrap()).unwrap();
    }

    #[test]
    fn every_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        file.write(&checkpoint()).unwrap();
        let whole = fs::read(file.path()).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(file.path(), &bytes).unwrap();
            assert!(file.read(1 << 20).is_err(), "byte {at}");
        }
        for length in 0..whole.len() {
            fs::write(file.path(), &whole[..length]).unwrap();
            assert!(file.read(1 << 20).is_err(), "cut to {length}");
        }
        fs::write(file.path(), &whole).unwrap();
        assert!(file.read(1 << 20).is_ok());
    }

    #[test]
    fn a_run_that_was_killed_in_the_middle_leaves_the_old_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        file.write(&checkpoint()).unwrap();
        fs::write(folder.path().join(format!(".{}", file.name)), b"half").unwrap();
        assert_eq!(file.read(1 << 20), Ok(Some(checkpoint())));
        file.write(&Checkpoint { round: 8, ..checkpoint() }).unwrap();
        assert_eq!(file.read(1 << 20).unwrap().unwrap().round, 8);
    }

    #[test]
    fn a_shorter_one_is_written_over_a_longer_one_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        let short = Checkpoint { state: Vec::new(), models: Vec::new(), ..checkpoint() };
        for kept in [checkpoint(), checkpoint(), short.clone(), short, checkpoint()] {
            file.write(&kept).unwrap();
            assert_eq!(file.read(1 << 20), Ok(Some(kept)));
        }
        let spare = folder.path().join(spare_name(&file.name));
        let other = folder.path().join("other");
        fs::write(&other, b"mine").unwrap();
        fs::remove_file(&spare).unwrap();
        std::os::unix::fs::symlink(&other, &spare).unwrap();
        file.write(&checkpoint()).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"mine");
        assert_eq!(file.read(1 << 20), Ok(Some(checkpoint())));
    }
}
