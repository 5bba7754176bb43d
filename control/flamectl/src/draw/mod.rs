//! A schema as a picture: roles as boxes, channels as lines between them. Text in, text out.

mod dot;
mod mermaid;
mod svg;

use flame_tag::{Channel, Role, Schema};

use crate::text;

pub(crate) use dot::dot;
pub(crate) use mermaid::mermaid;
pub(crate) use svg::svg;

/// Groups of a channel that are named in a picture; of more their number is said.
const GROUPS_SHOWN: usize = 4;

/// The lines in a role's box.
fn role_lines(role: &Role) -> Vec<String> {
    let mut lines = vec![text::safe(&role.name)];
    if role.is_data_consumer {
        lines.push("works on data".to_owned());
    } else if role.replicas() > 1 {
        lines.push(format!("{} replicas", role.replicas()));
    }
    lines
}

/// The lines at a channel.
fn channel_lines(channel: &Channel) -> Vec<String> {
    let groups = channel.groups();
    let mut said = groups.iter().take(GROUPS_SHOWN).map(|group| text::safe(group)).collect::<Vec<_>>().join(", ");
    if groups.len() > GROUPS_SHOWN {
        said = format!("{said} and {} more", groups.len() - GROUPS_SHOWN);
    }
    if let Some(backend) = channel.backend {
        said = format!("{said} ({backend})");
    }
    vec![text::safe(&channel.name), said]
}

/// Each channel with the positions of its two roles.
fn edges(schema: &Schema) -> impl Iterator<Item = (&Channel, usize, usize)> {
    let position = |name: &String| schema.roles.iter().position(|role| role.name == *name);
    schema.channels.iter().filter_map(move |channel| {
        let [one, other] = channel.pair.as_slice() else { return None };
        Some((channel, position(one)?, position(other)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = r#"{"name": "a \"quoted\" <name> & more",
        "roles": [{"name": "trainer", "isDataConsumer": true, "groupAssociation": [{"ring": "eu", "global": "default"}]},
                  {"name": "aggregator", "replica": 2}],
        "channels": [{"name": "ring", "pair": ["trainer", "trainer"], "backend": "p2p",
                      "groupBy": {"type": "tag", "value": ["eu", "us", "as", "af", "oz"]}},
                     {"name": "global", "pair": ["trainer", "aggregator"]}]}"#;

    fn schema() -> Schema {
        Schema::parse(HYBRID, "schema.json").unwrap()
    }

    #[test]
    fn dot_names_every_role_and_channel() {
        let expected = r#"graph "a \"quoted\" <name> & more" {
  graph [label="a \"quoted\" <name> & more", labelloc=t, rankdir=BT];
  node [shape=box, style=rounded];
  r0 [label="trainer\nworks on data"];
  r1 [label="aggregator\n2 replicas"];
  r0 -- r0 [label="ring\neu, us, as, af and 1 more (p2p)"];
  r0 -- r1 [label="global\ndefault"];
}
"#;
        assert_eq!(dot(&schema()), expected);
    }

    #[test]
    fn mermaid_names_every_role_and_channel() {
        let expected = "---
title: \"a \\\"quoted\\\" <name> & more\"
---
graph BT
  r0[\"trainer<br/>works on data\"]
  r1[\"aggregator<br/>2 replicas\"]
  r0 ---|\"ring<br/>eu, us, as, af and 1 more #40;p2p#41;\"| r0
  r0 ---|\"global<br/>default\"| r1
";
        assert_eq!(mermaid(&schema()), expected);
    }

    #[test]
    fn svg_is_well_formed_and_escapes_foreign_text() {
        let drawn = svg(&schema());
        assert!(drawn.contains("<title>a &quot;quoted&quot; &lt;name&gt; &amp; more</title>"), "{drawn}");
        for word in ["trainer", "aggregator", "ring", "global", "works on data", "2 replicas"] {
            assert!(drawn.contains(&format!(">{word}</text>")), "{word}: {drawn}");
        }
        let (mut open, mut rest) = (Vec::new(), drawn.as_str());
        while let Some(at) = rest.find('<') {
            let end = rest[at..].find('>').unwrap() + at;
            let tag = &rest[at + 1..end];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap());
            }
            rest = &rest[end + 1..];
        }
        assert_eq!(open, [""; 0]);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }

    #[test]
    fn a_picture_of_many_roles_keeps_them_apart() {
        let roles: Vec<_> =
            (0..9).map(|i| format!(r#"{{"name": "role-{i}", "isDataConsumer": {}}}"#, i == 0)).collect();
        let channels: Vec<_> =
            (1..9).map(|i| format!(r#"{{"name": "c{i}", "pair": ["role-{}", "role-{i}"]}}"#, (i - 1) / 2)).collect();
        let text =
            format!(r#"{{"name": "tree", "roles": [{}], "channels": [{}]}}"#, roles.join(","), channels.join(","));
        let drawn = svg(&Schema::parse(&text, "tree.json").unwrap());
        let corners: Vec<&str> = drawn.lines().filter(|line| line.contains("class=\"role")).collect();
        assert_eq!(corners.len(), 9);
        let distinct: std::collections::BTreeSet<&str> = corners.iter().copied().collect();
        assert_eq!(distinct.len(), 9);
    }
}
