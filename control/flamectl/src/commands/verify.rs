//! `flamectl verify FILE.wasm --signer KEY`: what an agent would check, without a server.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use flame_bundle::PublicKey;

use crate::{Failure, Printer, code, keys};

const AFTER_HELP: &str = "\
Examples:
  flamectl verify mnist.wasm --signer hospital.key.pub
  flamectl verify mnist.wasm --signer flame-ed25519:mK3... --signature from-the-hospital.sig

Status 0 if one of the signers has signed every component of the file, 2 if not.";

/// Arguments of `verify`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct VerifyArgs {
    /// A WebAssembly component, or a zip with `<role>.wasm` per role
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Of whom one has to have signed: a public key, or a file with one. Repeatable
    #[arg(long, value_name = "KEY", required = true)]
    pub signer: Vec<String>,
    /// Signature file [default: FILE.sig]. Repeatable
    #[arg(long, value_name = "SIG")]
    pub signature: Vec<PathBuf>,
}

pub(crate) fn run(args: &VerifyArgs, printer: &mut Printer) -> Result<(), Failure> {
    let signers = args.signer.iter().map(|text| keys::read_signer(text)).collect::<Result<BTreeSet<_>, _>>()?;
    let bytes = code::read(&args.file)?;
    let bundle = flame_bundle::open(&bytes).map_err(|error| code::refused(&args.file, &error))?;
    let beside = [keys::signature_path(&args.file)];
    let files = if args.signature.is_empty() { &beside[..] } else { &args.signature };
    let mut signatures = Vec::new();
    for file in files {
        signatures.extend(keys::read_signatures(file)?);
    }
    let mut reasons = Vec::new();
    for (sha256, component) in bundle.components() {
        let own = signatures.iter().filter(|signed| signed.sha256 == sha256);
        let mut holding: BTreeSet<PublicKey> = BTreeSet::new();
        for signed in own {
            match signed.holds() {
                Ok(()) => drop(holding.insert(signed.signature.signer())),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        let required: Vec<_> = holding.intersection(&signers).map(ToString::to_string).collect();
        let roles = component.inspection.roles.join(", ");
        if required.is_empty() {
            let by: Vec<_> = holding.iter().map(ToString::to_string).collect();
            let by = if by.is_empty() { "nobody".to_owned() } else { by.join(", ") };
            reasons.push(format!("the component for {roles} with sha256 {sha256} is signed by {by}"));
        } else {
            printer.line(format_args!("{roles}: sha256 {sha256} is signed by {}", required.join(", ")))?;
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let required: Vec<_> = signers.iter().map(ToString::to_string).collect();
    Err(Failure::input(
        format!("{} is not signed by {}:\n  - {}", args.file.display(), required.join(" or "), reasons.join("\n  - ")),
        "its signer signs it as it is now with `flamectl sign FILE --key KEY`",
    ))
}
