//! Computes.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use flame_api::{Compute, ComputeId, Page, RegisterCompute};

use super::auth::Access;
use super::reply::{Answer, Failure, InPath, InQuery, Listing, Reply, read_json};
use super::{Api, MAX_TEXT};

/// Registers a place for system tasks. The same key registers it again, which changes nothing; another is refused.
#[utoipa::path(post, path = "/v1/computes", tag = "data", request_body = RegisterCompute,
    responses((status = 201, body = Compute), (status = 200, description = "It was registered before", body = Compute)))]
pub(crate) async fn register(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    body: Body,
) -> Answer<Compute> {
    access.admin("the registration of a compute")?;
    let register: RegisterCompute = read_json(body, MAX_TEXT).await?;
    let (compute, is_new) = api.controller.register_compute(register).await?;
    Ok(if is_new { Reply::created(compute) } else { Reply::ok(compute) })
}

/// All computes, by id.
#[utoipa::path(get, path = "/v1/computes", tag = "data", params(Listing),
    responses((status = 200, body = Page<Compute>)))]
pub(crate) async fn list(State(api): State<Api>, InQuery(listing): InQuery<Listing>) -> Answer<Page<Compute>> {
    let paging = listing.paging()?;
    Ok(Reply::ok(api.controller.run(move |controller| controller.computes(&paging)).await?))
}

/// One compute. Its key is never shown.
#[utoipa::path(get, path = "/v1/computes/{compute}", tag = "data", params(("compute" = ComputeId, Path)),
    responses((status = 200, body = Compute)))]
pub(crate) async fn one(State(api): State<Api>, InPath(compute): InPath<ComputeId>) -> Answer<Compute> {
    Ok(Reply::ok(api.controller.run(move |controller| controller.compute(&compute)).await?))
}

/// Forgets a compute that no data set is bound to.
#[utoipa::path(delete, path = "/v1/computes/{compute}", tag = "data", params(("compute" = ComputeId, Path)),
    responses((status = 204)))]
pub(crate) async fn delete(State(api): State<Api>, InPath(compute): InPath<ComputeId>) -> Result<StatusCode, Failure> {
    api.controller.run(move |controller| controller.delete_compute(&compute)).await?;
    Ok(StatusCode::NO_CONTENT)
}
