//! Data sets.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use flame_api::{CreateDataset, Dataset, DatasetId, Page, UpdateDataset};

use super::auth::Access;
use super::reply::{Again, Answer, Failure, IfMatch, InPath, InQuery, Listing, Reply, json, read, read_json};
use super::{Api, MAX_TEXT};

/// Makes data known that the platform can reach, for jobs that name it in `fromSystem`.
#[utoipa::path(post, path = "/v1/datasets", tag = "data", request_body = CreateDataset,
    params(("idempotency-key" = Option<String>, Header, description = "Makes it safe to ask again")),
    responses((status = 201, body = Dataset)))]
pub(crate) async fn create(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    again: Again,
    body: Body,
) -> Answer<Dataset> {
    let bytes = read(body, MAX_TEXT).await?;
    let (create, once): (CreateDataset, _) = (json(&bytes)?, again.of(&bytes));
    let created =
        api.controller.run(move |controller| controller.create_dataset(access.owner, create, once.as_ref())).await?;
    Ok(Reply::created(created))
}

/// All data sets, oldest first.
#[utoipa::path(get, path = "/v1/datasets", tag = "data", params(Listing),
    responses((status = 200, body = Page<Dataset>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    InQuery(listing): InQuery<Listing>,
) -> Answer<Page<Dataset>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.datasets(access.sees(), &paging)).await?))
}

/// One data set.
#[utoipa::path(get, path = "/v1/datasets/{dataset}", tag = "data", params(("dataset" = DatasetId, Path)),
    responses((status = 200, body = Dataset)))]
pub(crate) async fn one(State(api): State<Api>, InPath(dataset): InPath<DatasetId>) -> Answer<Dataset> {
    Ok(Reply::tagged(api.controller.run(move |controller| controller.dataset(&dataset)).await?))
}

/// Changes what a data set says of itself.
#[utoipa::path(put, path = "/v1/datasets/{dataset}", tag = "data", request_body = UpdateDataset,
    params(("dataset" = DatasetId, Path), ("if-match" = Option<String>, Header, description = "Its ETag when it was read")),
    responses((status = 200, body = Dataset)))]
pub(crate) async fn update(
    State(api): State<Api>,
    InPath(dataset): InPath<DatasetId>,
    if_match: IfMatch,
    body: Body,
) -> Answer<Dataset> {
    let update: UpdateDataset = read_json(body, MAX_TEXT).await?;
    let check = move |current: &Dataset| if_match.check(current);
    let updated = api.controller.run(move |controller| controller.update_dataset(&dataset, update, check)).await?;
    Ok(Reply::tagged(updated))
}

/// Forgets a data set. The data stays where it is, and jobs that name it go on.
#[utoipa::path(delete, path = "/v1/datasets/{dataset}", tag = "data",
    params(("dataset" = DatasetId, Path), ("if-match" = Option<String>, Header, description = "Its ETag when it was read")),
    responses((status = 204)))]
pub(crate) async fn delete(
    State(api): State<Api>,
    InPath(dataset): InPath<DatasetId>,
    if_match: IfMatch,
) -> Result<StatusCode, Failure> {
    let check = move |current: &Dataset| if_match.check(current);
    api.controller.run(move |controller| controller.delete_dataset(&dataset, check)).await?;
    Ok(StatusCode::NO_CONTENT)
}
