//! The single normal form of a request's path.
//!
//! Rules match the decoded segments of the forwarded form, so rules and upstream see the same path.
//! The form is that of RFC 3986 §6.2.2: unreserved characters decoded, other escapes in upper case,
//! dot segments removed. In addition, `//` becomes one slash. A path that servers interpret in
//! different ways is refused before rules are checked: see [`AmbiguousPath`].

mod ambiguous;

use std::borrow::Cow;

pub use self::ambiguous::AmbiguousPath;

/// The characters that are ordinary in a segment although some servers interpret them. None by
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ordinary {
    /// `%2F`: the segment `a%2Fb` is `a/b`, and stays one segment.
    pub encoded_slash: bool,
    /// `;` and `%3B`: the segment `a;b` is `a;b`, including its parameters.
    pub semicolon: bool,
    /// `%252F` and other escapes that a second decoding turns into a delimiter: the segment
    /// `a%252Fb` is `a%2Fb`.
    pub double_encoding: bool,
    /// `%F6` and other escapes that are not UTF-8: they are read as ISO 8859-1.
    pub non_utf8: bool,
    /// The service gets the path unchanged, so `//` and dot segments are refused.
    pub unchanged: bool,
}

impl Ordinary {
    /// All of the characters.
    pub const ALL: Self = Self {
        encoded_slash: true,
        semicolon: true,
        double_encoding: true,
        non_utf8: true,
        unchanged: false,
    };
}

/// A path in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    text: Cow<'a, str>,
    /// Whether any segment of `text` contains an escape, so that matching must decode.
    escaped: bool,
}

impl<'a> NormalPath<'a> {
    /// Normalizes a raw path without its query.
    ///
    /// # Errors
    /// [`AmbiguousPath`] names the ambiguity.
    pub fn parse(raw: &'a str) -> Result<Self, AmbiguousPath> {
        Self::parse_with(raw, Ordinary::default())
    }

    /// Normalizes a raw path in which some ambiguous characters are ordinary.
    ///
    /// # Errors
    /// [`AmbiguousPath`] names the remaining ambiguity.
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
        let mut raw_segments = raw[1..].split('/').peekable();
        while let Some(raw_segment) = raw_segments.next() {
            let segment = normal_segment(raw_segment, ordinary)?;
            ends_with_slash = false;
            let is_end = raw_segments.peek().is_none();
            match segment.as_str() {
                "." | ".." if ordinary.unchanged => return Err(AmbiguousPath::NotNormal),
                "" if ordinary.unchanged && !is_end => return Err(AmbiguousPath::NotNormal),
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

    /// The forwarded form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the normal form is the path as it was parsed.
    #[must_use]
    pub fn is_as_sent(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// Whether the path has no capital letter, dot or escape, so that servers that ignore case or
    /// endings see the same path.
    #[must_use]
    pub fn is_plain_small(&self) -> bool {
        !self.escaped
            && !self
                .text
                .bytes()
                .any(|byte| byte == b'.' || byte.is_ascii_uppercase())
    }

    /// The decoded segments, without one for a trailing slash.
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

    /// The path with an owned text.
    #[must_use]
    pub fn into_owned(self) -> NormalPath<'static> {
        NormalPath {
            text: Cow::Owned(self.text.into_owned()),
            escaped: self.escaped,
        }
    }
}

/// A decoded segment. Text that is not UTF-8 is read as ISO 8859-1, where every byte is the
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

/// Whether a path is its own normal form: letters, digits and harmless marks, without empty or dot
/// segments. This fast path covers nearly all requests without an allocation.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        match byte {
            b'/' if previous == b'/' => return false,
            // A dot at the start of a segment may begin a dot segment: the full parser decides.
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

/// Normalizes one segment: decodes unreserved characters, writes other escapes in upper case, and
/// escapes invalid characters.
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
            // Invalid in a path, but some clients send them. Escaped, they mean the same to every
            // server.
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
    // Checked on the result, because the text after `%25` may contain escapes itself.
    if is_doubly_encoded(out.as_bytes()) {
        if !ordinary.double_encoding {
            return Err(AmbiguousPath::DoubleEncoding);
        }
        check_decoded_again(decoded)?;
    }
    Ok(out)
}

/// Refuses a doubly encoded segment that becomes or hides a dot segment when it is decoded again.
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

/// Whether bytes contain an overlong encoding of an ASCII character, which lenient decoders accept.
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

/// Refuses an escape that servers decode differently.
fn check_decoded(value: u8, ordinary: Ordinary) -> Result<(), AmbiguousPath> {
    match value {
        b'/' if !ordinary.encoded_slash => Err(AmbiguousPath::EncodedSlash),
        b'\\' => Err(AmbiguousPath::Backslash),
        b';' if !ordinary.semicolon => Err(AmbiguousPath::Parameters),
        0x00..=0x1f | 0x7f => Err(AmbiguousPath::Control),
        _ => Ok(()),
    }
}

/// Whether a decoded segment with `/` or `;` becomes a dot segment or an empty one when it is split
/// there: many Java servers read `..;` as `..`.
fn hides_dot_segment(decoded: &[u8]) -> bool {
    let is_split = decoded.iter().any(|byte| matches!(byte, b'/' | b';'));
    is_split
        && decoded.split(|byte| *byte == b'/').any(|part| {
            let name = part.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..") || (name.is_empty() && !part.is_empty())
        })
}

/// Whether a second decoding produces a dot, slash, backslash, percent sign, semicolon or NUL.
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
mod tests;
