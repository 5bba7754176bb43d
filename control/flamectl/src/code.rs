//! A code file on this machine, looked into before it is uploaded, for a quicker answer. The server's look counts.

use std::fmt::Display;
use std::path::Path;

use flame_bundle::{Bundle, BundleError, MAX_BUNDLE_BYTES, SignedDigest};

use crate::{Failure, files};

/// What makes a component of a worker's crate.
const BUILD: &str = "build it with `cargo build --target wasm32-wasip2 --release`";

/// Reads a code file of at most what a bundle may have.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read_bytes(path, "code file", MAX_BUNDLE_BYTES)
}

/// A refusal of a bundle, in the user's terms.
pub(crate) fn refused(path: &Path, error: &BundleError) -> Failure {
    let file = path.display();
    match error {
        BundleError::CoreModule => {
            Failure::input(format!("{file} is a core WebAssembly module, not a component"), BUILD)
        }
        BundleError::NotWasm { found } => Failure::input(
            format!("{file} is {found}, neither a WebAssembly component nor a zip of components"),
            format!("{BUILD} and give the .wasm in target/wasm32-wasip2/release"),
        ),
        BundleError::Refused(reasons) => refusals(file, reasons),
        other => Failure::input(format!("{file}: {other}"), ""),
    }
}

/// All reasons against a file, each on its line.
pub(crate) fn refusals(file: impl Display, reasons: &[String]) -> Failure {
    Failure::input(
        format!("the code {file} would be refused:\n  - {}", reasons.join("\n  - ")),
        "each line names its fix; `flamectl inspect FILE` shows what is in a component",
    )
}

/// Why the server would refuse a signature that comes with a bundle.
pub(crate) fn signature_refusal(bundle: &Bundle, signed: &SignedDigest) -> Option<String> {
    let sha256 = &signed.sha256;
    if !bundle.components().contains_key(sha256.as_str()) {
        return Some(format!(
            "the signature by {} is of other code, with sha256 {sha256}: sign the file as it is now",
            signed.signature.signer()
        ));
    }
    signed.holds().err().map(|error| error.to_string())
}
