//! Path normalisation: any text. A path that is accepted is its own normal form, and its segments
//! are those that a slow server would find in the raw path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use m2m_sidecar::for_tests::domain::path::{NormalPath, Ordinary};

fuzz_target!(|raw: &str| {
    keeping_characters(raw);
    let Ok(path) = NormalPath::parse(raw) else {
        return;
    };
    let text = path.as_str();
    assert!(text.starts_with('/') && !text.contains("//"), "{text:?}");
    assert!(
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\\;#?\"<>^`{|}[]".contains(&byte)),
        "{text:?}"
    );
    let segments: Vec<_> = path.segments().collect();
    for segment in &segments {
        // Also an upstream that decodes once more finds no other segments.
        for form in [segment.as_bytes(), &decode(segment.as_bytes())] {
            assert!(
                !form.is_empty() && form != b"." && form != b"..",
                "{text:?}"
            );
            assert!(
                !form.iter().any(|byte| b"/\\;\0".contains(byte)),
                "{text:?}"
            );
        }
        assert!(!segment.chars().any(|c| c.is_ascii_control()), "{text:?}");
    }
    assert!(
        segments
            .iter()
            .map(|segment| segment.as_bytes())
            .eq(slow_segments(raw).iter().map(Vec::as_slice)),
        "{text:?}"
    );
    let again = NormalPath::parse(text).expect("a normal form is a path");
    assert_eq!(again.as_str(), text);
    assert_eq!(again.segments().collect::<Vec<_>>(), segments);
    assert_eq!(path.clone().into_owned(), path);
});

/// Where an encoded slash and a semicolon are characters of their segment: an upstream that decodes
/// them, or cuts a segment off at a semicolon, still finds no way up.
fn keeping_characters(raw: &str) {
    let Ok(path) = NormalPath::parse_with(raw, Ordinary::ALL) else {
        return;
    };
    let again =
        NormalPath::parse_with(path.as_str(), Ordinary::ALL).expect("a normal form is a path");
    assert_eq!(again.as_str(), path.as_str());
    assert_eq!(
        again.segments().collect::<Vec<_>>(),
        path.segments().collect::<Vec<_>>()
    );
    for segment in path.segments() {
        for part in segment
            .split('/')
            .map(|part| part.split(';').next().unwrap_or_default())
        {
            assert!(part != "." && part != "..", "{:?}", path.as_str());
        }
    }
}

/// RFC 3986 §5.2.4, step by step, then decoded.
fn slow_segments(raw: &str) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(decode(segment.as_bytes())),
        }
    }
    segments
}

fn decode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let pair = text
            .get(at + 1..at + 3)
            .filter(|pair| text[at] == b'%' && pair.iter().all(u8::is_ascii_hexdigit));
        match pair.and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}
