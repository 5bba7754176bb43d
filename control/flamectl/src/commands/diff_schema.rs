//! `flamectl diff schema DESIGN --from 1 --to 2`: what one revision has and another has not.

use std::path::PathBuf;

use clap::Args;
use flame_api::DesignId;
use flame_tag::Schema;

use super::get_schema::{fetch, newest};
use crate::job_file::mistakes;
use crate::schema_diff::{Change, differences};
use crate::{Context, Failure, Format, OutputArgs, files, text};

const AFTER_HELP: &str = "\
Examples:
  flamectl diff schema mnist                        (the two newest revisions)
  flamectl diff schema mnist --from 1 --to 3
  flamectl diff schema mnist --file schema.json     (the newest revision and a file)
  flamectl diff schema mnist -o json";

/// Arguments of `diff schema`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DiffSchemaArgs {
    /// Name of the design
    #[arg(value_name = "DESIGN")]
    pub design: DesignId,
    /// Older revision [default: the one before the newer; with --file the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub from: Option<u32>,
    /// Newer revision [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "file")]
    pub to: Option<u32>,
    /// A schema file instead of the newer revision
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(args: DiffSchemaArgs, context: &mut Context) -> Result<(), Failure> {
    let (client, design) = (&context.client, &args.design);
    let (from, (newer, newer_name)) = if let Some(path) = &args.file {
        let text = files::read_text(path, "schema file")?;
        let name = path.to_string_lossy().into_owned();
        let schema = Schema::parse(&text, &name).map_err(|problems| mistakes(&problems))?;
        let from = match args.from {
            Some(from) => from,
            None => newest(design, client).await?,
        };
        (from, (schema, name))
    } else {
        let to = match args.to {
            Some(to) => to,
            None => newest(design, client).await?,
        };
        let from = match args.from {
            Some(from) => from,
            None => before(design, to, context).await?,
        };
        (from, (fetch(design, to, client).await?, format!("revision {to}")))
    };
    let older = fetch(design, from, &context.client).await?;
    let changes = differences(&older, &newer);
    if context.printer.value(args.output.output, &changes)? {
        return Ok(());
    }
    if changes.is_empty() {
        context.printer.note(format_args!("revision {from} and {newer_name} say the same"));
    }
    for change in &changes {
        let wide = args.output.output == Format::Wide;
        context.printer.line(text::safe_lines(&line(change, wide)))?;
    }
    Ok(())
}

/// The revision before another; there may be gaps.
async fn before(design: &DesignId, version: u32, context: &Context) -> Result<u32, Failure> {
    let revisions = context.client.design(design).await?.schemas;
    revisions.iter().map(|revision| revision.version).filter(|other| *other < version).max().ok_or_else(|| {
        Failure::outcome(
            format!("design {design} has no schema revision before {version}"),
            "name two revisions with --from and --to, or a file with --file",
        )
    })
}

/// `+ role evaluator`, `- channel x`, `~ role trainer: replica: 1 -> 2`; wide adds what was added or removed.
fn line(change: &Change, wide: bool) -> String {
    let what = if change.name.is_empty() { change.what.to_owned() } else { format!("{} {}", change.what, change.name) };
    let value =
        |value: &Option<serde_json::Value>| value.as_ref().map_or_else(|| "absent".to_owned(), ToString::to_string);
    match (&change.field, &change.from, &change.to) {
        (Some(field), from, to) => format!("~ {what}: {field}: {} -> {}", value(from), value(to)),
        (None, None, to) if wide => format!("+ {what}: {}", value(to)),
        (None, from, None) if wide => format!("- {what}: {}", value(from)),
        (None, None, _) => format!("+ {what}"),
        (None, _, _) => format!("- {what}"),
    }
}
