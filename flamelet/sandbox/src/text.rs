//! Makes a stranger's text fit for a terminal.

/// Longest text that is kept, in characters; the rest is cut with an ellipsis.
const MAX_CHARS: usize = 4_096;
/// The same of a name.
const MAX_NAME: usize = 64;

/// The text with control characters escaped and cut to 4,096 characters, so that it can neither move a cursor nor forge a
/// line.
pub fn printable(text: &str) -> String {
    cut(text, MAX_CHARS)
}

/// A name that a stranger chose, as [`printable`] and cut to 64 characters: enough to know it by in an error's text.
pub(crate) fn name(text: &str) -> String {
    cut(text, MAX_NAME)
}

fn cut(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    let mut count = 0;
    for c in text.trim_end_matches(['\n', '\r']).chars() {
        // Bidirectional overrides reorder what a reader sees without being control characters.
        let escaped = (c.is_control() && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        // An escape is several characters, which count as what a reader sees.
        count += if escaped { c.escape_default().count() } else { 1 };
        if count > most {
            shown.push('…');
            break;
        }
        if escaped {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_not_move_the_cursor_or_forge_a_line() {
        assert_eq!(printable("a\x1b[2Jb\nc\n"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("naïve ✓\t1"), "naïve ✓\t1");
        assert_eq!(printable(&"x".repeat(5_000)).chars().count(), MAX_CHARS + 1);
        // Neither by way of escapes.
        assert!(printable(&"\x07".repeat(5_000)).chars().count() <= MAX_CHARS + 1);
        assert_eq!(name(&"n".repeat(3_000_000)).chars().count(), MAX_NAME + 1);
    }
}
