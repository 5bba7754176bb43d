//! Models of other shapes and types than each other.

use flame_sdk::{Aggregation, Context, Contribution, Dtype, Form, Metrics, Model, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    let mut base = attacks::constant(1.0, 10)?;
    let shorter = attacks::constant(1.0, 9)?;
    let mut whole = Model::new();
    whole.set("w", &Tensor::zeros(&[10], Dtype::Int64)?)?;
    let mut renamed = Model::new();
    renamed.set("v", &Tensor::zeros(&[10], Dtype::Float32)?)?;
    let about =
        Contribution { source: "a".repeat(40), form: Form::Full, samples: 1, staleness: 0, metrics: Metrics::new() };
    let mut rule = Aggregation::create("fedavg", &[])?;
    rule.begin(&base, &[])?;
    for (what, other) in [("shorter", &shorter), ("dtype", &whole), ("renamed", &renamed), ("none", &Model::new())] {
        attacks::tried(what, base.axpy(1.0, other));
        attacks::tried(what, base.difference(other));
        attacks::tried(what, rule.add(other, &about, None, &[]));
    }
    attacks::tried("itself", rule.add(&base, &about, None, &[]));
    Ok(())
}

flame_sdk::worker! { trainer => run }
