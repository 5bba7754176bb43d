//! Ends in processes of their own: to be killed, and to measure memory apart from each other.

use std::process::{Child, Command, Stdio};

/// Another process of this very test binary that runs one ignored test; killed when dropped.
pub struct Process(Child);

impl Process {
    /// Runs the ignored test `name`, which finds `arguments` by [`argument`].
    pub fn start(name: &str, arguments: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--ignored", "--nocapture"]).stdout(Stdio::null()).stderr(Stdio::null());
        for (key, value) in arguments {
            command.env(format!("FLAME_TEST_{key}"), value);
        }
        Self(command.spawn().unwrap())
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end; whether its test passed.
    pub fn succeeded(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }

    /// Most memory that it has had, in MiB.
    pub fn peak(&self) -> Option<u64> {
        peak(&self.0.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the test was given that runs in a process of its own; `None` when somebody just runs all ignored tests.
pub fn argument(key: &str) -> Option<String> {
    std::env::var(format!("FLAME_TEST_{key}")).ok()
}

/// Most memory that this process has had, in MiB; `None` where the system does not say.
pub fn own_peak() -> Option<u64> {
    peak("self")
}

fn peak(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib >> 10)
}
