//! `flamectl remove dataset ID`

use clap::Args;

use crate::{Context, DatasetRef, Failure};

/// A data set, of which there is nothing to show.
#[derive(Debug, Clone, Args)]
pub struct RemoveDatasetArgs {
    /// Dataset id, or a beginning of it that is unique
    #[arg(value_name = "DATASET")]
    pub dataset: DatasetRef,
}

pub(crate) async fn run(args: RemoveDatasetArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.dataset.resolve(&context.client).await?;
    context.client.delete_dataset(&id).await?;
    context.printer.line(format_args!("Dataset '{id}' deleted successfully"))?;
    Ok(())
}
