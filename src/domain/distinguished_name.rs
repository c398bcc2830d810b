//! Distinguished names (X.501), compared by their parts and not as texts: two spellings of one name
//! are equal.

use std::fmt;

/// The short names of attribute types (RFC 4514 §3, and others that certificates have).
const TYPES: [(&str, &str); 17] = [
    ("CN", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("serialNumber", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("title", "2.5.4.12"),
    ("businessCategory", "2.5.4.15"),
    ("postalCode", "2.5.4.17"),
    ("GN", "2.5.4.42"),
    ("organizationIdentifier", "2.5.4.97"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

/// A distinguished name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinguishedName {
    /// In the order of a certificate: the country before the common name.
    parts: Vec<Vec<Attribute>>,
}

/// An attribute of a relative distinguished name.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// The object identifier of its type, with dots.
    pub kind: String,
    /// Its text, or the hexadecimal DER encoding of a value that is no text.
    pub value: String,
    pub is_text: bool,
}

/// A text is not a distinguished name in the form of RFC 4514.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a distinguished name in the form of RFC 4514, such as `CN=gateway,O=Example,C=DE`: \
     `openssl x509 -noout -subject -nameopt RFC2253` prints that of a certificate"
)]
pub struct InvalidName;

impl Attribute {
    /// The value as it is compared (RFC 4517 §4.2.11): without regard to case and repeated spaces.
    fn compared(&self) -> (&str, bool, String) {
        let words = self.value.split_whitespace();
        let joined = words.collect::<Vec<_>>().join(" ");
        (&self.kind, self.is_text, joined.to_lowercase())
    }
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.compared() == other.compared()
    }
}

impl Eq for Attribute {}

impl DistinguishedName {
    /// The name with these parts, in the order of a certificate.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = Vec<Attribute>>) -> Self {
        let sorted = parts.into_iter().map(|mut part| {
            // The attributes of one part have no order.
            part.sort_by_cached_key(|it| {
                let (kind, is_text, value) = it.compared();
                (kind.to_owned(), is_text, value)
            });
            part
        });
        Self {
            parts: sorted.collect(),
        }
    }

    /// Reads a name in the form of RFC 4514 §3, where the part that is last in the certificate
    /// comes first. Spaces around `,`, `+` and `=` have no effect.
    ///
    /// # Errors
    /// [`InvalidName`], also for the empty name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let parts: Result<Vec<_>, _> = split(text, ',')
            .into_iter()
            .map(|part| split(part, '+').into_iter().map(attribute).collect())
            .collect();
        let mut parts: Vec<Vec<Attribute>> = parts?;
        parts.reverse();
        Ok(Self::new(parts))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl fmt::Display for DistinguishedName {
    /// RFC 4514 §2.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, part) in self.parts.iter().rev().enumerate() {
            for (index, attribute) in part.iter().enumerate() {
                match (place, index) {
                    (0, 0) => {}
                    (_, 0) => f.write_str(",")?,
                    _ => f.write_str("+")?,
                }
                let known = TYPES.iter().find(|(_, kind)| *kind == attribute.kind);
                let name = known.map_or(attribute.kind.as_str(), |(name, _)| name);
                match attribute.is_text {
                    true => write!(f, "{name}={}", escaped(&attribute.value))?,
                    false => write!(f, "{name}=#{}", attribute.value)?,
                }
            }
        }
        Ok(())
    }
}

/// Splits at separators that are not escaped.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut begin, mut is_escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == separator => {
                parts.extend(text.get(begin..at));
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(begin..));
    parts
}

fn attribute(text: &str) -> Result<Attribute, InvalidName> {
    let (kind, value) = text.split_once('=').ok_or(InvalidName)?;
    let kind = kind.trim();
    let known = TYPES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(kind))
        .map(|(_, kind)| *kind);
    let is_identifier = kind.contains('.')
        && kind
            .split('.')
            .all(|arc| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()));
    let kind = known
        .or(Some(kind).filter(|_| is_identifier))
        .ok_or(InvalidName)?;
    let (value, is_text) = match value.trim_start().strip_prefix('#') {
        Some(hex) => of_hex(hex.trim_end())?,
        None => (unescaped(value)?, true),
    };
    if value.is_empty() {
        return Err(InvalidName);
    }
    Ok(Attribute {
        kind: kind.to_owned(),
        value,
        is_text,
    })
}

/// The value of an escaped text (RFC 4514 §2.4): `\` comes before a special character, or before
/// the two hexadecimal digits of a byte.
fn unescaped(text: &str) -> Result<String, InvalidName> {
    let text = text.trim_start();
    let mut value = Vec::new();
    // The length without spaces at the end, which an escape keeps.
    let mut kept = 0;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                let first = rest.next().ok_or(InvalidName)?;
                match first.to_digit(16) {
                    Some(high) => {
                        let low = rest.next().and_then(|low| low.to_digit(16));
                        let byte = low.ok_or(InvalidName)? + high * 16;
                        value.push(u8::try_from(byte).map_err(|_| InvalidName)?);
                    }
                    None if " \"#+,;<=>\\".contains(first) => value.push(first as u8),
                    None => return Err(InvalidName),
                }
                kept = value.len();
            }
            '"' | ';' | '<' | '>' | '\0' => return Err(InvalidName),
            _ => {
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                if c != ' ' {
                    kept = value.len();
                }
            }
        }
    }
    value.truncate(kept);
    String::from_utf8(value).map_err(|_| InvalidName)
}

/// The value after `#`: the DER encoding in hexadecimal. One of a text type is that text. Gives
/// also whether it is.
fn of_hex(hex: &str) -> Result<(String, bool), InvalidName> {
    const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|it| u8::try_from(it).ok()))
        .collect();
    let digits = digits.filter(|it| !it.is_empty()).ok_or(InvalidName)?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err(InvalidName);
    };
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high * 16 + low).collect();
    if let [tag, length, text @ ..] = bytes.as_slice()
        && TEXTS.contains(tag)
        && usize::from(*length) == text.len()
    {
        let text = String::from_utf8(text.to_vec());
        return text.map(|text| (text, true)).map_err(|_| InvalidName);
    }
    Ok((hex.to_ascii_lowercase(), false))
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (place, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            ' ' if place == 0 || place == last => text.extend(['\\', c]),
            '#' if place == 0 => text.extend(['\\', c]),
            '\0' => text.push_str("\\00"),
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> DistinguishedName {
        DistinguishedName::parse(text).unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn spellings_of_one_name_are_equal() {
        let name = parsed("CN=Gateway One,OU=IoT,O=Example\\, Inc.,C=DE");
        for same in [
            "cn=gateway one, ou=iot, o=example\\2c inc., c=de",
            "2.5.4.3=Gateway  One,2.5.4.11=IoT,2.5.4.10=Example\\, Inc.,2.5.4.6=DE",
            "CN = Gateway One , OU=IoT,O=Example\\, Inc.,C=#13024445",
        ] {
            assert_eq!(parsed(same), name, "{same}");
        }
        for other in [
            "C=DE,O=Example\\, Inc.,OU=IoT,CN=Gateway One",
            "CN=Gateway One,OU=IoT,O=Example\\, Inc.",
            "CN=Gateway One,OU=IoT,O=Example,C=DE",
            "CN=GatewayOne,OU=IoT,O=Example\\, Inc.,C=DE",
            "CN=Gateway One+OU=IoT,O=Example\\, Inc.,C=DE",
            "UID=Gateway One,OU=IoT,O=Example\\, Inc.,C=DE",
        ] {
            assert_ne!(parsed(other), name, "{other}");
        }
        assert_eq!(parsed("CN=a+UID=b,C=DE"), parsed("uid=B+cn=A,C=DE"));
    }

    #[test]
    fn a_text_that_looks_like_an_encoding_is_another_name() {
        assert_ne!(parsed("CN=\\#1e020061"), parsed("CN=#1e020061"));
        assert_eq!(parsed("CN=\\#0c0161"), parsed("CN=\\23\\30c0161"));
        assert_ne!(parsed("CN=\\#0c0161"), parsed("CN=a"));
    }

    #[test]
    fn a_written_name_reads_as_the_same_name() {
        for text in [
            "CN=Gateway One,O=Example\\, Inc.,C=DE",
            "UID=b+CN=a,DC=example,DC=com",
            "CN=\\ a\\+b\\ ",
            "1.2.3.4=#0a01ff",
            "CN=\\#0a01ff",
            "emailAddress=a@b.example,CN=\u{fc}",
        ] {
            assert_eq!(parsed(text).to_string(), text);
            assert_eq!(parsed(&parsed(text).to_string()), parsed(text));
        }
        assert_eq!(parsed("CN=\\C3\\BC"), parsed("CN=\u{fc}"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "CN",
            "CN=",
            "CN=a,",
            "=a",
            "FOO=a",
            "CN=a\\",
            "CN=a\\g",
            "CN=a\\4",
            "CN=\"a\"",
            "CN=\\ff",
            "CN=#",
            "CN=#1",
            "CN=#zz",
            "CN=a;O=b",
            "1..2=a",
            "CN=a++UID=b",
        ] {
            assert!(DistinguishedName::parse(text).is_err(), "{text}");
        }
    }
}
