//! `flamectl create dataset FILE`

use std::path::PathBuf;

use clap::Args;
use flame_api::CreateDataset;

use crate::{Context, Failure, OutputArgs, documents};

/// What a dataset file holds.
pub(super) const FIELDS: &str = "url and realm, and may have name, description, dataFormat and isPublic";

const AFTER_HELP: &str = "\
Examples:
  flamectl create dataset dataset.json

where dataset.json is
  {\"name\": \"mnist-eu\", \"url\": \"file:///data/mnist-eu\", \"dataFormat\": \"idx\", \"realm\": \"default/eu\", \"isPublic\": true}";

/// Arguments of `create dataset`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CreateDatasetArgs {
    /// Dataset file, JSON or YAML: url, realm, name, description, dataFormat, isPublic
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(args: CreateDatasetArgs, context: &mut Context) -> Result<(), Failure> {
    let asked: CreateDataset = documents::read(&args.file, "dataset file", FIELDS)?;
    let dataset = context.create(async |client| client.create_dataset(&asked).await).await?;
    if !context.printer.value(args.output.output, &dataset)? {
        context.printer.line(format_args!("New dataset created successfully\n\tdataset ID: {}", dataset.id))?;
    }
    Ok(())
}
