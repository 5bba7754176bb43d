//! `flamectl create compute FILE`

use std::path::PathBuf;

use clap::Args;
use flame_api::RegisterCompute;

use crate::{Context, Failure, OutputArgs, documents};

/// What a compute file holds.
const FIELDS: &str = "id, realm and key, and may have deployer";

const AFTER_HELP: &str = "\
Examples:
  flamectl create compute compute.yaml

where compute.yaml is
  {id: cluster-1, realm: default/us/west, key: a-secret-of-its-own}

The key stands in a file, not on the command line, which everybody on the machine can list. Registering again with
the same key changes nothing.";

/// Arguments of `create compute`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CreateComputeArgs {
    /// Compute file, JSON or YAML: id, realm, key, deployer
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(args: CreateComputeArgs, context: &mut Context) -> Result<(), Failure> {
    let asked: RegisterCompute = documents::read(&args.file, "compute file", FIELDS)?;
    let compute = context.client.register_compute(&asked).await?;
    if !context.printer.value(args.output.output, &compute)? {
        context.printer.line(format_args!("Compute '{}' registered successfully", compute.id))?;
    }
    Ok(())
}
