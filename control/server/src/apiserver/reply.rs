//! Answers and inputs: JSON both ways, problems for everything else.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flame_api::{Code, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::internal;

/// Media type of problem bodies (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// An answer that is JSON.
pub(crate) struct Reply<T> {
    status: StatusCode,
    body: T,
}

impl<T> Reply<T> {
    pub(crate) fn ok(body: T) -> Self {
        Self { status: StatusCode::OK, body }
    }

    pub(crate) fn created(body: T) -> Self {
        Self { status: StatusCode::CREATED, body }
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.body) {
            Ok(body) => (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Failure(internal(&error)).into_response(),
        }
    }
}

/// An answer that says what is wrong.
pub(crate) struct Failure(pub(crate) Problem);

impl Failure {
    /// An answer whose status is not the code's own.
    pub(crate) fn with_status(problem: Problem, status: StatusCode) -> Response {
        let mut response = Self(problem).into_response();
        *response.status_mut() = status;
        response
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A problem is made of texts: it always serialises.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// What a handler returns.
pub(crate) type Answer<T> = Result<Reply<T>, Failure>;

fn invalid(message: String) -> Problem {
    Problem::new(Code::InvalidRequest, message)
}

/// Parts of the path, checked.
pub(crate) struct InPath<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value)).map_err(|error| Failure(invalid(error.body_text())))
    }
}

/// The query, checked.
pub(crate) struct InQuery<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|error| Failure(invalid(error.body_text())))
    }
}

/// A body of at most `limit` bytes.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        // The limit's own error type is not re-exported by axum; its text is its name.
        if cause.to_string().contains("length limit") {
            Problem::new(Code::TooLarge, format!("the body has more than {limit} bytes"))
        } else {
            invalid(format!("the body did not come whole: {cause}"))
        }
    })
}

/// A body that is text.
pub(crate) async fn read_text(body: Body, limit: usize) -> Result<String, Problem> {
    let bytes = read(body, limit).await?;
    String::from_utf8(bytes.into()).map_err(|_| invalid("the body is not UTF-8 text".into()))
}

/// A body that is JSON.
pub(crate) async fn read_json<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Problem> {
    let bytes = read(body, limit).await?;
    serde_json::from_slice(&bytes).map_err(|error| invalid(format!("the body is not what is asked for: {error}")))
}

/// A file as the answer.
pub(crate) async fn file(path: &std::path::Path) -> Result<Response, Failure> {
    let open = async {
        let file = tokio::fs::File::open(path).await?;
        let size = file.metadata().await?.len();
        std::io::Result::Ok((file, size))
    };
    let (file, size) = open.await.map_err(|error| internal(&format!("{}: {error}", path.display())))?;
    let body = Body::from_stream(tokio_util::io::ReaderStream::with_capacity(file, 256 << 10));
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    Ok((headers, body).into_response())
}
