//! What goes on to happen to a job, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use flame_api::{Code, JobEvent, JobId, JobSnapshot, Page, Problem};
use futures::{Stream, StreamExt};
use tokio::sync::watch;

use super::Api;
use super::reply::{Failure, InPath, InQuery, Listing, Reply};

/// Silence after which a stream sends a comment, so that both sides know the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Events that are read from the store at a time.
const BATCH: usize = 100;
/// Media type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";

/// Where a job stands: one snapshot at once and one after each change, until it has ended.
#[utoipa::path(get, path = "/v1/jobs/{job}/watch", tag = "jobs", params(("job" = JobId, Path)),
    responses((status = 200, description = "Each event's data is a JobSnapshot", body = String, content_type = "text/event-stream")))]
pub(crate) async fn watch(State(api): State<Api>, InPath(job): InPath<JobId>) -> Result<Response, Failure> {
    let changed = subscribe(&api, &job).await?;
    Ok(stream(snapshots(api, job, changed)))
}

/// What happened to a job, oldest first; the newest 10,000 are kept. With `Accept: text/event-stream`, what happened
/// after `Last-Event-ID` and what goes on to happen, until the job has ended.
#[utoipa::path(get, path = "/v1/jobs/{job}/events", tag = "jobs",
    params(("job" = JobId, Path), Listing, ("last-event-id" = Option<String>, Header, description = "Number of the last event that is known")),
    responses((status = 200, content((Page<JobEvent> = "application/json"), (String = "text/event-stream")))))]
pub(crate) async fn events(
    State(api): State<Api>,
    InPath(job): InPath<JobId>,
    InQuery(listing): InQuery<Listing>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepts.contains(EVENT_STREAM) {
        let paging = listing.paging()?;
        let page = api.controller.run(move |controller| controller.events(&job, &paging)).await?;
        return Ok(Reply::ok(page).into_response());
    }
    let last = headers.get("last-event-id").map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    let Some(after) = last.unwrap_or(Some(0)) else {
        let message = "Last-Event-ID: it is the number of an event";
        return Err(Failure(Problem::new(Code::InvalidRequest, message)));
    };
    let changed = subscribe(&api, &job).await?;
    Ok(stream(happenings(api, job, changed, after)))
}

/// An unknown job is refused before a stream begins.
async fn subscribe(api: &Api, job: &JobId) -> Result<watch::Receiver<u64>, Failure> {
    let job = job.clone();
    Ok(api.controller.run(move |controller| controller.subscribe(&job)).await?)
}

fn stream(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// Waits for the next change. Nothing where there will be none.
async fn next_change(api: &Api, changed: &mut watch::Receiver<u64>) -> Option<()> {
    tokio::select! {
        outcome = changed.changed() => outcome.ok(),
        () = api.stopping.cancelled() => None,
    }
}

/// One snapshot at once and one after each change, the changes in between left out, until the job has ended.
fn snapshots(api: Api, job: JobId, changed: watch::Receiver<u64>) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold((api, job, changed, true, false), |(api, job, mut changed, first, ended)| async move {
        if ended {
            return None;
        }
        if !first {
            next_change(&api, &mut changed).await?;
        }
        changed.mark_unchanged();
        let id = job.clone();
        let snapshot: JobSnapshot = api.controller.run(move |controller| controller.snapshot(&id)).await.ok()?;
        let ended = snapshot.job.state.is_final();
        let event = Event::default().json_data(&snapshot).ok()?;
        Some((Ok(event), (api, job, changed, false, ended)))
    })
}

/// Every event after `after`, and those to come, until nothing more can happen.
fn happenings(
    api: Api,
    job: JobId,
    changed: watch::Receiver<u64>,
    after: u64,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let batches = futures::stream::unfold((api, job, changed, after), |(api, job, mut changed, after)| async move {
        loop {
            changed.mark_unchanged();
            let id = job.clone();
            let read = move |controller: &crate::controller::Controller| {
                // Looked at first: what comes after the look makes another change.
                let over = controller.is_settled(&id)?;
                Ok((over, controller.events_after(&id, after, BATCH)?))
            };
            let (over, events) = api.controller.run(read).await.ok()?;
            if let Some(last) = events.last() {
                let after = last.number;
                return Some((events, (api, job, changed, after)));
            }
            if over {
                return None;
            }
            next_change(&api, &mut changed).await?;
        }
    });
    batches.map(futures::stream::iter).flatten().filter_map(|event: JobEvent| async move {
        let number = event.number.to_string();
        Event::default().id(number).json_data(&event).ok().map(Ok)
    })
}
