//! Uses names of megabytes wherever there is a name.

use attacks::Turn;
use flame_sdk::{Aggregation, Channel, Context, Dataset, Dtype, Metrics, Model, Outgoing, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::without_data()?;
    let long: String = "n".repeat(3 << 20);
    let ends = std::slice::from_ref(&turn.base.sender);
    let tensor = Tensor::zeros(&[1], Dtype::Float32)?;
    attacks::tried("tensor", Model::new().set(&long, &tensor));
    attacks::tried("get", turn.trained.get(&long));
    attacks::tried("join", Channel::join(&long));
    attacks::tried("tag", Channel::by_tag(&long));
    attacks::tried("kind", turn.channel.send(ends, &Outgoing::new(&long, 1)));
    attacks::tried("to", turn.channel.send(std::slice::from_ref(&long), &Outgoing::new("note", 1)));
    attacks::tried("from", turn.channel.peek(&long));
    attacks::tried("data", Dataset::open(&long));
    attacks::tried("rule", Aggregation::create(&long, &[]));
    attacks::tried("publish", Context::from_host().publish_model(&long, &turn.trained));
    let mut metrics = Metrics::new();
    metrics.set(&long, 1.0);
    attacks::tried("metric", Context::from_host().record_metrics(1, &metrics));
    attacks::tried("model", turn.send(&turn.message("update").model(&long, &turn.trained)));
    turn.end()
}

flame_sdk::worker! { trainer => run }
