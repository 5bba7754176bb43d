//! The REST client. Every method is one request; nothing is retried here, because only the caller knows what may be.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ETAG, IF_MATCH};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::{Page, Problem, Secret};

mod agents;
mod data;
mod designs;
mod events;
mod jobs;

use crate::Trust;

mod tokens;

/// Time to reach a server before it counts as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a request is given up. The watch stream sends a comment at least every 10 s.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Names a creation, so that it can be asked for again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Items that are asked for at a time: the most that the server gives.
const PAGE: &str = "1000";

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("cannot reach the apiserver at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// The server said what is wrong.
    #[error("{0}")]
    Refused(#[from] Problem),
    /// The server answered with something that is not our protocol.
    #[error("{url} answered in a way that a Flame apiserver does not: {reason}")]
    Protocol {
        /// Where.
        url: String,
        /// What was odd.
        reason: String,
    },
}

impl ClientError {
    /// The problem that the server reported, if it was the server.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}

/// A connection to an apiserver with a bearer token. Cloning shares the connection pool.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
    /// Sent with every creation.
    key: Option<String>,
    /// Sent with every change.
    tag: Option<String>,
}

impl Client {
    /// A client for the apiserver at `base`, such as `http://127.0.0.1:10100`. Over TLS it trusts whom the machine trusts.
    pub fn new(base: &str, token: Option<Secret>) -> Result<Self, ClientError> {
        Self::trusting(base, token, &Trust::System)
    }

    /// The same with whom to trust over TLS.
    pub fn trusting(base: &str, token: Option<Secret>, trust: &Trust) -> Result<Self, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(ClientError::Unreachable {
                reason: "an address begins with http:// or https://, such as http://127.0.0.1:10100".into(),
                url: base,
            });
        }
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .no_proxy()
            .tcp_nodelay(true);
        let http = trust
            .apply(builder)
            .and_then(reqwest::ClientBuilder::build)
            .map_err(|error| ClientError::Unreachable { url: base.clone(), reason: root_cause(&error) })?;
        Ok(Self { http, base, token, key: None, tag: None })
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(&self, token: Secret) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// The same client with an `Idempotency-Key` on its creations: what is asked for again under one key is made once.
    #[must_use]
    pub fn with_idempotency_key(&self, key: String) -> Self {
        Self { key: Some(key), ..self.clone() }
    }

    /// The same client with an `If-Match` on its changes: they are refused where the entity is another one by now. Without
    /// a tag they hold for whatever is there.
    #[must_use]
    pub fn with_tag(&self, tag: Option<String>) -> Self {
        Self { tag, ..self.clone() }
    }

    /// The address that the client was made for.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether the server answers and is well.
    pub async fn health(&self) -> Result<(), ClientError> {
        self.send(self.request(Method::GET, "/v1/health")).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let (creates, changes) = (method == Method::POST, method == Method::PUT || method == Method::DELETE);
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = self.key.as_ref().filter(|_| creates) {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(tag) = self.tag.as_ref().filter(|_| changes) {
            request = request.header(IF_MATCH, tag);
        }
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, path)).await
    }

    /// What the entity at a path is now, for [`Client::with_tag`].
    async fn tag_of(&self, path: &str) -> Result<Option<String>, ClientError> {
        let response = self.send(self.request(Method::GET, path)).await?;
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        Ok(tag.map(str::to_owned))
    }

    /// A whole list, page by page.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let request = self.request(Method::GET, path).query(&[("limit", PAGE)]);
            let request = match &cursor {
                Some(cursor) => request.query(&[("cursor", cursor)]),
                None => request,
            };
            let page: Page<T> = self.json(request).await?;
            // A server whose cursor leads nowhere new would keep us for ever.
            let next = page.next.filter(|next| Some(next) != cursor.as_ref() && !page.items.is_empty());
            all.extend(page.items);
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let url = response.url().to_string();
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Protocol { url, reason: error.to_string() })
    }

    async fn bytes(&self, request: RequestBuilder) -> Result<Bytes, ClientError> {
        let response = self.send(request).await?;
        response.bytes().await.map_err(|error| self.unreachable(&error))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, url) = (response.status(), response.url().to_string());
        let body = response.bytes().await.unwrap_or_default();
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.into(),
            Err(_) => ClientError::Protocol { url, reason: unexpected(status) },
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), reason: root_cause(error) }
    }
}

fn unexpected(status: StatusCode) -> String {
    format!("HTTP status {status} without a problem body; is something else listening there?")
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
