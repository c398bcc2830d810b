//! The messages of plgd's tokens API in its two spellings of JSON.
//!
//! Both write 64-bit numbers as texts. `Accept: application/protojson` gets every field; other
//! requests get no empty text, list, object or null.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::domain::clock::UnixTime;
use crate::domain::secret::ExposeSecret;
use crate::issuer::TokenResponse;
use crate::store::tokens::{Ended, TokenRecord};

/// The spelling of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Without empty fields.
    Short,
    /// With every field.
    Protojson,
}

impl Spelling {
    /// The spelling that a request accepts.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).map(HeaderValue::as_bytes);
        if accept == Some(b"application/protojson") {
            Self::Protojson
        } else {
            Self::Short
        }
    }

    pub(super) fn content_type(self) -> (HeaderName, HeaderValue) {
        let value = match self {
            Self::Short => "application/json",
            Self::Protojson => "application/jsonpb",
        };
        (CONTENT_TYPE, HeaderValue::from_static(value))
    }

    pub(super) fn write(self, message: Value) -> String {
        match self {
            Self::Short => without_empty(message)
                .unwrap_or_else(|| json!({}))
                .to_string(),
            Self::Protojson => message.to_string(),
        }
    }

    /// A message of a stream, with a newline, padded by [`padded`].
    pub(super) fn write_entry(self, message: Value) -> String {
        padded(self.write(json!({ "result": message })))
    }
}

/// Pads a JSON object with spaces before its closing brace and adds a newline, so that its length
/// is 512, 1536, 3584, 7680 and so on: twice the previous length plus 512.
///
/// plgd's clients make a new JSON decoder for each entry of a list, and lose what the previous one
/// has read beyond its entry. Go's decoder first reads 512 bytes; a full buffer is replaced by one
/// of twice its size plus 512. Go's reader of chunked bodies fills such a read unless a chunk ends.
/// So a decoder whose entry is a chunk of one of these lengths stops exactly at the end of the
/// chunk, however the chunks are spread over packets.
fn padded(mut object: String) -> String {
    const READ: usize = 512;
    let mut length = READ;
    while length < object.len() + 1 {
        length = 2 * length + READ;
    }
    if object.pop().is_some() {
        object.extend(std::iter::repeat_n(
            ' ',
            length.saturating_sub(object.len() + 2),
        ));
        object.push_str("}\n");
    }
    object
}

/// Removes empty fields, from the inside out; `None` if nothing is left. Items of lists keep their
/// positions, so they stay.
fn without_empty(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text).filter(|it| !it.is_empty()).map(Value::String),
        Value::Array(items) => Some(items).filter(|it| !it.is_empty()).map(Value::Array),
        Value::Object(members) => {
            let left = members
                .into_iter()
                .filter_map(|(name, value)| Some((name, without_empty(value)?)));
            Some(left.collect::<Map<_, _>>())
                .filter(|it| !it.is_empty())
                .map(Value::Object)
        }
        other => Some(other),
    }
}

fn seconds(time: Option<UnixTime>) -> String {
    time.map_or(0, |time| time.0).to_string()
}

pub(super) fn token(record: &TokenRecord) -> Value {
    let blacklisted = record
        .revoked_at
        .map(|at| json!({ "flag": true, "timestamp": seconds(Some(at)) }));
    json!({
        "id": record.jti,
        "version": "0",
        "name": record.name.as_deref().unwrap_or_default(),
        "owner": record.owner.as_deref().unwrap_or_default(),
        "issuedAt": seconds(Some(record.issued_at)),
        "audience": record.audience,
        "scope": record.scope,
        "expiration": seconds(record.expires_at),
        "clientId": record.client_id,
        "originalTokenClaims": record.original_claims,
        "blacklisted": blacklisted,
        "subject": record.subject,
    })
}

pub(super) fn created(response: &TokenResponse) -> Value {
    json!({
        "accessToken": response.access_token.expose_secret(),
        "tokenType": response.token_type,
        "expiresIn": response.expires_in.map_or(0, |it| it.as_secs()).to_string(),
        "scope": response.scope.iter().collect::<Vec<_>>(),
    })
}

/// The result of a deletion.
pub(super) fn deleted(ended: &Ended) -> Value {
    json!({
        "blacklistedCount": ended.revoked.len().to_string(),
        "deletedCount": ended.deleted.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_members_are_omitted_except_for_protojson() {
        let message = json!({
            "id": "a", "name": "", "scope": [], "n": 0, "f": false, "x": null, "o": {"p": {"q": ""}}, "l": ["", 1],
            "expiration": "0",
        });
        let short: Value = serde_json::from_str(&Spelling::Short.write(message.clone())).unwrap();
        assert_eq!(
            short,
            json!({"id": "a", "n": 0, "f": false, "l": ["", 1], "expiration": "0"})
        );
        let full: Value =
            serde_json::from_str(&Spelling::Protojson.write(message.clone())).unwrap();
        assert_eq!(full, message);
        assert_eq!(Spelling::Short.write(json!({"a": ""})), "{}");
    }

    #[test]
    fn an_entry_of_a_list_fills_the_buffer_of_gos_decoder() {
        for (text, length) in [
            (1, 512),
            (492, 512),
            (493, 1536),
            (1516, 1536),
            (1517, 3584),
            (30_000, 32_256),
        ] {
            let entry = Spelling::Short.write_entry(json!({"n": "x".repeat(text)}));
            assert_eq!(entry.len(), length, "{text}");
            assert!(entry.ends_with("}\n") && entry.matches('\n').count() == 1);
            let read: Value = serde_json::from_str(&entry).unwrap();
            assert_eq!(read["result"]["n"].as_str().map(str::len), Some(text));
        }
    }

    #[test]
    fn only_the_exact_media_type_asks_for_protojson() {
        let accepted = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(value));
            Spelling::accepted(&headers)
        };
        assert_eq!(accepted("application/protojson"), Spelling::Protojson);
        for other in ["application/json", "*/*", "application/protojson;q=1", ""] {
            assert_eq!(accepted(other), Spelling::Short, "{other}");
        }
        assert_eq!(Spelling::accepted(&HeaderMap::new()), Spelling::Short);
    }
}
