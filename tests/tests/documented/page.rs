//! The commands that a page shows, read out of it when the test runs.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;

use flame_tests::root;

use crate::tables::PROGRAMS;

/// A command of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its line in the page.
    pub(crate) line: usize,
    /// As a shell takes it: without the prompt, and in one line.
    pub(crate) text: String,
    /// What the page shows below it, up to the next command.
    pub(crate) output: Vec<String>,
}

/// The commands of a fenced block, or of one that is indented by four spaces.
pub(crate) type Block = Vec<Command>;

impl Command {
    /// The exit status that the page shows, in aggregate-files.md's way.
    pub(crate) fn status(&self) -> i32 {
        let status = self.output.iter().find_map(|line| line.strip_prefix("[status ")?.strip_suffix(']'));
        status.map_or(0, |status| status.parse().expect("a status is a number"))
    }

    /// What the page shows of its errors.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &String> {
        self.output.iter().filter(|line| line.starts_with("error: ") || line.starts_with("refused: "))
    }
}

/// All pages that this test answers for, relative to the root.
pub(crate) fn pages() -> Vec<String> {
    let mut pages: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "examples/mnist-wasm/README.md"].map(str::to_owned).into();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if PathBuf::from(&name).extension().is_some_and(|extension| extension == "md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages
}

/// A page's text.
pub(crate) fn text(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The blocks of a page that show commands, in the page's order.
pub(crate) fn blocks(text: &str) -> VecDeque<Block> {
    let (mut blocks, mut block, mut fenced) = (VecDeque::new(), Block::new(), false);
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        if fence || !(fenced || line.starts_with("    ")) {
            // A fence opens or closes a block; prose ends one that is indented.
            blocks.push_back(std::mem::take(&mut block));
            continue;
        }
        let mut text = line.trim().to_owned();
        while text.ends_with('\\') {
            text.pop();
            text.push_str(lines.next().expect("a line goes on").0.trim());
        }
        let command = text.strip_prefix("$ ").unwrap_or(&text);
        if is_command(command) {
            block.push(Command { line: number, text: command.to_owned(), output: Vec::new() });
        } else if let Some(command) = block.last_mut() {
            command.output.push(text);
        }
    }
    blocks.push_back(block);
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// The fenced blocks of a page that are in a language such as `toml`.
pub(crate) fn examples<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("\n```{language}\n");
    text.split(opening.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The program that a command runs, behind the variables that are set for it, and its first argument.
pub(crate) fn program(command: &str) -> (&str, &str) {
    let is_variable = |word: &&str| word.split_once('=').is_some_and(|(name, _)| !name.starts_with('-'));
    let mut words = command.split_whitespace().skip_while(is_variable);
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

fn is_command(text: &str) -> bool {
    PROGRAMS.contains(&program(text).0)
}

#[test]
fn commands_are_read_as_a_reader_reads_them() {
    let text = "
Prose, and `flamectl inline`.

    flamectl one
    flamectl two > file

More.

```console
$ A_KEY=x \\
  B_KEY=y \\
  flamelet three
an answer
    error: the end
[status 3]
$ flamectl four
```

```json
{\"flamectl\": 5}
```
";
    let blocks = blocks(text);
    let texts: Vec<Vec<&str>> =
        blocks.iter().map(|block| block.iter().map(|command| command.text.as_str()).collect()).collect();
    assert_eq!(
        texts,
        [vec!["flamectl one", "flamectl two > file"], vec!["A_KEY=x B_KEY=y flamelet three", "flamectl four"]]
    );
    let three = &blocks[1][0];
    assert_eq!((three.line, three.status(), three.output.len()), (10, 3, 3));
    assert_eq!(three.errors().collect::<Vec<_>>(), ["error: the end"]);
    assert_eq!(program(&three.text), ("flamelet", "three"));
    assert_eq!(examples(text, "json"), ["{\"flamectl\": 5}\n"]);
}
