//! `flamectl create code FILE.wasm --design ID`

use std::path::PathBuf;

use clap::Args;
use flame_api::DesignId;

use crate::{Context, Failure, code};

/// Arguments of `create code`.
#[derive(Debug, Clone, Args)]
pub struct CreateCodeArgs {
    /// A WebAssembly component, or a zip with `<role>.wasm` per role
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Design that it belongs to
    #[arg(long, value_name = "ID")]
    pub design: DesignId,
}

pub(crate) async fn run(args: CreateCodeArgs, context: &mut Context) -> Result<(), Failure> {
    let bytes = code::read(&args.file)?;
    flame_bundle::open(&bytes).map_err(|error| code::refused(&args.file, &error))?;
    context.client.create_code(&args.design, bytes.into()).await?;
    context.printer.line(format_args!("Code created successfully for design '{}'", args.design))?;
    Ok(())
}
