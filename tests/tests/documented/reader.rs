//! Somebody who types what a page shows, in a home of their own.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flame_tests::{Child, program_folder, root};
use serde_json::Value;

use crate::page::{self, Block};
use crate::tables::{STAND_INS, places, without_what_is_left_out};

/// Free ports for the servers of tests that run side by side; one that names a broker has no third.
const ANY_PORTS: &str = "--api-port 0 --notifier-port 0";

pub(crate) struct Reader {
    page: &'static str,
    blocks: VecDeque<Block>,
    home: tempfile::TempDir,
    /// Where they type.
    pub(crate) folder: PathBuf,
    variables: BTreeMap<&'static str, String>,
    stand_ins: BTreeMap<&'static str, String>,
    servers: Vec<Child>,
    flamelets: Vec<Child>,
    ran: usize,
}

impl Reader {
    /// A reader at the top of a page, with nothing but the programs.
    pub(crate) fn new(page: &'static str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("work");
        fs::create_dir(&folder).unwrap();
        // Without this curl calls it a success that the server refuses.
        fs::write(home.path().join(".curlrc"), "fail\nshow-error\n").unwrap();
        let new_home = home.path().join("new-home").display().to_string();
        let stand_ins = [("--listen 0.0.0.0", "--listen 127.0.0.1 --tls".to_owned()), ("/new/home", new_home)].into();
        Self {
            page,
            blocks: page::blocks(&page::text(page)),
            home,
            folder,
            variables: BTreeMap::new(),
            stand_ins,
            servers: Vec::new(),
            flamelets: Vec::new(),
            ran: 0,
        }
    }

    /// `~`.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Sets a variable of their shell.
    pub(crate) fn export(&mut self, name: &'static str, value: String) {
        self.variables.insert(name, value);
    }

    /// Says what a text of the table stands for.
    pub(crate) fn stands_for(&mut self, text: &'static str, value: impl Into<String>) {
        self.stand_ins.insert(text, value.into());
    }

    /// What a text of the table stands for.
    pub(crate) fn stand_in(&self, text: &str) -> &str {
        self.stand_ins.get(text).unwrap_or_else(|| panic!("{}: nothing is known for {text}", self.page))
    }

    /// Types the commands of the page's next block.
    pub(crate) fn block(&mut self) {
        let block = self.blocks.pop_front().unwrap_or_else(|| panic!("{} shows no further block", self.page));
        for command in block {
            let text = without_what_is_left_out(self.page, &command.text);
            if text.is_empty() {
                continue;
            }
            let text = self.with_stand_ins(&text);
            // Shown where the test fails.
            eprintln!("{}:{}: {text}", self.page, command.line);
            self.ran += 1;
            match page::program(&text) {
                ("fiab", _) => self.serves(&format!("{text} --broker-port 0")),
                ("flame-control", "--broker") => self.serves(&text),
                ("flame-control", first) if first != "db" => self.serves(&format!("{text} --broker-port 0")),
                ("flamelet", first) if first.starts_with('-') => self.takes_part(&text),
                _ => {
                    let (status, said) = self.types(&text);
                    assert_eq!(status, command.status(), "{text}\n{said}");
                    for error in command.errors() {
                        assert!(said.contains(error), "{text} does not say `{error}` but\n{said}");
                    }
                    if status == 0 {
                        self.wrote(&text);
                    }
                }
            }
        }
    }

    /// Types all that is left of the page.
    pub(crate) fn rest(&mut self) {
        while !self.blocks.is_empty() {
            self.block();
        }
    }

    /// A line of the set-up: it has to succeed.
    pub(crate) fn does(&mut self, line: &str) -> String {
        let (status, said) = self.types(line);
        assert_eq!(status, 0, "{line}\n{said}");
        said
    }

    /// Starts a server and waits until it says where it is.
    pub(crate) fn serves(&mut self, line: &str) {
        let mut server = self.starts(&format!("{line} {ANY_PORTS}"));
        let mut address = |of: &str| {
            let line = server.line(|line| line.trim_start().starts_with(of));
            line.split_whitespace().last().unwrap_or_default().to_owned()
        };
        let (api, notifier) = (address("apiserver "), address("notifier "));
        self.stands_for("…", format!("-a {api} -n {notifier}"));
        for text in ["https://flame.example.org:10100", "http://127.0.0.1:10100"] {
            self.stands_for(text, &api);
        }
        for text in ["flame.example.org:10101", "127.0.0.1:10101"] {
            self.stands_for(text, &notifier);
        }
        self.servers.push(server);
    }

    /// Ends the servers in good order.
    pub(crate) fn stops_serving(&mut self) {
        for mut server in self.servers.drain(..) {
            let status = server.terminate();
            assert!(status.success(), "{status}\n{}", server.output());
        }
    }

    /// Waits until the flamelets have ended, all with success.
    pub(crate) fn tasks_complete(&mut self) {
        assert!(!self.flamelets.is_empty(), "{}: no flamelet was started", self.page);
        for mut flamelet in self.flamelets.drain(..) {
            let status = flamelet.wait();
            assert!(status.success(), "{status}\n{}", flamelet.output());
        }
    }

    /// Leaves the page where this machine lacks a program; the reason was printed.
    pub(crate) fn gives_up(&mut self) {
        self.blocks.clear();
        self.servers.clear();
    }

    /// Ends what runs, and makes sure that the whole page was typed. How many commands that were.
    pub(crate) fn closes_the_page(mut self) -> usize {
        self.stops_serving();
        assert!(self.flamelets.is_empty(), "nobody waited for a flamelet");
        assert!(self.blocks.is_empty(), "{} goes on, unrun: {:?}", self.page, self.blocks);
        self.ran
    }

    fn takes_part(&mut self, line: &str) {
        let flamelet = self.starts(line);
        self.flamelets.push(flamelet);
    }

    /// A program that goes on. `env` takes variables as a shell does, and leaves no shell between it and a signal.
    fn starts(&self, line: &str) -> Child {
        Child::start(self.shell(&format!("exec env {line}")))
    }

    /// Types a line; its status, and what it printed and said.
    fn types(&mut self, line: &str) -> (i32, String) {
        if let Some(program) = lacking(line) {
            println!("skipped, for want of {program}: {line}");
            return (0, String::new());
        }
        let mut child = Child::start(self.shell(line));
        let status = child.wait().code().unwrap_or(-1);
        let said = child.output();
        if status == 0 {
            self.learns(line, &said);
        }
        (status, said)
    }

    fn shell(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        // `source <(…)` is of bash; all else is of any shell.
        let mut shell = Command::new(if line.starts_with("source ") { "bash" } else { "sh" });
        shell.args(["-c", line]).current_dir(&self.folder).env_clear().envs(&self.variables);
        shell.env("PATH", format!("{}:{path}", program_folder().display())).env("HOME", self.home.path());
        shell
    }

    /// Keeps the id that a command tells of what it made.
    fn learns(&mut self, line: &str, said: &str) {
        let behind = |mark: &str| said.split(mark).nth(1)?.split_whitespace().next().map(str::to_owned);
        if line.starts_with("flamectl create job") && !line.contains("--dry-run") {
            let job = behind("ID: ").unwrap_or_else(|| panic!("no id in {said}"));
            let tasks = self.does(&format!("flamectl get tasks {job} -o json"));
            let tasks: Vec<Value> = serde_json::from_str(&tasks).unwrap();
            let task = tasks.iter().find(|task| task["type"] == "user").expect("the job has a participant");
            for text in ["TASK", "18d2671fbf597f2200fd4a01f4dfc7878fce5ca9"] {
                self.stands_for(text, task["agent"].as_str().unwrap());
            }
            self.stands_for("JOB", job);
        } else if line.starts_with("flamectl create dataset") {
            self.stands_for("DATASET", behind("ID: ").unwrap_or_else(|| panic!("no id in {said}")));
        } else if line.starts_with("flamectl create token") {
            self.stands_for("0123456789ab", behind("token ").unwrap_or_else(|| panic!("no id in {said}")));
        }
    }

    fn with_stand_ins(&self, command: &str) -> String {
        let mut command = command.to_owned();
        for (text, _) in STAND_INS {
            for at in places(&command, text).into_iter().rev() {
                command.replace_range(at..at + text.len(), self.stand_in(text));
            }
        }
        command
    }

    /// A command that names the file of its result has written it.
    fn wrote(&self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| [">", "-o", "--save"].contains(&pair[0]) && pair[1].contains('.')) {
            let file =
                pair[1].strip_prefix("~/").map_or_else(|| self.folder.join(pair[1]), |rest| self.home().join(rest));
            assert!(fs::metadata(&file).is_ok_and(|file| file.len() > 0), "{command} left {} empty", file.display());
        }
    }
}

/// What pages take for granted.
impl Reader {
    /// The files of the MNIST example, for one round of a design `mnist`.
    pub(crate) fn has_the_example(&mut self) {
        self.has_files_of_the_example();
        let file = self.folder.join("job.json");
        let mut job: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        job["designId"] = "mnist".into();
        job["hyperparameters"]["rounds"] = 1.into();
        // The newest revisions, of a design that was removed and made again too; and no data set that a server has to grant.
        for field in ["schemaVersion", "codeVersion", "evaluationData"] {
            job.as_object_mut().unwrap().remove(field);
        }
        fs::write(file, job.to_string()).unwrap();
        fs::copy(flame_tests::mnist(), self.folder.join("mnist.wasm")).unwrap();
    }

    /// The example as it lies in the checkout, but for what one builds.
    pub(crate) fn has_files_of_the_example(&mut self) {
        let example = root().join("examples/mnist-wasm");
        for file in ["schema.json", "job.json"] {
            fs::copy(example.join(file), self.folder.join(file)).unwrap();
        }
        std::os::unix::fs::symlink(example.join("data"), self.folder.join("data")).unwrap();
    }

    /// The design `mnist` on the server, complete.
    pub(crate) fn has_the_design(&mut self) {
        self.does("flamectl create design mnist");
        self.does("flamectl create schema schema.json --design mnist");
        self.does("flamectl create code mnist.wasm --design mnist");
    }

    /// A job of it that was started, whose participant's task is in the variables of a flamelet.
    pub(crate) fn has_a_started_job(&mut self) {
        self.does("flamectl create job job.json");
        self.does(&format!("flamectl start job {}", self.stand_in("JOB")));
        let task = self.stand_in("TASK").to_owned();
        self.export("FLAME_AGENT_ID", task);
        self.export("FLAME_AGENT_KEY", "any text".to_owned());
    }

    /// Its participant.
    pub(crate) fn has_a_participant(&mut self) {
        let line = format!("flamelet {} --data mnist=data/train", self.stand_in("…"));
        self.takes_part(&line);
    }
}

/// What a line needs, is not of the project, and is not on this machine.
fn lacking(line: &str) -> Option<&'static str> {
    let needs = [("curl ", "curl"), ("source ", "bash")].into_iter().find(|(start, _)| line.starts_with(start))?.1;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(needs).is_file());
    (!is_there).then_some(needs)
}
