//! `flamectl remove token ID`

use clap::Args;
use flame_api::TokenId;

use crate::{Context, Failure};

/// A token, of which there is nothing to show.
#[derive(Debug, Clone, Args)]
pub struct RemoveTokenArgs {
    /// Id of the token, as `flamectl get tokens` lists it
    #[arg(value_name = "TOKEN_ID")]
    pub token: TokenId,
}

pub(crate) async fn run(args: RemoveTokenArgs, context: &mut Context) -> Result<(), Failure> {
    context.client.revoke_token(&args.token).await?;
    context.printer.line(format_args!("Token '{}' revoked successfully", args.token))?;
    Ok(())
}
