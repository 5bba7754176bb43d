//! Designs, schemas, code.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flame_api::{
    CodeRevision, CreateDesign, Created, Design, DesignDetail, DesignId, Page, SIGNATURES_HEADER, SchemaRevision,
    UpdateDesign,
};
use flame_bundle::MAX_SIGNATURES;
use serde::Deserialize;

use super::auth::{Access, OfOwner};
use super::reply::{Again, Answer, Failure, IfMatch, InQuery, Listing, Reply, file, json, read, read_json, text};
use super::{Api, MAX_CODE, MAX_TEXT};

/// The name of the uploaded file, for messages.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FileName {
    /// Name of the file, for messages about it.
    file: Option<String>,
}

impl FileName {
    /// Foreign text is cut before it gets into a message.
    pub(crate) fn or(self, default: &str) -> String {
        let name = self.file.filter(|name| !name.is_empty()).unwrap_or_else(|| default.to_owned());
        name.chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

/// Creates a design.
#[utoipa::path(post, path = "/v1/designs", tag = "designs", request_body = CreateDesign,
    params(("idempotency-key" = Option<String>, Header, description = "Makes it safe to ask again")),
    responses((status = 201, body = Design)))]
pub(crate) async fn create(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    again: Again,
    body: Body,
) -> Answer<Design> {
    let bytes = read(body, MAX_TEXT).await?;
    let (create, once): (CreateDesign, _) = (json(&bytes)?, again.of(&bytes));
    let made = api.controller.run(move |controller| controller.create_design(access.owner, create, once.as_ref()));
    Ok(Reply::created(made.await?))
}

/// All designs, by id.
#[utoipa::path(get, path = "/v1/designs", tag = "designs", params(Listing),
    responses((status = 200, body = Page<Design>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<Design>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.designs(access.sees(), &paging)).await?))
}

/// One design with its revisions.
#[utoipa::path(get, path = "/v1/designs/{design}", tag = "designs", params(("design" = DesignId, Path)),
    responses((status = 200, body = DesignDetail)))]
pub(crate) async fn one(State(api): State<Api>, OfOwner(design): OfOwner<DesignId>) -> Answer<DesignDetail> {
    Ok(Reply::tagged(api.controller.run(move |controller| controller.design_detail(&design)).await?))
}

/// Changes a design's description.
#[utoipa::path(put, path = "/v1/designs/{design}", tag = "designs", request_body = UpdateDesign,
    params(("design" = DesignId, Path), ("if-match" = Option<String>, Header, description = "Its ETag when it was read")),
    responses((status = 200, body = Design)))]
pub(crate) async fn update(
    State(api): State<Api>,
    OfOwner(design): OfOwner<DesignId>,
    if_match: IfMatch,
    body: Body,
) -> Answer<Design> {
    let update: UpdateDesign = read_json(body, MAX_TEXT).await?;
    let check = move |current: &DesignDetail| if_match.check(current);
    Ok(Reply::ok(api.controller.run(move |controller| controller.update_design(&design, update, check)).await?))
}

/// Whether a design goes although jobs use it.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Forced {
    /// Delete it although jobs use it; they go on with the revisions that they were created with.
    #[serde(default)]
    force: bool,
}

/// Deletes a design with all its revisions.
#[utoipa::path(delete, path = "/v1/designs/{design}", tag = "designs",
    params(("design" = DesignId, Path), Forced, ("if-match" = Option<String>, Header, description = "Its ETag when it was read")),
    responses((status = 204)))]
pub(crate) async fn delete(
    State(api): State<Api>,
    OfOwner(design): OfOwner<DesignId>,
    InQuery(forced): InQuery<Forced>,
    if_match: IfMatch,
) -> Result<StatusCode, Failure> {
    let check = move |current: &DesignDetail| if_match.check(current);
    api.controller.run(move |controller| controller.delete_design(&design, forced.force, check)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a schema revision: the file as it is, JSON or YAML.
#[utoipa::path(post, path = "/v1/designs/{design}/schemas", tag = "designs",
    request_body(content = serde_json::Value, content_type = "application/json", description = "A schema file; YAML may be sent as well"),
    params(("design" = DesignId, Path), FileName, ("idempotency-key" = Option<String>, Header, description = "Makes it safe to ask again")),
    responses((status = 201, body = Created)))]
pub(crate) async fn create_schema(
    State(api): State<Api>,
    OfOwner(design): OfOwner<DesignId>,
    InQuery(name): InQuery<FileName>,
    again: Again,
    body: Body,
) -> Answer<Created> {
    let bytes = read(body, MAX_TEXT).await?;
    let (once, text, name) = (again.of(&bytes), text(bytes)?, name.or("schema.json"));
    let created =
        api.controller.run(move |controller| controller.create_schema(&design, name, text, once.as_ref())).await?;
    Ok(Reply::created(created))
}

/// A design's schema revisions, oldest first.
#[utoipa::path(get, path = "/v1/designs/{design}/schemas", tag = "designs", params(("design" = DesignId, Path), Listing),
    responses((status = 200, body = Page<SchemaRevision>)))]
pub(crate) async fn schemas(
    State(api): State<Api>,
    OfOwner(design): OfOwner<DesignId>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<SchemaRevision>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.schemas(&design, &paging)).await?))
}

/// A schema revision as it was uploaded.
#[utoipa::path(get, path = "/v1/designs/{design}/schemas/{version}", tag = "designs",
    params(("design" = DesignId, Path), ("version" = u32, Path, description = "Counts up from 1")),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn schema(
    State(api): State<Api>,
    OfOwner((design, version)): OfOwner<(DesignId, u32)>,
) -> Result<Response, Failure> {
    let record = api.controller.run(move |controller| controller.schema(&design, Some(version))).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], record.text).into_response())
}

/// Deletes a schema revision. Its number is not given again.
#[utoipa::path(delete, path = "/v1/designs/{design}/schemas/{version}", tag = "designs",
    params(("design" = DesignId, Path), ("version" = u32, Path, description = "Counts up from 1")),
    responses((status = 204)))]
pub(crate) async fn delete_schema(
    State(api): State<Api>,
    OfOwner((design, version)): OfOwner<(DesignId, u32)>,
) -> Result<StatusCode, Failure> {
    api.controller.run(move |controller| controller.delete_schema(&design, version)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a code revision: a component, or a zip with `<role>.wasm` for each role.
#[utoipa::path(post, path = "/v1/designs/{design}/code", tag = "designs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    params(("design" = DesignId, Path),
        ("flame-signatures" = Option<String>, Header, description = "Lines of signature files, separated by commas"),
        ("idempotency-key" = Option<String>, Header, description = "Makes it safe to ask again")),
    responses((status = 201, body = Created)))]
pub(crate) async fn create_code(
    State(api): State<Api>,
    OfOwner(design): OfOwner<DesignId>,
    headers: HeaderMap,
    again: Again,
    body: Body,
) -> Answer<Created> {
    let bytes = read(body, MAX_CODE).await?;
    let (once, signatures) = (again.of(&bytes), signature_lines(&headers));
    Ok(Reply::created(api.controller.create_code(design, bytes, signatures, once).await?))
}

/// What stands between the commas of the signatures' headers. One more than is accepted is enough to refuse them.
fn signature_lines(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(SIGNATURES_HEADER).into_iter();
    let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let lines = texts.flat_map(|text| text.split(',').map(|line| line.trim().to_owned()).collect::<Vec<_>>());
    lines.filter(|line| !line.is_empty()).take(MAX_SIGNATURES + 1).collect()
}

/// A design's code revisions, oldest first.
#[utoipa::path(get, path = "/v1/designs/{design}/code", tag = "designs", params(("design" = DesignId, Path), Listing),
    responses((status = 200, body = Page<CodeRevision>)))]
pub(crate) async fn codes(
    State(api): State<Api>,
    OfOwner(design): OfOwner<DesignId>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<CodeRevision>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.codes(&design, &paging)).await?))
}

/// A code revision as it was uploaded.
#[utoipa::path(get, path = "/v1/designs/{design}/code/{version}", tag = "designs",
    params(("design" = DesignId, Path), ("version" = u32, Path, description = "Counts up from 1")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn code(
    State(api): State<Api>,
    OfOwner((design, version)): OfOwner<(DesignId, u32)>,
) -> Result<Response, Failure> {
    let record = api.controller.run(move |controller| controller.code(&design, Some(version))).await?;
    file(&api.controller.artifacts.code_path(&record.sha256)).await
}

/// Deletes a code revision. Its number is not given again; jobs that run it keep it.
#[utoipa::path(delete, path = "/v1/designs/{design}/code/{version}", tag = "designs",
    params(("design" = DesignId, Path), ("version" = u32, Path, description = "Counts up from 1")),
    responses((status = 204)))]
pub(crate) async fn delete_code(
    State(api): State<Api>,
    OfOwner((design, version)): OfOwner<(DesignId, u32)>,
) -> Result<StatusCode, Failure> {
    api.controller.run(move |controller| controller.delete_code(&design, version)).await?;
    Ok(StatusCode::NO_CONTENT)
}
