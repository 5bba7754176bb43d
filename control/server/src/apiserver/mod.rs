//! The REST edge: paths, tokens, bodies. It decides nothing; the controller does.
//!
//! Every answer that is not a success is a problem body (`application/problem+json`), also for paths, methods and
//! bodies that make no sense.

mod agents;
pub(crate) mod audit;
mod auth;
mod backup;
mod designs;
mod jobs;
pub(crate) mod limits;
pub(crate) mod metrics;
mod reply;
pub(crate) mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};
use flame_api::{Code, Problem};
use tokio_util::sync::CancellationToken;

use crate::controller::Controller;
pub use limits::Rates;
use reply::{Failure, Reply};

/// Longest schema or job file.
const MAX_TEXT: usize = 4 << 20;
/// Largest component or zip of components.
const MAX_CODE: usize = 256 << 20;
/// Largest report of an agent.
const MAX_REPORT: usize = 8 << 20;
/// Largest model, in bytes.
const MAX_MODEL: u64 = 16 << 30;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) controller: Arc<Controller>,
    /// SHA-256 of the admin token, hex.
    pub(crate) admin_token: Arc<str>,
    pub(crate) tokens: Arc<tokens::Tokens>,
    pub(crate) limits: Arc<limits::Limits>,
    pub(crate) metrics: Arc<metrics::Metrics>,
    pub(crate) audit: Arc<audit::Audit>,
    /// Cancelled when the server stops: ends streams that would go on.
    pub(crate) stopping: CancellationToken,
}

/// All routes.
pub(crate) fn router(api: Api) -> Router {
    let person = Router::new()
        .route("/v1/designs", get(designs::list).post(designs::create))
        .route("/v1/designs/{design}", get(designs::one))
        .route("/v1/designs/{design}/schemas", post(designs::create_schema))
        .route("/v1/designs/{design}/schemas/{version}", get(designs::schema))
        .route("/v1/designs/{design}/code", post(designs::create_code))
        .route("/v1/designs/{design}/code/{version}", get(designs::code))
        .route("/v1/jobs", get(jobs::list).post(jobs::create))
        .route("/v1/jobs/{job}", get(jobs::one))
        .route("/v1/jobs/{job}/tasks", get(jobs::tasks))
        .route("/v1/jobs/{job}/start", post(jobs::start))
        .route("/v1/jobs/{job}/stop", post(jobs::stop))
        .route("/v1/jobs/{job}/watch", get(jobs::watch))
        .route("/v1/jobs/{job}/metrics", get(jobs::metrics))
        .route("/v1/jobs/{job}/logs", get(jobs::logs))
        .route("/v1/jobs/{job}/models", get(jobs::models))
        .route("/v1/jobs/{job}/models/{name}", get(jobs::model))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{token}", delete(tokens::revoke))
        .route("/v1/audit", get(audit::list))
        .route("/v1/backup", get(backup::backup))
        .route_layer(from_fn_with_state(api.clone(), auth::person));
    let agent = Router::new()
        .route("/v1/agent/grant", post(agents::grant).get(agents::offer))
        .route("/v1/agent/code", get(agents::code))
        .route("/v1/agent/report", post(agents::report))
        .route("/v1/agent/models/{name}", put(agents::put_model))
        .route_layer(from_fn_with_state(api.clone(), auth::agent));
    Router::new()
        .route("/v1/health", get(health))
        .route("/metrics", get(metrics::show))
        .merge(person)
        .merge(agent)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        // Every handler reads its body up to a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(api.clone(), auth::rate))
        .layer(from_fn_with_state(api.clone(), metrics::observe))
        .with_state(api)
}

/// Whether the server is up. Needs no token.
async fn health() -> Reply<serde_json::Value> {
    Reply::ok(serde_json::json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

async fn no_such_path(uri: axum::http::Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    Failure(Problem::new(Code::NotFound, format!("there is nothing at {path}")).hint("the API is under /v1/"))
}

async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri) -> axum::response::Response {
    let path: String = uri.path().chars().take(200).collect();
    let problem = Problem::new(Code::InvalidRequest, format!("{path} does not take {method}"));
    Failure::with_status(problem, axum::http::StatusCode::METHOD_NOT_ALLOWED)
}
