//! The command line of `fiab`.

#![expect(clippy::unwrap_used, reason = "a helper of the tests below")]

use std::process::{Command, Output};

fn fiab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fiab")).args(args).output().unwrap()
}

#[test]
fn help_shows_both_commands() {
    let output = fiab(&["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(help.contains("fiab demo") && help.contains("fiab up"));
}

#[test]
fn a_value_that_cannot_be_is_refused_with_what_can() {
    for (args, word) in [
        (&["demo", "--participants", "0"][..], "1..=100"),
        (&["demo", "--partition", "by-colour"][..], "dirichlet:ALPHA"),
        (&["up", "--data", "mnist"][..], "NAME=PATH"),
    ] {
        let output = fiab(args);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_values_file_that_is_not_there_is_named() {
    let output = fiab(&["up", "--values", "nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere.yaml"));
}
