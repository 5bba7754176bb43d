//! Jobs, their tasks and results.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flame_api::{AgentId, Job, JobCreated, JobId, LogRecord, MetricRecord, ModelArtifact, Page, Task};

use super::auth::Access;
use super::designs::FileName;
use super::reply::{Again, Answer, Failure, IfMatch, InPath, InQuery, Listing, Reply, file, read, text};
use super::{Api, MAX_TEXT};

/// Creates a job from a job file, JSON or YAML. Its tasks are expanded at once; every mistake is refused here.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs",
    request_body(content = serde_json::Value, content_type = "application/json", description = "A job file; YAML may be sent as well"),
    params(FileName, ("idempotency-key" = Option<String>, Header, description = "Makes it safe to ask again")),
    responses((status = 201, body = JobCreated)))]
pub(crate) async fn create(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    InQuery(name): InQuery<FileName>,
    again: Again,
    body: Body,
) -> Answer<JobCreated> {
    let bytes = read(body, MAX_TEXT).await?;
    let once = again.of(&bytes);
    Ok(Reply::created(api.controller.create_job(access.owner, name.or("job.json"), text(bytes)?, once).await?))
}

/// All jobs, oldest first.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", params(Listing), responses((status = 200, body = Page<Job>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<Job>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.jobs(access.sees(), &paging)).await?))
}

/// One job.
#[utoipa::path(get, path = "/v1/jobs/{job}", tag = "jobs", params(("job" = JobId, Path)),
    responses((status = 200, body = Job)))]
pub(crate) async fn one(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Job> {
    Ok(Reply::tagged(api.controller.run(move |controller| controller.job(&job)).await?))
}

/// Puts another job file in the place of a job's that is `ready` or has ended. Its tasks are made anew, and it is `ready`.
#[utoipa::path(put, path = "/v1/jobs/{job}", tag = "jobs",
    request_body(content = serde_json::Value, content_type = "application/json", description = "A job file; YAML may be sent as well"),
    params(("job" = JobId, Path), FileName, ("if-match" = Option<String>, Header, description = "Its ETag when it was read")),
    responses((status = 200, body = Job)))]
pub(crate) async fn update(
    State(api): State<Api>,
    InPath(job): InPath<JobId>,
    InQuery(name): InQuery<FileName>,
    if_match: IfMatch,
    body: Body,
) -> Answer<Job> {
    let file = text(read(body, MAX_TEXT).await?)?;
    let check = move |current: &Job| if_match.check(current);
    Ok(Reply::tagged(api.controller.update_job(job, name.or("job.json"), file, check).await?))
}

/// Deletes a job that is `ready` or has ended, with everything that it made.
#[utoipa::path(delete, path = "/v1/jobs/{job}", tag = "jobs",
    params(("job" = JobId, Path), ("if-match" = Option<String>, Header, description = "Its ETag when it was read")),
    responses((status = 204)))]
pub(crate) async fn delete(
    State(api): State<Api>,
    InPath(job): InPath<JobId>,
    if_match: IfMatch,
) -> Result<StatusCode, Failure> {
    let check = move |current: &Job| if_match.check(current);
    api.controller.delete_job(job, check).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A job's tasks, in the order of their expansion. No task's key is ever shown.
#[utoipa::path(get, path = "/v1/jobs/{job}/tasks", tag = "jobs", params(("job" = JobId, Path), Listing),
    responses((status = 200, body = Page<Task>)))]
pub(crate) async fn tasks(
    State(api): State<Api>,
    InPath(job): InPath<JobId>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<Task>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.tasks(&job, &paging)).await?))
}

/// One of a job's tasks.
#[utoipa::path(get, path = "/v1/jobs/{job}/tasks/{agent}", tag = "jobs",
    params(("job" = JobId, Path), ("agent" = AgentId, Path)), responses((status = 200, body = Task)))]
pub(crate) async fn task(State(api): State<Api>, InPath((job, agent)): InPath<(JobId, AgentId)>) -> Answer<Task> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.task(&job, &agent)).await?))
}

/// Starts a job that is `ready`.
#[utoipa::path(post, path = "/v1/jobs/{job}/start", tag = "jobs", params(("job" = JobId, Path)),
    responses((status = 200, body = Job)))]
pub(crate) async fn start(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Job> {
    Ok(Reply::ok(api.controller.start(job).await?))
}

/// Stops a job that is under way, wherever it stands.
#[utoipa::path(post, path = "/v1/jobs/{job}/stop", tag = "jobs", params(("job" = JobId, Path)),
    responses((status = 200, body = Job)))]
pub(crate) async fn stop(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Job> {
    Ok(Reply::ok(api.controller.stop(job).await?))
}

/// What a job's tasks measured, by round.
#[utoipa::path(get, path = "/v1/jobs/{job}/metrics", tag = "jobs", params(("job" = JobId, Path), Listing),
    responses((status = 200, body = Page<MetricRecord>)))]
pub(crate) async fn metrics(
    State(api): State<Api>,
    InPath(job): InPath<JobId>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<MetricRecord>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.metrics(&job, &paging)).await?))
}

/// The newest log lines of a job's tasks, oldest first; 10,000 are kept.
#[utoipa::path(get, path = "/v1/jobs/{job}/logs", tag = "jobs", params(("job" = JobId, Path), Listing),
    responses((status = 200, body = Page<LogRecord>)))]
pub(crate) async fn logs(
    State(api): State<Api>,
    InPath(job): InPath<JobId>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<LogRecord>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.logs(&job, &paging)).await?))
}

/// The models that a job published, by name.
#[utoipa::path(get, path = "/v1/jobs/{job}/models", tag = "jobs", params(("job" = JobId, Path), Listing),
    responses((status = 200, body = Page<ModelArtifact>)))]
pub(crate) async fn models(
    State(api): State<Api>,
    InPath(job): InPath<JobId>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<ModelArtifact>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.models(&job, &paging)).await?))
}

/// A published model as a safetensors file.
#[utoipa::path(get, path = "/v1/jobs/{job}/models/{name}", tag = "jobs",
    params(("job" = JobId, Path), ("name" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn model(
    State(api): State<Api>,
    InPath((job, name)): InPath<(JobId, String)>,
) -> Result<Response, Failure> {
    let of = job.clone();
    let model = api.controller.run(move |controller| controller.model(&of, &name)).await?;
    file(&api.controller.artifacts.model_path(&job, &model.sha256)).await
}
