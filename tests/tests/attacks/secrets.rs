//! Ways by which data could leave: what the policy says, and what gets through.

use flame_model::Model;
use flame_sandbox::{Allowance, Egress, Filters, Outcome, Rounding};

use crate::stage::{Terms, constant};
use crate::strangers::{completed, filtered};
use crate::suite::{LEN, Suite};

pub(crate) async fn attacks(suite: &Suite) {
    models(suite).await;
    metrics(suite).await;
    messages(suite).await;
    words(suite).await;
}

fn norm(model: &Model) -> f64 {
    model.difference(&constant(5.0, LEN)).unwrap().norm_l2()
}

async fn models(suite: &Suite) {
    // Noise protects one copy: one leaves.
    let filters = Filters { clip: Some(1.0), noise: Some(0.1), rounding: Some(Rounding::F16), ..Filters::default() };
    let terms = || Terms {
        egress: Egress { filters: filters.clone(), ..Egress::default() },
        audited: true,
        ..Terms::default()
    };
    let no = "left already";
    let expected = [("full", "ok"), ("again", no), ("delta", no), ("published", no), ("broadcast", no)];
    let turn = suite.turn("averaging", terms(), &expected).await;
    completed(suite, "averaging", &turn);
    suite.expect(turn.came.len() == 1 && turn.said.models_departed().len() == 1, "averaging", turn.came.len());

    // Under a filter, a form that no filter is for stays, also where the data is opened after the base came.
    let mut strict = filtered();
    strict.egress.filters.min_samples = Some(2);
    let expected = [
        ("state", "`full` or `delta`"),
        ("partial-sum", "egress.partial-sums"),
        ("baseless", "names no base"),
        ("no-samples", "egress.min-samples"),
    ];
    let turn = suite.turn("other_forms", strict, &expected).await;
    completed(suite, "other_forms", &turn);
    suite.expect(turn.came.is_empty(), "other_forms", "a message arrived");
    let turn = suite.turn("late_data", filtered(), &[("state", "`full` or `delta`")]).await;
    completed(suite, "late_data", &turn);
    suite.expect(turn.came.is_empty(), "late_data", "a message arrived");

    // The data itself is no model of this job; without filters, its bytes count as weights and end at the allowance.
    let turn = suite
        .turn("data_as_model", filtered(), &[("publish", "layout"), ("full", "layout"), ("state", "`full` or `delta`")])
        .await;
    completed(suite, "data_as_model", &turn);
    suite.expect(turn.came.is_empty() && turn.said.models.lock().unwrap().is_empty(), "data_as_model", "it left");
    let per_job = Allowance { weights: Some(20), ..Allowance::default() };
    let terms = Terms { egress: Egress { per_job, ..Egress::default() }, ..Terms::default() };
    let no = "egress.per-job.weights";
    let turn = suite.turn("data_as_model", terms, &[("publish", no), ("full", no), ("state", no)]).await;
    suite.expect(turn.came.is_empty(), "data_as_model", "it left over the allowance");

    // What a clipped update carries has at most the clip's norm.
    let turn = suite.turn("averaging", filtered(), &[("full", "ok")]).await;
    let norms: Vec<f64> = turn.came.iter().filter_map(|message| message.model("model")).map(norm).collect();
    suite.expect(norms.len() == 1 && norms.iter().all(|norm| *norm <= 1.0), "averaging", format!("{norms:?}"));
}

async fn metrics(suite: &Suite) {
    // A record is 8 bytes, each of its metrics 8 and its name: 20 here; a sent metric is 12.
    let per_job = Allowance { metrics: Some(50), ..Allowance::default() };
    let terms = Terms { egress: Egress { per_job, ..Egress::default() }, audited: true, ..Terms::default() };
    let no = "egress.per-job.metrics";
    let expected = [("record", "ok|egress.per-job.metrics"), ("send", no), ("name", no), ("name-sent", no)];
    let turn = suite.turn("smuggle_metrics", terms, &expected).await;
    completed(suite, "smuggle_metrics", &turn);
    let out = turn.said.usage.lock().unwrap().metrics_out;
    suite.expect(out == 40, "smuggle_metrics", format!("{out} bytes of metrics left, of 50"));
    let through = turn.said.all("record").iter().filter(|line| *line == "ok").count();
    suite.expect(through == 2, "smuggle_metrics", format!("{through} records got through"));
    // Without an allowance, names are cut and made plain, and counted.
    let turn = suite.turn("smuggle_metrics", Terms::default(), &[("record", "ok"), ("name", "ok")]).await;
    let recorded = turn.said.metrics.lock().unwrap().clone();
    let plain = |name: &str| name.chars().count() <= 64 && !name.contains(['\n', '\u{1b}']);
    suite.expect(recorded.iter().flatten().all(|metric| plain(&metric.name)), "smuggle_metrics", "a name of a metric");
}

async fn messages(suite: &Suite) {
    let terms = |egress| Terms { egress, audited: true, ..Terms::default() };
    let turn = suite
        .turn(
            "smuggle_body",
            terms(Egress { no_body: true, ..Egress::default() }),
            &[("body", "egress.body"), ("without", "ok")],
        )
        .await;
    completed(suite, "smuggle_body", &turn);
    suite.expect(turn.came.iter().all(|message| message.body.is_empty()), "smuggle_body", "a body arrived");
    // 4 bytes of kind, 16 of round and samples, 10 of body: three of these, and 30 bytes for what comes after.
    let per_round = Allowance { body: Some(3 * 30 + 20 + 20), ..Allowance::default() };
    let expected = [("body", "ok|egress.per-round.body"), ("without", "ok|egress.per-round.body")];
    let turn = suite.turn("smuggle_body", terms(Egress { per_round, ..Egress::default() }), &expected).await;
    let bodies: usize = turn.came.iter().map(|message| message.body.len()).sum();
    suite.expect(bodies <= 40, "smuggle_body", format!("{bodies} bytes of bodies arrived"));

    // Rounds, samples and kinds are counted, so that ten thousand small messages are no way out either.
    let per_job = Allowance { body: Some(200), ..Allowance::default() };
    let kinds = Some(vec!["n".into(), "done".into()]);
    let egress = Egress { per_job, kinds, ..Egress::default() };
    let expected = [("small", "ok|egress.per-job.body"), ("kind", "egress.kinds")];
    let turn = suite.turn("smuggle_kinds", terms(egress), &expected).await;
    suite.expect(turn.came.len() == 200 / 17, "smuggle_kinds", format!("{} messages arrived", turn.came.len()));

    // Names of published models: an allowance of 30 bytes is three of them.
    let per_job = Allowance { body: Some(30 + 20), ..Allowance::default() };
    let expected = [("publish", "ok|egress.per-job.body"), ("bad-name", "64 letters")];
    let turn = suite.turn("smuggle_names", terms(Egress { per_job, ..Egress::default() }), &expected).await;
    let names: Vec<String> = turn.said.models.lock().unwrap().iter().map(|(name, _)| name.clone()).collect();
    suite.expect(names.iter().map(String::len).sum::<usize>() <= 50, "smuggle_names", format!("{names:?}"));
    // Under filters that change models it is one for each base.
    let expected = [("publish", "ok|left already|no-such"), ("bad-name", "64 letters")];
    let mut opened = filtered();
    opened.egress.per_job.body = Some(1_000);
    suite.turn("smuggle_names", opened, &expected).await;
}

async fn words(suite: &Suite) {
    for name in ["smuggle_words", "smuggle_panic"] {
        let egress = Egress { no_logs: true, ..Egress::default() };
        let (said, outcome) = suite.alone(name, Terms { egress, ..Terms::default() }).await;
        suite.has_failed(name, &outcome, &["egress.logs"]);
        let told = format!("{outcome:?} {:?}", said.lines.lock().unwrap());
        suite.expect(!told.contains("patient") && !told.contains("777000777"), name, told);
        // Where the policy lets words out, they come as they are.
        let (_, outcome) = suite.alone(name, Terms::default()).await;
        suite.has_failed(name, &outcome, &["patient-43"]);
    }
    let (said, outcome) = suite.alone("long_failure", Terms::default()).await;
    suite.expect(matches!(outcome, Outcome::Failed(_)), "long_failure", format!("{:?}", said.lines));
    suite.has_failed("long_failure", &outcome, &["\\u{1b}"]);
}
