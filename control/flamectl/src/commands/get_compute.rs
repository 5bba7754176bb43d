//! `flamectl get compute ID`

use std::slice;

use clap::Args;
use flame_api::ComputeId;

use super::get_computes;
use crate::{Context, Failure, OutputArgs};

/// Arguments of `get compute`.
#[derive(Debug, Clone, Args)]
pub struct GetComputeArgs {
    /// Name of the compute
    #[arg(value_name = "COMPUTE")]
    pub compute: ComputeId,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(args: GetComputeArgs, context: &mut Context) -> Result<(), Failure> {
    let compute = context.client.compute(&args.compute).await?;
    if context.printer.value(args.output.output, &compute)? {
        return Ok(());
    }
    get_computes::show(slice::from_ref(&compute), &mut context.printer)
}
