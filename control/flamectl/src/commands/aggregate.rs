//! `flamectl aggregate`: one round of an aggregation rule over safetensors files, without a server.
//!
//! The engine is the one that aggregators of a job use. Updates are read one after the other, so that a rule which streams
//! needs the memory of one of them. Nothing is written unless the round can be finished; then the results come into their
//! places one right after the other, each by a rename.

mod catalogue;
mod given;
mod models;
mod report;
mod state;

use std::path::{Path, PathBuf};

use clap::Args;
use flame_aggregate::{AggregateError, Aggregator, Contribution, Outcome};
use flame_model::{Form, Metric, Model};

use crate::{Failure, Printer, files};
use given::{Given, IndexedFile, NamedFile, OptionArg, UpdateExtra};
use models::Unread;
use report::{Refused, Report};
use state::StateFolder;

const AFTER_HELP: &str = "\
Examples:
  flamectl aggregate a.safetensors:120 b.safetensors:80 -o global.safetensors
      FedAvg: the mean, weighted by 120 and 80 samples
  flamectl aggregate --rule fedadam --opt eta=0.05 --base global.safetensors --state adam \\
      a.safetensors:120 b.safetensors:80 -o global.safetensors
      a round of FedAdam; called again with the same --state, its momenta go on
  flamectl aggregate --rule qfedavg --opt q=1 --opt lr=0.1 --base global.safetensors \\
      a.safetensors:120:loss=0.41 b.safetensors:80:loss=0.53 -o next.safetensors --json
  flamectl aggregate --rule krum --opt f=1 *.safetensors -o robust.safetensors
  flamectl aggregate --clip 1.0 --noise-multiplier 0.8 --seed 7 --base global.safetensors \\
      a.safetensors b.safetensors -o private.safetensors
  flamectl aggregate --rule scaffold --opt clients=2 --base w.safetensors \\
      --extra control=c.safetensors a.safetensors b.safetensors \\
      --update-extra 1:control=ca.safetensors --update-extra 2:control=cb.safetensors \\
      -o w1.safetensors
      the new control variate is in w1.control.safetensors
  flamectl aggregate --list-rules

An update is FILE, FILE:SAMPLES or FILE:SAMPLES:NAME=VALUE,…; without SAMPLES it weighs 1. Beside
metrics, two names are words of this command: `client=NAME` says whose update it is (else the
file's path says it), `staleness=N` how many rounds old its base is. A file name may contain
colons: of the readings for which a file exists, the longest name is taken.

Exit status:
  0  every update was folded in (or abstained, with 0 samples)
  1  an update was refused: stderr names it and why, and the output holds what the others gave
  2  nothing was written: the command line, a file or the state is wrong, updates are too few for
     the rule, or the privacy budget is spent";

/// Arguments of `aggregate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct AggregateArgs {
    /// The clients' updates: whole models, or differences from the base with --delta
    #[arg(value_name = "UPDATE[:SAMPLES[:NAME=VALUE,…]]", required = true)]
    pub updates: Vec<String>,
    /// Rule by its name in the catalogue; --list-rules shows it
    #[arg(long, value_name = "RULE", default_value = "fedavg")]
    pub rule: String,
    /// Option of the rule or of the aggregator by its name in the catalogue. Repeatable
    #[arg(long = "opt", value_name = "OPTION=VALUE")]
    pub options: Vec<OptionArg>,
    /// The round's base model [default: zeros in the layout of the first update]
    #[arg(long, value_name = "FILE")]
    pub base: Option<PathBuf>,
    /// Updates are differences from the base, not whole models
    #[arg(long)]
    pub delta: bool,
    /// A second model that goes with the base, such as control=FILE for scaffold or server-update=FILE for fltrust. Repeatable
    #[arg(long = "extra", value_name = "NAME=FILE")]
    pub extras: Vec<NamedFile>,
    /// A second model that goes with the N-th update, counted from 1. Repeatable
    #[arg(long = "update-extra", value_name = "N:NAME=FILE")]
    pub update_extras: Vec<UpdateExtra>,
    /// The model from which the N-th update was computed, where that is not the base. Repeatable
    #[arg(long = "update-base", value_name = "N=FILE")]
    pub update_bases: Vec<IndexedFile>,
    /// Folder for what the rule keeps from round to round; made where it is not there
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Clips every update to this norm first: short for --opt clip=C
    #[arg(long, value_name = "C")]
    pub clip: Option<f64>,
    /// Adds Gaussian noise of Z·C/K to the mean of K updates: short for --opt noise-multiplier=Z
    #[arg(long, value_name = "Z")]
    pub noise_multiplier: Option<f64>,
    /// Seed of the noise: short for --opt seed=S
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(..=given::MAX_SEED))]
    pub seed: Option<u64>,
    /// File for the new model; what else the rule gives is written beside it, as OUT.NAME.safetensors for OUT.safetensors
    #[arg(short, long, value_name = "OUT", required = true)]
    pub output: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Print the catalogue of rules with their options, and do nothing else
    #[arg(long, exclusive = true)]
    pub list_rules: bool,
}

pub(crate) fn run(args: &AggregateArgs, printer: &mut Printer) -> Result<(), Failure> {
    if args.list_rules {
        return catalogue::list(printer);
    }
    let Some(output) = &args.output else {
        return Err(Failure::input("no output is named", "name a file with -o FILE"));
    };
    let given = Given::read(args)?;
    let mut rule = Aggregator::create(&args.rule, &given.options).map_err(|error| wrong(&error))?;
    let folder = args.state.as_deref().map(StateFolder::open).transpose()?;
    let saved = folder.as_ref().map(|folder| folder.load(rule.rule().name)).transpose()?.flatten();

    let first = given.updates.first().map(|update| update.path.as_path());
    let base = base_model(args.base.as_deref(), first)?;
    let mut rounds = 0;
    if let (Some(saved), Some(folder)) = (saved, &folder) {
        rounds = saved.rounds;
        if args.base.is_some() && !saved.gave.contains(&models::digest(&base)) {
            printer.note(format_args!(
                "note: the base is not the model that the last round of the state in {} gave",
                folder.path().display()
            ));
        }
        rule.restore(saved.models).map_err(|error| folder.not_restored(&error))?;
    }
    let refused = fold(&mut rule, &given, &base, args.delta, printer)?;
    let outcome = rule.finish().map_err(|error| wrong(&error))?;

    let written = write(output, &outcome, &rule, rounds + 1, folder.as_ref())?;
    let report = Report::new(&rule, &given, refused, outcome, written);
    report.print(args.json, printer)?;
    report.verdict()
}

/// Begins the round and folds the updates in, in the order of the command line; tells who was refused, and why.
fn fold(
    rule: &mut Aggregator,
    given: &Given,
    base: &Model,
    delta: bool,
    printer: &mut Printer,
) -> Result<Vec<Refused>, Failure> {
    let extras = models::read_named(&given.extras, "second model")?;
    rule.begin(base, &extras).map_err(|error| wrong(&error))?;
    let mut refused = Vec::new();
    for update in &given.updates {
        let about = Contribution {
            source: update.client.clone(),
            form: if delta { Form::Delta } else { Form::Full },
            samples: update.samples,
            staleness: update.staleness,
            metrics: update.metrics.iter().map(|(name, value)| Metric { name: name.clone(), value: *value }).collect(),
        };
        let folded = match models::read_like(&update.path, "update", base)? {
            Ok(model) => {
                let extras = models::read_named(&update.extras, "second model")?;
                let own = update.base.as_deref().map(|path| models::read(path, "base of an update")).transpose()?;
                rule.add(&model, &about, own.as_ref(), &extras).map_err(Unread::from)
            }
            Err(unread) => Err(unread),
        };
        match folded {
            Ok(()) => {}
            Err(Unread { fatal: true, reason, .. }) => return Err(Failure::input(reason, "nothing was written")),
            Err(Unread { code, reason, .. }) => {
                let refusal = Refused { update: update.path.display().to_string(), code, reason };
                printer.note(refusal.line());
                refused.push(refusal);
            }
        }
    }
    Ok(refused)
}

fn base_model(path: Option<&Path>, first: Option<&Path>) -> Result<Model, Failure> {
    match (path, first) {
        (Some(path), _) => models::read(path, "base model"),
        (None, Some(first)) => {
            let layout = models::read(first, "update")?;
            layout.zeros_like().map_err(|error| Failure::input(error.to_string(), "give a smaller model"))
        }
        (None, None) => Err(Failure::input("no update is named", "name the clients' files")),
    }
}

/// Where results were written.
#[derive(Debug)]
struct Written {
    model: PathBuf,
    extras: Vec<(String, PathBuf)>,
}

/// All files are written in full before the first of them takes its place.
fn write(
    output: &Path,
    outcome: &Outcome,
    rule: &Aggregator,
    rounds: u64,
    folder: Option<&StateFolder>,
) -> Result<Written, Failure> {
    let mut staged = vec![models::stage(output, &outcome.model)?];
    let mut extras = Vec::with_capacity(outcome.extra.len());
    for (name, model) in &outcome.extra {
        let path = models::beside(output, name);
        staged.push(models::stage(&path, model)?);
        extras.push((name.clone(), path));
    }
    if let Some(folder) = folder {
        // A round may go on from a second model: FedDyn's clients train from what it broadcasts.
        let models = std::iter::once(&outcome.model).chain(outcome.extra.iter().map(|(_, model)| model));
        let gave: Vec<String> = models.map(models::digest).collect();
        staged.push(folder.stage(rule.rule().name, rounds, &gave, rule.save())?);
    }
    staged.into_iter().try_for_each(files::Staged::commit)?;
    Ok(Written { model: output.to_owned(), extras })
}

/// An engine's refusal of what the command line asks for.
fn wrong(error: &AggregateError) -> Failure {
    let hint = match error {
        AggregateError::UnknownRule { .. } | AggregateError::UnknownOption { .. } => {
            "`flamectl aggregate --list-rules` shows rules and options"
        }
        AggregateError::BudgetSpent { .. } => "nothing was written; the budget is the options epsilon and delta",
        AggregateError::NotEnough { .. } => "nothing was written; give more updates, or options that need fewer",
        _ => "nothing was written",
    };
    Failure::input(error.to_string(), hint)
}
