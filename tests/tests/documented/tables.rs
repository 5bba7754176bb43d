//! What is not taken from the pages to the letter, each with its reason.

/// A command is a line that begins with one of these, behind variables that are set for it.
pub(crate) const PROGRAMS: [&str; 8] =
    ["flamectl", "flame-control", "flamelet", "fiab", "curl", "cp", "mkdir", "source"];

/// What differs from reader to reader, and what it stands for here.
pub(crate) const STAND_INS: [(&str, &str); 13] = [
    ("JOB", "the job that was created last"),
    ("TASK", "the agent id of the last job's participant"),
    ("18d2671fbf597f2200fd4a01f4dfc7878fce5ca9", "the same, where a page writes one out"),
    ("DATASET", "the data set that was made known last"),
    ("0123456789ab", "the token that was made last"),
    ("--listen 0.0.0.0", "loopback, which others cannot reach, with the TLS that other addresses have by default"),
    ("https://flame.example.org:10100", "the server's apiserver: its port is a free one"),
    ("flame.example.org:10101", "the server's notifier"),
    ("http://127.0.0.1:10100", "the server's apiserver"),
    ("127.0.0.1:10101", "the server's notifier"),
    ("mqtts://broker.example.org", "a mosquitto of the test's"),
    ("/new/home", "a folder of the test's"),
    ("…", "where the server is, which the defaults say only on the default ports"),
];

/// Lines of pages, or ends of such lines, that are not run.
pub(crate) const LEFT_OUT: [(&str, &str, &str); 3] = [
    ("docs/protocol.md", "flamelet listens on      announced as                   told to a peer as", "a table's head"),
    (
        "docs/aggregate-files.md",
        "flamectl aggregate [--rule RULE] [--opt OPTION=VALUE]… [--base FILE] [--state DIR] UPDATE… -o OUT",
        "a synopsis",
    ),
    ("docs/flamectl.md", "| dot -Tpng -o schema.png", "Graphviz, which need not be installed"),
];

/// What of a page's command is run.
pub(crate) fn without_what_is_left_out(page: &str, command: &str) -> String {
    let left_out = LEFT_OUT.iter().filter(|(of, ..)| *of == page);
    left_out.fold(command.to_owned(), |command, (_, text, _)| command.replace(text, "")).trim().to_owned()
}

/// Every place of `text` in `command` that is a word of its own: `JOB`, not `JOBS`.
pub(crate) fn places(command: &str, text: &str) -> Vec<usize> {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let alone = |at: usize| {
        let (before, after) = (&command[..at], &command[at + text.len()..]);
        !joins(before.chars().next_back()) && !joins(after.chars().next())
    };
    command.match_indices(text).map(|(at, _)| at).filter(|&at| alone(at)).collect()
}

#[test]
fn only_whole_words_are_stood_in_for() {
    assert_eq!(places("get JOB -o JOBS of JOB", "JOB"), [4, 19]);
    assert_eq!(places("http://127.0.0.1:10100/v1", "127.0.0.1:1010"), Vec::<usize>::new());
}
