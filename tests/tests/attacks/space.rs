//! Memory of the guest and of the host.

use flame_sandbox::{Limits, Outcome};

use crate::stage::Terms;
use crate::suite::Suite;
use crate::text;

pub(crate) async fn attacks(suite: &Suite) {
    let small = || Limits {
        memory: 64 << 20,
        tensor_bytes: 16 << 20,
        call_bytes: 4 << 20,
        handles: 500,
        table_elements: 10_000,
        ..Limits::default()
    };
    suite.fails("memory_growth", small(), &["limits.memory", "64 MiB"]).await;
    suite.fails("leak_tensor_bytes", small(), &["limits.tensor-bytes", "16777216"]).await;
    suite.fails("leak_tensors", small(), &["limits.handles", "500"]).await;
    suite.fails("leak_models", small(), &["limits.handles", "500"]).await;
    suite.fails("leak_channels", small(), &["limits.handles", "500"]).await;
    suite.fails("leak_datasets", small(), &["limits.handles", "500"]).await;
    suite.fails("leak_aggregators", small(), &["limits.handles", "500"]).await;
    // A rule keeps two models of 1 MiB each across rounds.
    suite.fails("leak_rule_states", small(), &["limits.tensor-bytes", "16777216"]).await;
    // Names are memory of the host as well: 400 kB for each of these models.
    suite.fails("leak_names", small(), &["limits.tensor-bytes"]).await;
    suite.fails("huge_argument", Limits { tensor_bytes: 1 << 30, ..small() }, &["limits.call-bytes", "4194304"]).await;
    suite.fails("many_tensors", small(), &["over a limit", "500 (limits.handles"]).await;
    let receipts = suite.turn("leak_receipts", Terms { limits: small(), ..Terms::default() }, &[]).await;
    suite.has_failed("leak_receipts", &receipts.outcome, &["limits.handles"]);

    let roomy = Terms { limits: Limits { tensor_bytes: 1 << 30, ..small() }, ..Terms::default() };
    let words = [("bytes", "limits.call-bytes"), ("floats", "limits.call-bytes"), ("some", "ok")];
    suite.completes("huge_result", roomy, &words).await;

    // What Rust cannot say, in WebAssembly's own text.
    for (name, component, words) in [
        ("endless recursion", text::recursion(), "call stack exhausted"),
        ("many memories", text::memories(10, 200), "limits.memory"),
        ("grown memories", text::grown_memories(), "limits.memory"),
        ("table growth", text::table_growth(), "limits.table-elements"),
        ("large table", text::large_table(), "limits.table-elements"),
        ("reserved memories", text::reserved_memories(), "memory count too high"),
    ] {
        match suite.refused(&component) {
            Ok(prepared) => {
                let (_, outcome) = suite.runs(name, prepared, Terms { limits: small(), ..Terms::default() }).await;
                suite.has_failed(name, &outcome, &[words]);
            }
            Err(refused) => suite.expect(false, name, format!("it does not come as far: {refused}")),
        }
    }
    if let Ok(prepared) = suite.refused(&text::worker("i32.const 0", "")) {
        let (_, outcome) = suite.runs("plain text", prepared, Terms::default()).await;
        suite.expect(outcome == Outcome::Completed, "plain text", format!("{outcome:?}"));
    }
}
