//! A tiny apiserver with canned answers, and the binary run against it.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(crate) const JOB: &str = "624888fda8001d773e34de43";
pub(crate) const TRAINER: &str = "18d2671fbf597f2200fd4a01f4dfc7878fce5ca9";
pub(crate) const AGGREGATOR: &str = "3e27750dfc40b95f853c11b691314899fdf2dfd1";

/// What the server was asked: method, path with query, body, authorization, signatures,
/// idempotency key, and the tag that is to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) what: String,
    pub(crate) body: Vec<u8>,
    pub(crate) authorization: String,
    pub(crate) signatures: String,
    pub(crate) key: String,
    pub(crate) if_match: String,
}

type Canned = (&'static str, u16, Vec<u8>);

#[derive(Clone)]
struct Answers {
    canned: Arc<Vec<Canned>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A server that answers `METHOD /path` with a status and a body.
pub(crate) struct Fake {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn new(canned: impl IntoIterator<Item = (&'static str, u16, impl Into<Vec<u8>>)>) -> Self {
        let canned = canned.into_iter().map(|(what, status, body)| (what, status, body.into())).collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers = Answers { canned: Arc::new(canned), asked: Arc::clone(&asked) };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let router = Router::new().fallback(answer).with_state(answers);
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { url, asked, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Runs `flamectl` against the server, in `folder`, with a token.
    pub(crate) fn run_in(&self, folder: &Path, args: &[&str]) -> Ran {
        let mut command = flamectl(folder);
        command.env("FLAME_APISERVER", &self.url).env("FLAME_TOKEN", "letmein").args(args);
        ran(&mut command)
    }

    /// The same where the folder does not matter.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_in(Path::new("/"), args)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || thread::panicking(), "the fake server panicked");
        }
    }
}

async fn answer(State(answers): State<Answers>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 24).await.unwrap_or_default();
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let signatures = parts.headers.get(flame_api::SIGNATURES_HEADER).and_then(|value| value.to_str().ok());
    let key = parts.headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    let if_match = parts.headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    let asked = Asked {
        what: format!("{} {}", parts.method, parts.uri),
        body: body.to_vec(),
        authorization: authorization.unwrap_or_default().to_owned(),
        signatures: signatures.unwrap_or_default().to_owned(),
        key: key.unwrap_or_default().to_owned(),
        if_match: if_match.unwrap_or_default().to_owned(),
    };
    answers.asked.lock().unwrap().push(asked);
    let path = parts.uri.path();
    for (what, status, body) in answers.canned.iter() {
        let (method, wanted) = what.split_once(' ').unwrap();
        if parts.method == method.parse::<Method>().unwrap() && path == wanted {
            let status = StatusCode::from_u16(*status).unwrap();
            let paged = parts.uri.query().is_some_and(|query| query.contains("limit=")) && body.starts_with(b"[");
            let body = if paged { [b"{\"items\":", &body[..], b"}"].concat() } else { body.clone() };
            return (status, [(header::ETAG, "\"as-it-is\"")], Bytes::from(body)).into_response();
        }
    }
    let problem = format!(r#"{{"code":"not-found","message":"nothing at {path}","hint":"look elsewhere"}}"#);
    (StatusCode::NOT_FOUND, problem).into_response()
}

/// What a run of the binary left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) raw: Vec<u8>,
}

/// The binary with nothing of this machine's configuration.
pub(crate) fn flamectl(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flamectl"));
    command.current_dir(folder).env_remove("FLAME_APISERVER").env_remove("FLAME_TOKEN").env_remove("HOME");
    command.env("FLAME_HOME", folder.join("no-such-flame-home"));
    command
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ran {
        status: status.code().unwrap(),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8(stderr).unwrap(),
        raw: stdout,
    }
}

/// A job as the API shows it.
pub(crate) fn job(state: &str, reason: &str, started: Option<&str>, ended: Option<&str>) -> serde_json::Value {
    serde_json::json!({
        "id": JOB, "name": "mnist", "design": "mnist", "schemaVersion": 1, "codeVersion": 2, "state": state,
        "reason": reason, "createdAt": "2022-04-02T17:33:49.915Z", "startedAt": started, "endedAt": ended,
    })
}

/// A task as the API shows it.
pub(crate) fn task(agent: &str, role: &str, kind: &str, state: &str, reason: &str) -> serde_json::Value {
    serde_json::json!({
        "job": JOB, "agent": agent, "role": role, "index": 0, "groupAssociation": {"param-channel": "default"},
        "type": kind, "state": state, "attempt": 1, "restarts": 0, "reason": reason, "code": "ab".repeat(32), "connected": false,
        "timestamp": "2022-04-02T17:33:49.927Z",
    })
}

/// `METHOD /v1/jobs/JOB` and what follows, as a canned answer names it.
pub(crate) fn job_route(method: &str, rest: &str) -> &'static str {
    format!("{method} /v1/jobs/{JOB}{rest}").leak()
}

/// A component that exports `run: func() -> result` and names the given roles, a line each: the least that is accepted.
pub(crate) fn component(roles: &str) -> Vec<u8> {
    let module =
        b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x07\x07\x01\x03run\0\0\x0a\x06\x01\x04\0\x41\0\x0b";
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    let mut section = |id: u8, content: &[u8]| {
        bytes.push(id);
        bytes.push(u8::try_from(content.len()).unwrap());
        bytes.extend_from_slice(content);
    };
    section(1, module);
    section(2, b"\x01\0\0\0"); // an instance of the module
    section(6, b"\x01\0\0\x01\0\x03run"); // its export
    section(7, b"\x02\x6a\0\0\x40\0\0\0"); // result, and func() -> result
    section(8, b"\x01\0\0\0\0\x01"); // lifted
    section(11, b"\x01\0\x03run\x01\0\0"); // exported
    if !roles.is_empty() {
        section(0, &[b"\x0bflame:roles", roles.as_bytes()].concat());
    }
    bytes
}
