//! `flamectl aggregate` as a user meets it: every documented command, every kind of wrong file, several rounds.

use std::fs;
use std::path::Path;
use std::process::Command;

use flame_model::{Dtype, Model, Tensor, safetensors};
use serde_json::Value;

use crate::support::{Ran, flamectl, ran};

/// A folder with what the documentation's commands name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("global", 0.0),
        ("w", 0.0),
        ("a", 1.0),
        ("b", 2.0),
        ("c", 0.0),
        ("ca", 0.25),
        ("cb", 0.75),
        ("old", -1.0),
        ("server", 0.5),
    ] {
        save(folder.path(), name, &constant(value));
    }
    save(folder.path(), "broken", &constant(f32::NAN));
    let other = [("w", Tensor::from_f32(&[3], &[0.0; 3]).unwrap())].into_iter().collect();
    save(folder.path(), "other", &other);
    folder
}

fn constant(value: f32) -> Model {
    [("w", Tensor::from_f32(&[2], &[value; 2]).unwrap())].into_iter().collect()
}

pub(crate) fn save(folder: &Path, name: &str, model: &Model) {
    let file = safetensors::to_bytes(model, &std::collections::BTreeMap::new());
    fs::write(folder.join(format!("{name}.safetensors")), file).unwrap();
}

pub(crate) fn load(folder: &Path, name: &str) -> Model {
    safetensors::from_bytes(&fs::read(folder.join(format!("{name}.safetensors"))).unwrap()).unwrap().0
}

fn value(folder: &Path, name: &str) -> f32 {
    load(folder, name).get("w").unwrap().read_f32(0, 1).unwrap()[0]
}

pub(crate) fn aggregate(folder: &Path, args: &[&str]) -> Ran {
    ran(flamectl(folder).arg("aggregate").args(args))
}

/// Runs a line of a shell in a folder, with `flamectl` in its path.
fn shell(folder: &Path, line: &str) -> Ran {
    let binary = Path::new(env!("CARGO_BIN_EXE_flamectl")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    ran(Command::new("sh").args(["-c", line]).current_dir(folder).env("PATH", path))
}

/// Commands of a text that begin with `start`, with the lines that a backslash continues, and what follows up to the next.
fn commands(text: &str, start: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let command = line.strip_prefix(start).map(|rest| format!("flamectl aggregate{rest}"));
        match (command, commands.last_mut()) {
            (Some(command), _) => commands.push((command, String::new())),
            (None, Some((command, _))) if goes_on => {
                command.push(' ');
                command.push_str(line.trim());
            }
            (None, Some((_, after))) => after.extend([line, "\n"]),
            (None, None) => {}
        }
        goes_on = line.ends_with('\\');
    }
    for (command, _) in &mut commands {
        *command = command.replace('\\', "");
    }
    commands
}

#[test]
fn every_example_of_the_help_runs() {
    let help = aggregate(Path::new("/"), &["--help"]).out;
    let (examples, status) = help.split_once("Examples:").unwrap().1.split_once("Exit status:").unwrap();
    let examples = commands(examples, "  flamectl aggregate");
    assert!(examples.len() >= 6 && status.contains("was refused"), "{help}");
    for (command, _) in examples {
        let folder = folder();
        for stranger in ["other", "broken"] {
            fs::remove_file(folder.path().join(format!("{stranger}.safetensors"))).unwrap();
        }
        let ran = shell(folder.path(), &command);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{command}");
    }
}

#[test]
fn every_command_of_the_documentation_prints_what_it_says() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/aggregate-files.md")).unwrap();
    let mut checked = 0;
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        // The commands of a block work in one folder.
        let folder = folder();
        for (command, expected) in commands(block, "$ flamectl aggregate") {
            let ran = shell(folder.path(), &command);
            let shown = match ran.status {
                0 => format!("{}{}", ran.err, ran.out),
                status => format!("{}{}[status {status}]\n", ran.err, ran.out),
            };
            assert_eq!(shown.replace('\t', "    "), expected, "{command}");
            checked += 1;
        }
    }
    assert!(checked >= 8, "{checked} commands were found");
}

#[test]
fn files_are_averaged_by_their_samples() {
    let folder = folder();
    let done = aggregate(folder.path(), &["a.safetensors:1:loss=1", "b.safetensors:3:loss=2", "-o", "o.safetensors"]);
    assert_eq!((done.status, done.err.as_str()), (0, ""));
    assert!((value(folder.path(), "o") - 1.75).abs() < 1e-6);
    assert!(done.out.contains("loss: 1.7500") && done.out.contains("samples: 4"), "{}", done.out);
}

#[test]
fn differences_are_added_to_the_base() {
    let folder = folder();
    let args =
        ["--delta", "--base", "b.safetensors", "a.safetensors", "a.safetensors:1:client=z", "-o", "o.safetensors"];
    assert_eq!(aggregate(folder.path(), &args).status, 0);
    assert!((value(folder.path(), "o") - 3.0).abs() < 1e-6);
}

#[test]
fn a_refused_update_is_named_and_the_others_are_folded_in() {
    let folder = folder();
    let all = ["a.safetensors", "broken.safetensors", "other.safetensors", "b.safetensors"];
    let done = aggregate(folder.path(), &[&all[..], &["-o", "o.safetensors", "--json"]].concat());
    assert_eq!(done.status, 1);
    let lines: Vec<&str> = done.err.lines().collect();
    assert!(lines[0].starts_with("refused: broken.safetensors: ") && lines[0].contains("NaN"), "{}", done.err);
    assert!(lines[1].starts_with("refused: other.safetensors: ") && lines[1].contains("\"w\""), "{}", done.err);
    assert_eq!(lines[2], "error: 2 of 4 updates were refused; the output holds what the others gave");
    assert!((value(folder.path(), "o") - 1.5).abs() < 1e-6);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&report["accepted"], &report["samples"]), (&2.into(), &2.into()));
    let codes: Vec<&str> =
        report["refused"].as_array().unwrap().iter().map(|refused| refused["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["not-finite", "shape-mismatch"]);
}

#[test]
fn an_update_without_samples_abstains_and_is_not_refused() {
    let folder = folder();
    let done = aggregate(folder.path(), &["a.safetensors:0", "b.safetensors", "-o", "o.safetensors", "--json"]);
    assert_eq!(done.status, 0);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&report["accepted"], &report["abstained"]), (&1.into(), &1.into()));
    assert!((value(folder.path(), "o") - 2.0).abs() < 1e-6);
}

#[test]
fn nothing_is_written_when_the_command_line_or_a_file_is_wrong() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("empty.safetensors"), "").unwrap();
    fs::write(path.join("pickle.safetensors"), b"PK\x03\x04 and so on").unwrap();
    let whole = fs::read(path.join("a.safetensors")).unwrap();
    fs::write(path.join("cut.safetensors"), &whole[..whole.len() - 1]).unwrap();
    let mut lies = whole.clone();
    lies[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(path.join("lies.safetensors"), lies).unwrap();
    for (args, said) in [
        (&["nope.safetensors:3"][..], "nope.safetensors does not exist"),
        (&["nope.safetensors", "nor.safetensors"], "has 2 mistakes\n  - nope.safetensors does not exist\n  - nor"),
        (&["."], ". is a directory"),
        (&["a.safetensors:many"], "many is no number of samples"),
        (&["empty.safetensors"], "empty.safetensors: not a safetensors file"),
        (&["pickle.safetensors"], "is it a PyTorch file?"),
        (&["cut.safetensors"], "cut.safetensors: "),
        (&["lies.safetensors"], "its header claims"),
        (&["a.safetensors", "cut.safetensors"], "cut.safetensors: "),
        (&["a.safetensors", "--base", "nope"], "nope does not exist"),
        (&["a.safetensors", "--base", "broken.safetensors"], "NaN or infinity"),
        (&["a.safetensors", "--rule", "fedavgg"], "unknown aggregation rule \"fedavgg\"; known: fedavg"),
        (&["a.safetensors", "--opt", "eta=1"], "has no option \"eta\""),
        (&["a.safetensors", "--rule", "fedadam", "--opt", "eta=fast"], "a number above 0"),
        (&["a.safetensors", "--opt", "eta"], "OPTION=VALUE"),
        (&["a.safetensors", "--update-extra", "2:control=a.safetensors"], "names update 2, and there are 1"),
        (&["a.safetensors", "--update-base", "0=a.safetensors"], "they count from 1"),
        (&["a.safetensors", "--rule", "fedbuff", "--opt", "goal=2"], "needs 2 updates and has 1"),
        (&["--rule", "fedavg"], "required"),
    ] {
        let wrong = aggregate(path, &[args, &["-o", "o.safetensors"]].concat());
        assert_eq!((wrong.status, wrong.out.as_str()), (2, ""), "{args:?}");
        assert!(wrong.err.contains(said), "{args:?}: {}", wrong.err);
        assert!(!path.join("o.safetensors").exists(), "{args:?}");
    }
    let output = aggregate(path, &["a.safetensors", "-o", "no/such/folder.safetensors"]);
    assert_eq!(output.status, 2);
    assert!(output.err.contains("cannot write no/such/folder.safetensors"), "{}", output.err);
}

#[test]
fn rounds_go_on_with_the_same_state_and_give_what_one_engine_gives() {
    let folder = folder();
    let path = folder.path();
    let round = |base: &str, out: &str| {
        let (base, out) = (format!("{base}.safetensors"), format!("{out}.safetensors"));
        let args = ["--rule", "fedadam", "--state", "s", "--base", &base, "a.safetensors", "b.safetensors", "-o", &out];
        let done = aggregate(path, &args);
        assert_eq!(done.status, 0, "{}", done.err);
        done.err
    };
    assert_eq!(round("global", "r1"), "");
    assert_eq!(round("r1", "r2"), "");
    let mut engine = flame_aggregate::Aggregator::create("fedadam", &[]).unwrap();
    let mut global = load(path, "global");
    for out in ["r1", "r2"] {
        engine.begin(&global, &[]).unwrap();
        for name in ["a", "b"] {
            let about = flame_aggregate::Contribution {
                source: name.into(),
                form: flame_model::Form::Full,
                samples: 1,
                staleness: 0,
                metrics: Vec::new(),
            };
            engine.add(&load(path, name), &about, None, &[]).unwrap();
        }
        global = engine.finish().unwrap().model;
        assert_eq!(load(path, out), global, "{out}");
    }
    // Another base than the state's last model is allowed, and told.
    let said = round("global", "r3");
    assert!(said.contains("the base is not the model that the last round of the state in s gave"), "{said}");
}

#[test]
fn a_state_is_private_and_refused_where_it_does_not_fit() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let path = folder.path();
    let run =
        |rule: &str, update: &str| aggregate(path, &["--rule", rule, "--state", "s", update, "-o", "o.safetensors"]);
    assert_eq!(run("fedadam", "a.safetensors").status, 0);
    assert_eq!(fs::metadata(path.join("s")).unwrap().permissions().mode() & 0o777, 0o700);
    let before = fs::read(path.join("s/state.safetensors")).unwrap();
    let other = run("fedyogi", "a.safetensors");
    assert_eq!(other.status, 2);
    assert!(other.err.contains("s holds the state of rule fedadam, not of fedyogi"), "{}", other.err);
    let layout = run("fedadam", "other.safetensors");
    assert_eq!(layout.status, 2, "{}", layout.err);
    assert_eq!(fs::read(path.join("s/state.safetensors")).unwrap(), before, "a round that fails changes nothing");
    let mut damaged = before.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(path.join("s/state.safetensors"), damaged).unwrap();
    let refused = run("fedadam", "a.safetensors");
    assert_eq!(refused.status, 2);
    assert!(refused.err.contains("the state in s is damaged: its checksum does not hold"), "{}", refused.err);
}

#[test]
fn second_models_come_in_by_name_and_go_out_beside_the_output() {
    let folder = folder();
    let path = folder.path();
    // OPT-10: base 10, δ 1 and 3, Δc 2 and 6, four clients.
    for (name, value) in [("w", 10.0), ("u1", 11.0), ("u2", 13.0), ("d1", 2.0), ("d2", 6.0)] {
        save(path, name, &constant(value));
    }
    let args = [
        "--rule",
        "scaffold",
        "--opt",
        "clients=4",
        "--base",
        "w.safetensors",
        "u1.safetensors",
        "u2.safetensors",
        "--update-extra",
        "1:control=d1.safetensors",
        "--update-extra",
        "2:control=d2.safetensors",
        "--extra",
        "control=c.safetensors",
        "-o",
        "next.safetensors",
        "--json",
    ];
    let done = aggregate(path, &args);
    assert_eq!((done.status, done.err.as_str()), (0, ""));
    assert!((value(path, "next") - 12.0).abs() < 1e-6);
    assert!((value(path, "next.control") - 2.0).abs() < 1e-6);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(report["extras"]["control"], "next.control.safetensors");
}

#[test]
fn staleness_and_an_older_base_are_the_updates_own() {
    let folder = folder();
    let path = folder.path();
    let args = [
        "--rule",
        "fedbuff",
        "--opt",
        "goal=2",
        "--base",
        "global.safetensors",
        "a.safetensors:9",
        "a.safetensors:1:staleness=3",
        "--update-base",
        "2=old.safetensors",
        "-o",
        "o.safetensors",
    ];
    assert_eq!(aggregate(path, &args).status, 0);
    // δ 1, and δ 2 from the old base at half the weight, over the goal of two.
    assert!((value(path, "o") - 1.0).abs() < 1e-6);
}

#[test]
fn a_colon_in_a_name_is_no_suffix_where_the_file_exists() {
    let folder = folder();
    let path = folder.path();
    fs::copy(path.join("b.safetensors"), path.join("b:7")).unwrap();
    fs::copy(path.join("a.safetensors"), path.join("b")).unwrap();
    assert_eq!(aggregate(path, &["b:7", "-o", "o.safetensors"]).status, 0);
    assert!((value(path, "o") - 2.0).abs() < 1e-6);
    assert_eq!(aggregate(path, &["b:8", "-o", "o.safetensors"]).status, 0);
    assert!((value(path, "o") - 1.0).abs() < 1e-6);
}

#[test]
fn every_dtype_is_averaged_and_keeps_its_type() {
    let folder = folder();
    let path = folder.path();
    for dtype in Dtype::ALL {
        for (name, number) in [("x", 2.0), ("y", 4.0)] {
            let mut tensor = Tensor::zeros(&[3], dtype).unwrap();
            tensor.write_f32(0, &[number; 3]).unwrap();
            save(path, name, &[("t", tensor)].into_iter().collect());
        }
        let done = aggregate(path, &["x.safetensors:1", "y.safetensors:1", "-o", "o.safetensors"]);
        assert_eq!(done.status, 0, "{dtype}: {}", done.err);
        let mean = load(path, "o");
        let mean = mean.get("t").unwrap();
        assert_eq!((mean.dtype(), mean.read_f32(0, 3).unwrap()), (dtype, vec![3.0; 3]));
    }
}

#[test]
fn the_catalogue_is_listed_with_options() {
    let listed = aggregate(Path::new("/"), &["--list-rules"]);
    assert_eq!(listed.status, 0);
    for rule in flame_aggregate::rules() {
        assert!(listed.out.contains(rule.name) && listed.out.contains(rule.doc), "{}", rule.name);
        for option in rule.options {
            assert!(listed.out.contains(&format!("--opt {}=", option.name)), "{} {}", rule.name, option.name);
        }
    }
}
