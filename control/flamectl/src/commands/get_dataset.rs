//! `flamectl get dataset ID`

use std::slice;

use clap::Args;

use super::get_datasets;
use crate::{Context, DatasetRef, Failure, OutputArgs};

/// Arguments of `get dataset`.
#[derive(Debug, Clone, Args)]
pub struct GetDatasetArgs {
    /// Dataset id, or a beginning of it that is unique
    #[arg(value_name = "DATASET")]
    pub dataset: DatasetRef,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(args: GetDatasetArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.dataset.resolve(&context.client).await?;
    let dataset = context.client.dataset(&id).await?;
    if context.printer.value(args.output.output, &dataset)? {
        return Ok(());
    }
    get_datasets::show(slice::from_ref(&dataset), args.output.output, &mut context.printer)
}
