//! The ABI itself: handles that are gone, of another type or made up, and pointers that lie.

use flame_sandbox::Limits;

use crate::stage::Terms;
use crate::suite::Suite;
use crate::text;

pub(crate) async fn attacks(suite: &Suite) {
    for (name, words) in [
        ("dropped_twice", "handle"),
        ("dropped_reused", "handle"),
        ("handle_of_another_type", "handle"),
        ("forged_handle", "handle"),
        ("pointer_outside", "bounds"),
        ("pointer_unaligned", "align"),
        ("not_text", "utf-8"),
        ("no_such_case", "discriminant|case"),
        ("endless_list", "bounds|length"),
    ] {
        let (said, outcome) = suite.alone(name, Terms::default()).await;
        suite.has_failed(name, &outcome, &["the guest was ended"]);
        let reason = format!("{outcome:?}");
        suite.expect(words.split('|').any(|word| reason.contains(word)), name, reason);
        let through = ["dropped", "confused", "forged"].iter().find(|word| !said.all(word).is_empty());
        suite.expect(through.is_none(), name, format!("{through:?} got an answer"));
    }
    for (name, component, words) in [
        ("answer outside", text::answer_outside(), "bounds"),
        ("unaligned answer", text::answer_unaligned(), "align"),
        ("endless answer", text::endless_answer(), ""),
        ("answer of no case", text::answer_of_no_case(), "discriminant"),
        ("leaked pollables", text::leak_pollables(), "limits.handles"),
    ] {
        match suite.refused(&component) {
            Ok(prepared) => {
                let limits = Limits { handles: 500, ..Limits::default() };
                let (_, outcome) = suite.runs(name, prepared, Terms { limits, ..Terms::default() }).await;
                suite.has_failed(name, &outcome, &[words]);
            }
            Err(refused) => suite.expect(false, name, format!("it does not come as far: {refused}")),
        }
    }
}
