//! `flamectl update design ID -d DESC`

use clap::Args;
use flame_api::{DesignId, UpdateDesign};

use crate::{Context, Failure};

/// Arguments of `update design`.
#[derive(Debug, Clone, Args)]
pub struct UpdateDesignArgs {
    /// Name of the design
    #[arg(value_name = "DESIGN")]
    pub design: DesignId,
    /// What it is for
    #[arg(short, long = "desc", value_name = "TEXT")]
    pub description: String,
}

pub(crate) async fn run(args: UpdateDesignArgs, context: &mut Context) -> Result<(), Failure> {
    let update = UpdateDesign { description: args.description };
    let tag = context.client.design_tag(&args.design).await?;
    context.client.with_tag(tag).update_design(&args.design, &update).await?;
    context.printer.line(format_args!("Design '{}' updated successfully", args.design))?;
    Ok(())
}
