//! Answers and inputs: JSON both ways, problems for everything else.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flame_api::{Code, Problem};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::controller::{Once, Paging};
use crate::crypto;
use crate::failure::internal;

/// Media type of problem bodies (RFC 9457).
pub(crate) const PROBLEM: &str = "application/problem+json";
/// The header that makes a creation one that may be asked for again.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// An answer that is JSON.
pub(crate) struct Reply<T> {
    status: StatusCode,
    body: T,
    /// Whether it says what it is by an `ETag`.
    tagged: bool,
}

impl<T> Reply<T> {
    pub(crate) fn ok(body: T) -> Self {
        Self { status: StatusCode::OK, body, tagged: false }
    }

    pub(crate) fn created(body: T) -> Self {
        Self { status: StatusCode::CREATED, body, tagged: false }
    }

    /// One entity, with the tag that a later change may name by `If-Match`.
    pub(crate) fn tagged(body: T) -> Self {
        Self { status: StatusCode::OK, body, tagged: true }
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let body = match serde_json::to_vec(&self.body) {
            Ok(body) => body,
            Err(error) => return Failure(internal(&error)).into_response(),
        };
        let tag = self.tagged.then(|| etag(&body));
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(tag) = tag.and_then(|tag| tag.parse().ok()) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
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

/// What an entity is, as a strong entity tag: a digest of its JSON.
fn etag(body: &[u8]) -> String {
    let digest = crypto::sha256_hex(body);
    format!("\"{}\"", digest.get(..32).unwrap_or_default())
}

/// The `If-Match` of a request: which entity it means to change.
#[derive(Debug, Clone)]
pub(crate) struct IfMatch(Option<String>);

impl IfMatch {
    /// Refuses where the entity that there is, is not the one that was meant.
    pub(crate) fn check<T: Serialize>(&self, current: &T) -> Result<(), Problem> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        let now = etag(&serde_json::to_vec(current).map_err(|error| internal(&error))?);
        if wanted.split(',').any(|tag| tag.trim() == "*" || tag.trim() == now) {
            return Ok(());
        }
        Err(Problem::new(Code::Changed, "it was changed since it was read").hint("read it again, and change that"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let value = parts.headers.get(header::IF_MATCH).map(HeaderValue::to_str).transpose();
        let value = value.map_err(|_| Failure(invalid("If-Match: it is no entity tag".into())))?;
        Ok(Self(value.map(str::to_owned)))
    }
}

/// The `Idempotency-Key` of a request, with what else makes it that request.
#[derive(Debug, Clone)]
pub(crate) struct Again {
    who: String,
    path: String,
    key: Option<String>,
}

impl Again {
    /// For the controller: the request with its body.
    pub(crate) fn of(&self, body: &[u8]) -> Option<Once> {
        self.key.as_ref().map(|key| Once::new(&self.who, &self.path, key, body))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Again {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let text =
            |name: &str| parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let key = text(IDEMPOTENCY_KEY);
        let is_good = |key: &String| (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.as_ref().is_some_and(|key| !is_good(key)) {
            return Err(Failure(invalid(format!("{IDEMPOTENCY_KEY}: it has 1 to 255 visible ASCII characters"))));
        }
        let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        // Two callers' keys are two keys.
        Ok(Self { who: text(header::AUTHORIZATION.as_str()).unwrap_or_default(), path, key })
    }
}

/// Which page of a list is asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Items on a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next` of the page before.
    #[param(pattern = "^([0-9a-f]{2})*$", max_length = 1024)]
    cursor: Option<String>,
}

impl Listing {
    pub(crate) fn paging(&self) -> Result<Paging, Problem> {
        Paging::new(self.limit, self.cursor.as_deref())
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

/// Bytes that are text.
pub(crate) fn text(bytes: Bytes) -> Result<String, Problem> {
    String::from_utf8(bytes.into()).map_err(|_| invalid("the body is not UTF-8 text".into()))
}

/// A body that is JSON.
pub(crate) async fn read_json<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Problem> {
    json(&read(body, limit).await?)
}

/// Bytes that are JSON. A field that is missing is another thing than one that nobody knows.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let said = error.to_string();
        let code = if said.starts_with("missing field") { Code::Refused } else { Code::InvalidRequest };
        Problem::new(code, format!("the body is not what is asked for: {said}"))
    })
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
