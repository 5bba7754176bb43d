//! Selectors in job files: the known ones pass with their options checked, others are refused with the list.

use flame_tag::{JobSpec, SELECTORS};

fn problems(selector: &str) -> Vec<String> {
    let text = format!("designId: d\nbackend: mqtt\ndataSpec: {{fromUser: {{default: 1}}}}\nselector: {selector}\n");
    let read = JobSpec::parse(&text, "job.yaml", &|path| Err(format!("no file {path}")));
    read.err().into_iter().flatten().map(|problem| problem.to_string()).collect()
}

#[test]
fn every_selector_passes_with_its_options() {
    for good in [
        "{sort: default, kwargs: {}}",
        "{sort: ''}",
        "{sort: all}",
        "{sort: random, kwargs: {k: 2}}",
        "{sort: random, kwargs: {k: -1}}",
        "{sort: random, kwargs: {fraction: 0.1, min: 2}}",
        "{sort: fedbuff, kwargs: {c: 3}}",
        "{sort: fedbuff, kwargs: {concurrency: 3}}",
        "{sort: oort, kwargs: {aggr_num: 10, overcommit: 1.5}}",
        "{sort: power-of-choice, kwargs: {k: 3, candidates: 9}}",
        "{sort: round-robin, kwargs: {k: 3}}",
    ] {
        assert_eq!(problems(good), [] as [&str; 0], "{good}");
    }
}

#[test]
fn an_unknown_selector_is_refused_with_the_list_and_its_place() {
    let found = problems("{sort: randon, kwargs: {k: 2}}").concat();
    for part in ["job.yaml:4", "unknown selector randon", "did you mean random?"] {
        assert!(found.contains(part), "{found}");
    }
    for selector in SELECTORS {
        assert!(found.contains(selector.name), "{found}");
    }
}

#[test]
fn options_are_checked_by_name_number_and_need() {
    for (wrong, said) in [
        ("{sort: random}", "needs one of its options k and fraction"),
        ("{sort: random, kwargs: {k: 1, fraction: 0.5}}", "needs one of its options k and fraction"),
        ("{sort: random, kwargs: {k: two}}", "is a whole number, not \"two\""),
        ("{sort: random, kwargs: {fraction: 0}}", "above 0 and at most 1"),
        ("{sort: random, kwargs: {k: 1, q: 2}}", "has no option q; it has k, fraction, min"),
        ("{sort: all, kwargs: {k: 1}}", "it has none"),
        ("{sort: oort}", "needs its option k"),
        ("{sort: oort, kwargs: {k: 1, aggr_num: 2}}", "given twice"),
        ("{sort: oort, kwargs: {k: 1, exploration: 2}}", "a number from 0 to 1"),
        ("{sort: fedbuff, kwargs: {}}", "needs its option concurrency"),
    ] {
        let found = problems(wrong);
        assert!(found.iter().any(|problem| problem.contains(said)), "{wrong}: {found:?}");
    }
}
