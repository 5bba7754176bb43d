//! The OpenAPI document: made of the handlers' annotations, so that it cannot tell of a path that there is not.

use axum::Json;
use axum::response::IntoResponse;
use flame_api::Problem;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

use super::reply::PROBLEM;

/// What a success without a description of its own says.
const DONE: &str = "It was done";
/// Name of the security scheme.
const BEARER: &str = "bearer";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Flame",
        description = "Federated learning in WebAssembly sandboxes: the control plane's REST edge.\n\n\
            Every answer that is not a success is a problem body (RFC 9457) with a stable `code`. Lists come in pages: \
            `next` of one is the `cursor` of the following. Creations take an `Idempotency-Key`, changes an `If-Match`."
    ),
    components(schemas(Problem)),
    tags(
        (name = "designs", description = "Designs, and the revisions of their schemas and code"),
        (name = "data", description = "Data sets that the platform can reach, and the computes that work on them"),
        (name = "jobs", description = "Jobs, their tasks and what they leave"),
        (name = "agents", description = "What serves tasks. The paths below /v1/agent/ are for agents themselves"),
        (name = "server", description = "The server itself")
    )
)]
struct Document;

/// What every document begins with; the routes add themselves.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Says once what holds for every operation: how it refuses, and who may ask.
pub(super) fn complete(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let scheme =
        scheme.description(Some("A token of a user or an admin, or, below /v1/agent/, the one of an agent's session"));
    if let Some(components) = &mut document.components {
        components.add_security_scheme(BEARER, SecurityScheme::Http(scheme.build()));
    }
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    DONE.clone_into(&mut response.description);
                }
            }
            operation.responses.responses.insert("default".to_owned(), RefOr::T(refusal()));
            // What is open says so by an empty list.
            if operation.security.is_none() {
                operation.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [("get", &mut item.get), ("post", &mut item.post), ("put", &mut item.put), ("delete", &mut item.delete)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// A name that no other operation has: `get_jobs_job_tasks`.
fn operation_id(method: &str, path: &str) -> String {
    let parts = path.trim_start_matches("/v1").split('/').filter(|part| !part.is_empty());
    let parts = parts.map(|part| part.trim_matches(['{', '}']).replace(['.', '-'], "_"));
    parts.fold(method.to_owned(), |id, part| format!("{id}_{part}"))
}

fn refusal() -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description("It was refused, or failed").content(PROBLEM, content).build()
}

/// Serves the document.
pub(super) fn serve(document: &utoipa::openapi::OpenApi) -> impl IntoResponse + Clone + use<> {
    Json(serde_json::to_value(document).unwrap_or_default())
}
