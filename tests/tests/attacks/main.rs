//! The hostile suite: real components that attack a real sandbox, one after another, each with what has to come of it.
//!
//! After each of them no thread of a guest is left and the same sandbox runs an honest job of two tasks; after all of them
//! the process has taken no more memory than [`MOST_MEMORY`] at any time. `docs/security.md` names the threats.

mod admission;
mod floods;
mod fuzz;
mod handles;
mod machine;
mod numbers;
mod panics;
mod secrets;
mod space;
#[path = "../stage/mod.rs"]
mod stage;
mod strangers;
mod suite;
mod text;
mod time;
mod together;

use suite::Suite;

/// Tests of this file run one at a time: they look at the threads and the memory of their process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Most resident memory of this process through the whole suite, in MiB: what `docs/security.md` states.
const MOST_MEMORY: u64 = 1_024;

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_ends_as_it_must_and_alone() {
    let _alone = ALONE.lock().await;
    let suite = Suite::new();
    suite.honest_job("before").await;
    time::attacks(&suite).await;
    space::attacks(&suite).await;
    handles::attacks(&suite).await;
    floods::attacks(&suite).await;
    strangers::attacks(&suite).await;
    numbers::attacks(&suite).await;
    secrets::attacks(&suite).await;
    machine::attacks(&suite).await;
    panics::attacks(&suite).await;
    admission::attacks(&suite).await;
    together::attacks(&suite).await;
    suite.honest_job("after").await;
    let peak = suite::peak_memory();
    eprintln!("{} attacks; the process took {peak} MiB at the most", suite.count());
    suite.verdict();
    assert!(peak <= MOST_MEMORY, "the process took {peak} MiB, and {MOST_MEMORY} are stated");
}
