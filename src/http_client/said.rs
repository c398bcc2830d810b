//! The message of an error response: a `google.rpc.Status`, as plgd's servers and grpc-gateway send
//! it.
//!
//! The text comes from the other side. Before it is shown, it is searched for the sent secrets,
//! also in encoded forms, and for possible tokens. Control characters are escaped, and the text is
//! truncated.

use std::collections::HashSet;
use std::fmt::Write as _;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use url::Url;

use super::HttpAnswer;

/// How many characters of a message are read.
const READ: usize = 1000;
/// How many characters of a message are shown.
const SHOWN: usize = 200;
/// A message that contains this many consecutive bytes of a sent value repeats it.
const REPEATED: usize = 8;
/// A word of this length with digits, lower and upper case could be a token.
const COULD_BE_A_TOKEN: usize = 40;
/// A fragment of a longer text may end anywhere.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);
/// Replaces a message that must not be shown.
const LEFT_OUT: &str = "it sends a message that repeats what was sent, which is left out";

impl HttpAnswer {
    /// The message of an error body, prefixed with `it says`. `None` if the body is not a
    /// `google.rpc.Status` with a message, bare or as the `error` of a stream. The text contains
    /// neither the secrets in `sent` nor possible secrets of `asked`, the configured URL.
    #[must_use]
    pub fn said(&self, asked: &Url, sent: &[&str]) -> Option<String> {
        let first = serde_json::Deserializer::from_slice(&self.body)
            .into_iter::<Map<String, Value>>()
            .next();
        let status = first?.ok()?;
        let status = status
            .get("error")
            .and_then(Value::as_object)
            .unwrap_or(&status);
        status.get("code").and_then(Value::as_u64)?;
        let message = status.get("message")?.as_str()?.trim();
        if message.is_empty() {
            return None;
        }
        let read: String = message.chars().take(READ).collect();
        // The name in `?KEY`, the value in `?key=KEY`.
        let of_query = asked
            .query_pairs()
            .map(|(name, value)| if value.is_empty() { name } else { value });
        // Shorter values, such as versions, occur in many messages.
        let of_query: Vec<_> = of_query.filter(|it| it.len() >= REPEATED).collect();
        let sent: Vec<&str> = sent
            .iter()
            .copied()
            .chain(of_query.iter().map(AsRef::as_ref))
            .collect();
        if repeats(&read, &sent) {
            return Some(LEFT_OUT.to_owned());
        }
        let more = if read.chars().count() > SHOWN {
            "…"
        } else {
            ""
        };
        let shown: String = without_tokens(&read).chars().take(SHOWN).collect();
        Some(format!("it says `{}{more}`", escaped(&shown)))
    }
}

/// Whether a text, in any decoding, contains a part of a sent value. Ignores letter case.
fn repeats(text: &str, sent: &[&str]) -> bool {
    let mut readings = readings(text.as_bytes());
    readings
        .iter_mut()
        .for_each(|reading| reading.make_ascii_lowercase());
    let parts: HashSet<&[u8]> = readings
        .iter()
        .flat_map(|reading| reading.windows(REPEATED))
        .collect();
    sent.iter()
        .map(|sent| sent.to_ascii_lowercase().into_bytes())
        .any(|sent| match sent.len() {
            0 => false,
            length @ 1..REPEATED => readings
                .iter()
                .any(|reading| reading.windows(length).any(|part| part == sent)),
            _ => sent.windows(REPEATED).any(|part| parts.contains(part)),
        })
}

/// A text and its possible decodings: backslash escapes, percent-encoding, base64, and
/// combinations.
fn readings(text: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for text in [text.to_vec(), without_backslashes(text)] {
        let once = form_decoded(&text);
        all.extend([form_decoded(&once), once, text]);
    }
    let decoded: Vec<Vec<u8>> = all.iter().flat_map(|text| base64_decoded(text)).collect();
    all.extend(decoded.iter().map(|text| form_decoded(text)));
    all.extend(decoded);
    all
}

/// Removes backslash escapes; `\\uXXXX` becomes the character.
fn without_backslashes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&escaped, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        let number = after
            .get(..4)
            .filter(|_| escaped == b'u')
            .and_then(|it| std::str::from_utf8(it).ok());
        match number.and_then(|it| char::from_u32(u32::from_str_radix(it, 16).ok()?)) {
            Some(character) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after.get(4..).unwrap_or_default();
            }
            None => out.push(escaped),
        }
    }
    out
}

/// Decodes form or URL encoding.
fn form_decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_encoding::percent_decode(&spaced).collect()
}

/// The base64 decodings (either alphabet) of a text's words, from any start.
fn base64_decoded(text: &[u8]) -> Vec<Vec<u8>> {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let mut decoded = Vec::new();
    for word in text.split(|byte| !is_of_word(byte)) {
        let word: Vec<u8> = word
            .iter()
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        for begin in 0..4 {
            let part = word.get(begin..).unwrap_or_default();
            // A single character encodes no byte.
            let end = if part.len() % 4 == 1 {
                part.len() - 1
            } else {
                part.len()
            };
            decoded.extend(part.get(..end).and_then(|part| BASE64.decode(part).ok()));
        }
    }
    decoded
}

/// Replaces each word that could be a token with an ellipsis.
fn without_tokens(text: &str) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let has = |is: fn(&char) -> bool| word.chars().any(|c| is(&c));
        let is_mixed = has(char::is_ascii_digit)
            && has(char::is_ascii_lowercase)
            && has(char::is_ascii_uppercase);
        out.push_str(if word.len() >= COULD_BE_A_TOKEN && is_mixed {
            "…"
        } else {
            word
        });
        let next = after.find(is_of_word).unwrap_or(after.len());
        let (between, after) = after.split_at(next);
        out.push_str(between);
        rest = after;
    }
    out
}

/// One line of printable ASCII and ellipses, without the backquote that delimits it in a log line.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '`' => out.push('\''),
            ' '..='~' | '…' => out.push(c),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "{}", c.escape_default())),
        }
    }
    out
}

#[cfg(test)]
mod tests;
