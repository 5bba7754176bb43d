//! Files of keys and signatures on this machine.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flame_bundle::signature::MAX_SIGNATURE_FILE_BYTES;
use flame_bundle::{PublicKey, SecretKey, SignedDigest};

use crate::{Failure, Printer, files};

/// Added to the name of a secret key's file for its public half.
const PUBLIC_SUFFIX: &str = ".pub";
/// Added to the name of a code file for its signatures.
const SIGNATURE_SUFFIX: &str = ".sig";

/// The file of a secret key's public half.
pub(crate) fn public_path(secret: &Path) -> PathBuf {
    suffixed(secret, PUBLIC_SUFFIX)
}

/// The file in which a code file's signatures lie, if it is not named.
pub(crate) fn signature_path(code: &Path) -> PathBuf {
    suffixed(code, SIGNATURE_SUFFIX)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Reads a secret key. Says so if others can read it too.
pub(crate) fn read_secret(path: &Path, printer: &mut Printer) -> Result<SecretKey, Failure> {
    let text = read(path, "key file")?;
    let key = SecretKey::from_file(&text)
        .map_err(|error| Failure::input(format!("{}: {error}", path.display()), "`flamectl keygen` makes a key"))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
            let file = path.display();
            printer
                .note(format_args!("warning: others may use the key file {file}; `chmod 600 {file}` keeps it yours"));
        }
    }
    Ok(key)
}

/// A signer as the command line names it: a public key, or a file with one.
pub(crate) fn read_signer(text: &str) -> Result<PublicKey, Failure> {
    let of_key = |error: &dyn std::fmt::Display| {
        Failure::input(format!("--signer: {error}"), "give a public key, or the .pub file that `flamectl keygen` wrote")
    };
    if text.starts_with("flame-ed25519") {
        return text.parse().map_err(|error| of_key(&error));
    }
    let content = read(Path::new(text), "public key file")?;
    content.trim().parse().map_err(|error| of_key(&format!("{text}: {error}")))
}

/// Reads a signature file.
pub(crate) fn read_signatures(path: &Path) -> Result<Vec<SignedDigest>, Failure> {
    let text = read(path, "signature file")?;
    SignedDigest::parse_file(&text).map_err(|error| {
        Failure::input(format!("{}: {error}", path.display()), "`flamectl sign FILE --key KEY` writes a signature file")
    })
}

fn read(path: &Path, what: &str) -> Result<String, Failure> {
    let bytes = files::read_bytes(path, what, MAX_SIGNATURE_FILE_BYTES)?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::input(format!("the {what} {} is not text", path.display()), "is this the right file?"))
}

/// A file of a key that would have to be replaced.
pub(crate) fn taken(path: &Path) -> Failure {
    Failure::input(
        format!("{} exists already, and a key is never replaced", path.display()),
        "name another file with -o FILE",
    )
}

/// Writes a file that must not exist yet. `mode` is its permissions.
pub(crate) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => taken(path),
        _ => Failure::input(
            format!("cannot write {}: {error}", path.display()),
            "name a file in a folder that you may write to with -o FILE",
        ),
    })
}
