//! A bundle: one component that serves several roles, or a zip with `<role>.wasm` for each.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use zip::ZipArchive;

use crate::error::BundleError;
use crate::inspect::{Inspection, Kind, MAX_COMPONENT_BYTES, inspect, is_role_name, sha256_hex, sniff};

/// Largest upload: a zip with a component for every role.
pub const MAX_BUNDLE_BYTES: u64 = 256 << 20;
/// Most entries of a zip.
pub const MAX_ENTRIES: usize = 64;

/// What a user uploads as a design's code, inspected and accepted.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// One component or a zip.
    pub kind: BundleKind,
    /// SHA-256 of the whole upload, hex.
    pub sha256: String,
    /// Size of the whole upload in bytes.
    pub size: u64,
    /// What each role runs. Roles of a single component share it.
    pub roles: BTreeMap<String, Arc<Component>>,
}

/// The two forms of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleKind {
    /// One component for all its roles.
    Single,
    /// A zip with a component for each role.
    Zip,
}

/// One component with its bytes.
#[derive(Debug, Clone)]
pub struct Component {
    /// What it is; without refusals once it was opened.
    pub inspection: Inspection,
    /// The component itself.
    pub bytes: Vec<u8>,
}

impl Component {
    /// SHA-256 of the bytes, hex.
    pub fn sha256(&self) -> &str {
        &self.inspection.sha256
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.inspection.size
    }
}

impl Bundle {
    /// The distinct components, by digest.
    pub fn components(&self) -> BTreeMap<&str, &Arc<Component>> {
        self.roles.values().map(|component| (component.sha256(), component)).collect()
    }

    /// The names of the roles that it serves, sorted.
    pub fn role_names(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// Refusals of what a zip has beyond the schema's roles, each by the entry's name. A single component may serve more
    /// roles than a schema has.
    pub fn foreign_entries(&self, schema_roles: &[String]) -> Vec<String> {
        if self.kind == BundleKind::Single {
            return Vec::new();
        }
        let foreign = self.roles.keys().filter(|role| !schema_roles.contains(role));
        foreign
            .map(|role| {
                format!("{role}.wasm is no role of the schema ({}): remove it from the zip", schema_roles.join(", "))
            })
            .collect()
    }
}

/// Opens and inspects an upload. Every reason against any of its components comes in one [`BundleError::Refused`].
pub fn open(bytes: &[u8]) -> Result<Bundle, BundleError> {
    let (bundle, refusals) = survey(bytes)?;
    if refusals.is_empty() { Ok(bundle) } else { Err(BundleError::Refused(refusals)) }
}

/// Looks through an upload as far as it can be read: what is in it, and every reason against it. Not to be run unless
/// there is none.
pub fn survey(bytes: &[u8]) -> Result<(Bundle, Vec<String>), BundleError> {
    let (kind, (roles, refusals)) = match sniff(bytes)? {
        Kind::Component => (BundleKind::Single, survey_single(bytes)?),
        Kind::Zip => (BundleKind::Zip, survey_zip(bytes)?),
    };
    Ok((Bundle { kind, sha256: sha256_hex(bytes), size: bytes.len() as u64, roles }, refusals))
}

/// What each role runs, and what speaks against it.
type Surveyed = (BTreeMap<String, Arc<Component>>, Vec<String>);

fn survey_single(bytes: &[u8]) -> Result<Surveyed, BundleError> {
    let inspection = inspect(bytes)?;
    let refusals = inspection.refusals.clone();
    let component = Arc::new(Component { inspection, bytes: bytes.to_vec() });
    let roles = component.inspection.roles.clone();
    Ok((roles.into_iter().map(|role| (role, Arc::clone(&component))).collect(), refusals))
}

fn survey_zip(bytes: &[u8]) -> Result<Surveyed, BundleError> {
    let bad = |reason: String| BundleError::BadZip { reason };
    let size = bytes.len() as u64;
    if size > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge { what: "the zip".to_owned(), size, limit: MAX_BUNDLE_BYTES });
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| bad(error.to_string()))?;
    if archive.len() > MAX_ENTRIES {
        return Err(bad(format!("it has {} entries, more than {MAX_ENTRIES}", archive.len())));
    }
    if archive.has_duplicate_names() {
        return Err(bad("two entries have the same name".to_owned()));
    }
    let mut roles = BTreeMap::new();
    let mut refusals = Vec::new();
    let mut left = MAX_BUNDLE_BYTES;
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|error| bad(error.to_string()))?;
        let raw = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let shown: String = raw.chars().take(128).flat_map(char::escape_debug).collect();
        let Some(role) = raw.strip_suffix(".wasm").filter(|role| is_role_name(role)) else {
            refusals.push(format!(
                "{shown} is not <role>.wasm: a zip has one component for each role of the schema, at its top, named for it"
            ));
            continue;
        };
        if entry.encrypted() {
            refusals.push(format!("{shown} is encrypted: zip it without a password"));
            continue;
        }
        // The declared size is the zip's claim: enough to refuse, not to trust.
        let limit = MAX_COMPONENT_BYTES.min(left);
        if entry.size() > limit {
            return Err(BundleError::TooLarge { what: shown, size: entry.size(), limit });
        }
        let mut component = Vec::new();
        let claimed = entry.size();
        entry.take(limit + 1).read_to_end(&mut component).map_err(|error| bad(format!("{shown}: {error}")))?;
        let real = component.len() as u64;
        if real > limit {
            return Err(BundleError::TooLarge { what: shown, size: real, limit });
        }
        if real != claimed {
            return Err(bad(format!("{shown} has {real} bytes and claims {claimed}")));
        }
        left -= real;
        match inspect(&component) {
            Ok(inspection) => {
                refusals.extend(inspection.refusals.iter().map(|reason| format!("{shown}: {reason}")));
                if !inspection.roles.iter().any(|name| name == role) && !inspection.roles.is_empty() {
                    refusals.push(format!(
                        "{shown} does not serve role {role} but {}: name the file for a role that it serves",
                        inspection.roles.join(", ")
                    ));
                }
                roles.insert(role.to_owned(), Arc::new(Component { inspection, bytes: component }));
            }
            Err(error) => refusals.push(format!("{shown}: {error}")),
        }
    }
    if roles.is_empty() && refusals.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    Ok((roles, refusals))
}
