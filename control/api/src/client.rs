//! The REST client. Every method is one request; nothing is retried here, because only the caller knows what may be.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::{
    AgentReport, CreateDesign, Created, Design, DesignDetail, DesignId, Job, JobCreated, JobId, JobSnapshot, LogRecord,
    MetricRecord, ModelArtifact, Problem, SIGNATURES_HEADER, Secret, Task, TaskGrant,
};

use crate::Trust;

mod tokens;

/// Time to reach a server before it counts as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a request is given up. The watch stream sends a comment at least every 10 s.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest line of a watch stream that is believed.
const MAX_EVENT: usize = 1 << 20;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("cannot reach the apiserver at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// The server said what is wrong.
    #[error("{0}")]
    Refused(#[from] Problem),
    /// The server answered with something that is not our protocol.
    #[error("{url} answered in a way that a Flame apiserver does not: {reason}")]
    Protocol {
        /// Where.
        url: String,
        /// What was odd.
        reason: String,
    },
}

impl ClientError {
    /// The problem that the server reported, if it was the server.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}

/// A connection to an apiserver with a bearer token. Cloning shares the connection pool.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
}

impl Client {
    /// A client for the apiserver at `base`, such as `http://127.0.0.1:10100`. Over TLS it trusts whom the machine trusts.
    pub fn new(base: &str, token: Option<Secret>) -> Result<Self, ClientError> {
        Self::trusting(base, token, &Trust::System)
    }

    /// The same with whom to trust over TLS.
    pub fn trusting(base: &str, token: Option<Secret>, trust: &Trust) -> Result<Self, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(ClientError::Unreachable {
                reason: "an address begins with http:// or https://, such as http://127.0.0.1:10100".into(),
                url: base,
            });
        }
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .no_proxy()
            .tcp_nodelay(true);
        let http = trust
            .apply(builder)
            .and_then(reqwest::ClientBuilder::build)
            .map_err(|error| ClientError::Unreachable { url: base.clone(), reason: root_cause(&error) })?;
        Ok(Self { http, base, token })
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(&self, token: Secret) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// The address that the client was made for.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether the server answers and is well.
    pub async fn health(&self) -> Result<(), ClientError> {
        self.send(self.request(Method::GET, "/v1/health")).await.map(drop)
    }

    /// Creates a design.
    pub async fn create_design(&self, design: &CreateDesign) -> Result<Design, ClientError> {
        self.json(self.request(Method::POST, "/v1/designs").json(design)).await
    }

    /// All designs, oldest first.
    pub async fn designs(&self) -> Result<Vec<Design>, ClientError> {
        self.get("/v1/designs").await
    }

    /// One design with its revisions.
    pub async fn design(&self, design: &DesignId) -> Result<DesignDetail, ClientError> {
        self.get(&format!("/v1/designs/{design}")).await
    }

    /// Adds a schema revision. `text` is the file, JSON or YAML; `file` its name, for messages.
    pub async fn create_schema(&self, design: &DesignId, file: &str, text: String) -> Result<Created, ClientError> {
        let request = self.request(Method::POST, &format!("/v1/designs/{design}/schemas"));
        self.json(request.query(&[("file", file)]).body(text)).await
    }

    /// A schema revision as it was uploaded.
    pub async fn schema(&self, design: &DesignId, version: u32) -> Result<Bytes, ClientError> {
        self.bytes(self.request(Method::GET, &format!("/v1/designs/{design}/schemas/{version}"))).await
    }

    /// Adds a code revision: a component, or a zip with one per role.
    pub async fn create_code(&self, design: &DesignId, code: Bytes) -> Result<Created, ClientError> {
        self.create_signed_code(design, code, &[]).await
    }

    /// The same with signatures over its components, each a line of a signature file.
    pub async fn create_signed_code(
        &self,
        design: &DesignId,
        code: Bytes,
        signatures: &[String],
    ) -> Result<Created, ClientError> {
        let mut request = self.request(Method::POST, &format!("/v1/designs/{design}/code")).body(code);
        if !signatures.is_empty() {
            request = request.header(SIGNATURES_HEADER, signatures.join(", "));
        }
        self.json(request).await
    }

    /// A code revision as it was uploaded.
    pub async fn code(&self, design: &DesignId, version: u32) -> Result<Bytes, ClientError> {
        self.bytes(self.request(Method::GET, &format!("/v1/designs/{design}/code/{version}"))).await
    }

    /// Creates a job from a job file, JSON or YAML; `file` is its name, for messages.
    pub async fn create_job(&self, file: &str, text: String) -> Result<JobCreated, ClientError> {
        self.json(self.request(Method::POST, "/v1/jobs").query(&[("file", file)]).body(text)).await
    }

    /// All jobs, oldest first.
    pub async fn jobs(&self) -> Result<Vec<Job>, ClientError> {
        self.get("/v1/jobs").await
    }

    /// One job.
    pub async fn job(&self, job: &JobId) -> Result<Job, ClientError> {
        self.get(&format!("/v1/jobs/{job}")).await
    }

    /// A job's tasks in expansion order.
    pub async fn tasks(&self, job: &JobId) -> Result<Vec<Task>, ClientError> {
        self.get(&format!("/v1/jobs/{job}/tasks")).await
    }

    /// Starts a job.
    pub async fn start(&self, job: &JobId) -> Result<Job, ClientError> {
        self.json(self.request(Method::POST, &format!("/v1/jobs/{job}/start"))).await
    }

    /// Stops a job.
    pub async fn stop(&self, job: &JobId) -> Result<Job, ClientError> {
        self.json(self.request(Method::POST, &format!("/v1/jobs/{job}/stop"))).await
    }

    /// Metrics that a job's tasks recorded, by round.
    pub async fn metrics(&self, job: &JobId) -> Result<Vec<MetricRecord>, ClientError> {
        self.get(&format!("/v1/jobs/{job}/metrics")).await
    }

    /// The newest log lines of a job's tasks, oldest first, 10,000 at most.
    pub async fn logs(&self, job: &JobId) -> Result<Vec<LogRecord>, ClientError> {
        self.get(&format!("/v1/jobs/{job}/logs")).await
    }

    /// Models that a job published.
    pub async fn models(&self, job: &JobId) -> Result<Vec<ModelArtifact>, ClientError> {
        self.get(&format!("/v1/jobs/{job}/models")).await
    }

    /// A published model as a safetensors file.
    pub async fn model(&self, job: &JobId, name: &str) -> Result<Bytes, ClientError> {
        self.bytes(self.request(Method::GET, &format!("/v1/jobs/{job}/models/{name}"))).await
    }

    /// The job's snapshots: one at once, then one after each change, until the job has ended.
    pub async fn watch(
        &self,
        job: &JobId,
    ) -> Result<impl Stream<Item = Result<JobSnapshot, ClientError>> + Unpin + Send + use<>, ClientError> {
        let response = self.send(self.request(Method::GET, &format!("/v1/jobs/{job}/watch"))).await?;
        let (url, base) = (response.url().to_string(), self.base.clone());
        let lines = EventLines { buffer: Vec::new(), url, base };
        let state = (Box::pin(response.bytes_stream()), lines);
        Ok(Box::pin(futures::stream::unfold(state, |(mut body, mut lines)| async move {
            loop {
                match lines.next() {
                    Some(item) => return Some((item, (body, lines))),
                    None => match body.next().await? {
                        Ok(bytes) => lines.buffer.extend_from_slice(&bytes),
                        Err(error) => {
                            let reason = root_cause(&error);
                            let error = ClientError::Unreachable { url: lines.base.clone(), reason };
                            return Some((Err(error), (body, lines)));
                        }
                    },
                }
            }
        })))
    }

    /// Agent: raises the attempt and fetches what it takes to run the task.
    pub async fn grant(&self) -> Result<TaskGrant, ClientError> {
        self.json(self.request(Method::POST, "/v1/agent/grant")).await
    }

    /// Agent: what [`Client::grant`] would give, as it stands now; changes nothing, and carries no keys.
    pub async fn offer(&self) -> Result<TaskGrant, ClientError> {
        self.get("/v1/agent/grant").await
    }

    /// Agent: the component of its task. The caller checks the digest.
    pub async fn task_code(&self) -> Result<Bytes, ClientError> {
        self.bytes(self.request(Method::GET, "/v1/agent/code")).await
    }

    /// Agent: logs, metrics and progress.
    pub async fn report(&self, report: &AgentReport) -> Result<(), ClientError> {
        self.send(self.request(Method::POST, "/v1/agent/report").json(report)).await.map(drop)
    }

    /// Agent: publishes a model of its job under `name`; replaces an older one.
    pub async fn put_model(&self, attempt: u32, name: &str, sha256: &str, file: Bytes) -> Result<(), ClientError> {
        let request = self.request(Method::PUT, &format!("/v1/agent/models/{name}"));
        let attempt = attempt.to_string();
        self.send(request.query(&[("attempt", attempt.as_str()), ("sha256", sha256)]).body(file)).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, path)).await
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let url = response.url().to_string();
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Protocol { url, reason: error.to_string() })
    }

    async fn bytes(&self, request: RequestBuilder) -> Result<Bytes, ClientError> {
        let response = self.send(request).await?;
        response.bytes().await.map_err(|error| self.unreachable(&error))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, url) = (response.status(), response.url().to_string());
        let body = response.bytes().await.unwrap_or_default();
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.into(),
            Err(_) => ClientError::Protocol { url, reason: unexpected(status) },
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), reason: root_cause(error) }
    }
}

fn unexpected(status: StatusCode) -> String {
    format!("HTTP status {status} without a problem body; is something else listening there?")
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Takes `data:` lines out of a server-sent event stream.
struct EventLines {
    buffer: Vec<u8>,
    url: String,
    base: String,
}

impl EventLines {
    fn next(&mut self) -> Option<Result<JobSnapshot, ClientError>> {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data:") {
                return Some(serde_json::from_slice(data).map_err(|error| self.protocol(error.to_string())));
            }
        }
        if self.buffer.len() > MAX_EVENT {
            self.buffer.clear();
            return Some(Err(self.protocol("an event of more than 1 MiB".into())));
        }
        None
    }

    fn protocol(&self, reason: String) -> ClientError {
        ClientError::Protocol { url: self.url.clone(), reason }
    }
}
