//! Every vector of `data/vectors.json` that concerns a rule of this crate.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

use flame_aggregate::{Aggregator, Contribution, OptionValue};
use flame_model::{Dtype, Form, Model, Tensor};
use serde_json::Value;

/// Vectors of rules that are not here (yet), or that are not about a server's rule. Anything else must be run.
const SKIPPED: [&str; 12] = [
    "fedmedian_",
    "fedtrimmedavg_",
    "krum_",
    "multikrum_",
    "bulyan_",
    "qfedavg_",
    "qffl_",
    "dp_",
    "localdp_",
    "secagg_",
    "partition_",
    // The client's term; it holds no numbers for the server.
    "fedprox_server_is_fedavg",
];

fn numbers(value: &Value, shape: &mut Vec<u64>, depth: usize, flat: &mut Vec<f64>) {
    if let Some(items) = value.as_array() {
        if shape.len() == depth {
            shape.push(items.len() as u64);
        }
        for item in items {
            numbers(item, shape, depth + 1, flat);
        }
    } else {
        flat.push(value.as_f64().unwrap());
    }
}

fn model(layers: &Value, dtype: Dtype) -> Model {
    let tensor = |layer: &Value| {
        let (mut shape, mut flat) = (Vec::new(), Vec::new());
        numbers(layer, &mut shape, 0, &mut flat);
        match dtype {
            Dtype::Float32 => Tensor::from_f32(&shape, &flat.iter().map(|x| *x as f32).collect::<Vec<_>>()),
            Dtype::Float64 => Tensor::from_elements(&shape, &flat),
            Dtype::Int64 => Tensor::from_elements(&shape, &flat.iter().map(|x| *x as i64).collect::<Vec<_>>()),
            other => panic!("no vector has {other}"),
        }
        .unwrap()
    };
    layers.as_array().unwrap().iter().enumerate().map(|(i, layer)| (i.to_string(), tensor(layer))).collect()
}

fn flat(model: &Model) -> Vec<f64> {
    let values = |tensor: &Tensor| match tensor.dtype() {
        Dtype::Float32 => tensor.as_slice::<f32>().unwrap().iter().map(|x| f64::from(*x)).collect::<Vec<_>>(),
        Dtype::Float64 => tensor.as_slice::<f64>().unwrap().to_vec(),
        Dtype::Int64 => tensor.as_slice::<i64>().unwrap().iter().map(|x| *x as f64).collect(),
        other => panic!("no vector has {other}"),
    };
    model.iter().flat_map(|(_, tensor)| values(tensor)).collect()
}

fn assert_close(name: &str, found: &Model, expected: &Value, dtype: Dtype, tolerance: f64) {
    let expected = model(expected, dtype);
    assert_eq!(found.same_layout(&expected), Ok(()), "{name}");
    for (found, expected) in flat(found).iter().zip(flat(&expected)) {
        assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{name}: {found} is not {expected}");
    }
}

fn aggregator(name: &str, params: &Value) -> Aggregator {
    let rule = name.split('_').next().unwrap();
    let mut options = Vec::new();
    for (key, value) in params.as_object().unwrap() {
        let ours = match key.as_str() {
            "server_learning_rate" => "lr",
            "server_momentum" => "momentum",
            // The client's rate, and the number of rounds to run.
            "eta_l" | "rounds" => continue,
            other => other,
        };
        options.push((ours.to_owned(), OptionValue::Number(value.as_f64().unwrap())));
    }
    Aggregator::create(rule, &options).unwrap()
}

fn run(vector: &Value) {
    let name = vector["name"].as_str().unwrap();
    let dtype: Dtype = vector["dtype"].as_str().unwrap().parse().unwrap();
    let tolerance = vector["tolerance"].as_f64().unwrap();
    let inputs = &vector["inputs"];
    let clients = [inputs, &inputs["clients"], &inputs["clients_each_round"]];
    let clients: Vec<(Model, u64)> = clients
        .iter()
        .find_map(|clients| clients.as_array())
        .unwrap()
        .iter()
        .map(|client| (model(&client["layers"], dtype), client["n"].as_u64().unwrap()))
        .collect();
    let mut global = match &inputs["initial"] {
        Value::Null => clients[0].0.zeros_like().unwrap(),
        initial => model(initial, dtype),
    };
    let mut aggregator = aggregator(name, &vector["params"]);
    let expected = &vector["expected"];
    for round in 0..vector["params"]["rounds"].as_u64().unwrap_or(1) {
        aggregator.begin(&global, &[]).unwrap();
        for (i, (update, samples)) in clients.iter().enumerate() {
            let about = Contribution {
                source: i.to_string(),
                form: Form::Full,
                samples: *samples,
                staleness: 0,
                metrics: Vec::new(),
            };
            aggregator.add(update, &about, None, &[]).unwrap();
        }
        global = aggregator.finish().unwrap().model;
        if let Some(per_round) = expected.get("per_round") {
            assert_close(name, &global, &per_round[usize::try_from(round).unwrap()], dtype, tolerance);
        }
    }
    for (key, state) in [("m_t", "m"), ("v_t", "v")] {
        if let Some(expected) = expected.get(key) {
            let saved = aggregator.save();
            let (_, found) = saved.iter().find(|(name, _)| name == state).unwrap();
            assert_close(&format!("{name} {key}"), found, &serde_json::json!([expected]), dtype, tolerance);
        }
    }
    match (expected.get("per_round"), expected.get("layers")) {
        (Some(_), _) => {}
        (None, Some(layers)) => assert_close(name, &global, layers, dtype, tolerance),
        (None, None) => assert_close(name, &global, expected, dtype, tolerance),
    }
}

#[test]
fn the_published_vectors_come_out() {
    let vectors: Value = serde_json::from_str(include_str!("data/vectors.json")).unwrap();
    let mut ran = Vec::new();
    for vector in vectors.as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        if !SKIPPED.iter().any(|skipped| name.starts_with(skipped)) {
            run(vector);
            ran.push(name);
        }
    }
    for rule in ["fedavg_", "fedavgm_", "fedadagrad_", "fedadam_", "fedyogi_"] {
        assert!(ran.iter().any(|name| name.starts_with(rule)), "no vector of {rule} was run: {ran:?}");
    }
}
