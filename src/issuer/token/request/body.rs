//! The body of a request: its media type, its coding, and the members of JSON.

use std::fmt;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use zeroize::Zeroizing;

use super::TokenError;

/// The first bytes of a gzip file (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Refuses a compressed body, which would look malformed. A small request gains nothing by
/// compression, and a large one could expand to any size.
pub(super) fn check_coding(headers: &HeaderMap, body: &[u8]) -> Result<(), TokenError> {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let is_coded = codings.into_iter().any(|coding| {
        !coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"identity")
    });
    if is_coded || body.starts_with(&GZIP) {
        Err(TokenError::ContentCoding)
    } else {
        Ok(())
    }
}

pub(super) fn snake_case(name: String) -> String {
    let mut snake = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<&HeaderValue>, TokenError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let first = values.next();
    if values.next().is_some() {
        Err(TokenError::RepeatedHeader("Content-Type"))
    } else {
        Ok(first)
    }
}

/// The body's media type in lower case, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<Vec<u8>>, TokenError> {
    Ok(content_type(headers)?.map(|value| {
        let essence = value
            .as_bytes()
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default();
        essence.trim_ascii().to_ascii_lowercase()
    }))
}

/// Decodes `application/x-www-form-urlencoded` text; `None` if the result is not UTF-8.
///
/// Intermediate copies are wiped, because the text may be a secret.
pub(super) fn form_decode(text: &[u8]) -> Option<String> {
    let spaced: Zeroizing<Vec<u8>> = Zeroizing::new(
        text.iter()
            .map(|&byte| if byte == b'+' { b' ' } else { byte })
            .collect(),
    );
    // The decoded text is never longer, so the buffer does not move and leave a copy behind.
    let mut decoded = Vec::with_capacity(spaced.len());
    decoded.extend(percent_decode(&spaced));
    String::from_utf8(decoded).ok()
}

/// The members of a JSON object in order, with repetitions, which are refused later.
pub(super) struct Members(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}
