//! Whether the server can do what it is there for, not merely whether it answers.

use axum::extract::State;
use flame_api::{Code, Problem};
use serde::Serialize;

use super::Api;
use super::reply::{Answer, Failure, Reply};

/// The server is well.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
}

/// Whether the store can be written, the broker be reached, and system tasks be placed. Needs no token.
#[utoipa::path(get, path = "/v1/health", tag = "server", security(()), responses((status = 200, body = Health)))]
pub(crate) async fn health(State(api): State<Api>) -> Answer<Health> {
    let problems = api.controller.ailments().await;
    if problems.is_empty() {
        return Ok(Reply::ok(Health { status: "ok", version: env!("CARGO_PKG_VERSION") }));
    }
    Err(Failure(Problem::new(Code::Unavailable, "the server is not well").problems(problems)))
}
