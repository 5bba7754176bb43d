//! `flamectl sign FILE.wasm --key FILE`: a detached signature beside the code, made without a server.

use std::path::PathBuf;

use clap::Args;
use flame_bundle::{Bundle, SignedDigest};

use crate::{Failure, Printer, code, files, keys};

const AFTER_HELP: &str = "\
Examples:
  flamectl sign mnist.wasm --key hospital.key      (writes mnist.wasm.sig)
  flamectl create code mnist.wasm --design mnist --signature mnist.wasm.sig

Of a zip each component is signed, because an agent sees only the component that it runs; the signature file has a
line for each. Signatures that others made of the same components stay in the file.";

/// Arguments of `sign`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SignArgs {
    /// A WebAssembly component, or a zip with `<role>.wasm` per role
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The secret key, as `flamectl keygen` made it
    #[arg(long, value_name = "KEY")]
    pub key: PathBuf,
    /// Signature file [default: FILE.sig]
    #[arg(short, long, value_name = "SIG")]
    pub output: Option<PathBuf>,
}

pub(crate) fn run(args: &SignArgs, printer: &mut Printer) -> Result<(), Failure> {
    let bytes = code::read(&args.file)?;
    let bundle = flame_bundle::open(&bytes).map_err(|error| code::refused(&args.file, &error))?;
    let key = keys::read_secret(&args.key, printer)?;
    let output = args.output.clone().unwrap_or_else(|| keys::signature_path(&args.file));
    let before = if output.exists() { keys::read_signatures(&output)? } else { Vec::new() };
    let components = bundle.components();
    let (kept, stale): (Vec<_>, Vec<_>) =
        before.into_iter().partition(|signed| components.contains_key(signed.sha256.as_str()));
    let others = kept.into_iter().filter(|signed| signed.signature.signer() != key.public());
    let signed: Vec<_> = components.keys().map(|sha256| key.sign(sha256)).chain(others).collect();
    files::write_atomically(&output, text(&bundle, &signed).as_bytes())?;
    if !stale.is_empty() {
        printer.note(format_args!(
            "{} signatures of other code were in {} and are gone",
            stale.len(),
            output.display()
        ));
    }
    printer.line(format_args!("Signed by {}", key.public()))?;
    for (sha256, roles) in by_component(&bundle) {
        printer.line(format_args!("\t{}: sha256 {sha256}", roles.join(", ")))?;
    }
    printer.line(format_args!("Signatures written to {}", output.display()))?;
    Ok(())
}

/// The signature file: for each component a comment with its roles, and who signed it.
fn text(bundle: &Bundle, signed: &[SignedDigest]) -> String {
    let mut lines = Vec::new();
    for (sha256, roles) in by_component(bundle) {
        lines.push(format!("# {}\n", roles.join(", ")));
        lines.extend(signed.iter().filter(|signed| signed.sha256 == sha256).map(|signed| format!("{signed}\n")));
    }
    lines.concat()
}

/// Each component's digest with the roles that it serves.
fn by_component(bundle: &Bundle) -> Vec<(&str, Vec<&str>)> {
    let roles = |sha256: &str| {
        bundle.roles.iter().filter(|(_, one)| one.sha256() == sha256).map(|(role, _)| role.as_str()).collect()
    };
    bundle.components().into_keys().map(|sha256| (sha256, roles(sha256))).collect()
}
