//! `flamectl remove schema DESIGN --version N`, `flamectl remove code DESIGN --version N`

use clap::Args;
use flame_api::DesignId;

use super::get_schema::newest;
use crate::{Context, Failure};

/// Arguments of `remove schema` and `remove code`.
#[derive(Debug, Clone, Args)]
pub struct RemoveRevisionArgs {
    /// Name of the design
    #[arg(value_name = "DESIGN")]
    pub design: DesignId,
    /// Revision; its number is not used again [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub version: Option<u32>,
}

pub(crate) async fn schema(args: RemoveRevisionArgs, context: &mut Context) -> Result<(), Failure> {
    let design = &args.design;
    let version = match args.version {
        Some(version) => version,
        None => newest(design, &context.client).await?,
    };
    context.client.delete_schema(design, version).await?;
    context.printer.line(format_args!("Schema {version} of design '{design}' deleted successfully"))?;
    Ok(())
}

pub(crate) async fn code(args: RemoveRevisionArgs, context: &mut Context) -> Result<(), Failure> {
    let design = &args.design;
    let version = match args.version {
        Some(version) => version,
        None => super::get_code::newest(design, &context.client).await?,
    };
    context.client.delete_code(design, version).await?;
    context.printer.line(format_args!("Code {version} of design '{design}' deleted successfully"))?;
    Ok(())
}
