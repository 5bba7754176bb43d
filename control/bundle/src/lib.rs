//! What a Flame code bundle is: component inspection, roles, digests, signatures.
//!
//! Pure: bytes in, facts out. Nothing is run, written or fetched; a new key's randomness is all that the system is asked
//! for. The bytes are foreign: sizes are bounded before they are allocated, claims are checked, and every reason against a
//! bundle comes in one answer, with its fix.

mod bundle;
mod error;
mod imports;
mod inspect;
pub mod signature;

pub use bundle::{Bundle, BundleKind, Component, MAX_BUNDLE_BYTES, MAX_ENTRIES, open, survey};
pub use error::BundleError;
pub use imports::{WASI_INTERFACES, WORKER_INTERFACES, WORKER_VERSION, allowed_import};
pub use inspect::{
    Inspection, MAX_COMPONENT_BYTES, ROLES_SECTION, RUN, inspect, inspect_within, is_role_name, sha256_hex,
};
pub use signature::{MAX_SIGNATURES, PublicKey, SecretKey, Signature, SignatureError, SignedDigest};
