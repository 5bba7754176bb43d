//! What a component is, imports and serves, read from its bytes without running anything.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload, TypeBounds, Validator, WasmFeatures};

use crate::error::BundleError;
use crate::imports::{allowed_import, refusal};

/// Largest component that is accepted: far above any Rust worker, far below what would hurt the server.
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;
/// Most bytes of role names in one component.
const MAX_ROLES_BYTES: usize = 64 << 10;
/// The custom section in which the SDK's macro records role names, one a line.
pub const ROLES_SECTION: &str = "flame:roles";
/// The function that a worker exports.
pub const RUN: &str = "run";

/// What a component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// SHA-256 of the bytes, 64 lower-case hex digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// The roles that it serves, sorted, each once.
    pub roles: Vec<String>,
    /// What it imports, in its own order: interfaces, functions and resources. Names of types are no imports to speak of.
    pub imports: Vec<String>,
    /// What it exports, in its own order.
    pub exports: Vec<String>,
    /// Every reason why it is not accepted; empty when it is.
    pub refusals: Vec<String>,
}

/// What bytes begin like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Component,
    Zip,
}

/// The lower-case hex SHA-256 of bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Tells a component and a zip from everything else.
pub(crate) fn sniff(bytes: &[u8]) -> Result<Kind, BundleError> {
    if bytes.is_empty() {
        return Err(BundleError::Empty);
    }
    if bytes.starts_with(b"\0asm") {
        // Four bytes follow: a version, and a layer that is 0 for a module and 1 for a component.
        return match bytes.get(6..8) {
            Some([0, 0]) => Err(BundleError::CoreModule),
            Some([1, 0]) => Ok(Kind::Component),
            _ => Err(BundleError::Invalid { reason: "the header is cut off or of an unknown kind".to_owned() }),
        };
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return Ok(Kind::Zip);
    }
    let text = bytes.trim_ascii_start();
    if text.starts_with(b"(module") || text.starts_with(b"(component") || text.starts_with(b";;") {
        return Err(BundleError::Text);
    }
    let found = match bytes {
        [0x7f, b'E', b'L', b'F', ..] => "a native or precompiled binary",
        [0x1f, 0x8b, ..] => "a gzip file",
        [b'M', b'Z', ..] => "a Windows binary",
        [b'#', b'!', ..] => "a script",
        _ if is_text(bytes) => "a text file",
        _ => "something else",
    };
    Err(BundleError::NotWasm { found })
}

/// Whether the beginning reads as text.
fn is_text(bytes: &[u8]) -> bool {
    let head = bytes.get(..512).unwrap_or(bytes);
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(head.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.chars().any(|c| c.is_control() && !c.is_whitespace())
}

/// Inspects one component of at most [`MAX_COMPONENT_BYTES`]. What is no valid component is an error; what is one and may
/// not run has its reasons in [`Inspection::refusals`], all of them.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, BundleError> {
    inspect_within(bytes, MAX_COMPONENT_BYTES)
}

/// [`inspect`] with another limit on the size.
pub fn inspect_within(bytes: &[u8], max_bytes: u64) -> Result<Inspection, BundleError> {
    let size = bytes.len() as u64;
    match sniff(bytes)? {
        Kind::Component => {}
        Kind::Zip => return Err(BundleError::NotWasm { found: "a zip" }),
    }
    if size > max_bytes {
        return Err(BundleError::TooLarge { what: "the component".to_owned(), size, limit: max_bytes });
    }
    let invalid = |error: wasmparser::BinaryReaderError| {
        // Some messages go on for a page of types.
        let reason: String = error.to_string().lines().next().unwrap_or_default().chars().take(300).collect();
        BundleError::Invalid { reason }
    };
    let types = Validator::new_with_features(features()).validate_all(bytes).map_err(invalid)?;
    let mut found = Found::default();
    let mut depth: u32 = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Component, .. } if depth == 0 => depth = 1,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import.map_err(invalid)?;
                    // The name of a known type, as the world's `use types.{error}` makes one: nothing that the host gives.
                    if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                        found.imports.push(import.name.full_name().into_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    found.exports.push(export.map_err(invalid)?.name.full_name().into_owned());
                }
            }
            Payload::CustomSection(section) if section.name() == ROLES_SECTION => found.add_roles(section.data()),
            _ => {}
        }
    }
    let (roles, mut refusals) = found.roles();
    refusals.splice(0..0, found.imports.iter().filter(|name| !allowed_import(name)).map(|name| refusal(name)));
    refusals.extend(run_refusal(&types));
    let Found { imports, exports, .. } = found;
    Ok(Inspection { sha256: sha256_hex(bytes), size, roles, imports, exports, refusals })
}

/// What the sandbox's engine can run: no threads, no shared memory, nothing whose result depends on the machine.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::COMPONENT_MODEL
}

#[derive(Default)]
struct Found {
    imports: Vec<String>,
    exports: Vec<String>,
    has_roles_section: bool,
    /// Role names as they stand, one a line.
    role_lines: Vec<u8>,
    too_many_roles: bool,
}

impl Found {
    fn add_roles(&mut self, data: &[u8]) {
        self.has_roles_section = true;
        if self.role_lines.len() + data.len() > MAX_ROLES_BYTES {
            self.too_many_roles = true;
            return;
        }
        self.role_lines.extend_from_slice(data);
        // Sections of several modules do not run into each other.
        self.role_lines.push(b'\n');
    }

    /// The role names, and what is wrong with them.
    fn roles(&self) -> (Vec<String>, Vec<String>) {
        let mut refusals = Vec::new();
        if self.too_many_roles {
            refusals
                .push(format!("the section {ROLES_SECTION} has more than {MAX_ROLES_BYTES} bytes: name fewer roles"));
        }
        let lines = self.role_lines.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let mut roles: Vec<String> = lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        roles.sort();
        roles.dedup();
        roles.retain(|role| {
            let valid = is_role_name(role);
            if !valid && refusals.len() < 16 {
                let shown: String = role.chars().take(64).flat_map(char::escape_default).collect();
                refusals.push(format!(
                    "role name `{shown}` is not valid: use 1 to 64 letters, digits, dots, underscores and hyphens, \
                     beginning with a letter or digit"
                ));
            }
            valid
        });
        if !self.has_roles_section {
            refusals.push(format!(
                "the component names no role (it has no section {ROLES_SECTION}): export the worker with the SDK's macro"
            ));
        } else if roles.is_empty() && refusals.is_empty() {
            refusals.push(format!("the section {ROLES_SECTION} is empty: name at least one role in the SDK's macro"));
        }
        (roles, refusals)
    }
}

/// Whether the component exports the world's `run`: a function without parameters that returns a result.
fn run_refusal(types: &Types) -> Option<String> {
    const FIX: &str =
        "export the worker with the SDK's macro (flame:worker's world: run: func() -> result<_, failure>)";
    let Some(item) = types.as_ref().component_item_for_export(RUN) else {
        return Some(format!("the component does not export {RUN}: {FIX}"));
    };
    let ComponentEntityType::Func(id) = item.ty else {
        return Some(format!("the component's export {RUN} is no function: {FIX}"));
    };
    let fits = types
        .as_ref()
        .get(id)
        .is_some_and(|function| !function.async_ && function.params.is_empty() && function.result.is_some());
    (!fits).then(|| format!("the component's export {RUN} has another type: {FIX}"))
}

/// Whether a text may name a role: 1-64 of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
pub fn is_role_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}
