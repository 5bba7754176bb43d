//! The OpenAPI document: made of the handlers' annotations, so that it cannot tell of a path that there is not.

use axum::Json;
use axum::response::IntoResponse;
use flame_api::Problem;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

use super::reply::PROBLEM;

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
    let scheme = scheme.description(Some("The admin's token, or, below /v1/agent/, the one of an agent's session"));
    if let Some(components) = &mut document.components {
        components.add_security_scheme(BEARER, SecurityScheme::Http(scheme.build()));
    }
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            operation.responses.responses.insert("default".to_owned(), RefOr::T(refusal()));
            // What is open says so by an empty list.
            if operation.security.is_none() {
                operation.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().filter_map(Option::as_mut)
}

fn refusal() -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description("It was refused, or failed").content(PROBLEM, content).build()
}

/// Serves the document.
pub(super) fn serve(document: &utoipa::openapi::OpenApi) -> impl IntoResponse + Clone + use<> {
    Json(serde_json::to_value(document).unwrap_or_default())
}
