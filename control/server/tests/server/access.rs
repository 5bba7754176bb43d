//! Who may do what: tokens, owners, limits, the audit log, metrics, backups.

use flame_api::{Client, Code, CreateToken, JobState, Role, Secret, UserName};
use flame_control::Rates;
use flame_control::store::{MemoryStore, SledStore, Store, Tree, import};
use futures::StreamExt;
use reqwest::StatusCode;

use super::agent::Agent;
use super::world::World;

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

async fn token(world: &World, name: &str, role: Role) -> Client {
    let create = CreateToken { user: user(name), role, description: "a test".into(), expires_in: None };
    world.client.with_token(world.client.create_token(&create).await.unwrap().token)
}

fn code<T>(outcome: Result<T, flame_api::ClientError>) -> Code {
    outcome.err().unwrap().problem().unwrap().code
}

#[tokio::test]
async fn a_token_is_shown_once_and_holds_until_it_is_revoked_also_across_a_restart() {
    let world = World::start().await;
    let create =
        CreateToken { user: user("eve"), role: Role::User, description: "laptop".into(), expires_in: Some(3600) };
    let made = world.client.create_token(&create).await.unwrap();
    assert!(made.token.expose().starts_with("flame_"));
    let listed = world.client.tokens().await.unwrap();
    assert_eq!((listed.len(), &listed[0]), (1, &made.info));
    let stored = world.store.scan(Tree::Tokens, b"").unwrap();
    let stored = String::from_utf8(stored[0].1.clone()).unwrap();
    assert!(!stored.contains(made.token.expose()), "{stored}");

    let world = world.restart().await;
    let eve = world.client.with_token(made.token.clone());
    assert!(eve.jobs().await.unwrap().is_empty());
    world.client.revoke_token(&made.info.id).await.unwrap();
    assert_eq!(code(eve.jobs().await), Code::Unauthenticated);
    assert_eq!(code(world.client.revoke_token(&made.info.id).await), Code::NotFound);
    let world = world.restart().await;
    assert_eq!(code(world.client.with_token(made.token).jobs().await), Code::Unauthenticated);
}

#[tokio::test]
async fn a_users_jobs_are_not_there_for_another_user_and_an_admin_sees_all() {
    let world = World::start().await;
    let (eve, bob) = (token(&world, "eve", Role::User).await, token(&world, "bob", Role::User).await);
    let job = world.job_of(&eve, 1, "").await;
    assert_eq!(eve.jobs().await.unwrap().len(), 1);
    assert!(bob.jobs().await.unwrap().is_empty());
    assert_eq!(code(bob.job(&job).await), Code::NotFound);
    assert_eq!(code(bob.tasks(&job).await), Code::NotFound);
    assert_eq!(code(bob.start(&job).await), Code::NotFound);
    assert_eq!(world.client.job(&job).await.unwrap().state, JobState::Ready);
    assert_eq!(world.client.jobs().await.unwrap().len(), 1);
    let boss = token(&world, "boss", Role::Admin).await;
    assert_eq!(
        boss.stop(&job).await.err().unwrap().problem().unwrap().code,
        Code::WrongState,
        "allowed, and too early"
    );
}

#[tokio::test]
async fn ent_01_a_design_name_is_per_owner() {
    let world = World::start().await;
    let (eve, bob) = (token(&world, "eve", Role::User).await, token(&world, "bob", Role::User).await);
    let design = flame_api::CreateDesign { id: "d".parse().unwrap(), description: String::new() };
    eve.create_design(&design).await.unwrap();
    assert_eq!(code(eve.create_design(&design).await), Code::AlreadyExists);
    bob.create_design(&design).await.unwrap();
    assert_eq!((eve.designs().await.unwrap().len(), world.client.designs().await.unwrap().len()), (1, 2));
    eve.create_schema(&design.id, "s.json", super::world::SCHEMA.into()).await.unwrap();
    assert_eq!(
        (eve.design(&design.id).await.unwrap().schemas.len(), bob.design(&design.id).await.unwrap().schemas.len()),
        (1, 0)
    );
}

#[tokio::test]
async fn users_make_no_admins_and_see_no_audit_log_and_no_backup() {
    let world = World::start().await;
    let eve = token(&world, "eve", Role::User).await;
    for (name, role) in [("eve", Role::Admin), ("bob", Role::User)] {
        let create = CreateToken { user: user(name), role, description: String::new(), expires_in: None };
        assert_eq!(code(eve.create_token(&create).await), Code::Forbidden, "{name} {role}");
    }
    let own = CreateToken { user: user("eve"), role: Role::User, description: String::new(), expires_in: None };
    let own = eve.create_token(&own).await.unwrap();
    assert_eq!(eve.tokens().await.unwrap().len(), 2);
    eve.revoke_token(&own.info.id).await.unwrap();
    assert_eq!(code(eve.audit(0, 10).await), Code::Forbidden);
    assert_eq!(eve.backup().await.err().unwrap().problem().unwrap().code, Code::Forbidden);
    let agent = CreateToken { user: user("eve"), role: Role::Agent, description: String::new(), expires_in: None };
    assert_eq!(code(world.client.create_token(&agent).await), Code::InvalidRequest);
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_who_made_it() {
    let world = World::start().await;
    let eve = token(&world, "eve", Role::User).await;
    let job = world.job_of(&eve, 1, "").await;
    let users = world.tasks(&job).await.1;
    let _agent = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    assert_eq!(code(eve.stop(&job).await), Code::WrongState);
    let log = world.client.audit(0, 100).await.unwrap();
    let told: Vec<_> =
        log.iter().map(|record| (record.who.as_str(), record.what.as_str(), record.made.as_str())).collect();
    let join = format!("agent:{}", users[0].agent);
    let id = world.client.tokens().await.unwrap()[0].id.to_string();
    let expected = [
        ("admin", "POST /v1/tokens", id.as_str()),
        ("eve", "POST /v1/designs", "mnist"),
        ("eve", "POST /v1/designs/mnist/schemas", "1"),
        ("eve", "POST /v1/designs/mnist/code", "1"),
        ("eve", "POST /v1/jobs", job.as_str()),
        (join.as_str(), "join", job.as_str()),
    ];
    assert_eq!(told, expected);
    assert!(log.iter().all(|record| record.address == "127.0.0.1"));
    assert_eq!((log[0].token.is_none(), log[1].token.is_some()), (true, true));
    let world = world.restart().await;
    let rest = world.client.audit(4, 100).await.unwrap();
    assert_eq!(rest.iter().map(|record| record.number).collect::<Vec<_>>(), [5, 6]);
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let world = World::with_rates(Rates { token: 2, address: 0 }).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = || {
        let request = http.get(format!("http://{}/v1/jobs", world.server.api_addr()));
        request.bearer_auth(world.server.token().expose()).send()
    };
    let mut refused = None;
    for _ in 0..20 {
        let answer = ask().await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("twenty at once are more than two a second");
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait >= 1);
    let problem: flame_api::Problem = refused.json().await.unwrap();
    assert_eq!(problem.code, Code::TooManyRequests);
}

#[tokio::test]
async fn who_guesses_tokens_is_slowed_down_and_who_has_one_is_not() {
    let world = World::start().await;
    let guesser = world.client.with_token(Secret::new("flame_guess"));
    let mut codes = Vec::new();
    for _ in 0..30 {
        codes.push(code(guesser.jobs().await));
    }
    assert_eq!((codes[0], codes[29]), (Code::Unauthenticated, Code::TooManyRequests));
    assert!(world.client.jobs().await.is_ok(), "the same address with a token that holds");
}

#[tokio::test]
async fn who_guesses_an_agents_key_is_slowed_down() {
    let world = World::start().await;
    let job = world.job(1, "").await;
    let agent = world.tasks(&job).await.1[0].agent.clone();
    drop(Agent::connect(&world, &agent, "right").await.unwrap());
    let mut codes = Vec::new();
    for n in 0..8 {
        codes.push(Agent::connect(&world, &agent, &format!("wrong {n}")).await.err().unwrap().code());
    }
    assert_eq!(codes[..6], [tonic::Code::Unauthenticated; 6]);
    assert_eq!(codes[7], tonic::Code::ResourceExhausted);
}

#[tokio::test]
async fn metrics_tell_of_requests_jobs_sessions_and_the_store() {
    let world = World::start().await;
    let job = world.job(1, "").await;
    let agent = world.tasks(&job).await.1[0].agent.clone();
    let _agent = Agent::connect(&world, &agent, "key").await.unwrap();
    let text = reqwest::get(format!("http://{}/metrics", world.server.api_addr())).await.unwrap().text().await.unwrap();
    for line in [
        "flame_http_requests_total{method=\"POST\",path=\"/v1/jobs\",status=\"201\"} 1",
        "flame_jobs{state=\"ready\"} 1",
        "flame_agent_sessions 1",
        "flame_tasks{state=\"running\"} 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("flame_store_operation_seconds_bucket{le=") && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn a_backup_of_a_running_server_is_a_whole_export() {
    let world = World::start().await;
    let job = world.job(3, "").await;
    let mut file = Vec::new();
    let mut stream = std::pin::pin!(world.client.backup().await.unwrap());
    while let Some(bytes) = stream.next().await {
        file.extend_from_slice(&bytes.unwrap());
    }
    let copy = MemoryStore::default();
    import(&copy, &mut &file[..]).unwrap();
    assert_eq!(copy.scan(Tree::Tasks, job.as_str().as_bytes()).unwrap().len(), 4);
    let disk = tempfile::tempdir().unwrap();
    let sled = SledStore::open(disk.path()).unwrap();
    import(&sled, &mut &file[..]).unwrap();
    let (_, findings) = flame_control::store::check(&sled, None).unwrap();
    assert_eq!(findings, []);
    // What belongs together and is not there is named.
    copy.delete(Tree::Plans, job.as_str().as_bytes()).unwrap();
    copy.delete(Tree::Tasks, format!("{job}/0000000001").as_bytes()).unwrap();
    let agents = copy.scan(Tree::Agents, b"").unwrap();
    let of_first = |value: &[u8]| String::from_utf8_lossy(value).contains("\"position\":0,");
    let first = agents.iter().find(|(_, value)| of_first(value)).unwrap();
    copy.delete(Tree::Agents, &first.0).unwrap();
    let (_, findings) = flame_control::store::check(&copy, None).unwrap();
    let mut named: Vec<_> = findings.iter().map(|finding| finding.tree).collect();
    named.sort_unstable();
    assert_eq!(named, ["agents", "plans", "tasks"], "{findings:?}");
}
