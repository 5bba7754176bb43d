//! The OpenAPI document: what is served is what was agreed, so that a change of the edge is seen as one.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::edges::ask;
use super::world::World;

/// Writes the document anew instead of comparing it.
const UPDATE: &str = "FLAME_UPDATE_SNAPSHOTS";

#[tokio::test]
async fn the_served_document_is_the_one_that_was_agreed() {
    let world = World::start().await;
    let (status, text) = ask(&world, Method::GET, "/v1/openapi.json", None, "").await;
    assert_eq!(status, StatusCode::OK);
    let served: Value = serde_json::from_str(&text).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let shown = format!("{}\n", serde_json::to_string_pretty(&served).unwrap());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &shown).unwrap();
    }
    let agreed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(agreed == shown, "the document is another one: run with {UPDATE}=1 and look at what `git diff` says");
}

#[tokio::test]
async fn every_operation_says_how_it_refuses_and_all_but_the_open_ones_want_a_token() {
    let world = World::start().await;
    let (_, text) = ask(&world, Method::GET, "/v1/openapi.json", None, "").await;
    let document: Value = serde_json::from_str(&text).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 20);
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let refusal = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(refusal, "#/components/schemas/Problem", "{method} {path}");
            let open = operation["security"].as_array().unwrap().iter().all(|one| one.as_object().unwrap().is_empty());
            assert_eq!(open, path == "/v1/health", "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            if open {
                continue;
            }
            let concrete = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
            let concrete = concrete.collect::<Vec<_>>().join("/");
            let method: Method = method.to_uppercase().parse().unwrap();
            let (status, _) = ask(&world, method, &concrete, None, "").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
}
