//! What Prometheus reads at `/metrics` (in the OpenMetrics text format).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flame_api::{Code, Problem};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Api;
use super::auth::{address, has_admin_token};
use super::reply::Failure;
use crate::failure::internal;
use crate::store::StoreTimes;

/// Upper ends of the buckets of request times, in seconds.
const BOUNDS: [f64; 9] = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0, 100.0];
/// Jobs and tasks are counted at most so often, however often somebody looks.
const COUNT_EVERY: Duration = Duration::from_secs(5);

type Label = [(&'static str, String); 1];

/// The counters, and the registry that prints them.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<[(&'static str, String); 3], Counter>,
    times: Family<Label, Histogram>,
    throttled: Family<[(&'static str, &'static str); 1], Counter>,
    sessions: Gauge,
    jobs: Family<Label, Gauge>,
    tasks: Family<Label, Gauge>,
    counted: Mutex<Option<Instant>>,
}

impl Metrics {
    pub(crate) fn new(store: &StoreTimes) -> Arc<Self> {
        let mut registry = Registry::with_prefix("flame");
        let requests = Family::default();
        registry.register("http_requests", "Requests of the REST edge that were answered", requests.clone());
        let times: Family<Label, Histogram> = Family::new_with_constructor(|| Histogram::new(BOUNDS));
        let help = "Time until a request's answer began";
        registry.register_with_unit("http_request", help, Unit::Seconds, times.clone());
        let throttled = Family::default();
        let help = "Requests and sessions that were refused because there were too many of them";
        registry.register("throttled", help, throttled.clone());
        let sessions = Gauge::default();
        registry.register("agent_sessions", "Agents that have a session now", sessions.clone());
        let jobs = Family::default();
        registry.register("jobs", "Jobs by state", jobs.clone());
        let tasks = Family::default();
        registry.register("tasks", "Tasks of jobs under way, by state", tasks.clone());
        let help = "Time of operations on the store";
        registry.register_with_unit("store_operation", help, Unit::Seconds, store.0.clone());
        Arc::new(Self { registry, requests, times, throttled, sessions, jobs, tasks, counted: Mutex::default() })
    }

    /// Something was refused because there was too much of it: `address`, `token`, `guesses` or `keys`.
    pub(crate) fn throttled(&self, why: &'static str) {
        self.throttled.get_or_create(&[("why", why)]).inc();
    }

    fn is_due(&self) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let due = counted.is_none_or(|last| last.elapsed() >= COUNT_EVERY);
        if due {
            *counted = Some(Instant::now());
        }
        due
    }
}

/// Counts and times requests. Paths go by their routes, so that ids make no series.
pub(crate) async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = request.method().to_string();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    api.metrics.requests.get_or_create(&[("method", method), ("path", path.clone()), ("status", status)]).inc();
    api.metrics.times.get_or_create(&[("path", path)]).observe(began.elapsed().as_secs_f64());
    response
}

/// The metrics. This machine reads them freely; others need an admin's token.
pub(crate) async fn show(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let here = address(&request).is_some_and(|ip| ip.is_loopback());
    if !here && !has_admin_token(&api, request.headers()) {
        let problem = Problem::new(Code::Unauthenticated, "metrics are for this machine and for admins");
        return Err(problem
            .hint("let Prometheus send an admin's token: `authorization: {credentials_file: …}`")
            .into());
    }
    let metrics = &api.metrics;
    if metrics.is_due() {
        let census = api.controller.run(crate::controller::Controller::census).await?;
        for (state, count) in census.jobs {
            metrics.jobs.get_or_create(&[("state", state.to_string())]).set(count);
        }
        for (state, count) in census.tasks {
            metrics.tasks.get_or_create(&[("state", state.to_string())]).set(count);
        }
    }
    metrics.sessions.set(i64::try_from(api.controller.sessions.count()).unwrap_or(i64::MAX));
    let mut text = String::new();
    encode(&mut text, &metrics.registry).map_err(|error| internal(&error))?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
