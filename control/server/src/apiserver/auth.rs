//! Who asks, and for whose things: a token of the role admin opens everything but the agents' own paths, one of the role
//! user what is theirs, and an agent's session token the agents' paths alone.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::RequestExt;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flame_api::{AgentId, Code, Dataset, DatasetId, DesignId, JobId, Problem, Role, Timestamp, TokenId, UserName};

use super::Api;
use super::audit::Change;
use super::limits::{network, seconds};
use super::reply::{Failure, InPath};
use crate::crypto;
use crate::listener::Peer;
use crate::store::records::DesignName;

/// Longest answer in which the id of what was made is looked for.
const MADE: usize = 64 << 10;
/// Where agents report.
const REPORT: &str = "/v1/agent/report";

/// The agent whose token came with the request.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) AgentId);

/// Who asks, and in whose name.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// Whose token it is.
    pub(crate) user: UserName,
    role: Role,
    token: Option<TokenId>,
    /// Whose designs, data sets and jobs the request is about: the user's own, or whom an admin named by `?owner=`.
    pub(crate) owner: UserName,
    named: bool,
}

impl Access {
    /// Whether everything of everybody is open.
    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whose things a list shows: those of one owner, or everybody's.
    pub(crate) fn sees(&self) -> Option<&UserName> {
        if self.is_admin() && !self.named { None } else { Some(&self.owner) }
    }

    /// Whether what that user owns may be seen and changed.
    pub(crate) fn may(&self, owner: &UserName) -> bool {
        self.is_admin() || self.user == *owner
    }

    /// Lets admins pass.
    pub(crate) fn admin(&self, what: &str) -> Result<(), Failure> {
        if self.is_admin() {
            return Ok(());
        }
        let problem =
            Problem::new(Code::Forbidden, format!("{what} is for admins, and this is a token of the role user"));
        Err(problem.hint("an admin makes tokens: `flamectl create token USER --role admin`").into())
    }
}

/// A design in the path, with the owner that the request is about in its name.
pub(crate) struct OfOwner<T: Named>(pub(crate) T::Name);

/// What a path says of a design.
pub(crate) trait Named: serde::de::DeserializeOwned + Send {
    /// The same with the owner.
    type Name;

    fn name(self, owner: UserName) -> Self::Name;
}

impl Named for DesignId {
    type Name = DesignName;

    fn name(self, owner: UserName) -> DesignName {
        DesignName::new(owner, self)
    }
}

impl Named for (DesignId, u32) {
    type Name = (DesignName, u32);

    fn name(self, owner: UserName) -> (DesignName, u32) {
        (self.0.name(owner), self.1)
    }
}

impl<T: Named, S: Send + Sync> FromRequestParts<S> for OfOwner<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let InPath(named): InPath<T> = InPath::from_request_parts(parts, state).await?;
        // The routes of designs are behind `person`, which puts it there.
        let access = parts.extensions.get::<Access>();
        let access = access.ok_or_else(|| crate::failure::internal(&"a design's route is open to anybody"))?;
        Ok(Self(named.name(access.owner.clone())))
    }
}

/// What a token turned out to be.
enum Who {
    Person { user: UserName, role: Role, token: Option<TokenId> },
    Agent(AgentId),
}

/// Where a request comes from.
pub(super) fn address(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(peer))| peer.ip().to_canonical())
}

/// Holds addresses to their rate: before anything else is looked at.
pub(crate) async fn rate(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Some(address) = address(&request)
        && let Err(wait) = api.limits.address(address)
    {
        api.metrics.throttled("address");
        return too_many("too many requests come from this address", seconds(wait));
    }
    next.run(request).await
}

/// Lets admins and users pass, each to what is theirs, and writes down what they change.
pub(crate) async fn person(State(api): State<Api>, mut request: Request, next: Next) -> Result<Response, Response> {
    let (user, role, token) = match who(&api, &request)? {
        Who::Person { user, role, token } => (user, role, token),
        Who::Agent(agent) => {
            let message = format!("this is the session token of agent {agent}, which opens /v1/agent/ alone");
            return Err(Failure(Problem::new(Code::Forbidden, message)).into_response());
        }
    };
    let named = take_owner(request.uri_mut()).map_err(IntoResponse::into_response)?;
    let mut access = Access { owner: user.clone(), user, role, token, named: named.is_some() };
    if let Some(owner) = named {
        if !access.may(&owner) {
            let problem = Problem::new(Code::Forbidden, format!("what {owner} owns is not open to {}", access.user));
            return Err(Failure(problem).into_response());
        }
        access.owner = owner;
    }
    let params: Result<RawPathParams, _> = request.extract_parts().await;
    let params = params.map_err(IntoResponse::into_response)?;
    check_path(&api, &mut access, &params, !changes(request.method()))
        .await
        .map_err(|problem| Failure(problem).into_response())?;
    let is_change = changes(request.method());
    let change = is_change.then(|| change(&request, access.user.to_string(), access.token.clone()));
    request.extensions_mut().insert(access);
    let response = next.run(request).await;
    Ok(noted(&api, change, response).await)
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

fn change(request: &Request, who: String, token: Option<TokenId>) -> Change {
    let what = format!("{} {}", request.method(), request.uri().path());
    Change { who, token, address: address(request), what, made: String::new(), status: 0 }
}

/// What was changed, and what somebody was not allowed to change, is written down before it is answered.
async fn noted(api: &Api, change: Option<Change>, response: Response) -> Response {
    match change {
        Some(change) if response.status().is_success() || response.status() == StatusCode::FORBIDDEN => {
            note(api, change, response).await
        }
        _ => response,
    }
}

/// Lets agents pass, and tells the handler which.
pub(crate) async fn agent(State(api): State<Api>, mut request: Request, next: Next) -> Result<Response, Response> {
    match who(&api, &request)? {
        Who::Agent(agent) => {
            // Reports are what a task says, not what somebody changes.
            let is_change = changes(request.method()) && request.uri().path() != REPORT;
            let change = is_change.then(|| change(&request, format!("agent:{agent}"), None));
            request.extensions_mut().insert(Caller(agent));
            let response = next.run(request).await;
            Ok(noted(&api, change, response).await)
        }
        Who::Person { .. } => {
            let message = "/v1/agent/ is for agents: their session with the notifier gives them a token";
            Err(Failure(Problem::new(Code::Forbidden, message)).into_response())
        }
    }
}

/// Whether the caller may see what the path names. What is not theirs is not there.
async fn check_path(api: &Api, access: &mut Access, params: &RawPathParams, reads: bool) -> Result<(), Problem> {
    for (name, value) in params {
        match name {
            // What does not parse is refused where it is used.
            "dataset" => {
                let Ok(dataset) = value.parse::<DatasetId>() else { continue };
                let known = api.controller.run(move |controller| controller.dataset(&dataset)).await;
                let may = |dataset: &Dataset| access.may(&dataset.owner) || (reads && dataset.is_public);
                if let Ok(dataset) = known.as_ref()
                    && !may(dataset)
                {
                    return Err(crate::controller::unknown_dataset(&dataset.id));
                }
            }
            "agent" if !access.is_admin() => {
                let Ok(agent) = value.parse::<AgentId>() else { continue };
                let id = agent.clone();
                let owner = api.controller.run(move |controller| controller.agent_owner(&id)).await?;
                if !access.may(&owner) {
                    return Err(crate::controller::unknown_agent(&agent));
                }
            }
            "compute" if !reads => access.admin("a change of computes").map_err(|failure| failure.0)?,
            "job" => {
                let Ok(job) = value.parse::<JobId>() else { continue };
                if access.is_admin() {
                    continue;
                }
                let id = job.clone();
                let owner = api.controller.run(move |controller| controller.job_owner(&id)).await?;
                if !access.may(&owner) {
                    return Err(crate::controller::unknown_job(&job));
                }
            }
            // An admin who names no owner means their own, or the only one that has the name.
            "design" if access.is_admin() && !access.named => {
                let Ok(design) = value.parse::<DesignId>() else { continue };
                let name = DesignName::new(access.owner.clone(), design);
                access.owner = api.controller.run(move |controller| controller.owner_or_only(&name)).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes `owner=…` out of the query, so that handlers see their own parameters alone.
fn take_owner(uri: &mut Uri) -> Result<Option<UserName>, Failure> {
    let Some(query) = uri.query() else { return Ok(None) };
    let mut owner = None;
    let mut rest: Vec<&str> = Vec::new();
    for part in query.split('&') {
        match part.strip_prefix("owner=") {
            Some(text) => owner = Some(text.parse::<UserName>()),
            None => rest.push(part),
        }
    }
    let Some(owner) = owner else { return Ok(None) };
    let owner = owner.map_err(|error| Failure(Problem::new(Code::InvalidRequest, error.to_string())))?;
    let path = uri.path();
    let without = if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) };
    if let Ok(without) = without.parse() {
        *uri = without;
    }
    Ok(Some(owner))
}

/// Writes a change down, with the id or version of what it made, where the answer says so.
async fn note(api: &Api, mut change: Change, response: Response) -> Response {
    change.status = response.status().as_u16();
    let (parts, mut body) = response.into_parts();
    if parts.status == StatusCode::CREATED {
        // Such an answer is short and in memory.
        match axum::body::to_bytes(body, MADE).await {
            Ok(bytes) => {
                change.made = made(&bytes);
                body = Body::from(bytes);
            }
            Err(error) => return Failure(crate::failure::internal(&error)).into_response(),
        }
    }
    let audit = Arc::clone(&api.audit);
    let noted = api.controller.run(move |_| audit.note(change).map_err(crate::failure::store)).await;
    if let Err(problem) = noted {
        tracing::error!("a change is not in the audit log: {problem}");
    }
    Response::from_parts(parts, body)
}

fn made(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return String::new() };
    let text = |field: &str| match value.get(field) {
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(serde_json::Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    text("id").or_else(|| text("version")).unwrap_or_default()
}

/// Whose token came. A token that is right opens the server whatever else its address does; wrong ones are slowed down.
#[expect(clippy::result_large_err, reason = "a refusal is an answer, with its headers, and goes straight out")]
fn who(api: &Api, request: &Request) -> Result<Who, Response> {
    let token = bearer(request.headers()).map_err(IntoResponse::into_response)?;
    let hash = crypto::sha256(token.as_bytes());
    let who = if crypto::same(&hex::encode(hash), &api.admin_token) {
        Some(Who::Person { user: UserName::default(), role: Role::Admin, token: None })
    } else if let Some(token) = api.tokens.find(&hash, Timestamp::now()) {
        Some(Who::Person { user: token.user, role: token.role, token: Some(token.id) })
    } else {
        api.controller.sessions.agent_of(token).map(Who::Agent)
    };
    if let Some(who) = who {
        return match api.limits.token(&hash) {
            Ok(()) => Ok(who),
            Err(wait) => {
                api.metrics.throttled("token");
                Err(too_many("too many requests come with this token", seconds(wait)))
            }
        };
    }
    if let Some(address) = address(request).map(network) {
        let now = Instant::now();
        if let Err(wait) = api.limits.guesses.may(&address, now) {
            api.metrics.throttled("guesses");
            return Err(too_many("too many wrong tokens came from this address", seconds(wait)));
        }
        api.limits.guesses.wrong(address, now);
    }
    Err(unauthenticated(
        "the token does not hold here",
        "the server wrote its token into the file `token` of its home folder; others are revoked or at their end, and an \
         agent's ends with its session",
    )
    .into_response())
}

/// Whether an admin's token came, for paths that are open to some without one.
pub(super) fn has_admin_token(api: &Api, headers: &HeaderMap) -> bool {
    let Ok(token) = bearer(headers) else { return false };
    let hash = crypto::sha256(token.as_bytes());
    crypto::same(&hex::encode(hash), &api.admin_token)
        || api.tokens.find(&hash, Timestamp::now()).is_some_and(|token| token.role == Role::Admin)
}

fn bearer(headers: &HeaderMap) -> Result<&str, Failure> {
    let header = headers.get(AUTHORIZATION).ok_or_else(|| {
        unauthenticated(
            "a token is needed",
            "send `Authorization: Bearer TOKEN`; flamectl takes it from FLAME_TOKEN or its configuration",
        )
    })?;
    let token = header.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token.ok_or_else(|| unauthenticated("the authorization is no bearer token", "send `Authorization: Bearer TOKEN`"))
}

fn unauthenticated(message: &str, hint: &str) -> Failure {
    Failure(Problem::new(Code::Unauthenticated, message).hint(hint))
}

fn too_many(message: &str, seconds: u64) -> Response {
    let problem = Problem::new(Code::TooManyRequests, message).hint(format!("try again in {seconds} s"));
    let mut response = Failure(problem).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_taken_out_of_the_query() {
        let take = |text: &str| {
            let mut uri: Uri = text.parse().unwrap();
            let owner = take_owner(&mut uri).map_err(|failure| failure.0.to_string());
            (owner.map(|owner| owner.map(|owner| owner.to_string())), uri.to_string())
        };
        assert_eq!(take("/v1/jobs"), (Ok(None), "/v1/jobs".into()));
        assert_eq!(take("/v1/jobs?file=a&owner=bob&x=1"), (Ok(Some("bob".into())), "/v1/jobs?file=a&x=1".into()));
        assert_eq!(take("/v1/jobs?owner=bob"), (Ok(Some("bob".into())), "/v1/jobs".into()));
        assert!(take("/v1/jobs?owner=../x").0.is_err());
    }

    #[test]
    fn what_was_made_is_read_from_the_answer() {
        assert_eq!(made(br#"{"id": "abc", "version": 3}"#), "abc");
        assert_eq!(made(br#"{"version": 3}"#), "3");
        assert_eq!(made(b"no json"), "");
    }
}
