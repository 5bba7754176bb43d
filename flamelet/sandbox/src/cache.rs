//! Compiled components on disk, for this agent alone.
//!
//! Loading compiled code is running it, so nothing but this module ever writes there: the folder is private (0700), an
//! entry is named by the component's digest and by the engine's own fingerprint, and no caller can put a file in.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

/// A folder of compiled components.
#[derive(Debug)]
pub(crate) struct CompiledCache {
    folder: PathBuf,
    engine: String,
}

impl CompiledCache {
    /// Opens `folder`, making it if it is not there. Refuses one that others could write to.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        make_private(folder)?;
        Ok(Self { folder: folder.to_owned(), engine: fingerprint(engine) })
    }

    /// The compiled form of the component with this digest, if it is there and fits the engine.
    pub(crate) fn load(&self, engine: &Engine, sha256: &str) -> Option<Component> {
        let path = self.path(sha256);
        if !path.is_file() {
            return None;
        }
        #[expect(unsafe_code, reason = "the file was written by `store` into a folder that only this user can write")]
        // SAFETY: see the module's documentation; wasmtime checks version and configuration itself.
        let loaded = unsafe { Component::deserialize_file(engine, &path) };
        match loaded {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a cached component does not load; compiling anew");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps the compiled form. A failure costs a compilation later and nothing else.
    pub(crate) fn store(&self, component: &Component, sha256: &str) {
        let write = || -> std::io::Result<()> {
            let bytes = component.serialize().map_err(std::io::Error::other)?;
            let partial =
                self.folder.join(format!(".{sha256}.{}.{:?}", std::process::id(), std::thread::current().id()));
            let mut file = fs::File::create(&partial)?;
            file.write_all(&bytes)?;
            fs::rename(&partial, self.path(sha256))
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "a compiled component could not be cached");
        }
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("{sha256}-{}.cwasm", self.engine))
    }
}

/// Version and configuration of the engine, as wasmtime itself tells compiled artefacts apart.
fn fingerprint(engine: &Engine) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(unix)]
fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Fails where the folder belongs to somebody else: then it is not ours to trust either.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn make_private(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}
