//! `flamectl create token --user NAME`

use clap::Args;
use flame_api::{CreateToken, Role, UserName};

use crate::{Context, Failure, OutputArgs, text};

const AFTER_HELP: &str = "\
Examples:
  flamectl create token --user alice
  flamectl create token --user ops --role admin -d \"night shift\" --expires-in 86400

The token is printed once, on stdout; the server keeps only a hash of it.";

/// Arguments of `create token`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CreateTokenArgs {
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    pub user: UserName,
    /// What it allows: user or admin
    #[arg(long, value_name = "ROLE", default_value = "user")]
    pub role: Role,
    /// What it is for
    #[arg(short, long = "desc", value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub description: String,
    /// How long it holds [default: until it is revoked]
    #[arg(long, value_name = "SECONDS")]
    pub expires_in: Option<u64>,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(args: CreateTokenArgs, context: &mut Context) -> Result<(), Failure> {
    let CreateTokenArgs { user, role, description, expires_in, output } = args;
    let made = context.client.create_token(&CreateToken { user, role, description, expires_in }).await?;
    if context.printer.value(output.output, &made)? {
        return Ok(());
    }
    context.printer.line(text::safe(made.token.expose()))?;
    context.printer.note(format_args!(
        "token {} of {} ({}): it is told this once; FLAME_TOKEN takes it, or `token: …` in the configuration",
        made.info.id, made.info.user, made.info.role
    ));
    Ok(())
}
