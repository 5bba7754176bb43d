//! What the REST edge refuses, and how.

use flame_api::{Client, Code, CreateDesign, Problem, Secret};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

use super::agent::Agent;
use super::world::{SCHEMA, World, component};

pub(crate) async fn ask(
    world: &World,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> (StatusCode, String) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = http.request(method, format!("http://{}{path}", world.server.api_addr())).body(body.to_owned());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    let (status, kind) = (response.status(), response.headers().get("content-type").cloned());
    if !status.is_success() {
        assert_eq!(kind.unwrap(), "application/problem+json", "{path}");
    }
    (status, response.text().await.unwrap())
}

/// A request of the admin with headers of its own.
pub(crate) async fn send(
    world: &World,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> (StatusCode, HeaderMap, String) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.request(method, format!("http://{}{path}", world.server.api_addr())).body(body.to_owned());
    let request = request.bearer_auth(world.server.token().expose());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    (response.status(), response.headers().clone(), response.text().await.unwrap())
}

#[tokio::test]
async fn every_refusal_is_a_problem_body() {
    let world = World::start().await;
    let token = Some(world.server.token().expose());
    for (method, path, token, body, status, code) in [
        (Method::GET, "/v1/jobs", None, "", 401, Code::Unauthenticated),
        (Method::GET, "/v1/jobs", Some("wrong"), "", 401, Code::Unauthenticated),
        (Method::POST, "/v1/agent/grant", token, "", 403, Code::Forbidden),
        (Method::GET, "/v1/nothing", token, "", 404, Code::NotFound),
        (Method::GET, "/", None, "", 404, Code::NotFound),
        (Method::PATCH, "/v1/jobs", token, "", 405, Code::InvalidRequest),
        (Method::GET, "/v1/jobs/xyz", token, "", 400, Code::InvalidRequest),
        (Method::GET, "/v1/jobs/111111111111111111111111", token, "", 404, Code::NotFound),
        (Method::GET, "/v1/designs/d/schemas/one", token, "", 400, Code::InvalidRequest),
        (Method::POST, "/v1/designs", token, "{", 400, Code::InvalidRequest),
        (Method::POST, "/v1/designs", token, r#"{"id": "a", "colour": 1}"#, 400, Code::InvalidRequest),
        (Method::POST, "/v1/designs", token, r#"{"id": "../x"}"#, 400, Code::InvalidRequest),
        (Method::POST, "/v1/jobs?colour=1", token, "{}", 400, Code::InvalidRequest),
        (Method::POST, "/v1/jobs", token, "{}", 422, Code::Refused),
        (Method::GET, "/v1/jobs/111111111111111111111111/watch", token, "", 404, Code::NotFound),
    ] {
        let (got, text) = ask(&world, method.clone(), path, token, body).await;
        let problem: Problem = serde_json::from_str(&text).unwrap();
        assert_eq!((got.as_u16(), problem.code), (status, code), "{method} {path}: {problem}");
    }
    let (status, text) = ask(&world, Method::GET, "/v1/health", None, "").await;
    assert!(status.is_success() && text.contains("\"status\":\"ok\""), "{text}");
    let large = "x".repeat(5 << 20);
    let (status, _) = ask(&world, Method::POST, "/v1/jobs", token, &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn an_agents_token_opens_its_own_paths_alone() {
    let world = World::start().await;
    let job = world.job(1, "").await;
    let (_, users) = world.tasks(&job).await;
    let agent = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    assert_eq!(agent.client.jobs().await.unwrap_err().problem().unwrap().code, Code::Forbidden);
    let early = agent.client.grant().await.unwrap_err();
    let early = early.problem().unwrap();
    assert_eq!(early.code, Code::WrongState);
    assert!(early.hint.contains("flamectl start job"), "{early}");
    let unknown = Agent::connect(&world, &"0".repeat(40).parse().unwrap(), "key").await.err().unwrap();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    assert!(unknown.message().contains("flamectl get tasks JOB"), "{unknown}");
    let stranger = Agent::connect(&world, &world.tasks(&job).await.0.agent, "key").await.err().unwrap();
    assert_eq!(stranger.code(), tonic::Code::Unauthenticated, "a system task is nobody else's");
}

#[tokio::test]
async fn a_job_needs_a_design_with_schema_and_code() {
    let world = World::start().await;
    let client = &world.client;
    let job = r#"{"designId": "mine", "backend": "mqtt", "dataSpec": {"fromUser": {"default": 1}}}"#.to_owned();
    let refusal = async |client: &Client| {
        client.create_job("job.json", job.clone()).await.unwrap_err().problem().unwrap().clone()
    };
    let problem = refusal(client).await;
    assert_eq!(
        problem.to_string(),
        "design mine not found\nhint: create it with `flamectl create design mine`; `flamectl get designs` lists those that there are"
    );

    let design = CreateDesign { id: "mine".parse().unwrap(), description: "d".into() };
    client.create_design(&design).await.unwrap();
    let twice = client.create_design(&design).await.unwrap_err();
    assert_eq!(twice.problem().unwrap().code, Code::AlreadyExists);
    assert!(refusal(client).await.to_string().contains("flamectl create schema"));
    let bad = client.create_schema(&design.id, "bad.json", "{\"name\": 1}".into()).await.unwrap_err();
    assert!(bad.to_string().contains("bad.json"), "{bad}");
    assert_eq!(client.create_schema(&design.id, "s.json", SCHEMA.into()).await.unwrap().version, 1);
    assert_eq!(client.create_schema(&design.id, "s.json", SCHEMA.into()).await.unwrap().version, 2);
    assert!(refusal(client).await.to_string().contains("flamectl create code"));
    client.create_code(&design.id, component(&["trainer"])).await.unwrap();
    let problem = refusal(client).await;
    assert_eq!(problem.code, Code::Refused);
    assert!(problem.to_string().contains("no code found for role aggregator"), "{problem}");

    let code = component(&["trainer", "aggregator"]);
    assert_eq!(client.create_code(&design.id, code.clone()).await.unwrap().version, 2);
    assert_eq!(client.code(&design.id, 2).await.unwrap(), code);
    assert_eq!(&client.schema(&design.id, 2).await.unwrap()[..], SCHEMA.as_bytes());
    let detail = client.design(&design.id).await.unwrap();
    assert_eq!((detail.schemas.len(), detail.code[1].roles.len()), (2, 2));
    client.create_job("job.json", job.clone()).await.unwrap();
    let wrong = Client::new(client.base(), Some(Secret::new("wrong"))).unwrap();
    assert_eq!(wrong.jobs().await.unwrap_err().problem().unwrap().code, Code::Unauthenticated);
}
