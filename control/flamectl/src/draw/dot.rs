//! Graphviz: `flamectl get schema mnist -o dot | dot -Tpng -o mnist.png`.

use std::fmt::Write as _;

use flame_tag::Schema;

use super::{channel_lines, edges, role_lines};
use crate::text;

/// The schema in the DOT language. Roles are numbered, so that no name can be taken for a keyword.
pub(crate) fn dot(schema: &Schema) -> String {
    let title = quoted(&[text::safe(&schema.name)]);
    let mut out = format!("graph {title} {{\n  graph [label={title}, labelloc=t, rankdir=BT];\n");
    out.push_str("  node [shape=box, style=rounded];\n");
    // Writing to a string cannot fail.
    for (i, role) in schema.roles.iter().enumerate() {
        let _ = writeln!(out, "  r{i} [label={}];", quoted(&role_lines(role)));
    }
    for (channel, one, other) in edges(schema) {
        let _ = writeln!(out, "  r{one} -- r{other} [label={}];", quoted(&channel_lines(channel)));
    }
    out.push_str("}\n");
    out
}

/// A quoted string of several lines.
fn quoted(lines: &[String]) -> String {
    let escaped: Vec<String> = lines.iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\"")).collect();
    format!("\"{}\"", escaped.join("\\n"))
}
