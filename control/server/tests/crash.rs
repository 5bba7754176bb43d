//! kill -9 of a process that writes to a store, again and again: what it said was durable is there, whole, and nothing is
//! there in part.

#![expect(clippy::unwrap_used, reason = "tests fail so")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use flame_control::store::{Batch, SledStore, Store, StoreError, Tree};

/// The folder that a child writes to.
const FOLDER: &str = "FLAME_CRASH_STORE";
/// How often a child is killed.
const COUNT: &str = "FLAME_CRASHES";
/// Keys that a batch writes into each of two trees.
const WIDTH: u64 = 20;

fn key(round: u64, n: u64) -> String {
    format!("{round:010}/{n:03}")
}

/// Writes until it is killed; says each round once it is durable.
fn write(folder: &Path) {
    let store = SledStore::open(folder).unwrap();
    let mut round = last(&store).unwrap_or_default();
    loop {
        round += 1;
        let mut batch = Batch::new();
        for n in 0..WIDTH {
            let value = format!("{round} {}", "x".repeat(usize::try_from(n * 37 % 900).unwrap()));
            batch.put(Tree::Jobs, key(round, n), value.clone().into_bytes());
            batch.put(Tree::Tasks, key(round, n), value.into_bytes());
            if round > 50 {
                batch.delete(Tree::Jobs, key(round - 50, n));
                batch.delete(Tree::Tasks, key(round - 50, n));
            }
        }
        batch.put(Tree::Server, "last", round.to_string().into_bytes());
        store.commit(batch).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "durable {round}").unwrap();
        out.flush().unwrap();
    }
}

fn last(store: &dyn Store) -> Option<u64> {
    let bytes = store.get(Tree::Server, b"last").unwrap()?;
    String::from_utf8(bytes).unwrap().parse().ok()
}

#[test]
fn a_store_whose_process_is_killed_has_all_that_was_durable_and_nothing_in_part() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        write(Path::new(&folder));
        return;
    }
    let count: u64 = std::env::var(COUNT).map_or(15, |count| count.parse().expect("FLAME_CRASHES is a number"));
    let home = tempfile::tempdir().unwrap();
    let me = std::env::current_exe().unwrap();
    for crash in 0..count {
        let mut child = Command::new(&me)
            .args(["--exact", "a_store_whose_process_is_killed_has_all_that_was_durable_and_nothing_in_part"])
            .arg("--nocapture")
            .env(FOLDER, home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed in the middle of whatever comes after a number of rounds that differs each time.
        let durable = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok());
        let said = durable.take(usize::try_from(1 + crash * 7 % 40).unwrap()).last().expect("a child wrote nothing");
        child.kill().unwrap();
        child.wait().unwrap();

        let store = SledStore::open(home.path()).unwrap();
        let last = last(&store).unwrap();
        assert!(last >= said, "round {said} was durable, and the last one that is there is {last}");
        let expected: Vec<String> =
            (last.saturating_sub(49).max(1)..=last).flat_map(|round| (0..WIDTH).map(move |n| key(round, n))).collect();
        for tree in [Tree::Jobs, Tree::Tasks] {
            let found: Vec<String> =
                store.scan(tree, b"").unwrap().into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect();
            assert_eq!(found, expected, "{} after crash {crash}", tree.name());
        }
    }
}

#[test]
fn a_store_whose_files_were_overwritten_is_refused_or_whole_and_never_a_panic() {
    let home = tempfile::tempdir().unwrap();
    let store = SledStore::open(home.path()).unwrap();
    for n in 0..200_u32 {
        store.put(Tree::Jobs, &n.to_be_bytes(), vec![7; 2_000]).unwrap();
    }
    drop(store);
    let file = home.path().join("db");
    let whole = std::fs::read(&file).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(whole.len() / 16) {
        let mut bent = whole.clone();
        for byte in bent.iter_mut().skip(at).take(600) {
            *byte ^= 0x5a;
        }
        std::fs::write(&file, &bent).unwrap();
        let read = SledStore::open(home.path()).and_then(|store| store.scan(Tree::Jobs, b""));
        match read {
            // Where it opens, every value that it gives is one that was written.
            Ok(entries) => {
                assert!(entries.iter().all(|(_, value)| value.len() == 2_000 && value.iter().all(|b| *b == 7)));
            }
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                assert!(matches!(error, StoreError::Corrupt { .. } | StoreError::Failed(_)), "{text}");
                assert!(text.contains("store"), "{text}");
            }
        }
        std::fs::write(&file, &whole).unwrap();
    }
    eprintln!("{refused} of 16 damages were refused");
    assert_eq!(SledStore::open(home.path()).unwrap().scan(Tree::Jobs, b"").unwrap().len(), 200);
}
