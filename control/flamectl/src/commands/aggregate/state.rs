//! What a rule keeps from round to round, in a folder: one safetensors file, replaced as a whole, under a lock.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use flame_aggregate::AggregateError;
use flame_model::Model;

use super::models;
use crate::files::{self, Staged};
use crate::{Failure, text};

const FORMAT: &str = "flame-aggregate-state-1";
const FILE: &str = "state.safetensors";
const LOCK: &str = "lock";

/// A folder that this process alone works with.
#[derive(Debug)]
pub(super) struct StateFolder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// What an earlier round left.
#[derive(Debug)]
pub(super) struct Saved {
    /// Rounds so far.
    pub(super) rounds: u64,
    /// Digests of the models that the last one gave.
    pub(super) gave: Vec<String>,
    pub(super) models: Vec<(String, Model)>,
}

impl StateFolder {
    /// Makes the folder, readable by its owner alone, where it is not there, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = text::safe(&path.display().to_string());
        let failed = |error: &dyn std::fmt::Display| {
            Failure::input(format!("cannot keep state in {shown}: {error}"), "name another folder with --state DIR")
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|error| failed(&error))?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::input(
                format!("another `flamectl aggregate` works with the state in {shown}"),
                "wait for it to end, or name another folder with --state DIR",
            )),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// The state of `rule`, if a round was run before; that of another rule and a damaged one are refused.
    pub(super) fn load(&self, rule: &str) -> Result<Option<Saved>, Failure> {
        let file = self.file();
        if !file.exists() {
            return Ok(None);
        }
        let (combined, metadata) = models::read_with_metadata(&file).map_err(|error| self.damaged(&error))?;
        let field = |name: &str| metadata.get(name).map(String::as_str).unwrap_or_default();
        if field("format") != FORMAT {
            return Err(self.damaged("it is no state of this version of flamectl"));
        }
        if field("checksum") != checksum(&combined, &metadata) {
            return Err(self.damaged("its checksum does not hold"));
        }
        if field("rule") != rule {
            return Err(Failure::input(
                format!("{} holds the state of rule {}, not of {rule}", self.shown(), text::safe(field("rule"))),
                "give each rule a folder of its own with --state DIR",
            ));
        }
        let names: Vec<String> =
            serde_json::from_str(field("models")).map_err(|error| self.damaged(&error.to_string()))?;
        let rounds = field("rounds").parse().map_err(|_| self.damaged("it does not count its rounds"))?;
        let models = split(&names, combined).ok_or_else(|| self.damaged("a tensor belongs to none of its models"))?;
        let gave = field("gave").split(' ').map(str::to_owned).collect();
        Ok(Some(Saved { rounds, gave, models }))
    }

    /// Writes the state beside its place.
    pub(super) fn stage(
        &self,
        rule: &str,
        rounds: u64,
        gave: &[String],
        models: Vec<(String, Model)>,
    ) -> Result<Staged, Failure> {
        let names: Vec<&str> = models.iter().map(|(name, _)| name.as_str()).collect();
        let mut metadata: BTreeMap<String, String> = [
            ("format", FORMAT.to_owned()),
            ("rule", rule.to_owned()),
            ("rounds", rounds.to_string()),
            ("gave", gave.join(" ")),
            ("models", serde_json::json!(names).to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let combined = combine(models);
        metadata.insert("checksum".to_owned(), checksum(&combined, &metadata));
        files::stage(&self.file(), |file| models::write(file, &combined, &metadata))
    }

    /// The rule does not take the state back.
    pub(super) fn not_restored(&self, error: &AggregateError) -> Failure {
        Failure::input(
            format!("the state in {} does not fit: {error}", self.shown()),
            "it was kept under other options or for another model; name another folder with --state DIR",
        )
    }

    fn damaged(&self, why: &str) -> Failure {
        Failure::input(
            format!("the state in {} is damaged: {}", self.shown(), text::safe(why)),
            "put a copy back, or begin anew with another folder (--state DIR)",
        )
    }

    fn shown(&self) -> String {
        text::safe(&self.path.display().to_string())
    }
}

/// All models as one, each tensor under its model's position. Storage is shared.
fn combine(models: Vec<(String, Model)>) -> Model {
    let tensors = models
        .into_iter()
        .enumerate()
        .flat_map(|(at, (_, model))| model.into_iter().map(move |(name, tensor)| (format!("{at}/{name}"), tensor)));
    tensors.collect()
}

fn split(names: &[String], combined: Model) -> Option<Vec<(String, Model)>> {
    let mut models: Vec<(String, Model)> = names.iter().map(|name| (name.clone(), Model::new())).collect();
    for (name, tensor) in combined {
        let (at, name) = name.split_once('/')?;
        models.get_mut(at.parse::<usize>().ok()?)?.1.insert(name, tensor);
    }
    Some(models)
}

/// Over everything but itself.
fn checksum(combined: &Model, metadata: &BTreeMap<String, String>) -> String {
    let mut text = models::digest(combined);
    for (name, value) in metadata.iter().filter(|(name, _)| name.as_str() != "checksum") {
        text.extend(["\n", name, "=", value]);
    }
    flame_bundle::sha256_hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use flame_model::Tensor;

    use super::*;

    fn model(value: f32) -> Model {
        [("a/b", Tensor::from_f32(&[2], &[value, 1.0]).unwrap())].into_iter().collect()
    }

    #[test]
    fn what_was_saved_comes_back_in_its_order() {
        let parent = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(&parent.path().join("s")).unwrap();
        assert!(folder.load("fedadam").unwrap().is_none());
        let models =
            vec![("v".to_owned(), model(2.0)), ("m".to_owned(), model(3.0)), ("none".to_owned(), Model::new())];
        folder.stage("fedadam", 4, &["ab".to_owned(), "cd".to_owned()], models.clone()).unwrap().commit().unwrap();
        let saved = folder.load("fedadam").unwrap().unwrap();
        assert_eq!((saved.rounds, saved.gave, saved.models), (4, vec!["ab".to_owned(), "cd".to_owned()], models));
    }

    #[test]
    fn another_rules_state_and_a_damaged_one_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(parent.path()).unwrap();
        folder.stage("fedadam", 1, &[], vec![("m".to_owned(), model(2.0))]).unwrap().commit().unwrap();
        let refused = |rule: &str| folder.load(rule).unwrap_err().to_string();
        assert!(refused("fedyogi").contains("holds the state of rule fedadam, not of fedyogi"));
        let file = folder.file();
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&file, &bytes).unwrap();
            assert!(folder.load("fedadam").is_err(), "byte {at}");
        }
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        assert!(refused("fedadam").contains("is damaged"));
        fs::write(&file, "").unwrap();
        assert!(refused("fedadam").contains("is damaged"));
    }

    #[test]
    fn two_runs_do_not_share_a_folder() {
        let parent = tempfile::tempdir().unwrap();
        let _first = StateFolder::open(parent.path()).unwrap();
        let second = StateFolder::open(parent.path()).unwrap_err().to_string();
        assert!(second.contains("another `flamectl aggregate`"), "{second}");
    }
}
