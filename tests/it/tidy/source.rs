//! The tokens of Rust source, without comments and the contents of literals.
//!
//! This is no parser: it only tells code from text.

/// The source with comments and literals turned into spaces. Lines keep their numbers.
pub fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = text_length(bytes, at);
        if length == 0 {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let text = &bytes[at..at + length];
        out.extend(
            text.iter()
                .map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }),
        );
        at += length;
    }
    String::from_utf8(out).expect("only whole characters are blanked")
}

/// The length of the comment or literal that begins here, or 0.
fn text_length(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment(rest);
    }
    match rest[0] {
        b'"' => quoted(rest, 0),
        b'\'' => character(rest),
        // `r"`, `br#"`, `c"` and so on, unless the letter ends a longer word.
        b'r' | b'b' | b'c' if at == 0 || !is_word(bytes[at - 1]) => prefixed(rest),
        _ => 0,
    }
}

/// Block comments nest in Rust.
fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// A literal with escapes, whose opening quote is at `open`.
fn quoted(rest: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal; 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|b| *b == b'\'');
        return end.map_or(rest.len(), |end| end + 4);
    }
    let width = rest.get(1).map_or(1, |first| match first {
        0x00..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    });
    if rest.get(1 + width) == Some(&b'\'') {
        width + 2
    } else {
        0
    }
}

/// A string with a prefix; raw ones end with as many `#` as they begin with.
fn prefixed(rest: &[u8]) -> usize {
    let prefix = rest
        .iter()
        .take_while(|b| matches!(b, b'r' | b'b' | b'c'))
        .count();
    let raw = rest[..prefix].contains(&b'r');
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    match rest.get(prefix + hashes) {
        Some(b'"') if raw => {
            let end = [b"\"".to_vec(), vec![b'#'; hashes]].concat();
            let body = prefix + hashes + 1;
            let length = rest[body..]
                .windows(end.len())
                .position(|window| window == end);
            length.map_or(rest.len(), |length| body + length + end.len())
        }
        Some(b'"') if hashes == 0 && prefix == 1 => quoted(rest, prefix),
        Some(b'\'') if hashes == 0 && rest[..prefix] == *b"b" => match character(&rest[1..]) {
            0 => 0,
            length => length + 1,
        },
        _ => 0,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// A word or a sign of blanked source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// Its text; `::` is one sign, every other sign one character.
    pub text: &'a str,
    /// Its line, from 1.
    pub line: usize,
}

/// The words and signs of blanked source.
pub fn tokens(blanked: &str) -> Vec<Token<'_>> {
    let bytes = blanked.as_bytes();
    let (mut out, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let length = match bytes[at] {
            byte if is_word(byte) => bytes[at..].iter().take_while(|b| is_word(**b)).count(),
            b':' if bytes[at..].starts_with(b"::") => 2,
            _ => 1,
        };
        let text = &blanked[at..at + length];
        if text == "\n" {
            line += 1;
        } else if !text.trim().is_empty() {
            out.push(Token { text, line });
        }
        at += length;
    }
    out
}

/// Where the bracket that opens at `open` closes; the end when it never does.
pub fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// The token ranges of `#[cfg(test)] mod … { … }`, from the attribute to the closing brace.
pub fn test_modules(tokens: &[Token<'_>]) -> Vec<std::ops::RangeInclusive<usize>> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut out = Vec::new();
    for start in 0..tokens.len() {
        let texts = |from: usize, many: usize| tokens.iter().skip(from).take(many).map(|t| t.text);
        if texts(start, ATTRIBUTE.len()).ne(ATTRIBUTE) {
            continue;
        }
        let item = start + ATTRIBUTE.len();
        let brace = tokens
            .iter()
            .skip(item)
            .position(|t| matches!(t.text, "{" | ";"))
            .map(|p| p + item);
        if let Some(brace) =
            brace.filter(|b| texts(item, b - item).any(|t| t == "mod") && tokens[*b].text == "{")
        {
            out.push(start..=closing(tokens, brace));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        for text in [
            "// pingora",
            "/* pingora /* pingora */ pingora */",
            "\"pingora \\\" pingora\"",
            "r#\"pingora \" pingora\"#",
            "br##\"pingora \"# pingora\"##",
            "b\"pingora\"",
            "\"pingora\npingora\"",
            "'\\'' /*pingora*/ b'\\\\' /*pingora*/",
            "'\"' // pingora\"",
            "'é' // pingora",
        ] {
            let blanked = blank(&format!("before {text}\nafter"));
            assert!(!blanked.contains("pingora"), "{text}");
            assert!(
                blanked.starts_with("before ") && blanked.ends_with("\nafter"),
                "{text}: {blanked}"
            );
            assert_eq!(blanked.lines().count(), text.lines().count() + 1, "{text}");
        }
    }

    #[test]
    fn code_stays() {
        for code in [
            "fn a<'a>(b: &'a str) -> &'a str",
            "var\"\"",
            "a / b",
            "r#type",
            "bar::crate_",
            "'outer: loop {}",
        ] {
            assert_eq!(
                blank(code).trim_end(),
                code.trim_end_matches("\"\""),
                "{code}"
            );
        }
    }

    #[test]
    fn test_modules_are_found_whole() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}\n\
            #[cfg(test)] mod far;";
        let words = tokens(source);
        let ranges = test_modules(&words);
        assert_eq!(ranges.len(), 1);
        assert_eq!(words[*ranges[0].start()].text, "#");
        assert_eq!(words[*ranges[0].end() + 1].text, "fn");
        assert_eq!(words[*ranges[0].end() + 1].line, 4);
    }
}
