//! Flamelets as child processes of the server.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use flame_api::AgentId;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{DeployError, Deployer, ExitReporter, Launch};

/// Name of the program that is started.
const PROGRAM: &str = "flamelet";
/// Time that a killed process has to be gone.
const KILL_WITHIN: Duration = Duration::from_secs(5);

/// Starts `flamelet` once per system task, and kills it when the task is revoked or the server goes.
pub struct ProcessDeployer {
    program: PathBuf,
    /// Key files and logs.
    folder: PathBuf,
    children: Mutex<HashMap<AgentId, Watched>>,
}

struct Watched {
    revoke: CancellationToken,
    watcher: JoinHandle<()>,
}

impl ProcessDeployer {
    /// `program` is the flamelet to start; without it, the one beside this executable, else the first on `PATH`.
    /// Key files and logs go to `<home>/agents`.
    pub fn new(program: Option<PathBuf>, home: &Path) -> Self {
        let program = program.or_else(beside_us).unwrap_or_else(|| PathBuf::from(PROGRAM));
        Self { program, folder: home.join("agents"), children: Mutex::default() }
    }

    fn children(&self) -> MutexGuard<'_, HashMap<AgentId, Watched>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, launch: &Launch) -> Result<Child, DeployError> {
        let folder = &self.folder;
        let on_disk = |what: &str, error: &std::io::Error| {
            DeployError::new(format!("cannot write {what} of the flamelet in {}: {error}", folder.display()))
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| on_disk("files", &error))?;
        let key = folder.join(format!("{}.key", launch.agent));
        write_secret(&key, launch.key.expose()).map_err(|error| on_disk("the key", &error))?;
        let log = folder.join(format!("{}.log", launch.agent));
        let log = OpenOptions::new().create(true).append(true).open(log).map_err(|error| on_disk("the log", &error))?;
        let log_too = log.try_clone().map_err(|error| on_disk("the log", &error))?;
        let mut command = Command::new(&self.program);
        command.arg("-a").arg(&launch.apiserver).arg("-n").arg(&launch.notifier);
        command.arg("--p2p-listen").arg(launch.p2p_listen.to_string());
        if let Some(host) = &launch.p2p_advertise {
            command.arg("--p2p-advertise").arg(format!("{host}:0"));
        }
        if let Some(ca) = &launch.ca {
            command.arg("--ca").arg(ca);
        }
        for (name, path) in &launch.data {
            let mut grant = std::ffi::OsString::from(format!("{name}="));
            grant.push(path);
            command.arg("--data").arg(grant);
        }
        command
            .env("FLAME_AGENT_ID", launch.agent.as_str())
            .env("FLAME_AGENT_KEY_FILE", &key)
            .env_remove("FLAME_AGENT_KEY")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .kill_on_drop(true)
            // Ctrl-C in the server's terminal is the server's: it ends its children in its own order.
            .process_group(0);
        command.spawn().map_err(|error| {
            DeployError::new(format!(
                "cannot start `{}`: {error}; put the flamelet beside flame-control or name it by --flamelet PATH",
                self.program.display()
            ))
        })
    }
}

fn on_path(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn beside_us() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(PROGRAM);
    path.is_file().then_some(path)
}

/// Written anew, so that the mode holds even where an older file was laid there.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

async fn watch(mut child: Child, key: PathBuf, revoke: CancellationToken, exited: ExitReporter) {
    let ended = tokio::select! {
        ended = child.wait() => Some(ended),
        () = revoke.cancelled() => None,
    };
    match ended {
        Some(Ok(status)) => exited.exited(said(status)),
        Some(Err(error)) => exited.exited(format!("the flamelet of this task was lost sight of: {error}")),
        None => {
            // A process that SIGKILL does not end hangs in the kernel; nobody can wait that out.
            if !matches!(tokio::time::timeout(KILL_WITHIN, child.kill()).await, Ok(Ok(()))) {
                tracing::warn!("a flamelet could not be killed in time");
            }
        }
    }
    let _ = fs::remove_file(key);
}

fn said(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("the flamelet of this task exited with status {code}"),
        (None, Some(signal)) => format!("the flamelet of this task exited with signal {signal}"),
        (None, None) => "the flamelet of this task exited".into(),
    }
}

#[async_trait]
impl Deployer for ProcessDeployer {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn check(&self) -> Result<(), DeployError> {
        let named = self.program.components().count() > 1;
        let found = if named { self.program.is_file() } else { on_path(&self.program) };
        if found {
            return Ok(());
        }
        let program = self.program.display();
        Err(DeployError::new(format!(
            "there is no `{program}`; put the flamelet beside flame-control or name it by --flamelet PATH"
        )))
    }

    async fn deploy(&self, launch: Launch) -> Result<(), DeployError> {
        self.revoke(&launch.agent).await?;
        for (name, path) in &launch.data {
            if let Err(error) = tokio::fs::metadata(path).await {
                let path = path.display();
                return Err(DeployError::new(format!("the data set `{name}` cannot be read at {path}: {error}")));
            }
        }
        let child = self.spawn(&launch)?;
        tracing::info!(agent = %launch.agent, pid = child.id(), "started a flamelet");
        let key = self.folder.join(format!("{}.key", launch.agent));
        let revoke = CancellationToken::new();
        let watcher = tokio::spawn(watch(child, key, revoke.clone(), launch.exited));
        self.children().insert(launch.agent, Watched { revoke, watcher });
        Ok(())
    }

    async fn revoke(&self, agent: &AgentId) -> Result<(), DeployError> {
        let watched = self.children().remove(agent);
        if let Some(watched) = watched {
            watched.revoke.cancel();
            watched
                .watcher
                .await
                .map_err(|error| DeployError::new(format!("the watch over a flamelet failed: {error}")))?;
        }
        Ok(())
    }

    async fn shutdown(&self) {
        let all: Vec<_> = self.children().drain().map(|(_, watched)| watched).collect();
        for watched in &all {
            watched.revoke.cancel();
        }
        for watched in all {
            let _ = watched.watcher.await;
        }
    }
}

impl Drop for ProcessDeployer {
    fn drop(&mut self) {
        for watched in self.children().values() {
            // Aborting drops the child, and that kills it.
            watched.watcher.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use flame_api::Secret;

    use super::*;

    fn launch(script: &str, home: &Path) -> (ProcessDeployer, Launch, tokio::sync::oneshot::Receiver<String>) {
        let program = home.join("flamelet");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let data = home.join("m n");
        fs::create_dir_all(&data).unwrap();
        let (exited, heard) = ExitReporter::new();
        let launch = Launch {
            agent: "a".repeat(40).parse().unwrap(),
            key: Secret::new("k3y"),
            apiserver: "http://127.0.0.1:1".into(),
            notifier: "127.0.0.1:2".into(),
            ca: Some("/tls/ca.pem".into()),
            compute: "default".parse().unwrap(),
            data: vec![("mnist".into(), data)],
            p2p_listen: "127.0.0.1:0".parse().unwrap(),
            p2p_advertise: Some("flame.example".into()),
            exited,
        };
        (ProcessDeployer::new(Some(program), home), launch, heard)
    }

    async fn within<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), future).await.unwrap()
    }

    #[tokio::test]
    async fn a_flamelet_gets_its_identity_and_its_end_is_told() {
        let home = tempfile::tempdir().unwrap();
        let script =
            "echo \"$FLAME_AGENT_ID $(cat $FLAME_AGENT_KEY_FILE) $(stat -c %a $FLAME_AGENT_KEY_FILE) $@\"; exit 3";
        let (deployer, launch, heard) = launch(script, home.path());
        let agent = launch.agent.clone();
        deployer.deploy(launch).await.unwrap();
        assert_eq!(within(heard).await.unwrap(), "the flamelet of this task exited with status 3");
        let log = fs::read_to_string(home.path().join(format!("agents/{agent}.log"))).unwrap();
        let told = format!(
            "{agent} k3y 600 -a http://127.0.0.1:1 -n 127.0.0.1:2 --p2p-listen 127.0.0.1:0 --p2p-advertise \
             flame.example:0 --ca /tls/ca.pem --data mnist={}/m n\n",
            home.path().display()
        );
        assert_eq!(log, told);
    }

    #[tokio::test]
    async fn a_signal_is_named_and_a_revoked_one_is_not_told() {
        let home = tempfile::tempdir().unwrap();
        let (deployer, first, heard) = launch("kill -9 $$", home.path());
        deployer.deploy(first).await.unwrap();
        assert_eq!(within(heard).await.unwrap(), "the flamelet of this task exited with signal 9");
        let (deployer, second, heard) = launch("sleep 1000", home.path());
        let agent = second.agent.clone();
        deployer.deploy(second).await.unwrap();
        within(deployer.revoke(&agent)).await.unwrap();
        assert!(within(heard).await.is_err());
    }

    #[tokio::test]
    async fn a_missing_flamelet_names_the_flag() {
        let home = tempfile::tempdir().unwrap();
        let (_, launch, _heard) = launch("", home.path());
        let deployer = ProcessDeployer::new(Some("/nowhere/flamelet".into()), home.path());
        let error = deployer.deploy(launch).await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/flamelet") && error.contains("--flamelet"), "{error}");
    }
}
