//! What agents ask for: their task, its code, and to bring what they have.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use flame_api::{Agent, AgentId, AgentReport, Code, Page, Problem, TaskGrant};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::auth::{Access, Caller};
use super::reply::{Answer, Failure, InPath, InQuery, Listing, Reply, file, read_json};
use super::{Api, MAX_MODEL, MAX_REPORT};
use crate::artifacts::ArtifactError;
use crate::controller::check_model_name;
use crate::failure::internal;

/// All agents, by id.
#[utoipa::path(get, path = "/v1/agents", tag = "agents", params(Listing), responses((status = 200, body = Page<Agent>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<Agent>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.agents(access.sees(), &paging)).await?))
}

/// One agent.
#[utoipa::path(get, path = "/v1/agents/{agent}", tag = "agents", params(("agent" = AgentId, Path)),
    responses((status = 200, body = Agent)))]
pub(crate) async fn one(State(api): State<Api>, InPath(agent): InPath<AgentId>) -> Answer<Agent> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.agent_detail(&agent)).await?))
}

/// Raises the task's attempt, and tells the agent all that it needs to run it.
#[utoipa::path(post, path = "/v1/agent/grant", tag = "agents", responses((status = 200, body = TaskGrant)))]
pub(crate) async fn grant(State(api): State<Api>, Extension(Caller(agent)): Extension<Caller>) -> Answer<TaskGrant> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.grant(&agent)).await?))
}

/// What `grant` would give; nothing is changed, and no key is told.
#[utoipa::path(get, path = "/v1/agent/grant", tag = "agents", responses((status = 200, body = TaskGrant)))]
pub(crate) async fn offer(State(api): State<Api>, Extension(Caller(agent)): Extension<Caller>) -> Answer<TaskGrant> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.offer(&agent)).await?))
}

/// The component of the agent's task.
#[utoipa::path(get, path = "/v1/agent/code", tag = "agents",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn code(
    State(api): State<Api>,
    Extension(Caller(agent)): Extension<Caller>,
) -> Result<Response, Failure> {
    let code = api
        .controller
        .run(move |controller| {
            let record = controller.agent(&agent)?;
            controller.code_of(&record)
        })
        .await?;
    file(&api.controller.artifacts.code_path(&code.sha256)).await
}

/// Takes logs, metrics and progress since the last report.
#[utoipa::path(post, path = "/v1/agent/report", tag = "agents", request_body = AgentReport,
    responses((status = 200, body = Done)))]
pub(crate) async fn report(
    State(api): State<Api>,
    Extension(Caller(agent)): Extension<Caller>,
    body: Body,
) -> Answer<Done> {
    let report: AgentReport = read_json(body, MAX_REPORT).await?;
    api.controller.run(move |controller| controller.report(&agent, report)).await?;
    Ok(Reply::ok(Done {}))
}

/// Query of a model's upload.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Announced {
    /// The attempt that the grant named.
    attempt: u32,
    /// SHA-256 of the file, hex.
    sha256: String,
}

/// An empty answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Done {}

/// Publishes a model of the agent's job, as a safetensors file.
#[utoipa::path(put, path = "/v1/agent/models/{name}", tag = "agents", params(("name" = String, Path), Announced),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses((status = 200, body = Done)))]
pub(crate) async fn put_model(
    State(api): State<Api>,
    Extension(Caller(agent)): Extension<Caller>,
    InPath(name): InPath<String>,
    InQuery(announced): InQuery<Announced>,
    body: Body,
) -> Answer<Done> {
    check_model_name(&name)?;
    let Announced { attempt, sha256 } = announced;
    let of = agent.clone();
    let job = api.controller.run(move |controller| controller.may_publish(&of, attempt)).await?;
    let artifacts = &api.controller.artifacts;
    let mut upload = artifacts.upload().await.map_err(|error| refused(&error))?;
    let mut body = body.into_data_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes
            .map_err(|error| Problem::new(Code::InvalidRequest, format!("the model did not come whole: {error}")))?;
        upload.write(&bytes).await.map_err(|error| refused(&error))?;
        if upload.size() > MAX_MODEL {
            let message = format!("the model has more than {MAX_MODEL} bytes");
            return Err(Failure(Problem::new(Code::TooLarge, message)));
        }
    }
    let size = upload.finish(artifacts, &job, &sha256).await.map_err(|error| refused(&error))?;
    // The attempt is looked at again: the upload may have taken long.
    let old = api.controller.run(move |controller| controller.publish(&agent, attempt, &name, &sha256, size)).await?;
    if let Some(old) = old {
        artifacts.remove_model(&job, &old).await;
    }
    Ok(Reply::ok(Done {}))
}

fn refused(error: &ArtifactError) -> Problem {
    match error {
        ArtifactError::Digest { .. } => Problem::new(Code::InvalidRequest, error.to_string()).hint("send it again"),
        ArtifactError::Disk { .. } => internal(error),
    }
}
