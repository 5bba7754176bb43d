//! Numbers that are none, shapes without a size, offsets that overflow, weights that outweigh everybody.

use flame_sandbox::Outcome;

use crate::stage::Terms;
use crate::strangers::{completed, filtered};
use crate::suite::Suite;

pub(crate) async fn attacks(suite: &Suite) {
    let expected = [("nan", "NaN"), ("infinity", "NaN"), ("minus", "NaN"), ("metric", "ok")];
    let turn = suite.turn("not_finite", Terms::default(), &expected).await;
    completed(suite, "not_finite", &turn);
    suite.expect(turn.came.is_empty(), "not_finite", "a message arrived");
    suite.expect(turn.said.models.lock().unwrap().is_empty(), "not_finite", "a model was published");
    let finite = turn.said.metrics.lock().unwrap().iter().flatten().all(|metric| metric.value.is_finite());
    suite.expect(finite, "not_finite", "a metric that is no number left");

    let turn = suite.turn("sample_counts", Terms::default(), &[("samples", "ok"), ("bare", "ok")]).await;
    completed(suite, "sample_counts", &turn);
    let most = turn.came.iter().map(|message| message.samples).max();
    suite.expect(most == Some(5), "sample_counts", format!("{most:?} samples of 5 rows"));

    let no = "shape|dtype|type|tensor|names";
    let expected = [("shorter", no), ("dtype", no), ("renamed", no), ("none", no), ("itself", "ok")];
    suite.completes("wrong_types", Terms::default(), &expected).await;

    let no = "no size|tensor bytes|dimensions|too large|bytes|elements";
    let expected = [("overflow", no), ("largest", no), ("wraps", no), ("dimensions", no)];
    suite.completes("bad_shapes", Terms::default(), &expected).await;

    let no = "outside|range|elements|invalid|limit";
    let expected = [
        ("read", no),
        ("write", no),
        ("slice", no),
        ("axpby", no),
        ("rows", no),
        ("gather", "outside|room"),
        ("write-odd", "bytes|element"),
    ];
    suite.completes("bad_offsets", Terms::default(), &expected).await;

    let no = "invalid|unknown|option|rule";
    let expected = [
        ("rule", "rule"),
        ("option", no),
        ("text", no),
        ("number", "invalid|ok|option"),
        ("many", "ok|option|twice"),
        ("early-add", "begin|round"),
        ("early-finish", "begin|round|enough"),
        ("nan", "NaN|finite"),
        ("again", "begin|round|enough"),
    ];
    let (said, outcome) = suite.alone("hostile_rule", Terms::default()).await;
    suite.expect(outcome == Outcome::Completed, "hostile_rule", format!("{outcome:?}"));
    suite.said("hostile_rule", &said, &expected);
    suite.expect(said.all("finite").iter().all(|line| line == "true"), "hostile_rule", "the result is no number");

    let expected = [
        ("model-name", "no model"),
        ("tensor-name", "layout"),
        ("more-tensors", "layout"),
        ("shape", "layout"),
        ("folded", "layout"),
        ("dtype", "layout"),
        ("empty", "layout"),
        ("twice", "left already|twice"),
        ("published", "layout"),
    ];
    let turn = suite.turn("other_layouts", filtered(), &expected).await;
    completed(suite, "other_layouts", &turn);
    suite.expect(turn.came.is_empty(), "other_layouts", "a message arrived");
}
