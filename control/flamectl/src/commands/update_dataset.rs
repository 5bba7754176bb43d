//! `flamectl update dataset ID FILE`

use std::path::PathBuf;

use clap::Args;
use flame_api::UpdateDataset;

use crate::{Context, DatasetRef, Failure, documents};

/// What may be changed.
const FIELDS: &str = "the fields to change: name, description, url, dataFormat, isPublic; a dataset stays in its realm";

/// Arguments of `update dataset`.
#[derive(Debug, Clone, Args)]
pub struct UpdateDatasetArgs {
    /// Dataset id, or a beginning of it that is unique
    #[arg(value_name = "DATASET")]
    pub dataset: DatasetRef,
    /// File with the fields to change, JSON or YAML: name, description, url, dataFormat, isPublic
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

pub(crate) async fn run(args: UpdateDatasetArgs, context: &mut Context) -> Result<(), Failure> {
    let update: UpdateDataset = documents::read(&args.file, "file of a dataset's changes", FIELDS)?;
    let id = args.dataset.resolve(&context.client).await?;
    let tag = context.client.dataset_tag(&id).await?;
    context.client.with_tag(tag).update_dataset(&id, &update).await?;
    context.printer.line("Dataset updated successfully")?;
    Ok(())
}
