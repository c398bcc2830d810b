//! The members of a request's JSON object, read one by one.

use std::time::Duration;

use serde_json::{Map, Value, json};
use url::Url;

use super::{PRIVATE_KEY_JWT, Registration};
use crate::domain::clock::UnixTime;
use crate::domain::duration;
use crate::domain::name::{is_audience, is_claim_name};
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::issuer::RESERVED_CLAIMS;
use crate::jose::key_set::KeySet;

/// Members that answers carry and that nobody can set.
const READ_ONLY: [&str; 6] =
    ["client_id_issued_at", "client_secret_expires_at", "created_at", "updated_at", "version", "source"];

/// The longest lifetime of an access token.
const YEAR: Duration = Duration::from_hours(366 * 24);
/// Shorter secrets can be guessed.
const MIN_SECRET: usize = 16;
const MAX_TEXT: usize = 256;
const MAX_ITEMS: usize = 100;
/// The scopes, audiences and claims of a client stand in each of its tokens, which must fit into a header.
const MAX_JOINED: usize = 2048;
const MAX_JWKS: usize = 32 * 1024;

/// What is wrong with one member of a request. Never with its value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The member's name.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl FieldProblem {
    /// A problem of a member.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// The members of a JSON object, read one by one; what is wrong is gathered.
pub(in crate::issuer) struct Members<'a> {
    object: &'a Map<String, Value>,
    pub(super) problems: Vec<FieldProblem>,
}

impl<'a> Members<'a> {
    /// Reads an object. A member that is not among `known` is a problem.
    pub(in crate::issuer) fn new(object: &'a Map<String, Value>, known: &[&str]) -> Self {
        let mut members = Self { object, problems: Vec::new() };
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            // A name of a megabyte would cost a quadratic amount of work to compare.
            let shown: String = name.chars().take(64).collect();
            let nearest = known.iter().min_by_key(|known| strsim::osa_distance(&shown, known));
            let problem = match nearest {
                _ if READ_ONLY.contains(&name.as_str()) => "it is set by the server".to_owned(),
                Some(nearest) => format!("unknown; the nearest known member is `{nearest}`"),
                None => "unknown".to_owned(),
            };
            members.problem(&shown, problem);
        }
        members
    }

    /// Notes a problem.
    pub(in crate::issuer) fn problem(&mut self, field: &str, problem: impl Into<String>) {
        self.problems.push(FieldProblem::new(field, problem));
    }

    /// Ends the reading.
    pub(in crate::issuer) fn end(self) -> Result<(), Vec<FieldProblem>> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }

    /// A member; one without a value counts as left out.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A text that is not empty.
    pub(in crate::issuer) fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let text = self.get(name)?.as_str();
        match text {
            Some(text) if (1..=most).contains(&text.len()) && !text.chars().any(char::is_control) => {
                Some(text.to_owned())
            }
            _ => {
                self.problem(
                    name,
                    format!("it must be a text of 1 to {most} bytes without control characters"),
                );
                None
            }
        }
    }

    /// `true` or `false`; the latter when left out.
    pub(in crate::issuer) fn flag(&mut self, name: &str) -> bool {
        match self.get(name) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => {
                self.problem(name, "it must be `true` or `false`");
                false
            }
        }
    }

    pub(super) fn list(&mut self, name: &str) -> Option<Vec<&'a str>> {
        let value = self.get(name)?;
        let items = value.as_array().map(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match items {
            Some(Some(items)) if items.len() <= MAX_ITEMS => Some(items),
            _ => {
                self.problem(name, format!("it must be a list of at most {MAX_ITEMS} texts"));
                None
            }
        }
    }

    /// A moment, as RFC 3339 writes it.
    pub(in crate::issuer) fn time(&mut self, name: &str) -> Option<UnixTime> {
        let time = self.get(name)?.as_str().and_then(UnixTime::from_rfc3339).filter(|time| time.0 >= 0);
        if time.is_none() {
            self.problem(name, "it must be a time such as `2027-01-01T00:00:00Z` (RFC 3339)");
        }
        time
    }

    /// A length of time: seconds, or a text such as `1h30m`.
    pub(in crate::issuer) fn seconds(&mut self, name: &str) -> Option<Duration> {
        let value = match self.get(name)? {
            Value::String(text) => duration::parse(text).ok(),
            // JSON has no other numbers than 60.0; a fraction of a second is none.
            value => value.as_u64().map(Duration::from_secs),
        };
        let value = value.filter(|value| *value <= YEAR * 100);
        if value.is_none() {
            self.problem(name, "it must be a number of seconds, or a duration such as `1h30m` or `7d`");
        }
        value
    }

    pub(super) fn lifetime(&mut self) -> Option<u64> {
        let lifetime = self.seconds("access_token_lifetime")?;
        if lifetime.as_secs() == 0 || lifetime > YEAR {
            self.problem("access_token_lifetime", "it must be from 1s to 366d");
        }
        Some(lifetime.as_secs())
    }

    pub(super) fn grant_types(&mut self) -> Vec<String> {
        let default = || vec![GrantType::ClientCredentials.as_str().to_owned()];
        let Some(names) = self.list("grant_types") else { return default() };
        if names.is_empty() || names.iter().any(|name| GrantType::parse(name).is_none()) {
            self.problem("grant_types", "it must name at least one grant, and only ones that this issuer supports, such as `client_credentials`");
        }
        let mut known: Vec<String> = Vec::new();
        for name in names {
            if !known.iter().any(|known| known == name) {
                known.push(name.to_owned());
            }
        }
        known
    }

    /// `scope`, as RFC 7591 has it, or `scopes`, a list.
    pub(super) fn scope(&mut self) -> String {
        let joined = match self.get("scope").map(Value::as_str) {
            None => None,
            // Empty is a value of its own here: no scope at all.
            Some(Some(text)) => Some(ScopeSet::parse(text)),
            Some(None) => {
                self.problem("scope", "it must be a text of scopes with spaces between them");
                None
            }
        };
        let listed = self.list("scopes").map(ScopeSet::from_tokens);
        for (name, scopes) in [("scope", &joined), ("scopes", &listed)] {
            match scopes {
                Some(Err(why)) => self.problem(name, why.to_string()),
                Some(Ok(set)) if set.to_string().len() > MAX_JOINED || set.iter().count() > MAX_ITEMS => {
                    self.problem(name, format!("at most {MAX_ITEMS} scopes, of {MAX_JOINED} bytes together"));
                }
                _ => {}
            }
        }
        match (joined, listed) {
            (Some(Ok(joined)), Some(Ok(listed))) => {
                if !(joined.is_subset_of(&listed) && listed.is_subset_of(&joined)) {
                    self.problem(
                        "scopes",
                        "`scope` and `scopes` say different things; one of them is enough",
                    );
                }
                joined.to_string()
            }
            (Some(Ok(scopes)), _) | (_, Some(Ok(scopes))) => scopes.to_string(),
            _ => String::new(),
        }
    }

    pub(super) fn audience(&mut self) -> Vec<String> {
        let Some(list) = self.list("audience") else { return Vec::new() };
        if !list.iter().all(|audience| is_audience(audience)) {
            self.problem("audience", "an audience is not empty and holds no white space");
        }
        if list.iter().map(|audience| audience.len()).sum::<usize>() > MAX_JOINED {
            self.problem("audience", format!("at most {MAX_JOINED} bytes together"));
        }
        let mut audiences: Vec<String> = Vec::new();
        for audience in list {
            if !audiences.iter().any(|known| known == audience) {
                audiences.push(audience.to_owned());
            }
        }
        audiences
    }

    pub(super) fn claims(&mut self) -> Map<String, Value> {
        let claims = match self.get("claims") {
            None => return Map::new(),
            Some(Value::Object(claims)) => claims,
            Some(_) => {
                self.problem("claims", "it must be an object");
                return Map::new();
            }
        };
        for name in claims.keys() {
            if RESERVED_CLAIMS.contains(&name.as_str()) {
                self.problem(&format!("claims.{name}"), "the issuer sets this claim itself");
            } else if !is_claim_name(name) {
                self.problem(
                    "claims",
                    "the name of a claim has 1 to 128 bytes, none of them a control character",
                );
            }
        }
        if Value::Object(claims.clone()).to_string().len() > MAX_JOINED {
            self.problem("claims", format!("at most {MAX_JOINED} bytes as JSON"));
        }
        claims.clone()
    }

    /// A secret that the caller chose.
    pub(in crate::issuer) fn secret(&mut self) -> Option<SecretString> {
        match self.get("client_secret")?.as_str() {
            // RFC 6749 appendix A.2.
            Some(secret)
                if (MIN_SECRET..=MAX_TEXT).contains(&secret.len())
                    && secret.bytes().all(|byte| matches!(byte, b' '..=b'~')) =>
            {
                Some(SecretString::from(secret))
            }
            _ => {
                let problem = format!(
                    "it must be a text of {MIN_SECRET} to {MAX_TEXT} printable ASCII characters; leave it out for a generated one"
                );
                self.problem("client_secret", problem);
                None
            }
        }
    }

    pub(super) fn jwks(&mut self) -> Option<Value> {
        let jwks = self.get("jwks")?;
        let text = jwks.to_string();
        let keys = jwks.get("keys").and_then(Value::as_array);
        // RFC 7518 §6: `d` is the private part of every asymmetric kind, the others are more of an RSA one; `k` is a
        // symmetric key.
        let is_public = |key: &Value| {
            ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().all(|part| key.get(part).is_none())
        };
        let all_public = keys.is_some_and(|keys| keys.iter().all(is_public));
        if text.len() > MAX_JWKS {
            self.problem("jwks", format!("at most {MAX_JWKS} bytes"));
        } else if keys.is_some() && !all_public {
            self.problem("jwks", "it holds a private or symmetric key: register the public ones only, and take this one out of use");
        } else if !KeySet::parse(text.as_bytes()).is_ok_and(|set| Some(set.len()) == keys.map(Vec::len)) {
            self.problem("jwks", "it must be a JWK set (RFC 7517 §5) whose keys can all verify a signature");
        }
        // Whatever else stands beside the keys is nobody's business.
        Some(json!({ "keys": keys }))
    }

    pub(super) fn jwks_uri(&mut self) -> Option<String> {
        let uri = self.text("jwks_uri", 2048)?;
        let is_usable = Url::parse(&uri).is_ok_and(|url| {
            url.scheme() == "https"
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        });
        if !is_usable {
            self.problem("jwks_uri", "it must be an https URL without user, password and fragment");
        }
        Some(uri)
    }

    pub(super) fn auth_method(&mut self, registration: &Registration) {
        let has_keys = registration.jwks.is_some() || registration.jwks_uri.is_some();
        if registration.jwks.is_some() && registration.jwks_uri.is_some() {
            self.problem("jwks_uri", "a client has either `jwks` or `jwks_uri` (RFC 7591 §2)");
        }
        match registration.token_endpoint_auth_method.as_deref() {
            Some("client_secret_basic" | "client_secret_post") if has_keys => self.problem(
                "token_endpoint_auth_method",
                "a client with keys uses them: it must be `private_key_jwt`",
            ),
            Some(PRIVATE_KEY_JWT) if !has_keys => {
                self.problem("token_endpoint_auth_method", "`private_key_jwt` needs `jwks` or `jwks_uri`");
            }
            None | Some("client_secret_basic" | "client_secret_post" | PRIVATE_KEY_JWT) => {}
            Some(_) => self.problem(
                "token_endpoint_auth_method",
                "it must be `client_secret_basic`, `client_secret_post` or `private_key_jwt`",
            ),
        }
    }
}
