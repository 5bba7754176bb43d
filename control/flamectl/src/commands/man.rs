//! `flamectl man DIR`: a manual page for every command.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::{Cli, Failure, Printer, files};

const AFTER_HELP: &str = "\
Examples:
  flamectl man ~/.local/share/man/man1 && man flamectl-create-job";

/// Arguments of `man`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ManArgs {
    /// Folder that they are written into; made if it is not there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

pub(crate) fn run(args: &ManArgs, printer: &mut Printer) -> Result<(), Failure> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::input(
            format!("cannot make the folder {}: {error}", folder.display()),
            "name one that you may write to",
        )
    })?;
    let mut command = Cli::command();
    // Names of subcommands are settled with those above them.
    command.build();
    let written = pages(&command, folder)?;
    printer.line(format_args!("{written} manual pages written to {}", folder.display()))?;
    Ok(())
}

/// Writes the page of a command and those of all below it.
fn pages(command: &clap::Command, folder: &std::path::Path) -> Result<usize, Failure> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    files::write_atomically(&folder.join(page.get_filename()), &text)?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    below.map(|below| pages(below, folder)).sum::<Result<usize, _>>().map(|written| written + 1)
}
