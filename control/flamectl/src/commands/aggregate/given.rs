//! What the command line of `flamectl aggregate` says, read before anything is computed; all mistakes come at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flame_aggregate::OptionValue;

use super::AggregateArgs;
use crate::{Failure, text};

/// Largest seed: an option's numbers are exact so far.
pub(super) const MAX_SEED: u64 = (1 << 53) - 1;

/// `OPTION=VALUE`: a number, `true` or `false`, or a word.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionArg {
    name: String,
    value: OptionValue,
}

impl FromStr for OptionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = pair(text, "OPTION=VALUE, such as eta=0.1")?;
        let value = match value {
            "true" => OptionValue::Flag(true),
            "false" => OptionValue::Flag(false),
            other => other.parse().map_or_else(|_| OptionValue::Text(other.to_owned()), OptionValue::Number),
        };
        Ok(Self { name: name.to_owned(), value })
    }
}

/// `NAME=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = pair(text, "NAME=FILE, such as control=c.safetensors")?;
        Ok(Self { name: name.to_owned(), path: path.into() })
    }
}

/// `N:NAME=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateExtra {
    at: usize,
    file: NamedFile,
}

impl FromStr for UpdateExtra {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "N:NAME=FILE, such as 1:control=c1.safetensors";
        let (at, file) = text.split_once(':').ok_or_else(|| format!("it is not {form}"))?;
        Ok(Self { at: position(at)?, file: file.parse()? })
    }
}

/// `N=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedFile {
    at: usize,
    path: PathBuf,
}

impl FromStr for IndexedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (at, path) = pair(text, "N=FILE, such as 2=older.safetensors")?;
        Ok(Self { at: position(at)?, path: path.into() })
    }
}

fn pair<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    pair.ok_or_else(|| format!("it is not {form}"))
}

fn position(text: &str) -> Result<usize, String> {
    let at = text.parse::<usize>().ok().filter(|at| *at > 0);
    at.ok_or_else(|| format!("{text:.20} is no position of an update; they count from 1"))
}

/// An update as the command line gives it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UpdateArg {
    pub(super) path: PathBuf,
    pub(super) samples: u64,
    pub(super) metrics: Vec<(String, f64)>,
    pub(super) client: String,
    pub(super) staleness: u64,
    pub(super) extras: Vec<NamedFile>,
    pub(super) base: Option<PathBuf>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) options: Vec<(String, OptionValue)>,
    pub(super) extras: Vec<NamedFile>,
    pub(super) updates: Vec<UpdateArg>,
}

impl Given {
    pub(super) fn read(args: &AggregateArgs) -> Result<Self, Failure> {
        let mut problems = Vec::new();
        let mut updates = Vec::with_capacity(args.updates.len());
        for text in &args.updates {
            match update(text) {
                Ok(update) => updates.push(Some(update)),
                Err(problem) => {
                    problems.push(problem);
                    // Keeps the positions of the others.
                    updates.push(None);
                }
            }
        }
        let count = updates.len();
        for extra in &args.update_extras {
            match extra.at.checked_sub(1).and_then(|at| updates.get_mut(at)) {
                Some(Some(update)) => update.extras.push(extra.file.clone()),
                Some(None) => {}
                None => problems.push(beyond("--update-extra", extra.at, count)),
            }
        }
        for base in &args.update_bases {
            match base.at.checked_sub(1).and_then(|at| updates.get_mut(at)) {
                Some(Some(update)) => update.base = Some(base.path.clone()),
                Some(None) => {}
                None => problems.push(beyond("--update-base", base.at, count)),
            }
        }
        let updates: Vec<UpdateArg> = updates.into_iter().flatten().collect();
        let named = args.extras.iter().chain(updates.iter().flat_map(|update| &update.extras));
        problems.extend(named.filter_map(|file| absent(&file.path)));
        problems.extend(updates.iter().filter_map(|update| absent(update.base.as_deref()?)));
        problems.extend(args.base.as_deref().and_then(absent));
        match problems.as_slice() {
            [] => Ok(Self { options: options(args), extras: args.extras.clone(), updates }),
            [only] => Err(Failure::input(only.clone(), "`flamectl aggregate --help` shows how updates are written")),
            several => Err(Failure::input(
                format!("the command line has {} mistakes\n  - {}", several.len(), several.join("\n  - ")),
                "`flamectl aggregate --help` shows how updates are written",
            )),
        }
    }
}

/// The options, the short forms among them.
fn options(args: &AggregateArgs) -> Vec<(String, OptionValue)> {
    let mut options: Vec<_> = args.options.iter().map(|option| (option.name.clone(), option.value.clone())).collect();
    #[expect(clippy::cast_precision_loss, reason = "the command line takes seeds up to MAX_SEED")]
    let seed = args.seed.map(|seed| seed as f64);
    let short = [("clip", args.clip), ("noise-multiplier", args.noise_multiplier), ("seed", seed)];
    options.extend(short.into_iter().filter_map(|(name, value)| Some((name.to_owned(), OptionValue::Number(value?)))));
    options
}

fn beyond(flag: &str, at: usize, count: usize) -> String {
    format!("{flag} names update {at}, and there are {count}")
}

fn absent(path: &Path) -> Option<String> {
    (!path.exists()).then(|| format!("{} does not exist", text::safe(&path.display().to_string())))
}

/// Reads `FILE[:SAMPLES[:NAME=VALUE,…]]`: of the readings for which a file exists, the one with the longest name; where
/// there is none, the first that makes sense is what the message is about.
fn update(text: &str) -> Result<UpdateArg, String> {
    let readings = readings(text);
    let found = readings.iter().find(|(path, ..)| fs::metadata(path).is_ok_and(|found| !found.is_dir()));
    if let Some((path, samples, metrics)) = found {
        return described(path, *samples, *metrics);
    }
    let named = readings.iter().rev().find(|(path, samples, metrics)| described(path, *samples, *metrics).is_ok());
    let path = named.map_or(text, |(path, ..)| path);
    let shown = text::safe(path);
    if Path::new(path).is_dir() {
        Err(format!("{shown} is a directory"))
    } else {
        Err(format!("{shown} does not exist"))
    }
}

type Reading<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// The ways to read it, the longest file name first.
fn readings(text: &str) -> Vec<Reading<'_>> {
    let mut readings = vec![(text, None, None)];
    if let Some((rest, last)) = text.rsplit_once(':') {
        readings.push((rest, Some(last), None));
        if let Some((path, samples)) = rest.rsplit_once(':') {
            readings.push((path, Some(samples), Some(last)));
        }
    }
    readings
}

fn described(path: &str, samples: Option<&str>, metrics: Option<&str>) -> Result<UpdateArg, String> {
    let shown = text::safe(path);
    let mut update = UpdateArg {
        path: path.into(),
        samples: 1,
        metrics: Vec::new(),
        client: path.to_owned(),
        staleness: 0,
        extras: Vec::new(),
        base: None,
    };
    if let Some(samples) = samples.filter(|samples| !samples.is_empty()) {
        update.samples =
            samples.parse().map_err(|_| format!("{shown}: {samples:.40} is no number of samples, such as 120"))?;
    }
    for metric in metrics.unwrap_or_default().split(',').filter(|metric| !metric.is_empty()) {
        let (name, value) = pair(metric, "NAME=VALUE, such as loss=0.41")
            .map_err(|error| format!("{shown}: the metric {metric:.40}: {error}"))?;
        match name {
            "client" => value.clone_into(&mut update.client),
            "staleness" => {
                update.staleness = value
                    .parse()
                    .map_err(|_| format!("{shown}: staleness is a whole number of rounds, not {value:.40}"))?;
            }
            _ if update.metrics.iter().any(|(known, _)| known == name) => {
                return Err(format!("{shown}: the metric {name:.40} is given twice"));
            }
            _ => {
                let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
                let number =
                    number.ok_or_else(|| format!("{shown}: the metric {name:.40} is a number, not {value:.40}"))?;
                update.metrics.push((name.to_owned(), number));
            }
        }
    }
    Ok(update)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_a_number_a_flag_or_a_word() {
        let value = |text: &str| text.parse::<OptionArg>().map(|option| option.value);
        assert_eq!(value("eta=1e-3"), Ok(OptionValue::Number(0.001)));
        assert_eq!(value("bias-correction=false"), Ok(OptionValue::Flag(false)));
        assert_eq!(value("variant=flame"), Ok(OptionValue::Text("flame".into())));
        for wrong in ["eta", "=1", "eta="] {
            assert!(value(wrong).unwrap_err().contains("OPTION=VALUE"), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_exists_wins_over_a_suffix() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let read = |name: &str| update(&at(name));
        let path = |name: &str| read(name).unwrap().path;
        fs::write(at("m"), "").unwrap();
        assert_eq!(read("m:5:loss=0.5,steps=3").unwrap().samples, 5);
        fs::write(at("m:5"), "").unwrap();
        assert_eq!((path("m:5"), read("m:5").unwrap().samples), (at("m:5").into(), 1));
        assert_eq!((path("m:5:7"), read("m:5:7").unwrap().samples), (at("m:5").into(), 7));
        assert_eq!(path("m:6"), PathBuf::from(at("m")));
    }

    #[test]
    fn a_suffix_names_samples_metrics_client_and_staleness() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m");
        fs::write(&file, "").unwrap();
        let read = |suffix: &str| update(&format!("{}{suffix}", file.display()));
        let full = read(":3:loss=0.5,client=a,staleness=2,steps=4").unwrap();
        assert_eq!((full.samples, full.client.as_str(), full.staleness), (3, "a", 2));
        assert_eq!(full.metrics, [("loss".to_owned(), 0.5), ("steps".to_owned(), 4.0)]);
        assert_eq!(read("::loss=1").unwrap().samples, 1);
        assert_eq!(read("").unwrap().client, file.display().to_string());
        for (wrong, said) in [
            (":many", "no number of samples"),
            (":-1", "no number of samples"),
            (":1:loss", "NAME=VALUE"),
            (":1:loss=nan", "is a number"),
            (":1:a=1,a=2", "given twice"),
            (":1:staleness=-1", "whole number of rounds"),
        ] {
            assert!(read(wrong).unwrap_err().contains(said), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_is_nowhere_is_named_without_its_suffix() {
        assert_eq!(update("nope:12:loss=1").unwrap_err(), "nope does not exist");
        assert_eq!(update("C:nope").unwrap_err(), "C:nope does not exist");
    }
}
