//! Large bytes: code by digest, models by job and digest, as files.
//!
//! A file is written beside its place and renamed, so that what has the name is whole; what a crash left behind is
//! swept at the next start. Records in the store say which file is which.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use flame_api::JobId;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

/// Folder of files that are being written.
const PARTIAL: &str = "partial";

/// The folders for large bytes.
#[derive(Debug, Clone)]
pub struct Artifacts {
    home: PathBuf,
}

/// Why bytes could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The disk failed, or is full.
    #[error("{path}: {error}")]
    Disk {
        /// Which file.
        path: String,
        /// What it said.
        error: io::Error,
    },
    /// What came is not what was announced.
    #[error("the bytes have the SHA-256 {found}, and {announced} was announced")]
    Digest {
        /// Of the bytes.
        found: String,
        /// Of the sender.
        announced: String,
    },
}

fn on_disk(path: &Path) -> impl FnOnce(io::Error) -> ArtifactError {
    let path = path.display().to_string();
    move |error| ArtifactError::Disk { path, error }
}

impl Artifacts {
    /// Folders below `home`, as they are.
    pub fn at(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// Folders below `home`, made if missing. Blocks.
    pub fn open(home: &Path) -> Result<Self, ArtifactError> {
        let this = Self::at(home);
        let partial = this.home.join(PARTIAL);
        match std::fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(on_disk(&partial)(error)),
            _ => {}
        }
        for folder in [PARTIAL, "code", "models"] {
            let folder = this.home.join(folder);
            std::fs::create_dir_all(&folder).map_err(on_disk(&folder))?;
        }
        Ok(this)
    }

    /// Where code of that digest is.
    pub fn code_path(&self, sha256: &str) -> PathBuf {
        self.home.join("code").join(sha256)
    }

    /// Removes code that nothing needs any more. Blocks.
    pub fn remove_code(&self, sha256: &str) -> Result<(), ArtifactError> {
        let path = self.code_path(sha256);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(on_disk(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes all models of a job. Blocks.
    pub fn remove_models(&self, job: &JobId) -> Result<(), ArtifactError> {
        let folder = self.home.join("models").join(job.as_str());
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(on_disk(&folder)(error)),
            _ => Ok(()),
        }
    }

    /// Where a job's model of that digest is.
    pub fn model_path(&self, job: &JobId, sha256: &str) -> PathBuf {
        self.home.join("models").join(job.as_str()).join(sha256)
    }

    /// A path for a file that goes away at the next start at the latest.
    pub fn scratch(&self) -> PathBuf {
        self.partial_path()
    }

    /// Keeps code under its digest. Blocks.
    pub fn put_code(&self, sha256: &str, bytes: &[u8]) -> Result<(), ArtifactError> {
        let (path, partial) = (self.code_path(sha256), self.partial_path());
        if path.exists() {
            return Ok(());
        }
        let write = || {
            let mut file = std::fs::File::create(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&partial, &path)?;
            sync_folder(&path)
        };
        write().map_err(on_disk(&path))
    }

    /// Begins to keep a model.
    pub async fn upload(&self) -> Result<Upload, ArtifactError> {
        let path = self.partial_path();
        let file = tokio::fs::File::create(&path).await.map_err(on_disk(&path))?;
        Ok(Upload { partial: Partial(path), file, hash: Sha256::new(), size: 0 })
    }

    /// Removes a model that no record names any more.
    pub async fn remove_model(&self, job: &JobId, sha256: &str) {
        let path = self.model_path(job, sha256);
        if let Err(error) = tokio::fs::remove_file(&path).await {
            tracing::warn!(path = %path.display(), "an old model could not be removed: {error}");
        }
    }

    fn partial_path(&self) -> PathBuf {
        let number = getrandom::u64().unwrap_or_default();
        self.home.join(PARTIAL).join(format!("{number:016x}"))
    }
}

/// A model that is coming in. Dropped without [`Upload::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    partial: Partial,
    file: tokio::fs::File,
    hash: Sha256,
    size: u64,
}

/// Removes a partial file; once it was renamed there is nothing to remove.
#[derive(Debug)]
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Upload {
    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).await.map_err(on_disk(&self.partial.0))
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Checks the digest and gives the file its name. The size.
    pub async fn finish(mut self, artifacts: &Artifacts, job: &JobId, announced: &str) -> Result<u64, ArtifactError> {
        let found = hex::encode(self.hash.finalize());
        if found != announced {
            return Err(ArtifactError::Digest { found, announced: announced.chars().take(64).collect() });
        }
        let path = artifacts.model_path(job, &found);
        self.file.flush().await.map_err(on_disk(&self.partial.0))?;
        self.file.sync_all().await.map_err(on_disk(&self.partial.0))?;
        let folder = path.parent().unwrap_or(&artifacts.home);
        tokio::fs::create_dir_all(folder).await.map_err(on_disk(folder))?;
        tokio::fs::rename(&self.partial.0, &path).await.map_err(on_disk(&path))?;
        let renamed = path.clone();
        let synced = tokio::task::spawn_blocking(move || sync_folder(&renamed)).await;
        synced.map_err(io::Error::other).and_then(|synced| synced).map_err(on_disk(&path))?;
        Ok(self.size)
    }
}

/// A rename is durable once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_below(path: &Path) -> usize {
        std::fs::read_dir(path).unwrap().count()
    }

    #[tokio::test]
    async fn a_model_is_kept_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(home.path()).unwrap();
        let job: JobId = "1".repeat(24).parse().unwrap();
        let digest = crate::crypto::sha256_hex(b"weights");

        let mut upload = artifacts.upload().await.unwrap();
        upload.write(b"wei").await.unwrap();
        upload.write(b"ghts").await.unwrap();
        assert_eq!(upload.finish(&artifacts, &job, &digest).await.unwrap(), 7);
        assert_eq!(std::fs::read(artifacts.model_path(&job, &digest)).unwrap(), b"weights");

        let mut torn = artifacts.upload().await.unwrap();
        torn.write(b"wei").await.unwrap();
        let error = torn.finish(&artifacts, &job, &digest).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Digest { .. }), "{error}");
        drop(artifacts.upload().await.unwrap());
        assert_eq!(files_below(&home.path().join(PARTIAL)), 0, "nothing is left over");
    }

    #[test]
    fn code_is_kept_once_and_leftovers_are_swept() {
        let home = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(home.path()).unwrap();
        artifacts.put_code("abc", b"code").unwrap();
        artifacts.put_code("abc", b"code").unwrap();
        std::fs::write(home.path().join(PARTIAL).join("left"), b"x").unwrap();
        let artifacts = Artifacts::open(home.path()).unwrap();
        assert_eq!(std::fs::read(artifacts.code_path("abc")).unwrap(), b"code");
        assert_eq!(files_below(&home.path().join(PARTIAL)), 0);
    }
}
