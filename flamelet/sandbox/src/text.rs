//! Makes a stranger's text fit for a terminal.

/// Longest text that is kept, in characters; the rest is cut with an ellipsis.
const MAX_CHARS: usize = 4_096;

/// The text with control characters escaped and cut to 4,096 characters, so that it can neither move a cursor nor forge a
/// line.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_CHARS));
    let mut chars = text.trim_end_matches(['\n', '\r']).chars();
    for c in chars.by_ref().take(MAX_CHARS) {
        // Bidirectional overrides reorder what a reader sees without being control characters.
        if (c.is_control() && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if chars.next().is_some() {
        shown.push('…');
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
    }
}
