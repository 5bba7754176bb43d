//! What agents ask for: their task, its code, and to bring what they have.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use flame_api::{AgentReport, Code, Problem, TaskGrant};
use futures::StreamExt;
use serde::Deserialize;

use super::auth::Caller;
use super::reply::{Answer, Failure, InPath, InQuery, Reply, file, read_json};
use super::{Api, MAX_MODEL, MAX_REPORT};
use crate::artifacts::ArtifactError;
use crate::controller::check_model_name;
use crate::failure::internal;

pub(crate) async fn grant(State(api): State<Api>, Extension(Caller(agent)): Extension<Caller>) -> Answer<TaskGrant> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.grant(&agent)).await?))
}

/// What `grant` would give; nothing is changed, and no key is told.
pub(crate) async fn offer(State(api): State<Api>, Extension(Caller(agent)): Extension<Caller>) -> Answer<TaskGrant> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.offer(&agent)).await?))
}

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

pub(crate) async fn report(
    State(api): State<Api>,
    Extension(Caller(agent)): Extension<Caller>,
    body: Body,
) -> Answer<serde_json::Value> {
    let report: AgentReport = read_json(body, MAX_REPORT).await?;
    api.controller.run(move |controller| controller.report(&agent, report)).await?;
    Ok(Reply::ok(serde_json::json!({})))
}

/// Query of a model's upload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Announced {
    attempt: u32,
    sha256: String,
}

pub(crate) async fn put_model(
    State(api): State<Api>,
    Extension(Caller(agent)): Extension<Caller>,
    InPath(name): InPath<String>,
    InQuery(announced): InQuery<Announced>,
    body: Body,
) -> Answer<serde_json::Value> {
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
    Ok(Reply::ok(serde_json::json!({})))
}

fn refused(error: &ArtifactError) -> Problem {
    match error {
        ArtifactError::Digest { .. } => Problem::new(Code::InvalidRequest, error.to_string()).hint("send it again"),
        ArtifactError::Disk { .. } => internal(error),
    }
}
