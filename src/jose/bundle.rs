//! SPIFFE bundles: the keys of a trust domain (SPIFFE Trust Domain and Bundle §4).
//!
//! A bundle is a JWK set, which [`KeySet`](super::key_set::KeySet) reads. spiffe-helper writes the
//! JWT bundles of several trust domains into one file: an object with a JWK set for each, in
//! base64.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::domain::claims::Claims;

/// The bundle of a trust domain in a document; the document itself if it does not hold several.
#[must_use]
pub fn bundle_of<'d>(document: &'d [u8], trust_domain: Option<&str>) -> Cow<'d, [u8]> {
    trust_domain
        .and_then(|name| among_several(document, name))
        .map_or(Cow::Borrowed(document), Cow::Owned)
}

fn among_several(document: &[u8], trust_domain: &str) -> Option<Vec<u8>> {
    let bundles = Claims::parse(document).ok()?;
    if bundles.contains("keys") {
        return None;
    }
    let bundle = bundles.get(trust_domain).and_then(Value::as_str)?;
    STANDARD.decode(bundle).ok()
}

/// The time after which a bundle should be fetched again (SPIFFE Trust Domain and Bundle §4.1.3).
#[must_use]
pub fn refresh_hint(document: &[u8]) -> Option<Duration> {
    let bundle = Claims::parse(document).ok()?;
    let seconds = bundle.get("spiffe_refresh_hint").and_then(Value::as_u64)?;
    Some(Duration::from_secs(seconds)).filter(|hint| !hint.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_found_by_its_trust_domain() {
        let set = r#"{"keys":[],"spiffe_refresh_hint":300}"#;
        let several = format!(
            r#"{{"a.example":"{}","b.example":"e30="}}"#,
            STANDARD.encode(set)
        );
        let found = |document: &str, name| {
            String::from_utf8(bundle_of(document.as_bytes(), name).into_owned()).unwrap()
        };
        assert_eq!(found(&several, Some("a.example")), set);
        assert_eq!(found(&several, Some("b.example")), "{}");
        assert_eq!(found(&several, Some("c.example")), several);
        assert_eq!(found(&several, None), several);
        assert_eq!(found(set, Some("a.example")), set);
        assert_eq!(found("x", Some("a.example")), "x");
        let hint = Some(Duration::from_secs(300));
        assert_eq!(refresh_hint(set.as_bytes()), hint);
        assert_eq!(refresh_hint(b"{}"), None);
        assert_eq!(refresh_hint(br#"{"spiffe_refresh_hint":0}"#), None);
    }
}
