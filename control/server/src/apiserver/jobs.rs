//! Jobs, their tasks and results.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use flame_api::{Job, JobCreated, JobId, LogRecord, MetricRecord, ModelArtifact, Task};
use futures::Stream;

use super::auth::Access;
use super::designs::FileName;
use super::reply::{Answer, Failure, InPath, InQuery, Reply, file, read_text};
use super::{Api, MAX_TEXT};

/// Silence after which a watch sends a comment, so that both sides know the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(crate) async fn create(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    InQuery(name): InQuery<FileName>,
    body: Body,
) -> Answer<JobCreated> {
    let text = read_text(body, MAX_TEXT).await?;
    Ok(Reply::created(api.controller.create_job(access.owner, name.or("job.json"), text).await?))
}

pub(crate) async fn list(State(api): State<Api>, Extension(access): Extension<Access>) -> Answer<Vec<Job>> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.jobs(access.sees())).await?))
}

pub(crate) async fn one(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Job> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.job(&job)).await?))
}

pub(crate) async fn tasks(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Vec<Task>> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.tasks(&job)).await?))
}

pub(crate) async fn start(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Job> {
    Ok(Reply::ok(api.controller.start(job).await?))
}

pub(crate) async fn stop(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Job> {
    Ok(Reply::ok(api.controller.stop(job).await?))
}

pub(crate) async fn metrics(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Vec<MetricRecord>> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.metrics(&job)).await?))
}

pub(crate) async fn logs(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Vec<LogRecord>> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.logs(&job)).await?))
}

pub(crate) async fn models(State(api): State<Api>, InPath(job): InPath<JobId>) -> Answer<Vec<ModelArtifact>> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.models(&job)).await?))
}

pub(crate) async fn model(
    State(api): State<Api>,
    InPath((job, name)): InPath<(JobId, String)>,
) -> Result<Response, Failure> {
    let of = job.clone();
    let model = api.controller.run(move |controller| controller.model(&of, &name)).await?;
    file(&api.controller.artifacts.model_path(&job, &model.sha256)).await
}

pub(crate) async fn watch(State(api): State<Api>, InPath(job): InPath<JobId>) -> Result<Response, Failure> {
    // An unknown job is refused before the stream begins.
    let id = job.clone();
    api.controller.run(move |controller| controller.job(&id)).await?;
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(snapshots(api, job)).keep_alive(keep_alive).into_response())
}

/// One snapshot at once and one after each change, the changes in between left out, until the job has ended.
fn snapshots(api: Api, job: JobId) -> impl Stream<Item = Result<Event, Infallible>> {
    let changed = api.controller.subscribe(&job);
    futures::stream::unfold((api, job, changed, true, false), |(api, job, mut changed, first, ended)| async move {
        if ended {
            return None;
        }
        if !first {
            tokio::select! {
                outcome = changed.changed() => outcome.ok()?,
                () = api.stopping.cancelled() => return None,
            }
        }
        changed.mark_unchanged();
        let id = job.clone();
        let snapshot = api.controller.run(move |controller| controller.snapshot(&id)).await.ok()?;
        let ended = snapshot.job.state.is_final();
        let event = Event::default().json_data(&snapshot).ok()?;
        Some((Ok(event), (api, job, changed, false, ended)))
    })
}
