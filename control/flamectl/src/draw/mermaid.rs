//! Mermaid, which code forges draw within Markdown.

use std::fmt::Write as _;

use flame_tag::Schema;

use super::{channel_lines, edges, role_lines};
use crate::text;

/// The schema as a Mermaid flowchart.
pub(crate) fn mermaid(schema: &Schema) -> String {
    // JSON's quoting is YAML's too.
    let title = serde_json::Value::String(text::safe(&schema.name));
    let mut out = format!("---\ntitle: {title}\n---\ngraph BT\n");
    // Writing to a string cannot fail.
    for (i, role) in schema.roles.iter().enumerate() {
        let _ = writeln!(out, "  r{i}[\"{}\"]", label(&role_lines(role)));
    }
    for (channel, one, other) in edges(schema) {
        let _ = writeln!(out, "  r{one} ---|\"{}\"| r{other}", label(&channel_lines(channel)));
    }
    out
}

/// Lines of a label. What Mermaid or its HTML might act on becomes an entity.
fn label(lines: &[String]) -> String {
    let escaped = |line: &String| {
        let mut out = String::new();
        for c in line.chars() {
            if c.is_alphanumeric() || " .,_-/:".contains(c) {
                out.push(c);
            } else {
                // Writing to a string cannot fail.
                let _ = write!(out, "#{};", u32::from(c));
            }
        }
        out
    };
    lines.iter().map(escaped).collect::<Vec<_>>().join("<br/>")
}
