//! Child processes that end with their test.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use crate::DEADLINE;

/// Where cargo put the programs: beside the benchmarks' program, and beside the folder of the test executables.
pub fn program_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a program has a path");
    let folder = program.parent().expect("a program is in a folder");
    match folder.parent() {
        Some(above) if folder.ends_with("deps") => above.to_owned(),
        _ => folder.to_owned(),
    }
}

/// A program of the workspace.
pub fn program(name: &str) -> Command {
    let path = program_folder().join(name);
    let profile = if cfg!(debug_assertions) { "" } else { " --release" };
    let built = path.is_file();
    assert!(built, "{} is not built; `cargo build --workspace --bins{profile}` builds it", path.display());
    Command::new(path)
}

/// A child whose output is kept, and that is killed when dropped.
pub struct Child {
    inner: std::process::Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    name: String,
}

impl Child {
    /// Starts the command; stdout and stderr are read line by line.
    pub fn start(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut inner = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (sender, lines) = channel();
        let out = inner.stdout.take().expect("piped");
        let err = inner.stderr.take().expect("piped");
        let also = sender.clone();
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        std::thread::spawn(move || BufReader::new(err).lines().map_while(Result::ok).try_for_each(|l| also.send(l)));
        Self { inner, lines, seen: Vec::new(), name }
    }

    /// Waits for a line that `wanted` accepts.
    pub fn line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.fail("did not say it in time"),
                Err(RecvTimeoutError::Disconnected) => self.fail("ended first"),
            }
        }
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        // Its output ends when the process does, so reading to the end is waiting for it.
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.inner.wait().expect("a child can be waited for"),
                Err(RecvTimeoutError::Timeout) => self.fail("did not end in time"),
            }
        }
    }

    /// SIGKILL, as a machine that loses its power.
    pub fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.inner.kill();
        let _ = self.inner.wait();
    }

    /// SIGTERM, and the end of it.
    pub fn terminate(&mut self) -> ExitStatus {
        let status = Command::new("kill").arg(self.inner.id().to_string()).status().expect("kill is installed");
        assert!(status.success());
        self.wait()
    }

    fn fail(&mut self, what: &str) -> ! {
        let said = self.output();
        panic!("{} {what}:\n{said}", self.name)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Everything it said so far.
    pub fn output(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = self.output();
            eprintln!("--- {}\n{said}", self.name);
        }
    }
}

/// What a command left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said to people.
    pub stderr: String,
}

/// Runs a command to its end.
pub fn finish(mut command: Command) -> Finished {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a program of the workspace that ends by itself, with a home of its own.
pub fn process_output(name: &str, args: &[&str], home: &std::path::Path) -> Finished {
    let mut command = program(name);
    command.args(args).env("FLAME_HOME", home);
    finish(command)
}
