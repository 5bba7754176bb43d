//! The REST edge: paths, tokens, bodies. It decides nothing; the controller does.
//!
//! Every answer that is not a success is a problem body (`application/problem+json`), also for paths, methods and
//! bodies that make no sense.

mod agents;
pub(crate) mod audit;
mod auth;
mod backup;
mod computes;
mod datasets;
mod designs;
mod health;
mod jobs;
pub(crate) mod limits;
pub(crate) mod metrics;
mod openapi;
mod reply;
mod streams;
pub(crate) mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use flame_api::{Code, Problem};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::controller::Controller;
pub use limits::Rates;
use reply::Failure;

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

/// All routes, and what the OpenAPI document says of them.
pub(crate) fn routes(api: &Api) -> (Router<Api>, utoipa::openapi::OpenApi) {
    let person = OpenApiRouter::new()
        .routes(routes!(designs::list, designs::create))
        .routes(routes!(designs::one, designs::update, designs::delete))
        .routes(routes!(designs::schemas, designs::create_schema))
        .routes(routes!(designs::schema, designs::delete_schema))
        .routes(routes!(designs::codes, designs::create_code))
        .routes(routes!(designs::code, designs::delete_code))
        .routes(routes!(datasets::list, datasets::create))
        .routes(routes!(datasets::one, datasets::update, datasets::delete))
        .routes(routes!(computes::list, computes::register))
        .routes(routes!(computes::one, computes::delete))
        .routes(routes!(jobs::list, jobs::create))
        .routes(routes!(jobs::one, jobs::update, jobs::delete))
        .routes(routes!(jobs::tasks))
        .routes(routes!(jobs::task))
        .routes(routes!(jobs::start))
        .routes(routes!(jobs::stop))
        .routes(routes!(streams::watch))
        .routes(routes!(streams::events))
        .routes(routes!(jobs::metrics))
        .routes(routes!(jobs::logs))
        .routes(routes!(jobs::models))
        .routes(routes!(jobs::model))
        .routes(routes!(agents::list))
        .routes(routes!(agents::one))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(backup::backup))
        .route_layer(from_fn_with_state(api.clone(), auth::person));
    let agent = OpenApiRouter::new()
        .routes(routes!(agents::grant, agents::offer))
        .routes(routes!(agents::code))
        .routes(routes!(agents::report))
        .routes(routes!(agents::put_model))
        .route_layer(from_fn_with_state(api.clone(), auth::agent));
    let open = OpenApiRouter::with_openapi(openapi::base()).routes(routes!(health::health));
    let (router, document) = open.merge(person).merge(agent).split_for_parts();
    (router, openapi::complete(document))
}

/// All routes, served.
pub(crate) fn router(api: Api) -> Router {
    let (routes, document) = routes(&api);
    let document = openapi::serve(&document);
    routes
        .route("/v1/openapi.json", get(async move || document.clone()))
        .route("/metrics", get(metrics::show))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        // Every handler reads its body up to a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(api.clone(), auth::rate))
        .layer(from_fn_with_state(api.clone(), metrics::observe))
        .with_state(api)
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
