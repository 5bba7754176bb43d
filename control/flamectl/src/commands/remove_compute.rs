//! `flamectl remove compute ID`

use clap::Args;
use flame_api::ComputeId;

use crate::{Context, Failure};

/// A compute, of which there is nothing to show.
#[derive(Debug, Clone, Args)]
pub struct RemoveComputeArgs {
    /// Name of the compute
    #[arg(value_name = "COMPUTE")]
    pub compute: ComputeId,
}

pub(crate) async fn run(args: RemoveComputeArgs, context: &mut Context) -> Result<(), Failure> {
    context.client.delete_compute(&args.compute).await?;
    context.printer.line(format_args!("Compute '{}' deleted successfully", args.compute))?;
    Ok(())
}
