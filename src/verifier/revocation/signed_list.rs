//! The format of a signed revocation list.
//!
//! The list is a JWT of `typ` `m2m-revocations+jwt`, signed by a key of the issuer:
//!
//! - `iss`, and `iat`: when the issuer read its store
//! - `revision`: how many changes of the store the list contains
//! - `revoked`: the `jti`s of revoked tokens
//! - `not_before`: per client id, a time; tokens with an `iat` up to that time are revoked
//! - `not_before_sha256`: the same per SHA-256 of a client id in base64url, from an issuer that
//!   hides its client ids. `not_before` is then an empty list, so that a verifier that does not
//!   know this member rejects the list
//! - `marked` and `marked_sha256`: exceptions per client id or its hash. Tokens with this `mark` in
//!   the claim `m2m_after_end` were issued after the end, by a clock that was set back. Of these,
//!   only those with an `iat` up to the exception's own `not_before` are revoked

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::Issuer;
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::issuer_name::IssuerName;
use crate::domain::revoked::{ClientEnd, EndMark, HashedClientId, Marked, Revoked, TokenId};
use crate::jose::key_set::KeySet;
use crate::jose::live_keys::Keys;
use crate::jose::verify::Jws;

const MALFORMED: &str = "the list has an unknown form";

/// A verified list.
pub(super) struct List {
    pub revoked: Revoked,
    pub issued_at: i64,
    /// `None` in the list of an issuer that does not count its changes.
    pub revision: Option<i64>,
}

/// Verifies a list as strictly as a token. Its own `typ` keeps lists and tokens apart.
pub(super) async fn verify(issuer: &Issuer, text: &str) -> Result<List, &'static str> {
    const UNSIGNED: &str = "the list is not signed by a key of the authority";
    let jws = Jws::parse(text).map_err(|_| "the list is not a JWT")?;
    if !jws
        .typ()
        .is_some_and(|typ| typ.eq_ignore_ascii_case("m2m-revocations+jwt"))
    {
        return Err("the list is of another type");
    }
    if !issuer.algorithms.contains(&jws.algorithm()) {
        return Err(UNSIGNED);
    }
    if let Ok((claims, _)) = jws.verify_with(&*usable_keys(issuer)?) {
        return read(&claims, &issuer.name);
    }
    // The issuer may have changed its key.
    let missing = sha256(jws.kid().unwrap_or_default().as_bytes());
    issuer.keys.renew(&missing).await;
    let keys = usable_keys(issuer)?;
    let (claims, _) = jws.verify_with(&keys).map_err(|_| UNSIGNED)?;
    read(&claims, &issuer.name)
}

fn usable_keys(issuer: &Issuer) -> Result<Arc<KeySet>, &'static str> {
    match issuer.keys.current() {
        Keys::Usable(keys) => Ok(keys),
        Keys::Unavailable => Err("the authority's keys are not available"),
    }
}

fn read(claims: &Claims, issuer: &IssuerName) -> Result<List, &'static str> {
    match claims.string("iss") {
        Ok(Some(iss)) if issuer.is(iss) => {}
        Ok(Some(iss)) if issuer.is_nearly(iss) => {
            return Err(
                "the list is of another issuer, whose name differs from `issuer` by slashes only",
            );
        }
        _ => return Err("the list is of another issuer"),
    }
    let issued_at = claims.numeric_date("iat").ok().flatten().ok_or(MALFORMED)?;
    let revision = match claims.get("revision") {
        None => None,
        Some(revision) => Some(revision.as_i64().ok_or(MALFORMED)?),
    };
    let tokens = claims
        .get("revoked")
        .and_then(Value::as_array)
        .ok_or(MALFORMED)?;
    let tokens = tokens.iter().map(|jti| jti.as_str().map(TokenId::of));
    let tokens: HashSet<TokenId> = tokens.collect::<Option<_>>().ok_or(MALFORMED)?;
    let hashed = client_ends(claims, "not_before_sha256", "marked_sha256")?;
    let hashed = hashed
        .into_iter()
        .map(|(client, end)| Some((HashedClientId::parse(client)?, end)));
    let hashed: HashMap<_, _> = hashed.collect::<Option<_>>().ok_or(MALFORMED)?;
    let is_empty_list = claims
        .get("not_before")
        .and_then(Value::as_array)
        .is_some_and(Vec::is_empty);
    let clients = if is_empty_list && !hashed.is_empty() {
        HashMap::new()
    } else {
        let named = client_ends(claims, "not_before", "marked")?.into_iter();
        named.map(|(client, end)| (client.clone(), end)).collect()
    };
    Ok(List {
        revoked: Revoked::new(tokens, clients).with_hashed(hashed),
        issued_at,
        revision,
    })
}

/// The ends of clients in the member `not_before`, with their exceptions in `marks`.
fn client_ends<'c>(
    claims: &'c Claims,
    not_before: &str,
    marks: &str,
) -> Result<Vec<(&'c String, ClientEnd)>, &'static str> {
    let members = |name| match claims.get(name) {
        None => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(_) => Err(MALFORMED),
    };
    let (ends, marks) = (members(not_before)?, members(marks)?);
    let ends = ends.into_iter().flatten().map(|(client, until)| {
        let marked = match marks.and_then(|marks| marks.get(client)) {
            Some(exception) => Some(parse_mark(exception)?),
            None => None,
        };
        let until = UnixTime(until.as_i64()?);
        Some((client, ClientEnd { until, marked }))
    });
    ends.collect::<Option<_>>().ok_or(MALFORMED)
}

fn parse_mark(exception: &Value) -> Option<Marked> {
    let until = exception
        .get("not_before")
        .map_or(Some(i64::MIN), Value::as_i64)?;
    Some(Marked {
        mark: EndMark::parse(exception.get("mark")?.as_str()?)?,
        until: UnixTime(until),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::revoked::Issued;

    #[test]
    fn a_list_of_another_form_is_rejected() {
        let list = |json: &str| {
            read(
                &Claims::parse(json.as_bytes()).unwrap(),
                &IssuerName::exact("i"),
            )
        };
        assert!(list(r#"{"iss":"i","iat":5,"revoked":[]}"#).is_ok());
        let List { revoked, issued_at, revision } =
            list(r#"{"iss":"i","iat":5,"revision":8,"revoked":["a"],"not_before":{"c":7,"d":7},
                     "marked":{"c":{"mark":"00000000000000ff"},"d":{"mark":"00000000000000ff","not_before":3}}}"#)
            .unwrap();
        assert_eq!((issued_at, revision), (5, Some(8)));
        assert_eq!(
            list(r#"{"iss":"i","iat":5,"revoked":[]}"#)
                .unwrap()
                .revision,
            None
        );
        let covers = |jti, client_id, at, mark| {
            let after_end = EndMark::parse(mark);
            let issued = Issued {
                token: TokenId::of(jti),
                client_id,
                at: UnixTime(at),
                after_end,
            };
            revoked.covers(&issued, UnixTime(9))
        };
        assert!(covers("a", None, 9, "") && covers("b", Some("c"), 7, ""));
        assert!(covers("b", Some("c"), 7, "00000000000000fe"));
        assert!(!covers("b", Some("c"), 7, "00000000000000ff"));
        assert!(
            covers("b", Some("d"), 3, "00000000000000ff")
                && !covers("b", Some("d"), 4, "00000000000000ff")
        );
        let (c, d) = (HashedClientId::of("c"), HashedClientId::of("d"));
        let hashed = format!(
            r#"{{"iss":"i","iat":5,"revoked":["a"],"not_before":[],"not_before_sha256":{{"{c}":7,"{d}":7}},
                 "marked_sha256":{{"{d}":{{"mark":"00000000000000ff","not_before":3}}}}}}"#
        );
        let List { revoked, .. } = list(&hashed).unwrap();
        let covers = |client_id, at, mark| {
            let (token, after_end) = (TokenId::of("b"), EndMark::parse(mark));
            let issued = Issued {
                token,
                client_id: Some(client_id),
                at: UnixTime(at),
                after_end,
            };
            revoked.covers(&issued, UnixTime(9))
        };
        assert!(covers("c", 7, "") && !covers("c", 8, "") && !covers("e", 7, ""));
        assert!(covers("d", 7, "") && covers("d", 3, "00000000000000ff"));
        assert!(!covers("d", 4, "00000000000000ff"));
        let both = format!(
            r#"{{"iss":"i","iat":5,"revoked":[],"not_before":{{"c":7}},"not_before_sha256":{{"{c}":7}}}}"#
        );
        assert!(list(&both).is_ok());
        for bad in [
            r#"{"iss":"i","iat":5,"revoked":[],"not_before_sha256":{"c":7}}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":[],"not_before_sha256":{}}"#,
            r#"{"iss":"j","iat":5,"revoked":[]}"#,
            r#"{"iat":5,"revoked":[]}"#,
            r#"{"iss":"i","revoked":[]}"#,
            r#"{"iss":"i","iat":5}"#,
            r#"{"iss":"i","iat":5,"revoked":"a"}"#,
            r#"{"iss":"i","iat":5,"revoked":[1]}"#,
            r#"{"iss":"i","iat":5,"revision":"8","revoked":[]}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":[]}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":"x"}}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":7},"marked":[]}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":7},"marked":{"c":{}}}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":7},"marked":{"c":{"mark":"1"}}}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":7},"marked":{"c":{"mark":"00000000000000ff","not_before":"x"}}}"#,
        ] {
            assert!(list(bad).is_err(), "{bad}");
        }
    }
}
