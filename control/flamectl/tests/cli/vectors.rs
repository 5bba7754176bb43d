//! Every vector of `vectors.json` that a command line can ask for, through the binary and files: rules, clipping and noise.
//! Vectors of parts of a rule are the engine's own tests.

use std::fs;
use std::path::Path;

use flame_model::{Dtype, Model, Tensor};
use serde_json::{Value, json};

use crate::aggregate::{aggregate, load, save};

/// What no rule, clip or noise over files has a word for.
const ELSEWHERE: [(&str, &str); 8] = [
    ("krum_distance_matrix", "a part of krum"),
    ("bulyan_nclosest_", "a part of bulyan"),
    ("qffl_aggregate_primitive", "a part of qfedavg"),
    ("dp_l2_norm", "a part of clipping"),
    ("localdp_sigma", "the client's"),
    ("fedprox_server_is_fedavg", "the client's term: it holds no numbers for the server"),
    ("secagg_", "no rule"),
    ("partition_", "no rule"),
];

/// Rules by the first word of a vector's name.
const RULES: [(&str, &str); 11] = [
    ("fedavg", "fedavg"),
    ("fedmedian", "median"),
    ("fedtrimmedavg", "trimmed-mean"),
    ("fedavgm", "fedavgm"),
    ("fedadagrad", "fedadagrad"),
    ("fedadam", "fedadam"),
    ("fedyogi", "fedyogi"),
    ("krum", "krum"),
    ("multikrum", "multi-krum"),
    ("bulyan", "bulyan"),
    ("qfedavg", "qfedavg"),
];

/// The options of a vector's params under our names.
fn options(rule: &str, params: &Value) -> Vec<String> {
    let mut options = Vec::new();
    for (name, value) in params.as_object().unwrap() {
        let ours = match name.as_str() {
            "server_momentum" => "momentum".to_owned(),
            "server_learning_rate" | "client_learning_rate" => "lr".to_owned(),
            "num_malicious" => "f".to_owned(),
            "num_to_select" => "keep".to_owned(),
            // The client's rate, the rounds to run, an option of another interface.
            "eta_l" | "rounds" | "to_keep" => continue,
            // Adagrad decays nothing.
            "beta_1" | "beta_2" if rule == "fedadagrad" => continue,
            other => other.replace('_', "-"),
        };
        options.extend(["--opt".to_owned(), format!("{ours}={value}")]);
    }
    options
}

fn numbers(value: &Value, shape: &mut Vec<u64>, depth: usize, flat: &mut Vec<f64>) {
    match value.as_array() {
        Some(items) => {
            if shape.len() == depth {
                shape.push(items.len() as u64);
            }
            for item in items {
                numbers(item, shape, depth + 1, flat);
            }
        }
        None => flat.push(value.as_f64().unwrap()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the vectors' numbers are small")]
fn model(layers: &Value, dtype: Dtype) -> Model {
    let tensor = |layer: &Value| {
        let (mut shape, mut flat) = (Vec::new(), Vec::new());
        numbers(layer, &mut shape, 0, &mut flat);
        let made = match dtype {
            Dtype::Float32 => Tensor::from_f32(&shape, &flat.iter().map(|x| *x as f32).collect::<Vec<_>>()),
            Dtype::Int64 => Tensor::from_elements(&shape, &flat.iter().map(|x| *x as i64).collect::<Vec<_>>()),
            _ => Tensor::from_elements(&shape, &flat),
        };
        made.unwrap()
    };
    layers.as_array().unwrap().iter().enumerate().map(|(at, layer)| (at.to_string(), tensor(layer))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the vectors' numbers are small")]
fn flat(model: &Model) -> Vec<f64> {
    let values = |tensor: &Tensor| match tensor.dtype() {
        Dtype::Float64 => tensor.as_slice::<f64>().unwrap().to_vec(),
        Dtype::Int64 => tensor.as_slice::<i64>().unwrap().iter().map(|x| *x as f64).collect(),
        _ => tensor.read_f32(0, tensor.len() as u64).unwrap().into_iter().map(f64::from).collect(),
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

/// Runs a vector of a rule, as many rounds as it has.
fn run(vector: &Value, rule: &str) {
    let name = vector["name"].as_str().unwrap();
    let dtype: Dtype = vector["dtype"].as_str().unwrap().parse().unwrap();
    let tolerance = vector["tolerance"].as_f64().unwrap();
    let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
    let clients = [inputs, &inputs["clients"], &inputs["clients_each_round"]];
    let clients = clients.iter().find_map(|clients| clients.as_array()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut args: Vec<String> = ["--rule", rule, "-o", "out.safetensors", "--state", "s"].map(str::to_owned).to_vec();
    args.extend(options(rule, &vector["params"]));
    for (at, client) in clients.iter().enumerate() {
        save(path, &format!("c{at}"), &model(&client["layers"], dtype));
        let loss = client.get("metrics").and_then(|metrics| metrics.get("train_loss"));
        let loss = loss.map_or_else(String::new, |loss| format!(":loss={loss}"));
        args.push(format!("c{at}.safetensors:{}{loss}", client.get("n").unwrap_or(&json!(1))));
    }
    if let Some(initial) = inputs.get("initial") {
        save(path, "base", &model(initial, dtype));
    }
    for round in 0..vector["params"]["rounds"].as_u64().unwrap_or(1) {
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        if path.join("base.safetensors").exists() {
            args.extend(["--base", "base.safetensors"]);
        }
        let done = aggregate(path, &args);
        if expected.get("result").is_some() {
            // There they give None; here the round is refused for want of updates.
            assert_eq!(done.status, 2, "{name}");
            assert!(done.err.contains("updates and has") && !path.join("out.safetensors").exists(), "{}", done.err);
            return;
        }
        assert_eq!(done.status, 0, "{name}: {}", done.err);
        if let Some(per_round) = expected.get("per_round") {
            let round = usize::try_from(round).unwrap();
            assert_close(name, &load(path, "out"), &per_round[round], dtype, tolerance);
        }
        fs::copy(path.join("out.safetensors"), path.join("base.safetensors")).unwrap();
    }
    match (expected.get("per_round"), expected.get("layers")) {
        (Some(_), _) => {}
        (None, Some(layers)) => assert_close(name, &load(path, "out"), layers, dtype, tolerance),
        (None, None) => assert_close(name, &load(path, "out"), expected, dtype, tolerance),
    }
}

/// A client's model is clipped around the global one.
fn clip(vector: &Value) {
    let (name, inputs) = (vector["name"].as_str().unwrap(), &vector["inputs"]);
    let tolerance = vector["tolerance"].as_f64().unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "client", &model(&inputs["client"], Dtype::Float64));
    save(folder.path(), "global", &model(&inputs["global"], Dtype::Float64));
    let bound = vector["params"]["clipping_norm"].to_string();
    let args = ["client.safetensors", "--base", "global.safetensors", "--clip", &bound, "-o", "out.safetensors"];
    assert_eq!(aggregate(folder.path(), &args).status, 0, "{name}");
    assert_close(name, &load(folder.path(), "out"), &vector["expected"], Dtype::Float64, tolerance);
}

/// A bound that follows a quantile counts an update as below it or not, and clips it.
fn norm_bit(vector: &Value) {
    let (name, expected) = (vector["name"].as_str().unwrap(), &vector["expected"]);
    let tolerance = vector["tolerance"].as_f64().unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "delta", &model(&vector["inputs"]["layers"], Dtype::Float64));
    let bound = vector["params"]["clipping_norm"].as_f64().unwrap();
    let clip = bound.to_string();
    let args = [
        "--delta",
        "delta.safetensors",
        "--clip",
        &clip,
        "--opt",
        "clip-quantile=0.5",
        "--opt",
        "clip-lr=0.2",
        "-o",
        "out.safetensors",
        "--json",
    ];
    let done = aggregate(folder.path(), &args);
    assert_eq!(done.status, 0, "{name}: {}", done.err);
    assert_close(name, &load(folder.path(), "out"), &expected["layers"], Dtype::Float64, tolerance);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    let next = report["privacy"]["clip"].as_f64().unwrap();
    let share = if expected["clipped"].as_bool().unwrap() { 0.0 } else { 1.0 };
    assert!((next - bound * f64::exp(-0.2 * (share - 0.5))).abs() < 1e-9, "{name}: {next}");
}

/// The bound after rounds of updates of given norms.
fn follow(vector: &Value) {
    let (name, params) = (vector["name"].as_str().unwrap(), &vector["params"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let options = [
        format!("clip={}", params["initial"]),
        format!("clip-quantile={}", params["target_quantile"]),
        format!("clip-lr={}", params["lr"]),
    ];
    let rounds = vector["inputs"]["client_update_norms_per_round"].as_array().unwrap();
    for (norms, expected) in rounds.iter().zip(vector["expected"].as_array().unwrap()) {
        let mut args = ["--delta", "--state", "s", "-o", "out.safetensors", "--json"].map(str::to_owned).to_vec();
        args.extend(options.iter().flat_map(|option| ["--opt".to_owned(), option.clone()]));
        for (at, norm) in norms.as_array().unwrap().iter().enumerate() {
            save(path, &format!("u{at}"), &model(&json!([[norm]]), Dtype::Float64));
            args.push(format!("u{at}.safetensors"));
        }
        let done = aggregate(path, &args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(done.status, 0, "{name}: {}", done.err);
        let report: Value = serde_json::from_str(&done.out).unwrap();
        let (found, expected) = (report["privacy"]["clip"].as_f64().unwrap(), expected.as_f64().unwrap());
        assert!((found - expected).abs() < 1e-6, "{name}: {found} is not {expected}");
    }
}

/// The deviation of the noise on a mean of updates that are zero: z·clip/K.
fn noise(vector: &Value) {
    let params = &vector["params"];
    let clip = params["clipping_norm"].as_f64().unwrap();
    assert_deviation(vector, clip, &[], vector["expected"].as_f64());
}

/// The same where part of the noise is spent on the count of updates below the bound.
fn adaptive_noise(vector: &Value) {
    let stddev = vector["params"]["clipped_count_stddev"].as_f64();
    let stddev = stddev.map(|stddev| format!("clip-count-stddev={stddev}"));
    let mut options = vec!["--opt", "clip-quantile=0.5"];
    options.extend(stddev.iter().flat_map(|option| ["--opt", option]));
    let multiplier = vector["expected"].get(1).and_then(Value::as_f64);
    let updates = vector["params"]["num_sampled"].as_f64().unwrap();
    assert_deviation(vector, 1.0, &options, multiplier.map(|multiplier| multiplier / updates));
}

/// Blurs a mean of zeros; without an expectation it is refused.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of parameters and updates"
)]
fn assert_deviation(vector: &Value, clip: f64, options: &[&str], expected: Option<f64>) {
    let (name, params) = (vector["name"].as_str().unwrap(), &vector["params"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let count: usize = 40_000;
    let zeros: Model = [("w", Tensor::zeros(&[count as u64], Dtype::Float64).unwrap())].into_iter().collect();
    save(path, "zero", &zeros);
    let (clip, z) = (clip.to_string(), params["noise_multiplier"].to_string());
    let count_of_updates = params["num_sampled"].as_f64().unwrap() as u64;
    let updates: Vec<String> = (0..count_of_updates).map(|at| format!("zero.safetensors:1:client=c{at}")).collect();
    let mut args = vec!["--clip", &clip, "--noise-multiplier", &z, "-o", "out.safetensors"];
    // Without noise there is nothing to make from a seed.
    args.extend(if z == "0.0" { [].as_slice() } else { &["--seed", "5"] });
    args.extend(options);
    args.extend(updates.iter().map(String::as_str));
    let done = aggregate(path, &args);
    let Some(expected) = expected else {
        assert_eq!(done.status, 2, "{name}");
        return;
    };
    assert_eq!(done.status, 0, "{name}: {}", done.err);
    let blurred = flat(&load(path, "out"));
    let deviation = (blurred.iter().map(|x| x * x).sum::<f64>() / count as f64).sqrt();
    // Six standard errors of a deviation's estimate: 6/√(2·40,000) = 2 %.
    assert!((deviation - expected).abs() <= 0.022 * expected, "{name}: {deviation} is not {expected}");
}

#[test]
fn the_published_vectors_come_out_of_the_binary() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../flamelet/aggregate/tests/data/vectors.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut ran = Vec::new();
    for vector in vectors.as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        if ELSEWHERE.iter().any(|(elsewhere, _)| name.starts_with(elsewhere)) {
            continue;
        }
        let first = name.split('_').next().unwrap();
        match RULES.iter().find(|(word, _)| *word == first) {
            Some((_, rule)) => run(vector, rule),
            None if name.starts_with("dp_clip_update_") => clip(vector),
            None if name.starts_with("dp_adaptive_clip_norm_bit_") => norm_bit(vector),
            None if name == "dp_adaptive_clip_norm_update" => follow(vector),
            None if name == "dp_stdv" => noise(vector),
            None if name.starts_with("dp_adaptive_noise_") => adaptive_noise(vector),
            None => panic!("nobody runs {name}"),
        }
        ran.push(name);
    }
    for (word, _) in RULES {
        assert!(ran.iter().any(|name| name.starts_with(word)), "no vector of {word} was run");
    }
    assert!(ran.len() >= 30, "{ran:?}");
}
