//! The machine that the guest runs on: its clocks, its files, what it may have told the guest, its process.

use crate::stage::Terms;
use crate::suite::Suite;

pub(crate) async fn attacks(suite: &Suite) {
    // Clocks show whole milliseconds.
    let said = suite.completes("clocks", Terms::default(), &[("wall", "0")]).await;
    let finest: u64 = said.of("finest").parse().unwrap();
    suite.expect(finest >= 1_000_000 && finest.is_multiple_of(1_000_000), "clocks", format!("a step of {finest} ns"));
    suite.expect(said.of("wall") == "0", "clocks", said.of("wall"));
    let said = suite.completes("clocks", Terms { deterministic: true, ..Terms::default() }, &[]).await;
    suite.expect(said.of("finest") == "1000000", "clocks", said.of("finest"));

    let said = suite.completes("environment", Terms::default(), &[]).await;
    for (what, nothing) in
        [("variables", "0"), ("arguments", "0"), ("stdin", "0"), ("folder", "None"), ("thread", "false")]
    {
        suite.expect(said.of(what) == nothing, "environment", format!("{what}: {}", said.of(what)));
    }
    let said = suite.completes("files", Terms::default(), &[]).await;
    suite.expect(said.of("files") == "0", "files", format!("{} things could be done to files", said.of("files")));
    for (name, word) in [("exits", "exit("), ("aborts", "trapped")] {
        let (_, outcome) = suite.alone(name, Terms::default()).await;
        suite.has_failed(name, &outcome, &[word]);
    }
}
