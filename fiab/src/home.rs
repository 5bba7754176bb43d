//! Where fiab keeps things.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Moves everything that Flame's programs keep for a user from `~/.flame` elsewhere.
const ENV_FLAME_HOME: &str = "FLAME_HOME";

/// `$FLAME_HOME`, or `~/.flame`.
pub(crate) fn flame_home() -> PathBuf {
    std::env::var_os(ENV_FLAME_HOME).map_or_else(
        || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from).join(".flame"),
        PathBuf::from,
    )
}

/// A folder for one demo at a time, emptied for it.
pub(crate) struct DemoHome {
    path: PathBuf,
    /// Held as long as the demo runs.
    _lock: File,
    /// Where another demo has the usual folder: one that goes away with this demo.
    temporary: Option<tempfile::TempDir>,
}

impl DemoHome {
    /// Takes `wanted`, or the usual folder.
    pub(crate) fn take(wanted: Option<&Path>) -> anyhow::Result<Self> {
        let path = wanted.map_or_else(|| flame_home().join("demo"), Path::to_owned);
        let create =
            |path: &Path| std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()));
        create(&path)?;
        let lock = lock_file(&path)?;
        if lock.try_lock().is_err() {
            if wanted.is_some() {
                anyhow::bail!("another demo is using {}; give this one a --home of its own", path.display());
            }
            let temporary = tempfile::tempdir().context("cannot create a temporary folder")?;
            let path = temporary.path().to_owned();
            return Ok(Self { _lock: lock_file(&path)?, path, temporary: Some(temporary) });
        }
        let control = path.join("control");
        // Only what a demo made is removed, whatever folder was named.
        if control.exists() {
            std::fs::remove_dir_all(&control).with_context(|| format!("cannot empty {}", control.display()))?;
        }
        Ok(Self { path, _lock: lock, temporary: None })
    }

    /// The control plane's folder.
    pub(crate) fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    /// The folder, where it stays after the demo.
    pub(crate) fn kept(&self) -> Option<&Path> {
        self.temporary.is_none().then_some(self.path.as_path())
    }
}

fn lock_file(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("demo.lock");
    File::create(&path).with_context(|| format!("cannot write {}", path.display()))
}
