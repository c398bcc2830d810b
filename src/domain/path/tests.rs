//! Tests of `path`.

use proptest::prelude::*;

use super::*;

fn normal(raw: &str) -> String {
    NormalPath::parse(raw).unwrap().as_str().to_owned()
}

#[test]
fn normal_form_of_rfc_3986() {
    for (raw, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//a///b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/b/..", "/a/"),
        ("/../../a", "/a"),
        ("/..", "/"),
        ("/%41%2d%7e", "/A-~"),
        ("/a%3ab", "/a%3Ab"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/caf\u{e9}", "/caf%C3%A9"),
        ("/a\"<b>`", "/a%22%3Cb%3E%60"),
        ("/a{b}", "/a%7Bb%7D"),
        ("/.well-known/jwks.json", "/.well-known/jwks.json"),
        ("/file%2etxt", "/file.txt"),
        ("/a%25b", "/a%25b"),
        ("/...", "/..."),
    ] {
        assert_eq!(normal(raw), expected, "{raw}");
    }
}

#[test]
fn ambiguous_paths_are_refused() {
    use AmbiguousPath::*;
    for (raw, why) in [
        ("a", NotAbsolute),
        ("*", NotAbsolute),
        ("/a%2fb", EncodedSlash),
        ("/a%2Fb", EncodedSlash),
        ("/%2e%2e/admin", EncodedDotSegment),
        ("/.%2e/admin", EncodedDotSegment),
        ("/%2E", EncodedDotSegment),
        ("/a\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/a%00", Control),
        ("/a%0d%0aX", Control),
        ("/a%7f", Control),
        ("/a%252e%252e", DoubleEncoding),
        ("/a%252fb", DoubleEncoding),
        ("/a%25252fb", DoubleEncoding),
        ("/a/%25%32%46%25%32%65%25%32%65", DoubleEncoding),
        ("/a/%252%66b", DoubleEncoding),
        ("/a/%25%35c", DoubleEncoding),
        ("/a/..%3B/b", Parameters),
        ("/a%ff", NotUtf8),
        ("/caf%e9", NotUtf8),
        ("/a;b=c", Parameters),
        ("/a#b", Delimiter),
        ("/a%", BadEscape),
        ("/a%2", BadEscape),
        ("/a%zz", BadEscape),
        ("/a%+1", BadEscape),
    ] {
        assert_eq!(NormalPath::parse(raw), Err(why), "{raw}");
    }
}

#[test]
fn segments_are_decoded_and_ignore_a_trailing_slash() {
    let path = NormalPath::parse("/caf%C3%A9/b/").unwrap();
    assert_eq!(path.segments().collect::<Vec<_>>(), ["café", "b"]);
    assert_eq!(NormalPath::parse("/").unwrap().segments().count(), 0);
}

#[test]
fn ordinary_characters_stay_in_their_segment() {
    let slash = Ordinary {
        encoded_slash: true,
        ..Ordinary::default()
    };
    let semicolon = Ordinary {
        semicolon: true,
        ..Ordinary::default()
    };
    for (raw, ordinary, text, segments) in [
        ("/a%2fb", slash, "/a%2Fb", &["a/b"][..]),
        (
            "/x/%2Flight%2F1/",
            slash,
            "/x/%2Flight%2F1/",
            &["x", "/light/1"],
        ),
        ("/a%2Fb/../c", slash, "/c", &["c"]),
        ("/a;v=1/b", semicolon, "/a;v=1/b", &["a;v=1", "b"]),
        ("/a%3bv", semicolon, "/a%3Bv", &["a;v"]),
        ("/a%2Fb;c", Ordinary::ALL, "/a%2Fb;c", &["a/b;c"]),
    ] {
        let path = NormalPath::parse_with(raw, ordinary).unwrap();
        assert_eq!(path.as_str(), text);
        assert_eq!(path.segments().collect::<Vec<_>>(), segments, "{raw}");
    }
    assert_eq!(
        NormalPath::parse_with("/a;b", slash),
        Err(AmbiguousPath::Parameters)
    );
    assert_eq!(
        NormalPath::parse_with("/a%2Fb", semicolon),
        Err(AmbiguousPath::EncodedSlash)
    );
}

#[test]
fn a_hidden_dot_segment_is_always_refused() {
    for raw in [
        "/a/%2F..%2Fadmin",
        "/a/..%2Fadmin",
        "/a/%2e%2e%2fadmin",
        "/a/x%2F%2e%2E",
        "/a/.%2Fb",
        "/a/..;/admin",
        "/a/..;x=1/admin",
        "/a/%2e%2e;/admin",
        "/a/.;/b",
        "/a/;/admin",
        "/;x/admin",
        "/a/b%2F..;c",
        "/a/b%2F;c",
        "/a/..%3b/admin",
    ] {
        assert_eq!(
            NormalPath::parse_with(raw, Ordinary::ALL),
            Err(AmbiguousPath::EncodedDotSegment),
            "{raw}"
        );
    }
    for raw in ["/a\\b", "/a%5cb", "/a%00", "/a%2500", "/a%252500"] {
        assert!(NormalPath::parse_with(raw, Ordinary::ALL).is_err(), "{raw}");
    }
}

#[test]
fn doubly_encoded_and_latin_escapes_can_be_ordinary() {
    let double = Ordinary {
        double_encoding: true,
        ..Ordinary::default()
    };
    let latin = Ordinary {
        non_utf8: true,
        ..Ordinary::default()
    };
    for (raw, ordinary, text, segments) in [
        (
            "/job/feature%252fx/1",
            double,
            "/job/feature%252fx/1",
            &["job", "feature%2fx", "1"][..],
        ),
        ("/a%25252Fb", double, "/a%25252Fb", &["a%252Fb"]),
        (
            "/a%255Cb%253Bc%252e",
            double,
            "/a%255Cb%253Bc%252e",
            &["a%5Cb%3Bc%2e"],
        ),
        ("/sch%f6n", latin, "/sch%F6n", &["sch\u{f6}n"]),
        ("/%C0.txt", latin, "/%C0.txt", &["\u{c0}.txt"]),
        ("/%c3%b6", latin, "/%C3%B6", &["\u{f6}"]),
    ] {
        let path = NormalPath::parse_with(raw, ordinary).unwrap();
        assert_eq!(path.as_str(), text);
        assert_eq!(path.segments().collect::<Vec<_>>(), segments, "{raw}");
    }
    for (raw, ordinary, why) in [
        ("/a%252Fb", latin, AmbiguousPath::DoubleEncoding),
        ("/sch%f6n", double, AmbiguousPath::NotUtf8),
        ("/a%2Fb", double, AmbiguousPath::EncodedSlash),
        ("/%252e%252e", double, AmbiguousPath::EncodedDotSegment),
        ("/%25252e", double, AmbiguousPath::EncodedDotSegment),
        ("/..%252fadmin", double, AmbiguousPath::EncodedDotSegment),
        ("/..%255cadmin", double, AmbiguousPath::EncodedDotSegment),
        ("/x%252f..%253bv", double, AmbiguousPath::EncodedDotSegment),
        (
            "/x%252f%252e%252e%252fy",
            double,
            AmbiguousPath::EncodedDotSegment,
        ),
        ("/%c0%ae%c0%ae", latin, AmbiguousPath::NotUtf8),
        ("/..%c0%af", latin, AmbiguousPath::NotUtf8),
        ("/..%e0%80%af", latin, AmbiguousPath::NotUtf8),
    ] {
        assert_eq!(NormalPath::parse_with(raw, ordinary), Err(why), "{raw}");
    }
}

/// The reading of a lenient server: it decodes first, cuts off parameters, and resolves dot
/// segments last.
fn careless(path: &str) -> Vec<String> {
    let decoded = percent_encoding::percent_decode_str(path)
        .decode_utf8_lossy()
        .into_owned();
    let mut segments: Vec<String> = Vec::new();
    for segment in decoded
        .split(['/', '\\'])
        .map(|s| s.split(';').next().unwrap_or_default())
    {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}

proptest! {
    /// Servers that decode first or last, once or twice, find the segments that the rules
    /// matched.
    #[test]
    fn no_two_readings(raw in "/([a-c]|%2[5ef]|%5c|%3b|%2E|%61|\\.|\\.\\.|/|;|\\\\|%[0-9a-f]{2}){0,12}") {
        if let Ok(path) = NormalPath::parse(&raw) {
            let matched: Vec<_> = path.segments().map(std::borrow::Cow::into_owned).collect();
            prop_assert_eq!(&careless(path.as_str()), &matched);
            let twice = percent_encoding::percent_decode_str(path.as_str()).decode_utf8_lossy().into_owned();
            // A second decoding may change a name, but not the number or position of segments.
            prop_assert_eq!(careless(&twice).len(), matched.len());
        }
    }

    #[test]
    fn servers_read_the_segments_that_the_rules_matched(
        raw in "/([a-c]|%2[5ef]|%3[bB]|%2E|\\.|/|;|%[0-9a-f]{2}){0,12}",
        encoded_slash: bool,
        semicolon: bool,
        double_encoding: bool,
        non_utf8: bool,
    ) {
        let unchanged = false;
        let ordinary = Ordinary { encoded_slash, semicolon, double_encoding, non_utf8, unchanged };
        if let Ok(path) = NormalPath::parse_with(&raw, ordinary) {
            let again = NormalPath::parse_with(path.as_str(), ordinary).expect("a normal form \
                parses");
            prop_assert_eq!(again.as_str(), path.as_str());
            prop_assert_eq!(again.segments().collect::<Vec<_>>(), path.segments().collect::<Vec<_>>());
            // A server that splits a segment further finds no dot segment in it.
            for segment in path.segments() {
                let mut segment = segment.into_owned();
                for _ in 0..4 {
                    prop_assert!(segment.split(['/', '\\']).all(|s| !matches!(s.split(';').next(), Some("." | ".."))));
                    segment = percent_encoding::percent_decode_str(&segment).decode_utf8_lossy().into_owned();
                }
            }
        }
    }

    #[test]
    fn never_panics_and_is_idempotent(raw in "/([ \
        -~\u{e9}]|%25|%32|%46|%65|%2[0-9a-f]|[0-9a-f]|/|\\.){0,40}") {
        if let Ok(path) = NormalPath::parse(&raw) {
            let text = path.as_str().to_owned();
            let again = NormalPath::parse(&text).expect("a normal form parses");
            prop_assert_eq!(again.as_str(), text.as_str());
            prop_assert!(!text.contains("//") && !text.contains('\\') && !text.contains(';'));
            prop_assert!(text.split('/').all(|s| s != "." && s != ".."));
            prop_assert_eq!(
                again.segments().collect::<Vec<_>>(),
                path.segments().collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn where_the_path_is_forwarded_unchanged_its_segments_are_those_of_the_normal_form() {
    let unchanged = Ordinary {
        unchanged: true,
        ..Ordinary::ALL
    };
    let parse = |raw| NormalPath::parse_with(raw, unchanged).map(|path| path.as_str().to_owned());
    for raw in ["/a/../b", "/a/./b", "/a/..", "/.", "//a", "/a//", "/a//b"] {
        assert_eq!(parse(raw), Err(AmbiguousPath::NotNormal), "{raw}");
    }
    for (raw, expected) in [
        ("/", "/"),
        ("/a/", "/a/"),
        ("/%41/.b", "/A/.b"),
        ("/a%2fb", "/a%2Fb"),
    ] {
        assert_eq!(parse(raw).as_deref(), Ok(expected), "{raw}");
    }
}
