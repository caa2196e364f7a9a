//! Names as they may be shown: firmware and strangers wrote them, and a terminal obeys what is in them.

use std::borrow::Cow;

/// The text, with a mark for each character that would steer what shows it. Line feeds too: a name has none.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.contains(steers) { Cow::Owned(text.replace(steers, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Control characters, and those that turn the direction of writing: a name must not reorder what follows it.
pub fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_steers_nothing() {
        assert_eq!(plain("AMD EPYC™ 7302 — 2×"), "AMD EPYC™ 7302 — 2×");
        assert_eq!(plain("a\u{1b}[31mb\nc\u{202e}d\u{9b}"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d\u{fffd}");
    }
}
