//! Who asks: the admin's token opens everything but the agents' own paths, an agent's session token those alone.

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use flame_api::{AgentId, Code, Problem};

use super::Api;
use super::reply::Failure;
use crate::crypto;

/// The agent whose token came with the request.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) AgentId);

enum Who {
    Admin,
    Agent(AgentId),
}

/// Lets the admin pass.
pub(crate) async fn admin(State(api): State<Api>, request: Request, next: Next) -> Result<Response, Failure> {
    match who(&api, &request)? {
        Who::Admin => Ok(next.run(request).await),
        Who::Agent(agent) => {
            let message = format!("this is the session token of agent {agent}, which opens /v1/agent/ alone");
            Err(Failure(Problem::new(Code::Forbidden, message)))
        }
    }
}

/// Lets agents pass, and tells the handler which.
pub(crate) async fn agent(State(api): State<Api>, mut request: Request, next: Next) -> Result<Response, Failure> {
    match who(&api, &request)? {
        Who::Agent(agent) => {
            request.extensions_mut().insert(Caller(agent));
            Ok(next.run(request).await)
        }
        Who::Admin => {
            let message = "/v1/agent/ is for agents: their session with the notifier gives them a token";
            Err(Failure(Problem::new(Code::Forbidden, message)))
        }
    }
}

fn who(api: &Api, request: &Request) -> Result<Who, Failure> {
    let header = request.headers().get(AUTHORIZATION).ok_or_else(|| {
        unauthenticated(
            "a token is needed",
            "send `Authorization: Bearer TOKEN`; flamectl takes it from FLAME_TOKEN or its configuration",
        )
    })?;
    let token = header.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let token = token
        .ok_or_else(|| unauthenticated("the authorization is no bearer token", "send `Authorization: Bearer TOKEN`"))?;
    if crypto::same(&crypto::sha256_hex(token.as_bytes()), &api.admin_token) {
        return Ok(Who::Admin);
    }
    match api.controller.sessions.agent_of(token) {
        Some(agent) => Ok(Who::Agent(agent)),
        None => Err(unauthenticated(
            "the token does not hold here",
            "the server wrote its token into the file `token` of its home folder; an agent's ends with its session",
        )),
    }
}

fn unauthenticated(message: &str, hint: &str) -> Failure {
    Failure(Problem::new(Code::Unauthenticated, message).hint(hint))
}
