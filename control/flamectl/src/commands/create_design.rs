//! `flamectl create design ID [-d DESC]`

use clap::Args;
use flame_api::{CreateDesign, DesignId};

use crate::{Context, Failure};

/// Arguments of `create design`.
#[derive(Debug, Clone, Args)]
pub struct CreateDesignArgs {
    /// Name of the new design: letters, digits, dots, underscores, hyphens
    #[arg(value_name = "ID")]
    pub id: DesignId,
    /// What it is for
    #[arg(short, long = "desc", value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub description: String,
}

pub(crate) async fn run(args: CreateDesignArgs, context: &mut Context) -> Result<(), Failure> {
    let design = CreateDesign { id: args.id, description: args.description };
    let created = context.create(async |client| client.create_design(&design).await).await?;
    context.printer.line(format_args!("New design '{}' created successfully", created.id))?;
    Ok(())
}
