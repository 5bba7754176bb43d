//! Who signed code is checked at its upload, shown, and handed to the agents that will check it again.

use bytes::Bytes;
use flame_api::{Code, CodeRef, CreateDesign, DesignId};
use flame_bundle::{SecretKey, Signature, SignedDigest, sha256_hex};

use super::agent::Agent;
use super::world::{SCHEMA, World, component};

async fn design(world: &World) -> DesignId {
    let design = CreateDesign { id: "mnist".parse().unwrap(), description: String::new() };
    world.client.create_design(&design).await.unwrap();
    world.client.create_schema(&design.id, "schema.json", SCHEMA.to_owned()).await.unwrap();
    design.id
}

/// What [`World::job`] uploads too.
fn code() -> Bytes {
    component(&["trainer", "aggregator"])
}

#[tokio::test]
async fn signatures_are_shown_and_handed_out_with_the_task() {
    let mut world = World::start().await;
    let design = design(&world).await;
    let (one, two, digest) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap(), sha256_hex(&code()));
    // Twice the same signer is one.
    let lines = [&one, &two, &one].map(|key| key.sign(&digest).to_string());
    world.client.create_signed_code(&design, code(), &lines).await.unwrap();
    let signers = [&one, &two].map(|key| key.public().to_string());
    let detail = world.client.design(&design).await.unwrap();
    let shown = &detail.code[0].components;
    assert_eq!((shown.len(), &shown[0].sha256, &shown[0].signers[..]), (1, &digest, &signers[..]));
    assert_eq!(shown[0].roles, ["aggregator", "trainer"]);

    let job = world.job(1, "").await;
    let (_, users) = world.tasks(&job).await;
    world.client.start(&job).await.unwrap();
    let _launch = world.launch().await;
    let mut trainer = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    let grant = trainer.run().await;
    assert_eq!(grant.code.signatures.len(), 2);
    for (given, key) in grant.code.signatures.iter().zip([&one, &two]) {
        let signature = Signature::parse(&given.signer, &given.signature).unwrap();
        assert_eq!(signature.signer(), key.public());
        signature.holds(&grant.code.sha256).unwrap();
    }
}

#[tokio::test]
async fn a_signature_that_does_not_hold_is_refused_with_all_reasons_and_nothing_is_kept() {
    let world = World::start().await;
    let design = design(&world).await;
    let key = SecretKey::generate().unwrap();
    let good = key.sign(&sha256_hex(&code()));
    let swapped = SignedDigest { sha256: sha256_hex(b"other"), ..good.clone() };
    let of_other_code = key.sign(&sha256_hex(b"other"));
    let lines = [good.to_string(), swapped.to_string(), of_other_code.to_string(), "sha256:1 2 3".into()];
    let refused = world.client.create_signed_code(&design, code(), &lines).await.unwrap_err();
    let problem = refused.problem().unwrap();
    assert_eq!((problem.code, problem.problems.len()), (Code::Refused, 3), "{problem}");
    let said = problem.to_string();
    for part in ["does not hold for the code", "is of code with sha256", "`sha256:1` is not sha256:", "flamectl sign"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let many = vec![good.to_string(); 257];
    let refused = world.client.create_signed_code(&design, code(), &many).await.unwrap_err();
    assert!(refused.to_string().contains("more than 256 signatures"), "{refused}");
    assert!(world.client.design(&design).await.unwrap().code.is_empty());
    let as_many = vec![good.to_string(); 256];
    world.client.create_signed_code(&design, code(), &as_many).await.unwrap();
}

#[tokio::test]
async fn a_job_keeps_the_code_of_its_creation() {
    let mut world = World::start().await;
    let job = world.job(1, "").await;
    let (system, users) = world.tasks(&job).await;
    let digest = sha256_hex(&code());
    assert_eq!((system.code.as_str(), users[0].code.as_str()), (digest.as_str(), digest.as_str()));
    // A newer revision is for newer jobs.
    let newer = component(&["aggregator", "trainer", "observer"]);
    world.client.create_code(&"mnist".parse().unwrap(), newer.clone()).await.unwrap();
    let later = world.job(1, "").await;
    assert_eq!(world.tasks(&later).await.0.code, sha256_hex(&newer));

    world.client.start(&job).await.unwrap();
    let _launch = world.launch().await;
    let mut trainer = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    let grant = trainer.run().await;
    assert_eq!((&grant.code.sha256, grant.code.signatures.len()), (&digest, 0));
    assert_eq!(sha256_hex(&trainer.client.task_code().await.unwrap()), digest);
    // A restart does not change it, and neither does a rejoin.
    let mut world = world.restart().await;
    let _launch = world.launch().await;
    let again = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    assert_eq!(again.client.grant().await.unwrap().code.sha256, digest);
    assert!(again.client.task_code().await.is_ok());
    assert_eq!(world.tasks(&job).await.1[0].code, digest);
}

#[test]
fn a_record_of_before_there_were_signatures_has_none() {
    let old: CodeRef = serde_json::from_str(r#"{"sha256": "ab", "size": 3}"#).unwrap();
    assert!(old.signatures.is_empty());
    assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"sha256":"ab","size":3}"#);
}
