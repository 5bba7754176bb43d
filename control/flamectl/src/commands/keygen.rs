//! `flamectl keygen`: a key to sign code with, made and kept on this machine.

use std::path::{Path, PathBuf};

use clap::Args;
use flame_bundle::SecretKey;

use crate::{Failure, Printer, keys};

const AFTER_HELP: &str = "\
Examples:
  flamectl keygen -o hospital.key      (writes hospital.key and hospital.key.pub)
  flamectl sign mnist.wasm --key hospital.key

Keep the key file secret. Give the public key, which is printed, to participants: those who name it among the
signers of their policy run no code that it has not signed.";

/// Arguments of `keygen`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct KeygenArgs {
    /// File for the secret key, readable by you alone; the public key goes to FILE.pub. Neither may exist
    #[arg(short, long, value_name = "FILE", default_value = "flame.key")]
    pub output: PathBuf,
}

pub(crate) fn run(args: &KeygenArgs, printer: &mut Printer) -> Result<(), Failure> {
    let (secret, public) = (args.output.as_path(), keys::public_path(&args.output));
    // Nothing is begun that cannot be finished.
    if public.exists() {
        return Err(keys::taken(&public));
    }
    let key = SecretKey::generate().map_err(|error| Failure::input(error.to_string(), ""))?;
    keys::write_new(secret, &key.to_file(), SECRET_MODE)?;
    if let Err(failure) = keys::write_new(&public, &format!("{}\n", key.public()), PUBLIC_MODE) {
        let _ = std::fs::remove_file(secret);
        return Err(failure);
    }
    printer.line(key.public())?;
    say(secret, &public, printer);
    Ok(())
}

/// Permissions of a secret: its owner's alone.
const SECRET_MODE: u32 = 0o600;
/// Permissions of a file like any other: what the user's mask leaves.
const PUBLIC_MODE: u32 = 0o666;

fn say(secret: &Path, public: &Path, printer: &mut Printer) {
    printer.note(format_args!(
        "the secret key is in {}: keep it, and keep it to yourself; the public key is above and in {}",
        secret.display(),
        public.display()
    ));
}
