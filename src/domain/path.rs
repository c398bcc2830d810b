//! A request's path in one normal form, or not at all.
//!
//! The rules match the decoded segments of the form that is sent on, so what was judged is what the
//! upstream sees. The form is that of RFC 3986 §6.2.2: unreserved characters decoded, other escapes
//! in upper case, dot segments removed; and `//` is one slash. A path that two servers could read
//! differently is refused before any rule is looked at: see [`AmbiguousPath`].

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub enum AmbiguousPath {
    /// The path does not begin with `/`.
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    BadEscape,
    /// `%2F`: one segment or two?
    EncodedSlash,
    /// `.` or `..` written with `%2E`, or beside `%2F` or `;`: some servers resolve it, some do
    /// not.
    EncodedDotSegment,
    /// `\` or `%5C`: a slash to some servers.
    Backslash,
    /// A control character, raw or encoded.
    Control,
    /// `%252E`, `%252F`, `%255C`, `%2500`, `%253B`: decoded twice by some servers.
    DoubleEncoding,
    /// The decoded path is not UTF-8.
    NotUtf8,
    /// `;`: path parameters are cut off by some servers.
    Parameters,
    /// `#`, `?` or a space inside the path.
    Delimiter,
}

impl AmbiguousPath {
    /// What is wrong, as a sentence without its period.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::BadEscape => {
                "the path has a percent sign without two hexadecimal digits; send the sign as %25"
            }
            Self::EncodedSlash => "the path has an encoded slash (%2F)",
            Self::EncodedDotSegment => {
                "the path has an encoded dot segment, or one beside an encoded slash or a semicolon"
            }
            Self::Backslash => "the path has a backslash",
            Self::Control => "the path has a control character",
            Self::DoubleEncoding => "the path has a doubly encoded character (such as %252F)",
            Self::NotUtf8 => {
                "the path has escapes that are not UTF-8 (such as %F6, which is ISO 8859-1)"
            }
            Self::Parameters => "the path has `;`, behind which some servers see parameters",
            Self::Delimiter => "the path has a space, # or ?; send them as %20, %23 and %3F",
        }
    }

    /// The key of an inbound listener that allows such a path with the value `keep`.
    #[must_use]
    pub fn allowed_by(self) -> Option<&'static str> {
        match self {
            Self::EncodedSlash => Some("encodedSlash"),
            Self::Parameters => Some("pathParameters"),
            Self::DoubleEncoding => Some("doubleEncoding"),
            Self::NotUtf8 => Some("nonUtf8"),
            _ => None,
        }
    }
}

/// What is an ordinary character of its segment although some servers read more into it. By default
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ordinary {
    /// `%2F`: the segment `a%2Fb` is `a/b`, and stays one segment.
    pub encoded_slash: bool,
    /// `;` and `%3B`: the segment `a;b` is `a;b`, parameters and all.
    pub semicolon: bool,
    /// `%252F` and others that a second decoding makes a delimiter of: the segment `a%252Fb` is
    /// `a%2Fb`.
    pub double_encoding: bool,
    /// `%F6` and others that are not UTF-8: they are read as ISO 8859-1.
    pub non_utf8: bool,
}

impl Ordinary {
    /// All of them.
    pub const ALL: Self = Self {
        encoded_slash: true,
        semicolon: true,
        double_encoding: true,
        non_utf8: true,
    };
}

/// A path in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    text: Cow<'a, str>,
    /// Whether any segment of `text` holds an escape, so that matching must decode.
    escaped: bool,
}

impl<'a> NormalPath<'a> {
    /// Brings a raw path (without query) to its normal form.
    ///
    /// # Errors
    /// [`AmbiguousPath`] says what two servers could read differently.
    pub fn parse(raw: &'a str) -> Result<Self, AmbiguousPath> {
        Self::parse_with(raw, Ordinary::default())
    }

    /// The same, where some of the ambiguous characters are ordinary ones.
    ///
    /// # Errors
    /// [`AmbiguousPath`] says what two servers could read differently all the same.
    pub fn parse_with(raw: &'a str, ordinary: Ordinary) -> Result<Self, AmbiguousPath> {
        if !raw.starts_with('/') {
            return Err(AmbiguousPath::NotAbsolute);
        }
        if is_plain(raw.as_bytes()) {
            return Ok(Self {
                text: Cow::Borrowed(raw),
                escaped: false,
            });
        }
        let mut out: Vec<String> = Vec::new();
        let mut escaped = false;
        let mut ends_with_slash = false;
        for raw_segment in raw[1..].split('/') {
            let segment = normal_segment(raw_segment, ordinary)?;
            ends_with_slash = false;
            match segment.as_str() {
                "" | "." => ends_with_slash = true,
                ".." => {
                    out.pop();
                    ends_with_slash = true;
                }
                _ => {
                    escaped |= segment.contains('%');
                    out.push(segment);
                }
            }
        }
        let mut text = String::with_capacity(raw.len() + 1);
        for segment in &out {
            text.push('/');
            text.push_str(segment);
        }
        if ends_with_slash || out.is_empty() {
            text.push('/');
        }
        Ok(Self {
            text: Cow::Owned(text),
            escaped,
        })
    }

    /// The form that is sent on.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has no capital letter, no dot and no escape: nothing that makes another path of
    /// it to a server that ignores letter case or endings.
    #[must_use]
    pub fn is_plain_small(&self) -> bool {
        !self.escaped
            && !self
                .text
                .bytes()
                .any(|byte| byte == b'.' || byte.is_ascii_uppercase())
    }

    /// The decoded segments; a trailing slash makes none.
    pub fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> + Clone {
        self.text[1..]
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| {
                if self.escaped {
                    decoded(segment)
                } else {
                    Cow::Borrowed(segment)
                }
            })
    }

    /// The same path, owning its text.
    #[must_use]
    pub fn into_owned(self) -> NormalPath<'static> {
        NormalPath {
            text: Cow::Owned(self.text.into_owned()),
            escaped: self.escaped,
        }
    }
}

/// A segment without its escapes. What is not UTF-8 is ISO 8859-1, where every byte is the
/// character of its number.
fn decoded(segment: &str) -> Cow<'_, str> {
    let bytes = Cow::from(percent_encoding::percent_decode_str(segment));
    match std::str::from_utf8(&bytes) {
        Ok(text) => text.to_owned().into(),
        Err(_) => bytes
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>()
            .into(),
    }
}

/// Whether a path is its own normal form: letters, digits, and marks that mean nothing to anyone;
/// no empty or dot segment. Nearly every request takes this way, without an allocation.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        match byte {
            b'/' if previous == b'/' => return false,
            // A dot at the start of a segment may begin a dot segment: the long way decides.
            b'.' if previous == b'/' => return false,
            b'/'
            | b'.'
            | b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'~'
            | b':'
            | b'@' => {}
            _ => return false,
        }
        previous = byte;
    }
    true
}

/// One segment with unreserved characters decoded, other escapes in upper case, stray characters
/// escaped.
fn normal_segment(raw: &str, ordinary: Ordinary) -> Result<String, AmbiguousPath> {
    let bytes = raw.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut decoded = Vec::new();
    let mut encoded_dot = false;
    let mut i = 0;
    while i < bytes.len() {
        let byte = bytes[i];
        i += 1;
        match byte {
            b'%' => {
                let value = hex_pair(bytes.get(i..i + 2)).ok_or(AmbiguousPath::BadEscape)?;
                i += 2;
                encoded_dot |= value == b'.';
                check_decoded(value, ordinary)?;
                decoded.push(value);
                if is_unreserved(value) {
                    out.push(char::from(value));
                } else {
                    push_escape(&mut out, value);
                }
            }
            b'\\' => return Err(AmbiguousPath::Backslash),
            b';' if !ordinary.semicolon => return Err(AmbiguousPath::Parameters),
            b'#' | b'?' | b' ' => return Err(AmbiguousPath::Delimiter),
            0x00..=0x1f | 0x7f => return Err(AmbiguousPath::Control),
            // Not allowed raw in a path, though some clients send them: escaped, so that every
            // server reads them in one way.
            0x80.. | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']' => {
                decoded.push(byte);
                push_escape(&mut out, byte);
            }
            _ => {
                decoded.push(byte);
                out.push(char::from(byte));
            }
        }
    }
    if std::str::from_utf8(&decoded).is_err() && (!ordinary.non_utf8 || is_overlong(&decoded)) {
        return Err(AmbiguousPath::NotUtf8);
    }
    if encoded_dot && matches!(out.as_str(), "." | "..") || hides_dot_segment(&decoded) {
        return Err(AmbiguousPath::EncodedDotSegment);
    }
    // Judged on the finished text: what follows `%25` may itself have been written with escapes.
    if is_doubly_encoded(out.as_bytes()) {
        if !ordinary.double_encoding {
            return Err(AmbiguousPath::DoubleEncoding);
        }
        check_decoded_again(decoded)?;
    }
    Ok(out)
}

/// Refuses a doubly encoded segment that is a dot segment, or hides one, to a server that decodes
/// it more than once.
fn check_decoded_again(mut decoded: Vec<u8>) -> Result<(), AmbiguousPath> {
    loop {
        let again: Vec<u8> = percent_encoding::percent_decode(&decoded).collect();
        if again == decoded {
            return Ok(());
        }
        if again.contains(&0) {
            return Err(AmbiguousPath::Control);
        }
        if is_overlong(&again) {
            return Err(AmbiguousPath::NotUtf8);
        }
        let as_slashes: Vec<u8> = again
            .iter()
            .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
            .collect();
        if matches!(as_slashes.as_slice(), b"." | b"..") || hides_dot_segment(&as_slashes) {
            return Err(AmbiguousPath::EncodedDotSegment);
        }
        decoded = again;
    }
}

/// Whether bytes hold a character of ASCII in a longer form than its own, which careless decoders
/// take for it.
fn is_overlong(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| {
        matches!(
            pair,
            [0xc0 | 0xc1, 0x80..=0xbf]
                | [0xe0, 0x80..=0x9f]
                | [0xf0, 0x80..=0x8f]
                | [0xf8..=0xfd, 0x80..=0xbf]
        )
    })
}

/// Refuses an escape whose meaning depends on who decodes it.
fn check_decoded(value: u8, ordinary: Ordinary) -> Result<(), AmbiguousPath> {
    match value {
        b'/' if !ordinary.encoded_slash => Err(AmbiguousPath::EncodedSlash),
        b'\\' => Err(AmbiguousPath::Backslash),
        b';' if !ordinary.semicolon => Err(AmbiguousPath::Parameters),
        0x00..=0x1f | 0x7f => Err(AmbiguousPath::Control),
        _ => Ok(()),
    }
}

/// Whether a decoded segment with `/` or `;` in it would be a dot segment to who splits it there,
/// or an empty one to who cuts parameters off: `..;` is `..` to many a Java server.
fn hides_dot_segment(decoded: &[u8]) -> bool {
    let is_split = decoded.iter().any(|byte| matches!(byte, b'/' | b';'));
    is_split
        && decoded.split(|byte| *byte == b'/').any(|part| {
            let name = part.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..") || (name.is_empty() && !part.is_empty())
        })
}

/// Whether a second decoding would bring forth a dot, a slash, a backslash, a percent sign, a
/// semicolon or a NUL.
fn is_doubly_encoded(segment: &[u8]) -> bool {
    segment.windows(5).any(|window| {
        window.starts_with(b"%25")
            && matches!(
                hex_pair(window.get(3..5)),
                Some(b'.' | b'/' | b'\\' | b'%' | b';' | 0x00)
            )
    })
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn push_escape(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

fn hex_pair(pair: Option<&[u8]>) -> Option<u8> {
    let [high, low] = pair? else { return None };
    let digit = |b: &u8| {
        char::from(*b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
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
    fn what_two_servers_could_read_differently_is_refused() {
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
    fn what_is_ordinary_stays_in_its_segment_as_it_was_written() {
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
    fn a_hidden_dot_segment_is_refused_whatever_is_ordinary() {
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

    /// How a careless server reads a path: it decodes first, cuts parameters off, and resolves dot
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
        /// Decoding first or last, once or twice: everybody finds the segments that the rules
        /// matched.
        #[test]
        fn no_two_readings(raw in "/([a-c]|%2[5ef]|%5c|%3b|%2E|%61|\\.|\\.\\.|/|;|\\\\|%[0-9a-f]{2}){0,12}") {
            if let Ok(path) = NormalPath::parse(&raw) {
                let judged: Vec<_> = path.segments().map(std::borrow::Cow::into_owned).collect();
                prop_assert_eq!(&careless(path.as_str()), &judged);
                let twice = percent_encoding::percent_decode_str(path.as_str()).decode_utf8_lossy().into_owned();
                // A second decoding may change a name, but neither the number of segments nor where
                // they are.
                prop_assert_eq!(careless(&twice).len(), judged.len());
            }
        }

        #[test]
        fn what_is_sent_on_is_read_as_it_was_judged(
            raw in "/([a-c]|%2[5ef]|%3[bB]|%2E|\\.|/|;|%[0-9a-f]{2}){0,12}",
            encoded_slash: bool,
            semicolon: bool,
            double_encoding: bool,
            non_utf8: bool,
        ) {
            let ordinary = Ordinary { encoded_slash, semicolon, double_encoding, non_utf8 };
            if let Ok(path) = NormalPath::parse_with(&raw, ordinary) {
                let again = NormalPath::parse_with(path.as_str(), ordinary).expect("a normal form parses");
                prop_assert_eq!(again.as_str(), path.as_str());
                prop_assert_eq!(again.segments().collect::<Vec<_>>(), path.segments().collect::<Vec<_>>());
                // Nobody who splits a segment further finds a dot segment in it.
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
        fn never_panics_and_is_idempotent(raw in "/([ -~\u{e9}]|%25|%32|%46|%65|%2[0-9a-f]|[0-9a-f]|/|\\.){0,40}") {
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
}
