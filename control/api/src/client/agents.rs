//! What agents ask for, with their session's token.

use bytes::Bytes;
use reqwest::Method;

use super::{Client, ClientError};
use crate::{AgentReport, TaskGrant};

impl Client {
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
}
