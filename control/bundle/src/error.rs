//! Why bytes are not a bundle, in words that name the fix.

/// Why bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// There are no bytes.
    #[error(
        "the file is empty: build the worker with `cargo build --target wasm32-wasip2 --release` and give its .wasm"
    )]
    Empty,
    /// More bytes than are accepted.
    #[error("{what} has {size} bytes, more than the {limit} that are accepted: build with --release and strip it")]
    TooLarge {
        /// The component, zip or entry.
        what: String,
        /// Its size in bytes, or what is known to be exceeded.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A core WebAssembly module.
    #[error(
        "this is a core module, not a component: build with --target wasm32-wasip2 (not wasm32-unknown-unknown or \
         wasm32-wasip1)"
    )]
    CoreModule,
    /// WebAssembly in its text form.
    #[error("this is WebAssembly text: give the binary .wasm that `cargo build --target wasm32-wasip2` makes")]
    Text,
    /// Something else.
    #[error(
        "this is {found}, neither a WebAssembly component nor a zip of components: give the .wasm that \
         `cargo build --target wasm32-wasip2 --release` makes"
    )]
    NotWasm {
        /// What it looks like.
        found: &'static str,
    },
    /// A component that does not validate.
    #[error("the component is not valid: {reason}: build it again with --target wasm32-wasip2")]
    Invalid {
        /// What the validator says, with the offset.
        reason: String,
    },
    /// A zip that cannot be read.
    #[error("the zip cannot be read: {reason}: make it with `zip code.zip <role>.wasm …`")]
    BadZip {
        /// What is wrong with it.
        reason: String,
    },
    /// Well-formed, and not acceptable; all reasons.
    #[error("the code is refused:\n  - {}", .0.join("\n  - "))]
    Refused(Vec<String>),
}
