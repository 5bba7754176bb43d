//! `flamectl create schema FILE --design ID`

use std::path::PathBuf;

use clap::Args;
use flame_api::DesignId;

use crate::{Context, Failure, files};

/// Arguments of `create schema`.
#[derive(Debug, Clone, Args)]
pub struct CreateSchemaArgs {
    /// Schema file, JSON or YAML
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Design that it belongs to
    #[arg(long, value_name = "ID")]
    pub design: DesignId,
}

pub(crate) async fn run(args: CreateSchemaArgs, context: &mut Context) -> Result<(), Failure> {
    let text = files::read_text(&args.file, "schema file")?;
    context.client.create_schema(&args.design, &args.file.to_string_lossy(), text).await?;
    context.printer.line(format_args!("Schema created successfully for design '{}'", args.design))?;
    Ok(())
}
