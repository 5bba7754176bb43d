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
    /// Opens `folder`, making it if it is not there. Refuses one that is a link or somebody else's: what is in it could be
    /// anybody's code.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        let about = fs::symlink_metadata(folder)?;
        if !about.is_dir() || !is_ours(&about) {
            return Err(std::io::Error::other("it is a link, no folder, or another user's"));
        }
        make_private(folder)?;
        Ok(Self { folder: folder.to_owned(), engine: fingerprint(engine) })
    }

    /// The compiled form of the component with this digest, if it is there and fits the engine.
    pub(crate) fn load(&self, engine: &Engine, sha256: &str) -> Option<Component> {
        let path = self.path(sha256);
        let about = fs::symlink_metadata(&path).ok()?;
        if !about.is_file() || !is_ours(&about) {
            return None;
        }
        // Read and not mapped: code that is mapped goes when somebody cuts the file off, and this process with it.
        let compiled = fs::read(&path).ok()?;
        #[expect(unsafe_code, reason = "the file was written by `store` into a folder that only this user can write")]
        // SAFETY: see the module's documentation; wasmtime checks version and configuration itself.
        let loaded = unsafe { Component::deserialize(engine, &compiled) };
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
    pub(crate) fn store(&self, compiled: &[u8], sha256: &str) {
        let write = || -> std::io::Result<()> {
            let partial =
                self.folder.join(format!(".{sha256}.{}.{:?}", std::process::id(), std::thread::current().id()));
            // A left-over of a process that had this one's number.
            let _ = fs::remove_file(&partial);
            private_file().open(&partial)?.write_all(compiled)?;
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
pub(crate) fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(unix)]
pub(crate) fn is_ours(about: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    about.uid() == rustix::process::geteuid().as_raw()
}

/// A new file that this user alone can read and write; never one that is there.
pub(crate) fn private_file() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(not(unix))]
pub(crate) fn make_private(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn is_ours(_about: &fs::Metadata) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_is_no_cache_folder_and_a_folder_becomes_private() {
        let home = tempfile::tempdir().unwrap();
        let (folder, link) = (home.path().join("cache"), home.path().join("link"));
        let engine = Engine::default();
        CompiledCache::open(&folder, &engine).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        symlink(&folder, &link).unwrap();
        let refused = CompiledCache::open(&link, &engine).unwrap_err();
        assert!(refused.to_string().contains("link"), "{refused}");
    }

    #[test]
    fn entries_are_this_users_alone_and_a_link_is_none() {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = CompiledCache::open(home.path(), &engine).unwrap();
        cache.store(&engine.precompile_component(b"\0asm\x0d\0\x01\0").unwrap(), "a");
        let mode = fs::metadata(cache.path("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(cache.load(&engine, "a").is_some());
        symlink(cache.path("a"), cache.path("b")).unwrap();
        assert!(cache.load(&engine, "b").is_none());
    }
}
