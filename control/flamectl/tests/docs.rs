//! Every `flamectl …` that the documentation shows is one that the command line understands.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where its assumption does")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use flamectl::Cli;

/// What the documentation writes for something that differs from reader to reader.
const STAND_INS: [(&str, &str); 4] = [
    ("JOB", "624888fda8001d773e34de43"),
    ("TASK", "18d2671fbf597f2200fd4a01f4dfc7878fce5ca9"),
    ("DATASET", "66b4f8ba5d8e2b6a3d9e8d53"),
    ("DESIGN", "mnist"),
];

/// All Markdown of the project, wherever it lies.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut pages, mut folders) = (Vec::new(), vec![root]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// The command lines of flamectl in the fenced and indented blocks of a page, with their line numbers.
fn shown(page: &str) -> Vec<(usize, String)> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for (i, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            let command = line.trim_start().trim_start_matches("$ ");
            if command.starts_with("flamectl ") {
                found.push((i + 1, command.to_owned()));
            }
        }
    }
    found
}

/// The calls of flamectl in a line as a shell would split it. Redirections, and what is piped to, are left out.
fn calls(line: &str) -> Vec<Vec<String>> {
    let (mut calls, mut words, mut word): (Vec<Vec<String>>, Vec<String>, Option<String>) =
        (Vec::new(), Vec::new(), None);
    let mut quote = None;
    for c in line.chars().chain([';']) {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ';' | '|' | '&' | ' ' | '(') => {
                words.extend(word.take());
                // `(what follows is a remark)`, as help texts have it.
                if c != ' ' && !words.is_empty() {
                    calls.push(std::mem::take(&mut words));
                }
                if c == '(' {
                    break;
                }
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if !words.is_empty() {
        calls.push(words);
    }
    calls.retain(|call| call.first().is_some_and(|program| program == "flamectl"));
    for call in &mut calls {
        if let Some(at) = call.iter().position(|word| word.starts_with('>')) {
            call.truncate(at);
        }
        for word in call {
            if let Some((_, id)) = STAND_INS.iter().find(|(name, _)| name == word) {
                (*id).clone_into(word);
            }
        }
    }
    calls
}

fn check(place: &str, line: &str) -> usize {
    let calls = calls(line);
    for call in &calls {
        match Cli::try_parse_from(call) {
            Err(error) if error.use_stderr() => panic!("{place}: {line}\n{error}"),
            _ => {}
        }
    }
    calls.len()
}

#[test]
fn every_command_of_the_documentation_parses() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (number, line) in shown(&text) {
            checked += check(&format!("{}:{number}", page.display()), &line);
        }
    }
    assert!(checked >= 15, "only {checked} commands were found");
}

#[test]
fn every_example_of_the_help_parses() {
    let mut root = Cli::command();
    root.build();
    let mut commands = vec![root];
    let mut checked = 0;
    while let Some(command) = commands.pop() {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        // An example may go on in the next line.
        let after = after.replace("\\\n", " ");
        for line in after.lines().filter(|line| line.trim_start().starts_with("flamectl ")) {
            checked += check(command.get_name(), line.trim_start());
        }
        commands.extend(command.get_subcommands().cloned());
    }
    assert!(checked >= 15, "only {checked} examples were found");
}

#[test]
fn lines_are_split_as_a_shell_does() {
    let split = calls("flamectl a 'b c' -d \"x | y\" | jq . && flamectl b > out   # flamectl c");
    assert_eq!(split, [vec!["flamectl", "a", "b c", "-d", "x | y"], vec!["flamectl", "b"]]);
    assert_eq!(calls("flamectl a   (a remark)"), [vec!["flamectl", "a"]]);
}
