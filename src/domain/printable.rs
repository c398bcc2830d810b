//! Untrusted texts in log lines and messages.

use std::borrow::Cow;

/// The mark at the end of a shortened text.
const CUT: char = '…';

/// A text of at most `limit` bytes (and the mark) that is safe to print. Control characters,
/// characters that change the direction of a line, and invalid UTF-8 become escapes (`\u{1b}`,
/// `\xff`). Quotes and backslashes stay, because the log's encoding escapes them.
#[must_use]
pub fn excerpt(text: &[u8], limit: usize) -> Cow<'_, str> {
    if text.len() <= limit
        && text
            .iter()
            .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        return String::from_utf8_lossy(text);
    }
    let mut shown = String::new();
    for chunk in text.utf8_chunks() {
        let characters = chunk.valid().chars().map(printable);
        let bytes = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        for piece in characters.chain(bytes) {
            if shown.len() + piece.len() > limit {
                shown.push(CUT);
                return Cow::Owned(shown);
            }
            shown.push_str(&piece);
        }
    }
    Cow::Owned(shown)
}

fn printable(character: char) -> String {
    match character {
        '"' | '\'' | '\\' => character.to_string(),
        _ => character.escape_debug().collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unprintable_characters_are_escaped() {
        for (text, shown) in [
            (
                "https://a.example/x?y=\"z\\'",
                "https://a.example/x?y=\"z\\'",
            ),
            ("", ""),
            ("grün 日本", "grün 日本"),
            ("a\nb\r\t\0", "a\\nb\\r\\t\\0"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("a\u{202e}b\u{9b}\u{7f}", "a\\u{202e}b\\u{9b}\\u{7f}"),
        ] {
            assert_eq!(excerpt(text.as_bytes(), 100), shown, "{text:?}");
        }
        assert_eq!(excerpt(b"a\xffb\xc3", 100), "a\\xffb\\xc3");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(excerpt(b"abcdef", 6), "abcdef");
        assert_eq!(excerpt(b"abcdefg", 6), "abcdef…");
        assert_eq!(excerpt("aüüü".as_bytes(), 4), "aü…");
        assert_eq!(excerpt(b"ab\x1bc", 5), "ab…");
    }

    proptest! {
        #[test]
        fn all_output_is_printable(text in any::<Vec<u8>>(), limit in 0_usize..64) {
            let shown = excerpt(&text, limit);
            prop_assert!(shown.len() <= limit + CUT.len_utf8());
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
