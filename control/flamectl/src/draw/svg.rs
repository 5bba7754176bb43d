//! SVG with a layout of our own: data roles at the bottom, every other role as many rows up as it has channels to them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use flame_tag::Schema;

use super::{channel_lines, edges, role_lines};
use crate::text;

/// Pixels that a character takes at the font's size, about.
const CHARACTER: f64 = 7.5;
const LINE: f64 = 17.0;
/// Height of a box, least room between boxes of a row, room between rows, and around all.
const BOX: f64 = 48.0;
const GAP: f64 = 110.0;
const ROW: f64 = 170.0;
const MARGIN: f64 = 40.0;
/// How far a self-loop reaches beside its box.
const LOOP: f64 = 60.0;
/// Where along a line its label stands: not everywhere in the middle, where lines may cross.
const LABEL_AT: [f64; 3] = [0.5, 0.36, 0.64];

const STYLE: &str = "text{font:13px sans-serif;text-anchor:middle;fill:#1a1a1a}.small{font-size:11px;fill:#555}\
.role{fill:#eef4ff;stroke:#3b6fb6;stroke-width:1.5}.data{fill:#fff4e0;stroke:#c77d0a}\
.channel{fill:none;stroke:#777;stroke-width:1.5}.back{fill:#fff;fill-opacity:.85}";

#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

struct Node {
    centre: Point,
    width: f64,
}

/// The schema as an SVG document.
pub(crate) fn svg(schema: &Schema) -> String {
    let rows = rows(schema);
    let (nodes, width, height) = place(schema, &rows);
    let mut out = String::new();
    let title = escape(&text::safe(&schema.name));
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">"
    );
    let _ = writeln!(out, "<title>{title}</title>");
    let _ = writeln!(out, "<style>{STYLE}</style>");
    let mut labels = String::new();
    draw_channels(schema, &rows, &nodes, &mut out, &mut labels);
    for (role, node) in schema.roles.iter().zip(&nodes) {
        let class = if role.is_data_consumer { "role data" } else { "role" };
        let (x, y) = (node.centre.x - node.width / 2.0, node.centre.y - BOX / 2.0);
        let width = node.width;
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BOX:.1}\" rx=\"8\"/>"
        );
        write_lines(&mut out, node.centre, &role_lines(role));
    }
    // Labels last: they stand over the lines.
    out.push_str(&labels);
    out.push_str("</svg>\n");
    out
}

/// How many channels each role is away from the data: its row, counted from the bottom.
fn rows(schema: &Schema) -> Vec<usize> {
    let mut beside: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (_, one, other) in edges(schema) {
        beside.entry(one).or_default().push(other);
        beside.entry(other).or_default().push(one);
    }
    let mut found: BTreeMap<usize, usize> = BTreeMap::new();
    let data = schema.roles.iter().enumerate().filter(|(_, role)| role.is_data_consumer).map(|(i, _)| i);
    let mut next: VecDeque<(usize, usize)> = data.map(|i| (i, 0)).collect();
    while let Some((role, row)) = next.pop_front() {
        if found.contains_key(&role) {
            continue;
        }
        found.insert(role, row);
        next.extend(beside.get(&role).into_iter().flatten().map(|other| (*other, row + 1)));
    }
    (0..schema.roles.len()).map(|i| found.get(&i).copied().unwrap_or(0)).collect()
}

/// Where each role's box is, and the size of the whole.
fn place(schema: &Schema, rows: &[usize]) -> (Vec<Node>, f64, f64) {
    let longest = edges(schema).map(|(channel, ..)| text_width(&channel_lines(channel))).fold(0.0, f64::max);
    let gap = GAP.max(longest * 0.7);
    let widths: Vec<f64> = schema.roles.iter().map(|role| text_width(&role_lines(role)) + 28.0).collect();
    let last = rows.iter().copied().max().unwrap_or(0);
    let mut of_row: Vec<f64> = vec![0.0; last + 1];
    for (row, width) in rows.iter().zip(&widths) {
        if let Some(sum) = of_row.get_mut(*row) {
            *sum += width + gap;
        }
    }
    let widest = of_row.iter().copied().fold(0.0, f64::max);
    let mut cursor: Vec<f64> = of_row.iter().map(|sum| MARGIN + (widest - sum) / 2.0 + gap / 2.0).collect();
    let mut nodes = Vec::new();
    for (row, width) in rows.iter().zip(&widths) {
        let x = cursor.get(*row).copied().unwrap_or(MARGIN);
        if let Some(at) = cursor.get_mut(*row) {
            *at += width + gap;
        }
        let up = number(last - *row);
        nodes.push(Node { centre: Point { x: x + width / 2.0, y: MARGIN + BOX + up * ROW }, width: *width });
    }
    (nodes, widest + 2.0 * MARGIN + LOOP, number(last) * ROW + 2.0 * (MARGIN + BOX))
}

fn draw_channels(schema: &Schema, rows: &[usize], nodes: &[Node], out: &mut String, labels: &mut String) {
    let mut drawn: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    // How many channels there are already between two rows: their labels take turns along the lines.
    let mut between: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (channel, one, other) in edges(schema) {
        let (Some(from), Some(to)) = (nodes.get(one), nodes.get(other)) else { continue };
        let before = drawn.entry((one.min(other), one.max(other))).or_default();
        let nth = number(*before);
        *before += 1;
        let (path, at) = if one == other {
            let right = Point { x: from.centre.x + from.width / 2.0, y: from.centre.y };
            let reach = right.x + LOOP + nth * 40.0;
            let path = format!(
                "M{:.1} {:.1} C{reach:.1} {:.1} {reach:.1} {:.1} {:.1} {:.1}",
                right.x,
                right.y - 12.0,
                right.y - 50.0,
                right.y + 50.0,
                right.x,
                right.y + 12.0
            );
            (path, Point { x: right.x + LOOP * 0.8 + nth * 30.0, y: right.y + 44.0 + nth * 2.0 * LINE })
        } else {
            let (a, b) = (from.centre, to.centre);
            // Channels of one pair, and of one row, are bent apart.
            let same_row = (a.y - b.y).abs() < 1.0;
            let bend = nth * 70.0 + if same_row { 90.0 } else { 0.0 };
            let length = (b.x - a.x).hypot(b.y - a.y).max(1.0);
            let (dx, dy) = ((b.y - a.y).abs() / length, -(b.x - a.x).abs() / length);
            let control = Point { x: f64::midpoint(a.x, b.x) + bend * dx, y: f64::midpoint(a.y, b.y) + bend * dy };
            let path = format!("M{:.1} {:.1} Q{:.1} {:.1} {:.1} {:.1}", a.x, a.y, control.x, control.y, b.x, b.y);
            let row = |i: usize| rows.get(i).copied().unwrap_or(0);
            let turn = between.entry((row(one).min(row(other)), row(one).max(row(other)))).or_default();
            let t = if same_row { 0.5 } else { LABEL_AT.get(*turn % LABEL_AT.len()).copied().unwrap_or(0.5) };
            *turn += 1;
            (path, on_curve(a, control, b, t))
        };
        let _ = writeln!(out, "<path class=\"channel\" d=\"{path}\"/>");
        let lines = channel_lines(channel);
        let (width, height) = (text_width(&lines) + 6.0, 2.0 * LINE);
        let _ = writeln!(
            labels,
            "<rect class=\"back\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
            at.x - width / 2.0,
            at.y - height / 2.0
        );
        write_lines(labels, at, &lines);
    }
}

/// A point of a quadratic curve.
fn on_curve(a: Point, control: Point, b: Point, t: f64) -> Point {
    let mix = |a: f64, c: f64, b: f64| (1.0 - t) * (1.0 - t) * a + 2.0 * (1.0 - t) * t * c + t * t * b;
    Point { x: mix(a.x, control.x, b.x), y: mix(a.y, control.y, b.y) }
}

/// Lines of text around a centre, the first larger.
fn write_lines(out: &mut String, centre: Point, lines: &[String]) {
    let top = centre.y - (number(lines.len()) - 1.0) * LINE / 2.0 + 4.5;
    for (i, line) in lines.iter().enumerate() {
        let class = if i == 0 { "" } else { " class=\"small\"" };
        let (x, y) = (centre.x, top + number(i) * LINE);
        let _ = writeln!(out, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(line));
    }
}

fn text_width(lines: &[String]) -> f64 {
    number(lines.iter().map(|line| line.chars().count()).max().unwrap_or(0)) * CHARACTER
}

#[expect(clippy::cast_precision_loss, reason = "counts of roles, lines and characters")]
fn number(count: usize) -> f64 {
    count as f64
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no place for these.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
