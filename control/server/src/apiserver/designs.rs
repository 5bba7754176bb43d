//! Designs, schemas, code.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use flame_api::{CreateDesign, Created, Design, DesignDetail, DesignId, SIGNATURES_HEADER};
use flame_bundle::MAX_SIGNATURES;
use serde::Deserialize;

use super::auth::{Access, OfOwner};
use super::reply::{Answer, Failure, InQuery, Reply, file, read, read_json, read_text};
use super::{Api, MAX_CODE, MAX_TEXT};

/// The name of the uploaded file, for messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileName {
    file: Option<String>,
}

impl FileName {
    /// Foreign text is cut before it gets into a message.
    pub(crate) fn or(self, default: &str) -> String {
        let name = self.file.filter(|name| !name.is_empty()).unwrap_or_else(|| default.to_owned());
        name.chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

pub(crate) async fn create(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    body: Body,
) -> Answer<Design> {
    let create: CreateDesign = read_json(body, MAX_TEXT).await?;
    let made = api.controller.run(move |controller| controller.create_design(access.owner, create));
    Ok(Reply::created(made.await?))
}

pub(crate) async fn list(State(api): State<Api>, Extension(access): Extension<Access>) -> Answer<Vec<Design>> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.designs(access.sees())).await?))
}

pub(crate) async fn one(State(api): State<Api>, OfOwner(design): OfOwner<DesignId>) -> Answer<DesignDetail> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.design_detail(&design)).await?))
}

pub(crate) async fn create_schema(
    State(api): State<Api>,
    OfOwner(design): OfOwner<DesignId>,
    InQuery(name): InQuery<FileName>,
    body: Body,
) -> Answer<Created> {
    let text = read_text(body, MAX_TEXT).await?;
    let name = name.or("schema.json");
    Ok(Reply::created(api.controller.run(move |controller| controller.create_schema(&design, name, text)).await?))
}

pub(crate) async fn schema(
    State(api): State<Api>,
    OfOwner((design, version)): OfOwner<(DesignId, u32)>,
) -> Result<Response, Failure> {
    let record = api.controller.run(move |controller| controller.schema(&design, Some(version))).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], record.text).into_response())
}

pub(crate) async fn create_code(
    State(api): State<Api>,
    OfOwner(design): OfOwner<DesignId>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Created> {
    let bytes = read(body, MAX_CODE).await?;
    let signatures = signature_lines(&headers);
    Ok(Reply::created(api.controller.create_code(design, bytes, signatures).await?))
}

/// What stands between the commas of the signatures' headers. One more than is accepted is enough to refuse them.
fn signature_lines(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(SIGNATURES_HEADER).into_iter();
    let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let lines = texts.flat_map(|text| text.split(',').map(|line| line.trim().to_owned()).collect::<Vec<_>>());
    lines.filter(|line| !line.is_empty()).take(MAX_SIGNATURES + 1).collect()
}

pub(crate) async fn code(
    State(api): State<Api>,
    OfOwner((design, version)): OfOwner<(DesignId, u32)>,
) -> Result<Response, Failure> {
    let record = api.controller.run(move |controller| controller.code(&design, Some(version))).await?;
    file(&api.controller.artifacts.code_path(&record.sha256)).await
}
