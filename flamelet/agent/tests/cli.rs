//! The command line of `flamelet`.

#![expect(clippy::unwrap_used, reason = "a helper of the tests below")]

use std::process::{Command, Output};

fn flamelet(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flamelet"));
    command.args(args).env_remove("FLAME_AGENT_ID").env_remove("FLAME_AGENT_KEY").output().unwrap()
}

#[test]
fn help_shows_an_example_and_the_exit_statuses() {
    let output = flamelet(&["--help"]);
    assert!(output.status.success());
    // The help is wrapped to the terminal's width.
    let help = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        help.contains("FLAME_AGENT_KEY=") && help.contains("--data mnist=") && help.contains("2 it was terminated")
    );
}

#[test]
fn wrong_usage_is_told_from_a_failed_and_a_terminated_task() {
    assert_eq!(flamelet(&["--no-such-flag"]).status.code(), Some(64));
    assert_eq!(flamelet(&["--data", "mnist"]).status.code(), Some(64));
}
