//! `docs/aggregation.md` says what the code has. `UPDATE_DOCS=1 cargo test -p flame-aggregate --test documentation` writes it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests panic where they fail")]

use std::fmt::Write as _;
use std::path::Path;

use flame_aggregate::{Aggregator, OptionInfo, OptionValue, common_options, rules};

fn options<'a>(options: impl Iterator<Item = &'a OptionInfo>) -> String {
    let one =
        |option: &OptionInfo| format!("`{}` ({}): {}", option.name, option.default.unwrap_or("required"), option.doc);
    options.map(one).collect::<Vec<_>>().join("<br>")
}

fn rule_table() -> String {
    let mut table =
        "\n| rule | what it does | streams | weighs | noise | options (default) |\n|---|---|---|---|---|---|\n"
            .to_owned();
    let said = |yes| if yes { "yes" } else { "no" };
    for rule in rules() {
        let options = if rule.options.is_empty() { "–".to_owned() } else { options(rule.options.iter()) };
        let flags = [rule.streams, rule.weighs, rule.noise].map(said).join(" | ");
        writeln!(table, "| {} | {} | {flags} | {options} |", rule.name, rule.doc).unwrap();
    }
    table
}

fn option_table() -> String {
    let mut table = "\n| option | default | |\n|---|---|---|\n".to_owned();
    for option in common_options() {
        writeln!(table, "| `{}` | {} | {} |", option.name, option.default.unwrap(), option.doc).unwrap();
    }
    table
}

/// The page with what stands between two marks replaced.
fn between(page: &str, what: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {what}: written by"), format!("<!-- end of {what} -->"));
    let start = page.find(&begin).unwrap_or_else(|| panic!("no mark {begin:?}"));
    let start = start + page[start..].find('\n').unwrap() + 1;
    let stop = page.find(&end).unwrap_or_else(|| panic!("no mark {end:?}"));
    format!("{}{}\n{}", &page[..start], text.trim_start_matches('\n'), &page[stop..])
}

#[test]
fn the_documentation_lists_what_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/aggregation.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let expected = between(&between(&page, "rules", &rule_table()), "options", &option_table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "docs/aggregation.md is out of date: UPDATE_DOCS=1 cargo test -p flame-aggregate --test documentation"
    );
}

#[test]
fn every_rule_of_the_catalogue_is_here() {
    let catalogue = "fedavg fedavgm fedadagrad fedadam fedyogi fedprox qfedavg fednova scaffold feddyn fedbuff fedasync median \
                     trimmed-mean krum multi-krum bulyan geometric-median centred-clip norm-bound fltrust";
    for rule in rules() {
        let shadows = |option: &&OptionInfo| common_options().any(|common| common.name == option.name);
        let shadowed: Vec<_> = rule.options.iter().filter(shadows).map(|option| option.name).collect();
        let known = if rule.name == "geometric-median" { vec!["epsilon"] } else { Vec::new() };
        assert_eq!(shadowed, known, "{}: an option of all rules", rule.name);
    }
    let names: Vec<_> = rules().iter().map(|rule| rule.name).collect();
    assert_eq!(names, catalogue.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn every_option_is_taken_by_its_name_with_its_documented_default() {
    let value = |option: &OptionInfo| match option.default {
        None => OptionValue::Number(2.0),
        Some("true") => OptionValue::Flag(true),
        Some("false") => OptionValue::Flag(false),
        Some(text) => text.parse().map_or_else(|_| OptionValue::Text(text.to_owned()), OptionValue::Number),
    };
    for rule in rules() {
        let needed: Vec<_> = rule.options.iter().filter(|option| option.default.is_none()).collect();
        // Those of privacy have no default that says something by itself, and need one another.
        let common = ["accumulate", "deterministic", "max-weight-share", "threads"];
        let common = common_options().filter(|option| common.contains(&option.name));
        for option in rule.options.iter().chain(common) {
            for name in [option.name.to_owned(), option.name.replace('-', "_")] {
                let mut given: Vec<_> = needed.iter().map(|option| (option.name.to_owned(), value(option))).collect();
                given.retain(|(other, _)| other != option.name);
                given.push((name, value(option)));
                let made = Aggregator::create(rule.name, &given);
                assert!(made.is_ok(), "{} with {given:?}: {:?}", rule.name, made.err());
            }
        }
    }
}
