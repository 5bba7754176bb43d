//! A panic in every callback of the SDK's traits ends that task with its words and its place.

use flame_sandbox::Outcome;

use crate::stage::{Terms, ends};
use crate::suite::Suite;

pub(crate) async fn attacks(suite: &Suite) {
    for (callback, role) in [
        ("load", "trainer"),
        ("train", "trainer"),
        ("evaluate", "trainer"),
        ("aggregator_load", "aggregator"),
        ("initial_model", "aggregator"),
        ("configure", "aggregator"),
        ("aggregator_evaluate", "aggregator"),
    ] {
        panics_in(suite, callback, role).await;
    }
}

async fn panics_in(suite: &Suite, callback: &str, role: &str) {
    let name = format!("panic_{callback}");
    let stage = suite.stage();
    let run = |role: &str| {
        let terms = Terms::default();
        let stop = terms.stop.clone();
        let bytes = std::fs::read(flame_tests::attack(&name)).unwrap();
        let prepared = stage.sandbox.prepare(&bytes, role).unwrap();
        (stage.runs(prepared, role, &[("rounds", "1")], terms).1, stop)
    };
    suite.prepared(&name, false);
    let (trainer, stop_trainer) = run("trainer");
    let (aggregator, stop_aggregator) = run("aggregator");
    let (fallen, other, stop) =
        if role == "trainer" { (trainer, aggregator, stop_aggregator) } else { (aggregator, trainer, stop_trainer) };
    let outcome = ends(fallen).await;
    eprintln!("{name}: {outcome:?}");
    let words = format!("{callback} fell over on purpose");
    suite.has_failed(&name, &outcome, &["panicked at", ".rs:", &words]);
    // Its partner is not taken along: it waits until the job says otherwise.
    stop.cancel();
    let other = ends(other).await;
    suite.expect(!matches!(&other, Outcome::Failed(text) if text.contains("panic")), &name, format!("{other:?}"));
    suite.nothing_is_left(&name).await;
}
