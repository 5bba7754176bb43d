//! `flame-control db`: the store's backups, its moving and its checking.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use flame_api::{Client, ClientError, Secret, Trust, TrustError};
use futures::StreamExt;

use crate::artifacts::Artifacts;
use crate::server::{ENDPOINT_FILE, TOKEN_FILE};
use crate::store::{DumpError, Dumped, SledStore, StoreError, check, export, import};

/// The store's folder in the home folder.
const STORE: &str = "store";
/// Where a store is put together that is not whole yet.
const IMPORTING: &str = "store.importing";

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Write everything that the store has into a file. The server must not run; `backup` works beside it
    Export {
        /// The file; `-` for standard output
        file: PathBuf,
    },
    /// Make a store from an export. There must be none in the home folder
    Import {
        /// The file
        file: PathBuf,
    },
    /// Read everything in the store and say what is damaged or missing. Status 1 if something is
    Check,
    /// Write everything that the store has into a file, through the server if it runs
    Backup {
        /// The file
        file: PathBuf,
    },
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The store or the file.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The running server did not give a backup.
    #[error("the server that runs on this home folder gave no backup: {0}")]
    Client(#[from] ClientError),
    /// Its CA cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A file or folder.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// There is a store already.
    #[error("{0} exists already; move it away, or import into another --home")]
    Exists(String),
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> DbError + '_ {
    move |error| DbError::File { path: path.display().to_string(), error }
}

impl DbCommand {
    /// Does it on the home folder. Words go to `out`.
    pub async fn run(&self, home: &Path, out: &mut impl Write) -> Result<ExitCode, DbError> {
        let store = home.join(STORE);
        let said = match self {
            Self::Export { file } if file.as_os_str() == "-" => {
                export(&existing(&store)?, out)?;
                return Ok(ExitCode::SUCCESS);
            }
            Self::Export { file } => written(file, export_to(&existing(&store)?, file)?),
            Self::Import { file } => {
                let Dumped { records } = import_into(home, file)?;
                format!("{records} records are in {} now", store.display())
            }
            Self::Check => return check_all(home, out),
            Self::Backup { file } => match existing(&store) {
                Ok(store) => written(file, export_to(&store, file)?),
                Err(DbError::Store(StoreError::Locked(_))) => written(file, from_server(home, file).await?),
                Err(error) => return Err(error),
            },
        };
        // Nobody reads any more where this fails.
        let _ = writeln!(out, "{said}");
        Ok(ExitCode::SUCCESS)
    }
}

fn written(file: &Path, dumped: Dumped) -> String {
    format!(
        "{} records are in {}; code/ and models/ of the home folder are beside it, by digest",
        dumped.records,
        file.display()
    )
}

/// Opening would make one.
fn existing(store: &Path) -> Result<SledStore, DbError> {
    std::fs::metadata(store).map_err(at(store))?;
    Ok(SledStore::open(store)?)
}

/// Written beside its place and renamed: what has the name is whole.
fn export_to(store: &SledStore, file: &Path) -> Result<Dumped, DbError> {
    let (beside, mut out) = beside(file)?;
    let dumped = export(store, &mut out)?;
    finish(&beside, out, file)?;
    Ok(dumped)
}

fn beside(file: &Path) -> Result<(PathBuf, BufWriter<File>), DbError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    // It holds logins and channel keys.
    let options = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    Ok((beside.clone(), BufWriter::new(options.map_err(at(&beside))?)))
}

fn finish(beside: &Path, mut out: BufWriter<File>, file: &Path) -> Result<(), DbError> {
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(at(beside))?;
    std::fs::rename(beside, file).map_err(at(file))
}

fn import_into(home: &Path, file: &Path) -> Result<Dumped, DbError> {
    let (store, importing) = (home.join(STORE), home.join(IMPORTING));
    if store.exists() {
        return Err(DbError::Exists(store.display().to_string()));
    }
    let mut reader = BufReader::new(File::open(file).map_err(at(file))?);
    match std::fs::remove_dir_all(&importing) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(&importing)(error)),
        _ => {}
    }
    std::fs::create_dir_all(home).map_err(at(home))?;
    let dumped = SledStore::open(&importing).map_err(DbError::from).and_then(|new| Ok(import(&new, &mut reader)?));
    let dumped = match dumped {
        Ok(dumped) => dumped,
        Err(error) => {
            // Half a store is of no use; what is left of it is removed by the next import.
            let _ = std::fs::remove_dir_all(&importing);
            return Err(error);
        }
    };
    std::fs::rename(&importing, &store).map_err(at(&store))?;
    Ok(dumped)
}

fn check_all(home: &Path, out: &mut impl Write) -> Result<ExitCode, DbError> {
    let store = existing(&home.join(STORE))?;
    let artifacts = Artifacts::at(home);
    let (records, findings) = check(&store, Some(&artifacts))?;
    for finding in &findings {
        let _ = writeln!(out, "{finding}");
    }
    let _ = match findings.len() {
        0 => writeln!(out, "{records} records, all as they should be"),
        count => writeln!(out, "{records} records, {count} of which are damaged or lack something"),
    };
    Ok(ExitCode::from(u8::from(!findings.is_empty())))
}

/// The server has the store; it says where it is and what opens it.
async fn from_server(home: &Path, file: &Path) -> Result<Dumped, DbError> {
    let read = |name: &str| {
        let path = home.join(name);
        std::fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(at(&path))
    };
    let (endpoint, token) = (read(ENDPOINT_FILE)?, Secret::new(read(TOKEN_FILE)?));
    let ca = home.join("tls/ca.pem");
    let trust = Trust::load(Some(ca.as_path()).filter(|ca| ca.is_file()))?;
    let client = Client::trusting(&endpoint, Some(token), &trust)?;
    let mut stream = std::pin::pin!(client.backup().await?);
    let (beside, mut out) = beside(file)?;
    let mut lines: u64 = 0;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        bytes.iter().for_each(|byte| lines += u64::from(*byte == b'\n'));
        out.write_all(&bytes).map_err(at(&beside))?;
    }
    finish(&beside, out, file)?;
    // The first and the last line are no records.
    Ok(Dumped { records: lines.saturating_sub(2) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, Tree};

    async fn does(home: &Path, command: DbCommand) -> Result<(bool, String), DbError> {
        let mut out = Vec::new();
        let code = command.run(home, &mut out).await?;
        Ok((code == ExitCode::SUCCESS, String::from_utf8(out).unwrap()))
    }

    #[tokio::test]
    async fn a_store_moves_by_export_and_import_and_is_checked() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = SledStore::open(&home.path().join("store")).unwrap();
        store.put(Tree::Server, b"layout", br#"{"version":1,"record":{"layout":1}}"#.to_vec()).unwrap();
        drop(store);
        let file = home.path().join("out.jsonl");
        let (_, said) = does(home.path(), DbCommand::Export { file: file.clone() }).await.unwrap();
        assert!(said.starts_with("1 records"), "{said}");
        let (_, said) = does(other.path(), DbCommand::Import { file: file.clone() }).await.unwrap();
        assert!(said.starts_with("1 records"), "{said}");
        let again = does(other.path(), DbCommand::Import { file }).await.unwrap_err().to_string();
        assert!(again.contains("exists already") && again.contains("--home"), "{again}");
        let (is_fine, said) = does(other.path(), DbCommand::Check).await.unwrap();
        assert!(is_fine && said.contains("all as they should be"), "{said}");

        let store = SledStore::open(&other.path().join("store")).unwrap();
        store.put(Tree::Jobs, b"torn", b"{".to_vec()).unwrap();
        drop(store);
        let (is_fine, said) = does(other.path(), DbCommand::Check).await.unwrap();
        assert!(!is_fine && said.contains("jobs `torn`:") && said.contains("damaged"), "{said}");
    }

    #[tokio::test]
    async fn a_bad_file_leaves_no_store_behind_and_a_missing_store_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("bad.jsonl");
        std::fs::write(&file, "{}\n").unwrap();
        let refused = does(home.path(), DbCommand::Import { file }).await.unwrap_err().to_string();
        assert!(refused.contains("line 1:"), "{refused}");
        assert!(!home.path().join("store").exists() && !home.path().join("store.importing").exists());
        let missing = does(home.path(), DbCommand::Check).await.unwrap_err().to_string();
        assert!(missing.contains("store") && missing.contains("No such file"), "{missing}");
    }
}
