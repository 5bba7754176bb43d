//! Jobs, their tasks and results.

use bytes::Bytes;
use futures::Stream;
use reqwest::Method;
use reqwest::header::ACCEPT;

use super::{Client, ClientError};
use crate::{AgentId, Job, JobCreated, JobEvent, JobId, JobSnapshot, LogRecord, MetricRecord, ModelArtifact, Task};

/// Media type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";

impl Client {
    /// Creates a job from a job file, JSON or YAML; `file` is its name, for messages.
    pub async fn create_job(&self, file: &str, text: String) -> Result<JobCreated, ClientError> {
        self.json(self.request(Method::POST, "/v1/jobs").query(&[("file", file)]).body(text)).await
    }

    /// All jobs, oldest first.
    pub async fn jobs(&self) -> Result<Vec<Job>, ClientError> {
        self.list("/v1/jobs").await
    }

    /// One job.
    pub async fn job(&self, job: &JobId) -> Result<Job, ClientError> {
        self.get(&format!("/v1/jobs/{job}")).await
    }

    /// Puts another job file in the place of a job's; its tasks are made anew, and it is `ready`.
    pub async fn update_job(&self, job: &JobId, file: &str, text: String) -> Result<Job, ClientError> {
        let request = self.request(Method::PUT, &format!("/v1/jobs/{job}"));
        self.json(request.query(&[("file", file)]).body(text)).await
    }

    /// Deletes a job with everything that it made.
    pub async fn delete_job(&self, job: &JobId) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &format!("/v1/jobs/{job}"))).await.map(drop)
    }

    /// One of a job's tasks.
    pub async fn task(&self, job: &JobId, agent: &AgentId) -> Result<Task, ClientError> {
        self.get(&format!("/v1/jobs/{job}/tasks/{agent}")).await
    }

    /// What happened to a job, oldest first; the newest 10,000.
    pub async fn job_events(&self, job: &JobId) -> Result<Vec<JobEvent>, ClientError> {
        self.list(&format!("/v1/jobs/{job}/events")).await
    }

    /// What happened to a job after event `after`, and what goes on to happen, until it has ended.
    pub async fn follow_events(
        &self,
        job: &JobId,
        after: u64,
    ) -> Result<impl Stream<Item = Result<JobEvent, ClientError>> + Unpin + Send + use<>, ClientError> {
        let request = self.request(Method::GET, &format!("/v1/jobs/{job}/events"));
        let request = request.header(ACCEPT, EVENT_STREAM).header("last-event-id", after.to_string());
        self.events(request).await
    }

    /// A job's tasks in expansion order.
    pub async fn tasks(&self, job: &JobId) -> Result<Vec<Task>, ClientError> {
        self.list(&format!("/v1/jobs/{job}/tasks")).await
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
        self.list(&format!("/v1/jobs/{job}/metrics")).await
    }

    /// The newest log lines of a job's tasks, oldest first, 10,000 at most.
    pub async fn logs(&self, job: &JobId) -> Result<Vec<LogRecord>, ClientError> {
        self.list(&format!("/v1/jobs/{job}/logs")).await
    }

    /// Models that a job published.
    pub async fn models(&self, job: &JobId) -> Result<Vec<ModelArtifact>, ClientError> {
        self.list(&format!("/v1/jobs/{job}/models")).await
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
        self.events(self.request(Method::GET, &format!("/v1/jobs/{job}/watch"))).await
    }

    /// What a job is now, for [`Client::with_tag`].
    pub async fn job_tag(&self, job: &JobId) -> Result<Option<String>, ClientError> {
        self.tag_of(&format!("/v1/jobs/{job}")).await
    }
}
