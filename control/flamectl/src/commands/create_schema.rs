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
    upload(args, "created", context).await
}

/// The same under the name of an update: a design's schema is never replaced, it gets another revision.
pub(crate) async fn update(args: CreateSchemaArgs, context: &mut Context) -> Result<(), Failure> {
    upload(args, "updated", context).await
}

async fn upload(args: CreateSchemaArgs, done: &str, context: &mut Context) -> Result<(), Failure> {
    let text = files::read_text(&args.file, "schema file")?;
    let (design, name) = (&args.design, args.file.to_string_lossy());
    context.create(async |client| client.create_schema(design, &name, text.clone()).await).await?;
    context.printer.line(format_args!("Schema {done} successfully for design '{design}'"))?;
    Ok(())
}
