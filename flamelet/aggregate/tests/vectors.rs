//! Every vector of `data/vectors.json` that concerns a rule of this crate.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

use flame_aggregate::{AggregateError, Aggregator, Contribution, OptionValue, privacy, robust};
use flame_model::{Dtype, Form, Metric, Model, Tensor};
use serde_json::Value;

/// Vectors of other parts of the project: secure aggregation and the cutting of data sets. Anything else must be run.
const ELSEWHERE: [&str; 2] = ["secagg_", "partition_"];

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

fn number(name: &str, value: f64) -> (String, OptionValue) {
    (name.to_owned(), OptionValue::Number(value))
}

/// Our rule and options for a vector's name and parameters.
fn aggregator(name: &str, params: &Value) -> Aggregator {
    let rule = match name.split('_').next().unwrap() {
        "fedmedian" => "median",
        "fedtrimmedavg" => "trimmed-mean",
        "multikrum" => "multi-krum",
        same => same,
    };
    let mut options = Vec::new();
    for (key, value) in params.as_object().unwrap() {
        let ours = match key.as_str() {
            "server_learning_rate" | "client_learning_rate" => "lr",
            "server_momentum" => "momentum",
            "num_malicious" => "f",
            "num_to_select" => "keep",
            "clipping_norm" => "clip",
            // The client's rate, the number of rounds to run, and what Bulyan's inner rule has no use for.
            "eta_l" | "rounds" | "to_keep" => continue,
            other => other,
        };
        options.push(number(ours, value.as_f64().unwrap()));
    }
    Aggregator::create(rule, &options).unwrap()
}

fn about(source: usize, samples: u64, metrics: Vec<Metric>) -> Contribution {
    Contribution { source: source.to_string(), form: Form::Full, samples, staleness: 0, metrics }
}

fn run_rule(vector: &Value) {
    let name = vector["name"].as_str().unwrap();
    let dtype: Dtype = vector["dtype"].as_str().unwrap().parse().unwrap();
    let tolerance = vector["tolerance"].as_f64().unwrap();
    let inputs = &vector["inputs"];
    let clients = [inputs, &inputs["clients"], &inputs["clients_each_round"]];
    let clients: Vec<(Model, Contribution)> = clients
        .iter()
        .find_map(|clients| clients.as_array())
        .unwrap()
        .iter()
        .enumerate()
        .map(|(i, client)| {
            let loss = client["metrics"]["train_loss"].as_f64();
            let metrics = loss.map(|loss| Metric::new("loss", loss)).into_iter().collect();
            (model(&client["layers"], dtype), about(i, client["n"].as_u64().unwrap(), metrics))
        })
        .collect();
    let mut global = match &inputs["initial"] {
        Value::Null => clients[0].0.zeros_like().unwrap(),
        initial => model(initial, dtype),
    };
    let mut aggregator = aggregator(name, &vector["params"]);
    let expected = &vector["expected"];
    for round in 0..vector["params"]["rounds"].as_u64().unwrap_or(1) {
        aggregator.begin(&global, &[]).unwrap();
        for (update, about) in &clients {
            aggregator.add(update, about, None, &[]).unwrap();
        }
        if expected.get("result") == Some(&Value::Null) {
            assert!(matches!(aggregator.finish(), Err(AggregateError::NotEnough { .. })), "{name}");
            return;
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
    if let Some(scores) = expected.get("scores") {
        let models: Vec<Model> = clients.iter().map(|(model, _)| model.clone()).collect();
        let malicious = usize::try_from(vector["params"]["num_malicious"].as_u64().unwrap()).unwrap();
        let found = robust::krum_scores(&models, malicious).unwrap();
        assert_numbers(name, &found, scores, tolerance);
    }
    match (expected.get("per_round"), expected.get("layers")) {
        (Some(_), _) => {}
        (None, Some(layers)) => assert_close(name, &global, layers, dtype, tolerance),
        (None, None) => assert_close(name, &global, expected, dtype, tolerance),
    }
}

fn assert_numbers(name: &str, found: &[f64], expected: &Value, tolerance: f64) {
    let (mut shape, mut flat) = (Vec::new(), Vec::new());
    numbers(expected, &mut shape, 0, &mut flat);
    assert_eq!(found.len(), flat.len(), "{name}");
    for (found, expected) in found.iter().zip(flat) {
        assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{name}: {found} is not {expected}");
    }
}

fn float64(layers: &Value) -> Model {
    model(layers, Dtype::Float64)
}

fn run_distances(vector: &Value) {
    let points = vector["inputs"]["points"].as_array().unwrap();
    let models: Vec<Model> = points.iter().map(|point| float64(&serde_json::json!([point]))).collect();
    let found: Vec<f64> = robust::squared_distances(&models).unwrap().concat();
    assert_numbers("krum_distance_matrix", &found, &vector["expected"], 1e-6);
}

fn run_nearest(name: &str, vector: &Value) {
    let models: Vec<Model> = vector["inputs"]["weights"].as_array().unwrap().iter().map(float64).collect();
    let count = usize::try_from(vector["params"]["beta"].as_u64().unwrap()).unwrap();
    let found = robust::mean_of_nearest(&float64(&vector["inputs"]["reference"]), &models, count);
    if vector["expected"].get("raises").is_some() {
        assert!(found.is_err(), "{name}");
    } else {
        assert_close(name, &found.unwrap(), &vector["expected"], Dtype::Float64, 1e-6);
    }
}

/// w − ΣD/Σh, of given D and h: with q = 1 and a small rate there is a loss F for which D = F·L·(w−u) and h = ‖L(w−u)‖² + L·F.
fn run_qffl_primitive(vector: &Value) {
    let (inputs, lipschitz) = (&vector["inputs"], 0.1);
    let global = float64(&inputs["parameters"]);
    let mut rule = Aggregator::create("qfedavg", &[number("q", 1.0), number("lr", 1.0 / lipschitz)]).unwrap();
    rule.begin(&global, &[]).unwrap();
    for (i, delta) in inputs["deltas"].as_array().unwrap().iter().enumerate() {
        let step = inputs["hs"][i].as_f64().unwrap();
        let delta = float64(delta);
        let square = delta.norm_l2().powi(2);
        let excess = |loss: f64| square / (loss * loss) + lipschitz * loss - step;
        let (mut low, mut high) = (1e-3, 3.0);
        assert!(excess(low) > 0.0 && excess(high) < 0.0);
        for _ in 0..200 {
            let middle = f64::midpoint(low, high);
            if excess(middle) > 0.0 { low = middle } else { high = middle }
        }
        let mut update = global.clone();
        update.axpy(-1.0 / (low * lipschitz), &delta).unwrap();
        rule.add(&update, &about(i, 1, vec![Metric::new("loss", low - 1e-10)]), None, &[]).unwrap();
    }
    let found = rule.finish().unwrap().model;
    assert_close("qffl_aggregate_primitive", &found, &vector["expected"], Dtype::Float64, 1e-6);
}

/// A round of one whole model under a clipping bound that follows the median of the norms.
fn clipped(base: &Model, update: &Model, clip: f64) -> (Model, bool) {
    let options = [number("clip", clip), number("clip-quantile", 0.5)];
    let mut rule = Aggregator::create("fedavg", &options).unwrap();
    rule.begin(base, &[]).unwrap();
    rule.add(update, &about(0, 3, Vec::new()), None, &[]).unwrap();
    let model = rule.finish().unwrap().model;
    // It rises where the update was above it.
    (model, rule.privacy().unwrap().clip > clip)
}

fn run_privacy(name: &str, vector: &Value) {
    let (inputs, params, expected) = (&vector["inputs"], &vector["params"], &vector["expected"]);
    let param = |name: &str| params[name].as_f64();
    match name {
        "dp_l2_norm" => assert_numbers(name, &[float64(&inputs["layers"]).norm_l2()], expected, 1e-6),
        "dp_clip_update_below_norm" | "dp_clip_update_above_norm" => {
            let clip = param("clipping_norm").unwrap();
            let (found, _) = clipped(&float64(&inputs["global"]), &float64(&inputs["client"]), clip);
            assert_close(name, &found, expected, Dtype::Float64, 1e-6);
        }
        "dp_adaptive_clip_norm_bit_true" | "dp_adaptive_clip_norm_bit_equal" => {
            let update = float64(&inputs["layers"]);
            let (found, bit) = clipped(&update.zeros_like().unwrap(), &update, param("clipping_norm").unwrap());
            assert_close(name, &found, &expected["layers"], Dtype::Float64, 1e-6);
            assert_eq!(bit, expected["clipped"].as_bool().unwrap(), "{name}");
        }
        "dp_stdv" => {
            let of = |name| param(name).unwrap();
            let found = privacy::noise_stddev(of("noise_multiplier"), of("clipping_norm"), of("num_sampled"));
            assert_numbers(name, &[found], expected, 1e-9);
        }
        "dp_adaptive_clip_norm_update" => {
            let options = [
                number("clip", param("initial").unwrap()),
                number("clip-quantile", param("target_quantile").unwrap()),
                number("clip-lr", param("lr").unwrap()),
                number("noise-multiplier", param("noise_multiplier").unwrap()),
            ];
            let mut rule = Aggregator::create("fedavg", &options).unwrap();
            let base = float64(&serde_json::json!([[0.0]]));
            let mut found = Vec::new();
            for norms in inputs["client_update_norms_per_round"].as_array().unwrap() {
                rule.begin(&base, &[]).unwrap();
                for (i, norm) in norms.as_array().unwrap().iter().enumerate() {
                    let update = float64(&serde_json::json!([[norm]]));
                    rule.add(&update, &about(i, 1, Vec::new()), None, &[]).unwrap();
                }
                rule.finish().unwrap();
                found.push(rule.privacy().unwrap().clip);
            }
            assert_numbers(name, &found, expected, 1e-9);
        }
        "localdp_sigma" => {
            let of = |name| param(name).unwrap();
            let found = privacy::gaussian_sigma(of("sensitivity"), of("epsilon"), of("delta"));
            assert_numbers(name, &[found], expected, 1e-9);
        }
        _ if name.starts_with("dp_adaptive_noise_") => {
            let stddev = param("clipped_count_stddev");
            let found = privacy::split_noise(param("noise_multiplier").unwrap(), param("num_sampled").unwrap(), stddev);
            if expected.get("raises").is_some() {
                assert!(found.is_err(), "{name}");
            } else {
                let (stddev, multiplier) = found.unwrap();
                assert_numbers(name, &[stddev, multiplier], expected, 1e-9);
            }
        }
        _ => panic!("no way to run {name}: write one"),
    }
}

fn run_fedprox(vector: &Value) {
    let mu = vector["params"]["proximal_mu"].as_f64().unwrap();
    let round = |mut rule: Aggregator| {
        rule.begin(&float64(&serde_json::json!([[1.0, 2.0]])), &[]).unwrap();
        for (i, layers) in [[3.0, 4.0], [5.0, 7.0]].iter().enumerate() {
            let update = float64(&serde_json::json!([layers]));
            rule.add(&update, &about(i, i as u64 + 1, Vec::new()), None, &[]).unwrap();
        }
        rule.finish().unwrap().model
    };
    let prox = Aggregator::create("fedprox", &[number("mu", mu)]).unwrap();
    assert_eq!(round(prox), round(Aggregator::create("fedavg", &[]).unwrap()));
}

#[test]
fn the_published_vectors_come_out() {
    let vectors: Value = serde_json::from_str(include_str!("data/vectors.json")).unwrap();
    let mut ran = 0;
    for vector in vectors.as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        match name {
            _ if ELSEWHERE.iter().any(|other| name.starts_with(other)) => continue,
            "krum_distance_matrix" => run_distances(vector),
            "qffl_aggregate_primitive" => run_qffl_primitive(vector),
            "fedprox_server_is_fedavg" => run_fedprox(vector),
            _ if name.starts_with("bulyan_nclosest_") => run_nearest(name, vector),
            _ if name.starts_with("dp_") || name.starts_with("localdp_") => run_privacy(name, vector),
            // Panics where there is no such rule or option.
            _ => run_rule(vector),
        }
        ran += 1;
    }
    assert_eq!(ran, 48, "of 57 vectors, 9 are of other parts");
}
