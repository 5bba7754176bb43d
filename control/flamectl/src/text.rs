//! How values look: times, sizes, numbers, and text that somebody else wrote.
//!
//! Log lines, reasons and names come from guests. Before they reach a terminal, whatever could steer it is escaped.

use std::fmt::Write as _;

use jiff::Timestamp;

/// How the walk-through shows a time that is not set.
const UNSET: &str = "0001-01-01 00:00:00 +0000 UTC";

/// A time as the walk-through shows it: `2022-04-02 17:33:49.915 +0000 UTC`.
pub(crate) fn time(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%d %H:%M:%S%.3f +0000 UTC").to_string()
}

/// The same for a time that may not be set.
pub(crate) fn optional_time(timestamp: Option<Timestamp>) -> String {
    timestamp.map_or_else(|| UNSET.to_owned(), time)
}

/// Bytes for people: `812 B`, `1.2 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64;
    let mut shown = "B";
    for unit in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        shown = unit;
    }
    format!("{value:.1} {shown}")
}

/// A measurement: whole numbers as they are, others with four decimals, tiny and huge ones with an exponent.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude < 1e15 && value.fract() == 0.0 {
        format!("{value:.0}")
    } else if (1e-3..1e6).contains(&magnitude) {
        format!("{value:.4}")
    } else {
        format!("{value:.4e}")
    }
}

/// Foreign text on one line: controls, line ends and direction marks become visible escapes.
pub(crate) fn safe(text: &str) -> String {
    escape(text, |_| false)
}

/// The same for a paragraph: line ends stay.
pub(crate) fn safe_lines(text: &str) -> String {
    escape(text, |c| c == '\n')
}

/// Whether a terminal might act on the character rather than show it.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}' | '\u{feff}')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !steers(c) || keep(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_look_as_in_the_walk_through() {
        let at = "2022-04-02T17:33:49.915Z".parse().unwrap();
        assert_eq!(time(at), "2022-04-02 17:33:49.915 +0000 UTC");
        let whole = "2022-04-02T17:33:49Z".parse().unwrap();
        assert_eq!(time(whole), "2022-04-02 17:33:49.000 +0000 UTC");
        assert_eq!(optional_time(None), "0001-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn sizes_and_numbers_are_short() {
        assert_eq!(
            [0, 1023, 1024, 1_300_000, u64::MAX].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.2 MiB", "16384.0 PiB"]
        );
        assert_eq!(
            [0.0, 12.0, 0.912_34, 1e-7, 2.5e9, -3.25].map(number),
            ["0", "12", "0.9123", "1.0000e-7", "2500000000", "-3.2500"]
        );
    }

    #[test]
    fn a_guest_cannot_steer_the_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\nc\td\u{202e}"), "a\\u{1b}[2Jb\\nc\\td\\u{202e}");
        assert_eq!(safe_lines("one\ntwo\u{7}"), "one\ntwo\\u{7}");
        assert_eq!(safe("ünïcode ✓"), "ünïcode ✓");
    }

    proptest! {
        #[test]
        fn nothing_that_steers_is_left(text in any::<String>()) {
            prop_assert!(!safe(&text).chars().any(steers));
        }
    }
}
