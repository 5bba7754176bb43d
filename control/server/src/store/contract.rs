//! What every store promises, run against each.

use std::sync::Arc;

use super::{Batch, MemoryStore, Metered, SledStore, Store, StoreError, StoreTimes, Tree};

fn keys(entries: Vec<super::Entry>) -> Vec<String> {
    entries.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
}

fn contract(store: &dyn Store) {
    reads_what_was_written(store);
    pages_like_a_scan(store);
    shows_one_moment(store);
}

fn reads_what_was_written(store: &dyn Store) {
    assert_eq!(store.get(Tree::Jobs, b"a").unwrap(), None);
    store.put(Tree::Jobs, b"a", b"1".to_vec()).unwrap();
    store.put(Tree::Tasks, b"a", b"2".to_vec()).unwrap();
    assert_eq!(store.get(Tree::Jobs, b"a").unwrap().as_deref(), Some(&b"1"[..]), "trees are apart");

    let mut batch = Batch::new();
    for key in ["x/2", "x/10", "y/1", "x"] {
        batch.put(Tree::Tasks, key, key.as_bytes().to_vec());
    }
    batch.delete(Tree::Jobs, "a");
    batch.put(Tree::Jobs, "b", b"old".to_vec());
    batch.put(Tree::Jobs, "b", b"new".to_vec());
    store.commit(batch).unwrap();
    assert_eq!(store.get(Tree::Jobs, b"a").unwrap(), None);
    assert_eq!(store.get(Tree::Jobs, b"b").unwrap().as_deref(), Some(&b"new"[..]), "the last write holds");
    assert_eq!(keys(store.scan(Tree::Tasks, b"x/").unwrap()), ["x/10", "x/2"], "a scan is in byte order");

    store.delete(Tree::Jobs, b"nothing").unwrap();
    store.commit(Batch::new()).unwrap();
    assert_eq!(store.scan(Tree::Tasks, b"").unwrap().len(), 5);

    let mut soon = Batch::new();
    soon.put(Tree::Models, "m", b"now".to_vec());
    store.commit_soon(soon).unwrap();
    store.settle().unwrap();
    assert_eq!(store.get(Tree::Models, b"m").unwrap().as_deref(), Some(&b"now"[..]), "it is seen at once");
}

fn pages_like_a_scan(store: &dyn Store) {
    let mut batch = Batch::new();
    for n in 0..10 {
        batch.put(Tree::Logs, format!("p/{n}"), Vec::new());
    }
    batch.put(Tree::Logs, "o", Vec::new());
    batch.put(Tree::Logs, "q", Vec::new());
    store.commit(batch).unwrap();
    let page = |after: &str, limit| keys(store.page(Tree::Logs, b"p/", after.as_bytes(), limit).unwrap());
    assert_eq!(page("", 3), ["p/0", "p/1", "p/2"]);
    assert_eq!(page("p/2", 3), ["p/3", "p/4", "p/5"]);
    assert_eq!(page("p/25", 1), ["p/3"], "a key that is not there any more is no obstacle");
    assert_eq!(page("p/8", 100), ["p/9"]);
    assert_eq!(page("p/9", 100), Vec::<String>::new());
    assert_eq!(page("z", 100), Vec::<String>::new());
    assert_eq!(keys(store.page(Tree::Logs, b"", b"", 2).unwrap()), ["o", "p/0"]);
}

fn shows_one_moment(store: &dyn Store) {
    let mut seen = Vec::new();
    store
        .moment(&mut |tree, key, value| {
            seen.push((tree, key.to_vec(), value.to_vec()));
            Ok(())
        })
        .unwrap();
    for tree in Tree::ALL {
        let of_tree: Vec<_> =
            seen.iter().filter(|(of, ..)| *of == tree).map(|(_, k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(of_tree, store.scan(tree, b"").unwrap(), "{}", tree.name());
    }
    let given_up = store.moment(&mut |_, _, _| Err(StoreError::Failed("enough".into()))).unwrap_err();
    assert!(given_up.to_string().contains("enough"));
}

#[test]
fn a_memory_store_keeps_the_contract() {
    contract(&MemoryStore::default());
}

#[test]
fn a_metered_store_keeps_the_contract_and_measures() {
    let times = StoreTimes::default();
    contract(&Metered::new(Arc::new(MemoryStore::default()), &times));
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register("store_seconds", "times", times.0);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for operation in ["get", "scan", "commit", "commit_soon", "settle"] {
        let count = format!("store_seconds_count{{operation=\"{operation}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&count));
        assert!(line.is_some_and(|count| count != "0"), "{operation}: {text}");
    }
}

#[test]
fn a_sled_store_keeps_the_contract_and_its_data() {
    let home = tempfile::tempdir().unwrap();
    let store = SledStore::open(home.path()).unwrap();
    contract(&store);
    drop(store);
    let store = SledStore::open(home.path()).unwrap();
    assert_eq!(store.scan(Tree::Tasks, b"").unwrap().len(), 5);
}

#[test]
fn a_store_that_is_in_use_says_so() {
    let home = tempfile::tempdir().unwrap();
    let _holder = SledStore::open(home.path()).unwrap();
    let error = SledStore::open(home.path()).err().unwrap();
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
}
