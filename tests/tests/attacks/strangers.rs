//! Ends, channels, kinds, bases and data that are not the guest's.

use flame_sandbox::{Egress, Filters, Outcome};

use crate::stage::Terms;
use crate::suite::{Suite, Turn};

pub(crate) async fn attacks(suite: &Suite) {
    let turn = suite
        .turn(
            "to_itself",
            Terms::default(),
            &[
                ("me", "not found|no end|itself|invalid"),
                ("from-me", "not found|no end|itself|invalid"),
                ("nobody", "ok|no end|invalid"),
                ("twice", "ok|twice|invalid"),
            ],
        )
        .await;
    completed(suite, "to_itself", &turn);
    suite.expect(turn.came.len() <= 1, "to_itself", format!("{} messages arrived", turn.came.len()));

    let none = "not found|no end|invalid";
    let expected =
        [("stranger", none), ("no-end", none), ("empty", none), ("wildcard", none), ("capital", none), ("nul", none)];
    let turn = suite.turn("strangers", Terms::default(), &expected).await;
    completed(suite, "strangers", &turn);
    suite.expect(turn.came.is_empty(), "strangers", "a message arrived");

    // A base is the host's word; a round is the guest's, and what it says of itself.
    let turn =
        suite.turn("forged_base", filtered(), &[("base", "not found|no message|received"), ("round", "ok")]).await;
    completed(suite, "forged_base", &turn);
    let bases: Vec<_> = turn.came.iter().filter_map(|message| message.base.as_ref()).collect();
    suite.expect(turn.came.len() == 3 && bases.len() == 3, "forged_base", format!("{:?}", turn.came));
    suite.expect(bases.iter().all(|base| base.round == 1), "forged_base", format!("{bases:?}"));

    let only = Egress { channels: Some(vec!["param".into()]), ..Egress::default() };
    let expected = [
        ("unknown", "no channel"),
        ("path", "no channel"),
        ("topic", "no channel"),
        ("empty", "no channel"),
        ("nul", "no channel"),
        ("group", "no channel"),
        ("not-allowed", "egress.channels"),
        ("tag", "no channel"),
    ];
    suite.completes("other_channels", Terms { egress: only, ..Terms::default() }, &expected).await;

    let kinds = Egress { kinds: Some(vec!["update".into(), "done".into()]), ..Egress::default() };
    let no = "egress.kinds";
    let expected = [("odd", no), ("case", no), ("empty", no), ("line", no), ("space", no)];
    let turn = suite.turn("kinds", Terms { egress: kinds, ..Terms::default() }, &expected).await;
    completed(suite, "kinds", &turn);
    suite.expect(turn.came.is_empty(), "kinds", "a message arrived");

    let expected = [("open", "no data set"), ("array", "no array")];
    let said = suite.completes("data_paths", Terms::default(), &expected).await;
    let lines = said.lines.lock().unwrap().join("\n");
    suite.expect(lines.contains(r#"names ["data"]"#) && !lines.contains("root:"), "data_paths", lines);
}

/// The host holds bases and changes models.
pub(crate) fn filtered() -> Terms {
    let filters = Filters { clip: Some(1.0), ..Filters::default() };
    Terms { egress: Egress { filters, ..Egress::default() }, audited: true, ..Terms::default() }
}

pub(crate) fn completed(suite: &Suite, name: &str, turn: &Turn) {
    suite.expect(turn.outcome == Outcome::Completed, name, format!("it ended as {:?}", turn.outcome));
}
