//! `flamectl completions SHELL`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, Failure, Printer};

const AFTER_HELP: &str = "\
Examples:
  source <(flamectl completions bash)                                          (this shell)
  flamectl completions zsh > \"${fpath[1]}/_flamectl\"                           (every zsh)
  flamectl completions fish > ~/.config/fish/completions/flamectl.fish";

/// Arguments of `completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CompletionsArgs {
    /// Shell that reads them
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, printer: &mut Printer) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "flamectl", &mut script);
    printer.bytes(&script)?;
    Ok(())
}
