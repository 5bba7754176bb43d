//! Designs, data sets, computes, agents and tasks over REST, by the numbers of their conformance cases.

use flame_api::{
    Code, CreateDataset, CreateDesign, DesignId, JobState, Problem, RegisterCompute, Secret, TaskKind, UpdateDataset,
    UpdateDesign,
};
use reqwest::{Method, StatusCode};

use super::agent::Agent;
use super::edges::{ask, send};
use super::world::{SCHEMA, World, component, job_file};

fn refusal<T: std::fmt::Debug>(outcome: Result<T, flame_api::ClientError>) -> Problem {
    outcome.unwrap_err().problem().unwrap().clone()
}

fn dataset(url: &str, realm: &str, is_public: bool) -> CreateDataset {
    let text = |text: &str| text.to_owned();
    CreateDataset {
        name: text("digits"),
        description: String::new(),
        url: text(url),
        data_format: text("idx"),
        realm: text(realm),
        is_public,
    }
}

fn compute(id: &str, key: &str) -> RegisterCompute {
    RegisterCompute { id: id.parse().unwrap(), realm: "default/us/west".into(), key: Secret::new(key), deployer: None }
}

#[tokio::test]
async fn ent_01_05_a_design_is_created_once_and_what_is_not_there_is_named() {
    let world = World::start().await;
    let design = CreateDesign { id: "d".parse().unwrap(), description: "first".into() };
    world.client.create_design(&design).await.unwrap();
    assert_eq!(refusal(world.client.create_design(&design).await).code, Code::AlreadyExists);
    let update = UpdateDesign { description: "second".into() };
    assert_eq!(world.client.update_design(&design.id, &update).await.unwrap().description, "second");
    let absent: DesignId = "x".parse().unwrap();
    for problem in [
        refusal(world.client.delete_design(&absent, false).await),
        refusal(world.client.update_design(&absent, &update).await),
    ] {
        assert_eq!((problem.code, problem.message.as_str()), (Code::NotFound, "design x not found"));
    }
}

#[tokio::test]
async fn ent_02_03_revisions_count_up_and_are_never_given_again() {
    let world = World::start().await;
    let (client, id) = (&world.client, world.design().await);
    let schema = async || client.create_schema(&id, "s.json", SCHEMA.into()).await.unwrap().version;
    assert_eq!((schema().await, schema().await), (2, 3));
    for version in [3, 2, 1] {
        client.delete_schema(&id, version).await.unwrap();
    }
    assert!(client.schemas(&id).await.unwrap().is_empty());
    assert!(refusal(client.schema(&id, 3).await).message.contains("no schema version 3"));
    assert_eq!(schema().await, 4, "not even the last one's number is used again");

    let code = component(&["trainer", "aggregator"]);
    assert_eq!(client.create_code(&id, code.clone()).await.unwrap().version, 2);
    client.delete_code(&id, 2).await.unwrap();
    assert_eq!(&client.code(&id, 1).await.unwrap(), &code, "the same bytes are still needed");
    client.delete_code(&id, 1).await.unwrap();
    let files = || std::fs::read_dir(world.home.path().join("code")).unwrap().count();
    assert_eq!(files(), 0, "and not any more");
    assert_eq!(client.create_code(&id, code).await.unwrap().version, 3);

    client.delete_design(&id, false).await.unwrap();
    client.create_design(&CreateDesign { id: id.clone(), description: String::new() }).await.unwrap();
    assert_eq!(schema().await, 5, "nor after the design has come anew");
}

#[tokio::test]
async fn ent_04_a_design_in_use_is_deleted_by_force_alone_and_its_jobs_go_on() {
    let mut world = World::start().await;
    let job = world.job(1, "").await;
    let design: DesignId = "mnist".parse().unwrap();
    let problem = refusal(world.client.delete_design(&design, false).await);
    assert_eq!((problem.code, problem.message.as_str()), (Code::InUse, "design mnist is used in 1 job"));
    world.client.delete_design(&design, true).await.unwrap();
    assert!(world.client.designs().await.unwrap().is_empty());

    let mut crew = world.start_job(job).await;
    crew.run().await;
    assert_eq!(crew.aggregator.client.task_code().await.unwrap(), component(&["trainer", "aggregator"]));
    crew.say(flame_api::notifier::State::Completed).await;
    world.until(&crew.job, JobState::Completed).await;
    world.until_settled(&crew.job).await;
    world.client.delete_job(&crew.job).await.unwrap();
    assert_eq!(std::fs::read_dir(world.home.path().join("code")).unwrap().count(), 0, "the last who needed it is gone");
}

#[tokio::test]
async fn ent_06_to_09_a_data_set_belongs_to_a_compute_of_its_realm() {
    let world = World::start().await;
    let client = &world.client;
    let public = client.create_dataset(&dataset("file:///data/a", "default/us/west", true)).await.unwrap();
    assert_eq!((public.compute_id.as_str(), public.realm.as_str()), ("default", "default/us/west"));
    let private = refusal(client.create_dataset(&dataset("file:///data/b", "default/us/west", false)).await);
    assert_eq!(private.code, Code::Refused);
    assert!(private.message.contains("`default/us/west`") && private.hint.contains("isPublic"), "{private}");

    client.register_compute(&compute("c1", "key")).await.unwrap();
    for (url, realm) in [("file:///data/b", "default/us/west"), ("file:///data/c", "c1")] {
        let dataset = client.create_dataset(&dataset(url, realm, false)).await.unwrap();
        assert_eq!((dataset.compute_id.as_str(), dataset.realm.as_str()), ("c1", "default/us/west/c1"));
    }
    let nope = refusal(client.create_dataset(&dataset("file:///data/d", "nope", true)).await);
    assert!(nope.message.contains("no compute `nope`"), "{nope}");
    let bound = refusal(client.delete_compute(&"c1".parse().unwrap()).await);
    assert_eq!((bound.code, bound.message.as_str()), (Code::InUse, "compute c1 is used by 2 data sets"));
}

#[tokio::test]
async fn ent_10_a_url_is_one_data_set() {
    let world = World::start().await;
    let client = &world.client;
    let first = client.create_dataset(&dataset("file:///data/a", "default", true)).await.unwrap();
    let twice = refusal(client.create_dataset(&dataset("file:///data/a", "default", true)).await);
    assert_eq!(twice.code, Code::AlreadyExists);
    assert!(twice.message.contains(first.id.as_str()), "{twice}");
    let second = client.create_dataset(&dataset("file:///data/b", "default", true)).await.unwrap();
    let there = UpdateDataset { url: Some("file:///data/a".into()), ..UpdateDataset::default() };
    assert_eq!(refusal(client.update_dataset(&second.id, &there).await).code, Code::AlreadyExists);
    let renamed = UpdateDataset { name: Some("letters".into()), ..UpdateDataset::default() };
    assert_eq!(client.update_dataset(&second.id, &renamed).await.unwrap().name, "letters");
    assert_eq!(client.datasets().await.unwrap().len(), 2);
    client.delete_dataset(&first.id).await.unwrap();
    assert_eq!(refusal(client.dataset(&first.id).await).code, Code::NotFound);
}

#[tokio::test]
async fn ent_11_12_an_unknown_field_is_400_and_a_missing_one_422_by_name() {
    let world = World::start().await;
    let design = world.design().await;
    let token = Some(world.server.token().expose());
    let schemas = format!("/v1/designs/{design}/schemas");
    let unknown = SCHEMA.replacen('{', r#"{"colour": 1, "#, 1);
    let job = job_file(1, r#", "colour": 1"#);
    let (post, put) = (Method::POST, Method::PUT);
    for (method, path, body) in [
        (&post, "/v1/designs", r#"{"id": "a", "colour": 1}"#),
        (&put, "/v1/designs/mnist", r#"{"description": "a", "colour": 1}"#),
        (&post, "/v1/datasets", r#"{"url": "file:///a", "realm": "default", "colour": 1}"#),
        (&post, "/v1/computes", r#"{"id": "a", "realm": "default", "key": "k", "colour": 1}"#),
        (&post, schemas.as_str(), unknown.as_str()),
        (&post, "/v1/jobs", job.as_str()),
    ] {
        let (status, text) = ask(&world, method.clone(), path, token, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {text}");
        assert!(text.contains("colour"), "{path}: {text}");
    }
    for (path, body, field) in [
        ("/v1/designs", r"{}", "`id`"),
        ("/v1/datasets", r#"{"realm": "default"}"#, "`url`"),
        ("/v1/datasets", r#"{"url": "file:///a"}"#, "`realm`"),
        ("/v1/computes", r#"{"id": "a", "realm": "default"}"#, "`key`"),
        ("/v1/jobs", r#"{"backend": "mqtt", "dataSpec": {"fromUser": {"default": 1}}}"#, "designId"),
        ("/v1/jobs", r#"{"designId": "mnist", "backend": "mqtt"}"#, "dataSpec"),
        ("/v1/jobs", r#"{"designId": "mnist", "dataSpec": {"fromUser": {"default": 1}}}"#, "backend"),
        (schemas.as_str(), r#"{"name": "s", "channels": []}"#, "roles"),
    ] {
        let (status, text) = ask(&world, Method::POST, path, token, body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {text}");
        assert!(text.contains(field), "{path}: {text}");
    }
}

#[tokio::test]
async fn ent_13_a_compute_comes_back_by_its_key_alone() {
    let world = World::start().await;
    let first = world.client.register_compute(&compute("c1", "key")).await.unwrap();
    assert_eq!(first.deployer, "fake");
    assert_eq!(world.client.register_compute(&compute("c1", "key")).await.unwrap(), first, "also the time");
    let other = refusal(world.client.register_compute(&compute("c1", "another")).await);
    assert_eq!(other.code, Code::AlreadyExists);
    assert!(other.message.contains("already in use"), "{other}");
    assert_eq!(refusal(world.client.register_compute(&compute("default", "k")).await).code, Code::Refused);
    assert_eq!(world.client.computes().await.unwrap(), [first]);
}

#[tokio::test]
async fn ent_14_15_no_answer_to_a_user_holds_a_key_and_an_agent_needs_its_own() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, "").await;
    crew.run().await;
    let token = Some(world.server.token().expose());
    let agent = &crew.users[0].agent;
    for path in [
        format!("/v1/jobs/{}/tasks", crew.job),
        format!("/v1/jobs/{}/tasks/{agent}", crew.job),
        format!("/v1/agents/{agent}"),
        "/v1/agents".to_owned(),
        format!("/v1/jobs/{}/events", crew.job),
    ] {
        let (status, text) = ask(&world, Method::GET, &path, token, "").await;
        assert!(status.is_success() && text.contains(agent.as_str()), "{path}: {text}");
        assert!(!text.contains("key") && !text.contains(crew.launch.key.expose()), "{path}: {text}");
    }
    let empty = Agent::connect(&world, agent, "").await.err().unwrap();
    assert_eq!(empty.code(), tonic::Code::InvalidArgument);
    let task = world.client.task(&crew.job, agent).await.unwrap();
    assert_eq!((task.kind, task.attempt, task.connected), (TaskKind::User, 1, true));
    let elsewhere = refusal(world.client.task(&crew.job, &"0".repeat(40).parse().unwrap()).await);
    assert_eq!(elsewhere.code, Code::NotFound);
}

#[tokio::test]
async fn ent_17_nobody_without_a_session_says_how_a_task_is() {
    let mut world = World::start().await;
    let crew = world.crew(1, "").await;
    let path = format!("/v1/jobs/{}/tasks/{}", crew.job, crew.users[0].agent);
    for token in [None, Some(world.server.token().expose())] {
        let (status, _) = ask(&world, Method::PUT, &path, token, r#"{"state": "completed"}"#).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
    let (status, _) = ask(&world, Method::POST, "/v1/agent/report", None, "{}").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn agents_tell_what_they_are_and_when_they_were_seen() {
    let mut world = World::start().await;
    let job = world.job(2, "").await;
    let crew = world.start_job(job).await;
    let agents = world.client.agents().await.unwrap();
    assert_eq!(agents.len(), 3);
    let agent = world.client.agent(&crew.users[0].agent).await.unwrap();
    assert_eq!((agent.version.as_str(), agent.hostname.as_str()), ("test", "h"));
    assert!(agent.connected && agent.bound && agent.last_seen.is_some());
}

#[tokio::test]
async fn tag_20_a_job_works_on_the_servers_data_sets_where_their_compute_is() {
    let mut world = World::start().await;
    world.design().await;
    world.client.register_compute(&compute("c1", "key")).await.unwrap();
    let dataset = world.client.create_dataset(&dataset("file:///data/m%20n", "c1", false)).await.unwrap();
    let job = |ids: &str| {
        format!(r#"{{"designId": "mnist", "backend": "mqtt", "dataSpec": {{"fromSystem": {{"default": [{ids}]}}}}}}"#)
    };
    let unknown = refusal(world.client.create_job("job.json", job(&format!("\"{}\"", "0".repeat(24)))).await);
    assert_eq!(unknown.code, Code::Refused);
    assert!(unknown.message.contains(&"0".repeat(24)), "{unknown}");
    assert!(world.client.jobs().await.unwrap().is_empty() && world.client.agents().await.unwrap().is_empty());

    let id = world.client.create_job("job.json", job(&format!("\"{}\"", dataset.id))).await.unwrap().id;
    let tasks = world.client.tasks(&id).await.unwrap();
    let trainer = tasks.iter().find(|task| task.role == "trainer").unwrap();
    assert_eq!((trainer.kind, trainer.dataset.as_ref()), (TaskKind::System, Some(&dataset.id)));
    assert_eq!(trainer.compute.as_ref().unwrap().as_str(), "c1");
    world.client.start(&id).await.unwrap();
    let mut launches = [world.launch().await, world.launch().await];
    launches.sort_by_key(|launch| launch.agent != trainer.agent);
    let [of_trainer, of_aggregator] = launches;
    assert_eq!(of_trainer.data, [("digits".to_owned(), std::path::PathBuf::from("/data/m n"))]);
    assert_eq!((of_trainer.compute.as_str(), of_aggregator.compute.as_str()), ("c1", "default"));
    assert!(of_aggregator.data.is_empty());
}

#[tokio::test]
async fn lists_come_in_pages_that_miss_and_repeat_nothing() {
    let world = World::start().await;
    let token = Some(world.server.token().expose());
    for id in ["e", "b", "d", "a", "c"] {
        let design = CreateDesign { id: id.parse().unwrap(), description: String::new() };
        world.client.create_design(&design).await.unwrap();
    }
    world.client.delete_design(&"c".parse().unwrap(), false).await.unwrap();
    let (mut seen, mut cursor, mut pages) = (String::new(), String::new(), 0);
    loop {
        let path = format!("/v1/designs?limit=2{cursor}");
        let (_, text) = ask(&world, Method::GET, &path, token, "").await;
        let page: flame_api::Page<flame_api::Design> = serde_json::from_str(&text).unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|design| design.id.as_str()));
        pages += 1;
        match page.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((seen.as_str(), pages), ("abde", 2));
    for wrong in ["limit=0", "limit=1001", "limit=x", "cursor=zz"] {
        let (status, _) = ask(&world, Method::GET, &format!("/v1/designs?{wrong}"), token, "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let job = world.job(5, "").await;
    for list in ["tasks", "events"] {
        let (_, text) = ask(&world, Method::GET, &format!("/v1/jobs/{job}/{list}?limit=1"), token, "").await;
        let page: flame_api::Page<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(page.items.len(), 1, "{list}");
        let other = format!("/v1/jobs/{job}/{list}?cursor={}", hex::encode("elsewhere"));
        assert_eq!(ask(&world, Method::GET, &other, token, "").await.0, StatusCode::BAD_REQUEST);
    }
    assert_eq!(world.client.tasks(&job).await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_change_of_what_was_changed_meanwhile_is_refused() {
    let world = World::start().await;
    let dataset = world.client.create_dataset(&dataset("file:///data/a", "default", true)).await.unwrap();
    let path = format!("/v1/datasets/{}", dataset.id);
    let (_, headers, _) = send(&world, Method::GET, &path, &[], "").await;
    let tag = headers["etag"].to_str().unwrap().to_owned();
    let body = |name: &str| format!(r#"{{"name": "{name}"}}"#);
    let update =
        async |tag: &str, name: &str| send(&world, Method::PUT, &path, &[("if-match", tag)], &body(name)).await;
    let (status, headers, _) = update(&tag, "one").await;
    assert_eq!(status, StatusCode::OK);
    let (status, _, text) = update(&tag, "two").await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{text}");
    assert!(text.contains("\"changed\""), "{text}");
    assert_eq!(world.client.dataset(&dataset.id).await.unwrap().name, "one");
    assert_eq!(update(headers["etag"].to_str().unwrap(), "three").await.0, StatusCode::OK);
    assert_eq!(update("*", "four").await.0, StatusCode::OK);
    assert_eq!(send(&world, Method::DELETE, &path, &[("if-match", &tag)], "").await.0, StatusCode::PRECONDITION_FAILED);

    let job = format!("/v1/jobs/{}", world.job(1, "").await);
    let (_, headers, _) = send(&world, Method::GET, &job, &[], "").await;
    let tag = headers["etag"].to_str().unwrap().to_owned();
    send(&world, Method::POST, &format!("{job}/start"), &[], "").await;
    let (status, ..) = send(&world, Method::DELETE, &job, &[("if-match", &tag)], "").await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "it was started since");
}

#[tokio::test]
async fn a_creation_that_is_asked_for_again_happens_once_also_after_a_restart() {
    let world = World::start().await;
    world.design().await;
    let job = job_file(1, "");
    let key = [("idempotency-key", "7c2f")];
    let (status, _, first) = send(&world, Method::POST, "/v1/jobs", &key, &job).await;
    assert_eq!(status, StatusCode::CREATED);
    let world = world.restart().await;
    let (status, _, again) = send(&world, Method::POST, "/v1/jobs", &key, &job).await;
    assert_eq!((status, &again), (StatusCode::CREATED, &first));
    assert_eq!(world.client.jobs().await.unwrap().len(), 1);
    let (status, _, text) = send(&world, Method::POST, "/v1/jobs", &key, &job_file(2, "")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
    assert!(text.contains("another request"), "{text}");
    let other = [("idempotency-key", "7c30")];
    assert_ne!(send(&world, Method::POST, "/v1/jobs", &other, &job).await.2, first);
    let bad = [("idempotency-key", "")];
    assert_eq!(send(&world, Method::POST, "/v1/jobs", &bad, &job).await.0, StatusCode::BAD_REQUEST);
    let schema = [("idempotency-key", "schema")];
    for _ in 0..2 {
        let (_, _, text) = send(&world, Method::POST, "/v1/designs/mnist/schemas", &schema, SCHEMA).await;
        assert!(text.contains("\"version\":2"), "{text}");
    }
}
