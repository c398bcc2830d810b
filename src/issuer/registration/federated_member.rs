//! The member `federated` of a client's metadata: the JWTs by which it authenticates itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::members::{MAX_TEXT, Members};
use crate::domain::claim_pattern::ClaimPattern;
use crate::domain::clock::{UnixTime, rfc3339};
use crate::domain::name::{is_audience, is_claim_name};
use crate::domain::spiffe;
use crate::issuer::client::KeyPlace;
use crate::issuer::federation::{Federation, Trust};

/// The member of a client's metadata.
pub(super) const MEMBER: &str = "federated";
const MEMBERS: [&str; 7] = [
    "authority",
    "issuer",
    "jwks_uri",
    "subject",
    "audience",
    "claims",
    "expires_at",
];
/// The most entries, claims and values.
const MOST: usize = 20;

/// The JWTs of an authority by which a client authenticates itself: of one of the configuration
/// (`authority`), or of one that only this client trusts (`issuer` and `jwks_uri`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FederatedMember {
    /// The name of an authority of the configuration. An unknown name matches no JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "cluster")]
    pub authority: Option<String>,
    /// The `iss` of the JWT, or a SPIFFE trust domain such as `spiffe://example.org`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The https URL of the issuer's keys. Its host must have a public address, or be one of
    /// `issuer.clientJwksHosts` of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    pub jwks_uri: Option<String>,
    /// The `sub` of the JWT: exact, a beginning such as `repo:example/*`, or a SPIFFE ID in whose
    /// path `*` is any segment and `**` at the end any rest. Needed, unless there are `claims`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "repo:example/*")]
    pub subject: Option<String>,
    /// The only `aud` of the JWT; the issuer's URL when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Further claims, each with its permitted values, which may end with `*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Vec<String>>,
    /// The time from which the entry is not used (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<UnixTime>,
}

impl FederatedMember {
    /// The entry as the token endpoint uses it.
    ///
    /// # Errors
    /// The member with a problem, and the problem.
    pub(super) fn federation(&self) -> Result<Federation, (&'static str, String)> {
        let trust = self.trust()?;
        let pattern = |member: &'static str, text: &String| {
            ClaimPattern::parse(text).map_err(|why| (member, why.to_string()))
        };
        let subject = self.subject.as_ref();
        let subject = subject.map(|text| pattern("subject", text)).transpose()?;
        if subject.is_none() && self.claims.is_empty() {
            let problem = "every JWT of the authority would authenticate the client: set it, or \
                           at least `claims`";
            return Err(("subject", problem.to_owned()));
        }
        if let Trust::At { issuer, .. } = &trust
            && let Some(name) = spiffe::trust_domain(issuer)
            && !matches!(&subject, Some(ClaimPattern::Spiffe(it)) if it.trust_domain() == name)
        {
            let problem = format!("it must be a SPIFFE ID of the trust domain `{name}`");
            return Err(("subject", problem));
        }
        let mut claims = Vec::new();
        for (name, values) in &self.claims {
            let values = values.iter().map(|text| pattern("claims", text));
            claims.push((name.clone(), values.collect::<Result<_, _>>()?));
        }
        Ok(Federation {
            trust,
            subject,
            audience: self.audience.clone(),
            claims,
            expires_at: self.expires_at,
        })
    }

    fn trust(&self) -> Result<Trust, (&'static str, String)> {
        match (&self.authority, &self.issuer, &self.jwks_uri) {
            (Some(name), None, None) => Ok(Trust::Named(name.clone())),
            (None, Some(issuer), Some(uri)) => {
                let keys = KeyPlace::parse_uri(uri).ok_or_else(|| {
                    let problem = "it must be an https URL without user, password and fragment";
                    ("jwks_uri", problem.to_owned())
                })?;
                if issuer.starts_with(spiffe::SCHEME) && spiffe::trust_domain(issuer).is_none() {
                    let problem = "a SPIFFE trust domain is written `spiffe://example.org`";
                    return Err(("issuer", problem.to_owned()));
                }
                let issuer = issuer.clone();
                Ok(Trust::At { issuer, keys })
            }
            _ => {
                let problem = "name an authority of the configuration in `authority`, or set \
                               `issuer` and `jwks_uri`";
                Err(("authority", problem.to_owned()))
            }
        }
    }

    /// The entry of a client of the configuration.
    pub(super) fn of(federation: &Federation) -> Self {
        let (authority, issuer, jwks_uri) = match &federation.trust {
            Trust::Named(name) => (Some(name.clone()), None, None),
            Trust::At { issuer, keys } => {
                let uri = match keys {
                    KeyPlace::Uri(url) => Some(url.to_string()),
                    KeyPlace::File(_) => None,
                };
                (None, Some(issuer.clone()), uri)
            }
        };
        let claims = federation.claims.iter();
        let claims = claims.map(|(name, values)| {
            let values = values.iter().map(ToString::to_string);
            (name.clone(), values.collect())
        });
        Self {
            authority,
            issuer,
            jwks_uri,
            subject: federation.subject.as_ref().map(ToString::to_string),
            audience: federation.audience.clone(),
            claims: claims.collect(),
            expires_at: federation.expires_at,
        }
    }
}

/// Reads the member: a list of objects.
pub(super) fn read(members: &mut Members<'_>) -> Vec<FederatedMember> {
    let entries = match members.get(MEMBER) {
        None => return Vec::new(),
        Some(Value::Array(entries)) if entries.len() <= MOST => entries,
        Some(_) => {
            members.problem(
                MEMBER,
                format!("it must be a list of at most {MOST} objects"),
            );
            return Vec::new();
        }
    };
    let mut read = Vec::new();
    for (place, value) in entries.iter().enumerate() {
        let field = format!("{MEMBER}[{place}]");
        let Value::Object(value) = value else {
            members.problem(&field, "it must be an object");
            continue;
        };
        let mut inner = Members::new(value, &MEMBERS);
        let entry = read_one(&mut inner);
        if inner.problems.is_empty()
            && let Err((member, problem)) = entry.federation()
        {
            inner.problem(member, problem);
        }
        for problem in inner.problems {
            members.problem(&format!("{field}.{}", problem.field), problem.problem);
        }
        read.push(entry);
    }
    read
}

fn read_one(members: &mut Members<'_>) -> FederatedMember {
    let audience = members.text_or_empty("audience", MAX_TEXT);
    if audience.as_deref().is_some_and(|it| !is_audience(it)) {
        members.problem("audience", "an audience holds no white space");
    }
    FederatedMember {
        authority: members.text_or_empty("authority", MAX_TEXT),
        issuer: members.text_or_empty("issuer", 2048),
        jwks_uri: members.text_or_empty("jwks_uri", 2048),
        subject: members.text_or_empty("subject", 2048),
        audience,
        claims: claims(members),
        // An entry that has ended must not prevent other changes of the client.
        expires_at: members.time("expires_at"),
    }
}

fn claims(members: &mut Members<'_>) -> BTreeMap<String, Vec<String>> {
    let claims = match members.get("claims") {
        None => return BTreeMap::new(),
        Some(Value::Object(claims)) if claims.len() <= MOST => claims,
        Some(_) => {
            members.problem(
                "claims",
                format!("it must be an object of at most {MOST} claims"),
            );
            return BTreeMap::new();
        }
    };
    let read = claims.iter().map(|(name, value)| {
        let values = match value {
            Value::Array(items) if (1..=MOST).contains(&items.len()) => {
                items.iter().map(text).collect()
            }
            value => text(value).map(|text| vec![text]),
        };
        let values = values.filter(|_| is_claim_name(name));
        Some((name.clone(), values?))
    });
    let read: Option<BTreeMap<_, _>> = read.collect();
    read.unwrap_or_else(|| {
        let problem = format!(
            "each claim has a value, or a list of at most {MOST}: texts, numbers, `true` or `false`"
        );
        members.problem("claims", problem);
        BTreeMap::new()
    })
}

/// A value as a text. An empty one would be no pattern.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| text.len() <= 1024),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn read_all(value: &Value) -> (Vec<FederatedMember>, Vec<(String, String)>) {
        let object: Map<String, Value> = [(MEMBER.to_owned(), value.clone())].into_iter().collect();
        let mut members = Members::new(&object, &[MEMBER]);
        let read = read(&mut members);
        let problems = members.problems.into_iter();
        (read, problems.map(|it| (it.field, it.problem)).collect())
    }

    #[test]
    fn an_entry_is_read_and_shown_again() {
        let (read, problems) = read_all(&json!([
            { "authority": "cluster", "subject": "system:serviceaccount:a:b", "audience": "api" },
            {
                "issuer": "https://ci.example", "jwks_uri": "https://ci.example/jwks",
                "claims": { "ref": ["main", "v*"], "attempt": 1, "fork": false },
                "expires_at": "2027-01-01T00:00:00Z",
            },
        ]));
        assert_eq!(problems, []);
        for entry in &read {
            let federation = entry.federation().unwrap();
            assert_eq!(FederatedMember::of(&federation), *entry);
        }
        assert_eq!(read[1].claims["attempt"], ["1"]);
    }

    #[test]
    fn an_entry_that_permits_too_much_or_nothing_is_refused() {
        let keys = "https://a.example/jwks";
        for (entry, field, problem) in [
            (json!({ "subject": "a" }), "authority", "name an authority"),
            (
                json!({ "authority": "a", "issuer": "b", "subject": "a" }),
                "authority",
                "name an",
            ),
            (
                json!({ "issuer": "a", "subject": "a" }),
                "authority",
                "`jwks_uri`",
            ),
            (
                json!({ "issuer": "a", "jwks_uri": "http://a.example/jwks", "subject": "a" }),
                "jwks_uri",
                "https URL",
            ),
            (json!({ "authority": "a" }), "subject", "every JWT"),
            (
                json!({ "authority": "a", "subject": "*" }),
                "subject",
                "`*` alone",
            ),
            (
                json!({ "authority": "a", "claims": { "b": "*" } }),
                "claims",
                "`*` alone",
            ),
            (
                json!({ "authority": "a", "claims": { "b": [] } }),
                "claims",
                "each claim has",
            ),
            (
                json!({ "authority": "a", "claims": { "b": {} } }),
                "claims",
                "each claim has",
            ),
            (
                json!({ "authority": "a", "subject": "b", "audience": "a b" }),
                "audience",
                "white",
            ),
            (
                json!({ "authority": "a", "subject": "b", "expires_at": 5 }),
                "expires_at",
                "a time",
            ),
            (
                json!({ "authority": "a", "subjekt": "b" }),
                "subjekt",
                "`subject`",
            ),
            (
                json!({ "issuer": "spiffe://a", "jwks_uri": keys, "subject": "spiffe://b/c" }),
                "subject",
                "trust domain `a`",
            ),
            (
                json!({ "issuer": "spiffe://a/", "jwks_uri": keys, "subject": "spiffe://a/c" }),
                "issuer",
                "is written",
            ),
        ] {
            let (_, problems) = read_all(&json!([entry]));
            let [(at, why)] = problems.as_slice() else {
                panic!("{entry}: {problems:?}")
            };
            assert_eq!(*at, format!("{MEMBER}[0].{field}"), "{why}");
            assert!(why.contains(problem), "{problem}: {why}");
        }
        for value in [
            json!({}),
            json!("a"),
            json!([[]]),
            json!(vec![json!({}); 21]),
        ] {
            assert!(!read_all(&value).1.is_empty(), "{value}");
        }
    }
}
