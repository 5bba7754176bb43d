//! A running Flame: a control plane (or fiab) with a home of its own, and the commands of a user.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Child, DEADLINE, Finished, process, root};

/// How to start one.
#[derive(Default)]
pub struct FlameBuilder {
    fiab: bool,
    bare: bool,
    args: Vec<String>,
}

/// The control plane and its user's folder.
pub struct Flame {
    control: Child,
    home: tempfile::TempDir,
    builder: FlameBuilder,
    /// `http://host:port`.
    pub api: String,
    /// `host:port`.
    pub notifier: String,
}

/// A row of `flamectl get tasks -o json`.
#[derive(Debug, Clone)]
pub struct Task {
    /// The agent id.
    pub agent: String,
    /// Its role.
    pub role: String,
    /// `user` or `system`.
    pub kind: String,
    /// Where it stands.
    pub state: String,
    /// Why.
    pub reason: String,
}

/// A participant's flamelet.
pub struct Agent(pub Child);

impl FlameBuilder {
    /// `flame-control`, system tasks in child processes.
    pub fn control() -> Self {
        Self::default()
    }

    /// `fiab up`, system tasks in its own process.
    pub fn fiab() -> Self {
        Self { fiab: true, ..Self::default() }
    }

    /// Leaves the user's folder empty, and so the MNIST example unbuilt.
    #[must_use]
    pub fn without_example(mut self) -> Self {
        self.bare = true;
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The same ports after a restart, so that agents that were left running find it again.
    #[must_use]
    pub fn on_fixed_ports(self) -> Self {
        // Free a moment ago; kept until all three are known, so that they differ.
        let listeners: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let flags = ["--api-port", "--notifier-port", "--broker-port"].into_iter().zip(&listeners);
        let ports: Vec<String> = flags
            .flat_map(|(flag, listener)| [flag.to_owned(), listener.local_addr().unwrap().port().to_string()])
            .collect();
        self.args(ports)
    }

    /// Starts it on free ports.
    pub fn start(self) -> Flame {
        let home = tempfile::tempdir().unwrap();
        let (control, api, notifier) = launch(&self, home.path());
        Flame { control, home, builder: self, api, notifier }
    }
}

fn launch(builder: &FlameBuilder, home: &Path) -> (Child, String, String) {
    let mut command = process::program(if builder.fiab { "fiab" } else { "flame-control" });
    if builder.fiab {
        command.arg("up");
    }
    if !builder.args.iter().any(|arg| arg == "--api-port") {
        command.args(["--api-port", "0", "--notifier-port", "0"]);
    }
    if !builder.args.iter().any(|arg| arg.starts_with("--broker") || arg == "--values") {
        command.args(["--broker-port", "0"]);
    }
    command.args(&builder.args).env("FLAME_HOME", home).env_remove("FLAME_APISERVER").env_remove("FLAME_TOKEN");
    let mut control = Child::start(command);
    let last_word = |line: String| line.split_whitespace().last().unwrap_or_default().to_owned();
    let api = last_word(control.line(|line| line.contains("apiserver") && line.contains("://")));
    let notifier = last_word(control.line(|line| line.contains("notifier")));
    (control, api, notifier)
}

impl Flame {
    /// The user's folder, with the files of the MNIST walk-through in it.
    pub fn example(&self) -> PathBuf {
        let folder = self.home.path().join("example");
        if !folder.exists() {
            std::fs::create_dir(&folder).unwrap();
            if self.builder.bare {
                return folder;
            }
            let source = root().join("examples/mnist-wasm");
            for file in ["schema.json", "job.json"] {
                std::fs::copy(source.join(file), folder.join(file)).unwrap();
            }
            std::fs::copy(crate::mnist(), folder.join("mnist.wasm")).unwrap();
        }
        folder
    }

    /// The user's FLAME_HOME.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A user types a line in a shell, in the folder of the example.
    pub fn types(&self, line: &str) -> Finished {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.example());
        self.environment(&mut command);
        process::finish(command)
    }

    /// The same, and it has to succeed.
    pub fn does(&self, line: &str) -> String {
        let finished = self.types(line);
        assert_eq!(finished.code, 0, "{line}\n{finished:?}");
        finished.stdout
    }

    /// Where a user's shell finds the programs and flamectl its configuration.
    pub fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", process::program_folder().display());
        command
            .env("PATH", path)
            .env("FLAME_HOME", self.home.path())
            .env_remove("FLAME_APISERVER")
            .env_remove("FLAME_TOKEN")
    }

    /// Design, schema, code and job with `edit` applied to the example's job; the job's id.
    pub fn create_job(&self, design: &str, component: &Path, edit: impl FnOnce(&mut Value)) -> String {
        let component = component.display();
        self.does(&format!("flamectl create design {design} -d test"));
        self.does(&format!("flamectl create schema schema.json --design {design}"));
        self.does(&format!("flamectl create code {component} --design {design}"));
        self.create_job_of(design, edit)
    }

    /// Another job of a design.
    pub fn create_job_of(&self, design: &str, edit: impl FnOnce(&mut Value)) -> String {
        let text = std::fs::read_to_string(self.example().join("job.json")).unwrap();
        let mut job: Value = serde_json::from_str(&text).unwrap();
        job["designId"] = design.into();
        edit(&mut job);
        let file = self.example().join(format!("{design}.json"));
        std::fs::write(&file, job.to_string()).unwrap();
        job_id(&self.does(&format!("flamectl create job {}", file.display())))
    }

    /// The job's tasks.
    pub fn tasks(&self, job: &str) -> Vec<Task> {
        let tasks: Vec<Value> = serde_json::from_str(&self.does(&format!("flamectl get tasks {job} -o json"))).unwrap();
        let text = |task: &Value, field: &str| task[field].as_str().unwrap_or_default().to_owned();
        tasks
            .iter()
            .map(|task| Task {
                agent: text(task, "agent"),
                role: text(task, "role"),
                kind: text(task, "type"),
                state: text(task, "state"),
                reason: text(task, "reason"),
            })
            .collect()
    }

    /// The job's user tasks.
    pub fn participants(&self, job: &str) -> Vec<String> {
        self.tasks(job).into_iter().filter(|task| task.kind == "user").map(|task| task.agent).collect()
    }

    /// The job as flamectl shows it.
    pub fn job(&self, job: &str) -> Value {
        serde_json::from_str(&self.does(&format!("flamectl get job {job} -o json"))).unwrap()
    }

    /// Follows the job to its end; its last state.
    pub fn ends(&self, job: &str) -> String {
        let mut command = Command::new("flamectl");
        self.environment(command.args(["watch", "job", job]));
        let mut watch = Child::start(command);
        watch.wait();
        let state = self.job(job)["state"].as_str().unwrap().to_owned();
        assert!(matches!(state.as_str(), "completed" | "failed" | "terminated"), "{state}\n{}", watch.output());
        state
    }

    /// Waits until `reached` holds.
    pub fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !reached(self) {
            assert!(Instant::now() < end, "not in time: {what}");
            // Each look is a request of its own; this keeps them from crowding the machine that does the work.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The rounds that the job has recorded.
    pub fn rounds(&self, job: &str) -> Vec<Value> {
        serde_json::from_str(&self.does(&format!("flamectl get metrics {job} -o json"))).unwrap()
    }

    /// SHA-256 of the job's global model.
    pub fn model_sha256(&self, job: &str) -> String {
        let models: Value = serde_json::from_str(&self.does(&format!("flamectl get models {job} -o json"))).unwrap();
        models[0]["sha256"].as_str().expect("the job published a model").to_owned()
    }

    /// A participant joins with a key and data.
    pub fn participant(&self, agent: &str, key: &str, data: &Path) -> Agent {
        self.participant_with(agent, key, data, &[])
    }

    /// The same with more arguments.
    pub fn participant_with(&self, agent: &str, key: &str, data: &Path, args: &[&str]) -> Agent {
        let data = format!("mnist={}", data.display());
        self.participant_without_data(agent, key, &[&["--data", &data], args].concat())
    }

    /// A participant joins with a key and no data.
    pub fn participant_without_data(&self, agent: &str, key: &str, args: &[&str]) -> Agent {
        let mut command = process::program("flamelet");
        command
            .args(["-a", &self.api, "-n", &self.notifier])
            .args(args)
            .env("FLAME_AGENT_ID", agent)
            .env("FLAME_AGENT_KEY", key)
            .env("FLAME_CACHE_DIR", self.home.path().join("cache"));
        self.environment(&mut command);
        Agent(Child::start(command))
    }

    /// kill -9 of the control plane, and a start with the same home. Its ports are new; agents know the old ones.
    pub fn crash_and_restart(&mut self) {
        self.control.kill();
        (self.control, self.api, self.notifier) = launch(&self.builder, self.home.path());
    }

    /// The control plane's process.
    pub fn control_id(&self) -> u32 {
        self.control.id()
    }

    /// What the control plane said.
    pub fn output(&mut self) -> String {
        self.control.output()
    }

    /// SIGTERM; panics if it does not end.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        self.control.terminate()
    }
}

/// The id in what `flamectl create job` says.
fn job_id(output: &str) -> String {
    let id = output.lines().find_map(|line| line.trim().strip_prefix("ID: "));
    id.unwrap_or_else(|| panic!("no job id in {output}")).to_owned()
}
