//! Both generations of job file, our own options, and what is refused in them.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod common;

use common::*;
use flame_tag::{Backend, Compression, JobSpec, MessageForm, SystemData, TensorEncoding};

fn parse(text: &str) -> JobSpec {
    JobSpec::parse(text, "job.json", &no_file).unwrap()
}

fn refusals(text: &str) -> Vec<String> {
    JobSpec::parse(text, "job.json", &no_file).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_walk_throughs_job_file_is_read() {
    let job = parse(WALKTHROUGH_JOB);
    assert_eq!(job.design_id, "mnist_non_orchestration");
    assert_eq!((job.schema_version, job.code_version, job.max_run_time), (Some(1), Some(1), Some(1800)));
    assert_eq!(job.backend, Backend::Mqtt);
    assert_eq!(job.base_model, None);
    assert_eq!(job.data_spec.from_user["default"], 1);
    let keys: Vec<_> = job.hyperparameters.keys().collect();
    assert_eq!(keys, ["rounds", "batchSize", "learningRate"]);
    assert_eq!(job.selector.unwrap().sort, "default");
}

#[test]
fn the_later_generation_keeps_data_and_model_in_files_of_their_own() {
    let loader = |path: &str| match path {
        "dataSpec.json" => Ok(r#"[{"role": "trainer", "datasetGroups": {"us": ["a", "b"]}}]"#.to_owned()),
        "modelSpec.yaml" => {
            Ok("baseModel: {name: resnet, version: 2}\noptimizer: {sort: fedadam, kwargs: {eta: 0.01}}\n\
                                selector: {sort: random, kwargs: {k: 2}}\nhyperparameters: {rounds: 3}\n"
                .to_owned())
        }
        other => Err(format!("no file {other}")),
    };
    let text = r#"{"name": "n", "designId": "d", "backend": "p2p", "dataSpecPath": "dataSpec.json", "modelSpecPath": "modelSpec.yaml"}"#;
    let job = JobSpec::parse(text, "job.json", &loader).unwrap();
    assert_eq!(job.dataset_ids(), ["a", "b"]);
    assert_eq!(job.base_model.as_ref().unwrap().version, 2);
    assert_eq!(job.optimizer.as_ref().unwrap().kwargs["eta"], 0.01);
    assert_eq!(job.hyperparameters["rounds"], 3);

    let broken =
        |path: &str| loader(path).map(|text| text.replace("role", "rolle").replace("sort: random", "sorte: random"));
    let problems = JobSpec::parse(text, "job.json", &broken).unwrap_err();
    let places: Vec<_> = problems.iter().map(|p| (p.file.as_str(), p.line, p.field.as_str())).collect();
    assert!(places.contains(&("dataSpec.json", Some(1), "[0].rolle")), "{problems}");
    assert!(places.contains(&("modelSpec.yaml", Some(3), "selector.sorte")), "{problems}");
}

#[test]
fn our_own_options_are_read() {
    let job = parse(
        "designId: d\nbackend: mqtt\nname: demo\nseed: 18446744073709551615\noptimizer: {sort: fedavg}\nevaluationData: test\n\
         minParticipants: 2\njoinTimeout: 30\nminCompleted: {trainer: 2}\ndeterministic: true\n\
         resources:\n  trainer: {memory: 512 MiB, tensorBytes: 1048576, cpu: 60, wallTime: 120, egress: 10MB}\n\
         dataSpec: {fromUser: {default: 3}}\n",
    );
    assert_eq!(job.seed, Some(u64::MAX));
    assert_eq!((job.min_participants, job.join_timeout), (Some(2), Some(30)));
    let trainer = &job.resources["trainer"];
    assert_eq!(
        (trainer.memory, trainer.tensor_bytes, trainer.egress),
        (Some(512 << 20), Some(1 << 20), Some(10_000_000))
    );
    assert!(job.deterministic);
}

#[test]
fn the_canonical_form_reads_back_to_the_same_job() {
    for text in [
        WALKTHROUGH_JOB.to_owned(),
        job_with(&[("us", &["a", "b"])]),
        r#"{"designId": "d", "backend": "mqtt", "seed": 3, "dataSpec": {"fromUser": {"g": 1}, "fromSystem": {"g": ["x"]}}, "resources": {"t": {"memory": 5}}}"#.to_owned(),
        r#"{"designId": "d", "backend": "mqtt", "dataSpec": {"fromSystem": ["x", "y"]}}"#.to_owned(),
    ] {
        let job = parse(&text);
        let canonical = serde_json::to_string(&job).unwrap();
        assert_eq!(parse(&canonical), job, "{canonical}");
        assert_eq!(serde_json::from_str::<JobSpec>(&canonical).unwrap(), job);
    }
}

#[test]
fn compression_says_how_updates_travel() {
    let with = |compression: &str| {
        format!("designId: d\ndataSpec: {{fromUser: {{g: 1}}}}\ncompression: {compression}\nbackend: p2p\n")
    };
    let read = |compression: &str| parse(&with(compression)).compression.unwrap();
    let compression = read("{tensors: f16, zstd: 3}");
    assert_eq!((compression.tensors, compression.zstd), (TensorEncoding::F16, Some(3)));
    assert_eq!(compression.forms, [MessageForm::Full, MessageForm::Delta]);
    let compression = read("{tensors: int8, forms: [delta, partial-sum, state]}");
    assert_eq!(compression.forms, [MessageForm::Delta, MessageForm::PartialSum, MessageForm::State]);
    assert_eq!(read("{zstd: 19}"), Compression { tensors: TensorEncoding::Raw, forms: Vec::new(), zstd: Some(19) });
    for text in ["{}", "{zstd: 1}", "{tensors: bf16}", "{tensors: raw, zstd: 2}", "{tensors: f16, forms: [state]}"] {
        let job = parse(&with(text));
        let canonical = serde_json::to_string(&job).unwrap();
        assert_eq!(parse(&canonical), job, "{canonical}");
        assert_eq!(serde_json::from_str::<JobSpec>(&canonical).unwrap(), job);
    }
}

#[test]
fn mistakes_in_compression_are_refused_where_they_stand() {
    let text = "designId: d\ndataSpec: {fromUser: {g: 1}}\ncompression:\n  tensors: fp16\n  forms: [delta, updates, delta]\n  zstd: 22\n  level: 3\nbackend: p2p\n";
    let all = refusals(text).join("\n");
    for expected in [
        "job.json:4:12: compression.tensors: unknown tensor encoding fp16; did you mean f16?",
        "job.json:5:18: compression.forms[1]: unknown form of message updates",
        "job.json:5:27: compression.forms[2]: the form is named twice",
        "job.json:6:9: compression.zstd: 22 is above 19; levels go from 1, the quickest, to 19",
        "job.json:7:3: compression.level: unknown field level; known fields are tensors, forms, zstd",
    ] {
        assert!(all.contains(expected), "{expected}\n{all}");
    }
    let with = |compression: &str| {
        let text = format!("designId: d\ndataSpec: {{fromUser: {{g: 1}}}}\ncompression: {compression}\nbackend: p2p\n");
        refusals(&text).join("\n")
    };
    assert!(with("{forms: [delta]}").contains("nothing makes them lose any; give tensors one of f16, bf16 and int8"));
    assert!(with("{tensors: f16, forms: []}").contains("no form is named"));
    assert!(with("{zstd: 0}").contains("compression.zstd: 0 is below 1"));
    assert!(with("f16").contains("compression: expected an object, found a text"));
}

#[test]
fn revisions_are_numbers_or_texts_or_absent() {
    let with = |version: &str| {
        format!(
            r#"{{"designId": "d", "backend": "mqtt", "schemaVersion": {version}, "dataSpec": {{"fromUser": {{"g": 1}}}}}}"#
        )
    };
    assert_eq!(parse(&with("3")).schema_version, Some(3));
    assert_eq!(parse(&with("\"3\"")).schema_version, Some(3));
    assert_eq!(parse(&with("null")).schema_version, None);
    assert!(refusals(&with("0"))[0].contains("schemaVersion: not a revision"));
    assert!(refusals(&with("\"latest\""))[0].contains("schemaVersion: not a revision"));
}

#[test]
fn bare_data_set_ids_are_read() {
    let job = parse(r#"{"designId": "d", "backend": "mqtt", "dataSpec": {"fromSystem": ["x", "y"]}}"#);
    assert_eq!(job.data_spec.from_system, SystemData::Ids(vec!["x".to_owned(), "y".to_owned()]));
}

#[test]
fn a_missing_design_is_refused_with_the_fix() {
    let text = r#"{"backend": "mqtt", "dataSpec": {"fromUser": {"default": 1}}}"#;
    assert_eq!(
        refusals(text),
        [
            "job.json:1:1: designId: required field designId is missing; name the design that the job runs: \"designId\": \"my-design\""
        ]
    );
}

#[test]
fn unknown_fields_are_refused_with_the_nearest_known_one() {
    let text = "{\n  \"designID\": \"d\",\n  \"dataSpec\": {\"fromUsers\": {\"default\": 1}},\n  \"colour\": 1\n}";
    let found = refusals(text);
    let all = found.join("\n");
    assert!(all.contains("job.json:2:3: designID: unknown field designID; did you mean designId?"), "{all}");
    assert!(
        all.contains("job.json:3:16: dataSpec.fromUsers: unknown field fromUsers; did you mean fromUser?"),
        "{all}"
    );
    assert!(all.contains("job.json:4:3: colour: unknown field colour; known fields are designId"), "{all}");
    assert!(all.contains("designId: required field designId is missing"), "{all}");
}

#[test]
fn wrong_types_are_refused_where_they_stand() {
    let text = "designId: 5\ndataSpec: {fromUser: {default: 0}}\nmaxRunTime: long\nhyperparameters: []\nbackend: mqqt\nseed: -1\n";
    let all = refusals(text).join("\n");
    for expected in [
        "job.json:1:11: designId: expected a text, found a number; put it in quotes",
        "job.json:2:32: dataSpec.fromUser.default: 0 is below 1",
        "job.json:3:13: maxRunTime: expected a whole number, found a text",
        "job.json:4:1: hyperparameters: expected an object, found a list",
        "job.json:5:10: backend: unknown backend mqqt; did you mean mqtt?",
        "job.json:6:7: seed: -1 is below 0",
    ] {
        assert!(all.contains(expected), "{expected}\n{all}");
    }
}

#[test]
fn a_file_that_is_named_and_not_there_is_refused() {
    let text = r#"{"designId": "d", "backend": "mqtt", "dataSpecPath": "data.json"}"#;
    assert!(refusals(text)[0].contains("dataSpecPath: data.json cannot be read: no file data.json"));
    let all = refusals(r#"{"designId": "d"}"#).join("\n");
    for field in ["backend", "dataSpec"] {
        assert!(all.contains(&format!("required field {field} is missing")), "{all}");
    }
}

#[test]
fn what_is_neither_json_nor_yaml_is_refused_in_plain_words() {
    for (text, expected) in [
        ("rate: .inf", "job.json:1:7: not valid JSON or YAML: non-finite float `.inf` where JSON has none"),
        (
            "a: 1\nb: 2\na: 3\n",
            "job.json:3:1: not valid JSON or YAML: duplicate mapping key: a; correct the file there",
        ),
        ("a: 1\n---\nb: 1\n", "job.json:2:1: not valid JSON or YAML: the file has more than one document"),
        ("{\"a\": [1, 2}", "job.json:1:7: not valid JSON or YAML: mismatched bracket"),
    ] {
        let found = refusals(text);
        assert!(found[0].starts_with(expected), "{expected}\n{found:?}");
    }
}
