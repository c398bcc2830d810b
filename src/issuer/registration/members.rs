//! The members of a request's JSON object, read one by one.

use std::time::Duration;

use serde_json::{Map, Value, json};
use url::Url;

use super::{PRIVATE_KEY_JWT, Registration, foreign};
use crate::domain::clock::UnixTime;
use crate::domain::duration;
use crate::domain::name::{is_audience, is_claim_name, nearest};
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::issuer::client::read_key_set;
use crate::issuer::{RESERVED_CLAIMS, why_no_claim};

/// Members that answers carry and that only the server sets.
pub(super) const READ_ONLY: [&str; 6] = [
    "client_id_issued_at",
    "client_secret_expires_at",
    "created_at",
    "updated_at",
    "version",
    "source",
];

/// The longest lifetime of an access token.
const YEAR: Duration = Duration::from_hours(366 * 24);
/// Shorter secrets can be guessed.
const MIN_SECRET: usize = 16;
const MAX_TEXT: usize = 256;
const MAX_ITEMS: usize = 100;
/// The scopes, audiences and claims of a client stand in each of its tokens, which must fit into a
/// header.
const MAX_JOINED: usize = 2048;

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
        Self {
            field: field.into(),
            problem: problem.into(),
        }
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
        let mut members = Self {
            object,
            problems: Vec::new(),
        };
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let shown: String = name.chars().take(64).collect();
            let problem = match nearest(name, known.iter().copied()) {
                _ if READ_ONLY.contains(&name.as_str()) => {
                    "the server sets it: leave it out".to_owned()
                }
                Some(nearest) => format!("unknown; the nearest known member is `{nearest}`"),
                None => "unknown: this request has no such member".to_owned(),
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
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(self.problems)
        }
    }

    /// A member; one without a value counts as left out.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A text that programs send empty when nothing is set.
    pub(super) fn text_or_empty(&mut self, name: &str, most: usize) -> Option<String> {
        if self.get(name)? == "" {
            None
        } else {
            self.text(name, most)
        }
    }

    /// A text that is not empty.
    pub(in crate::issuer) fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let text = self.get(name)?.as_str();
        match text {
            Some(text)
                if (1..=most).contains(&text.len()) && !text.chars().any(char::is_control) =>
            {
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
        self.items(name, value)
    }

    /// A list of texts, or one text with spaces between the items.
    fn list_or_joined(&mut self, name: &str) -> Option<Vec<&'a str>> {
        match self.get(name)? {
            Value::String(joined) => {
                Some(joined.split(' ').filter(|item| !item.is_empty()).collect())
            }
            value => self.items(name, value),
        }
    }

    fn items(&mut self, name: &str, value: &'a Value) -> Option<Vec<&'a str>> {
        let items = value
            .as_array()
            .map(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match items {
            Some(Some(items)) if items.len() <= MAX_ITEMS => Some(items),
            _ => {
                self.problem(
                    name,
                    format!("it must be a list of at most {MAX_ITEMS} texts"),
                );
                None
            }
        }
    }

    /// A moment that is still to come. One that has passed is only accepted when it is the one that
    /// is registered already.
    pub(in crate::issuer) fn time_to_come(
        &mut self,
        name: &str,
        now: UnixTime,
        registered: Option<UnixTime>,
    ) -> Option<UnixTime> {
        let time = self.time(name)?;
        if time <= now && Some(time) != registered {
            self.problem(
                name,
                format!("it must be still to come: {}", time.beside(now)),
            );
        }
        Some(time)
    }

    /// A moment, as RFC 3339 writes it.
    pub(in crate::issuer) fn time(&mut self, name: &str) -> Option<UnixTime> {
        let time = self
            .get(name)?
            .as_str()
            .and_then(UnixTime::from_rfc3339)
            .filter(|time| time.0 >= 0);
        if time.is_none() {
            self.problem(
                name,
                "it must be a time such as `2027-01-01T00:00:00Z` (RFC 3339)",
            );
        }
        time
    }

    /// A length of time in whole seconds: a number, the same as a text, or a text such as `1h30m`.
    pub(in crate::issuer) fn seconds(&mut self, name: &str) -> Option<Duration> {
        let value = whole_seconds(self.get(name)?).filter(|value| *value <= YEAR * 100);
        if value.is_none() {
            let problem =
                "it must be a whole number of seconds, or a duration such as `1h30m` or `7d`";
            self.problem(name, problem);
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
        let Some(names) = self.list("grant_types") else {
            return default();
        };
        if names.is_empty() {
            self.problem(
                "grant_types",
                format!("it must name at least one grant: {}", supported_grants()),
            );
        }
        let mut known: Vec<String> = Vec::new();
        for name in names {
            if GrantType::parse(name).is_none() {
                let problem = format!(
                    "{}; this server has {}",
                    foreign::why_no_grant(name),
                    supported_grants()
                );
                self.problem("grant_types", problem);
                return default();
            }
            if !known.iter().any(|known| known == name) {
                known.push(name.to_owned());
            }
        }
        known
    }

    /// What the authorization endpoint of another server would answer with (RFC 7591 §2). This
    /// server has none, so the member changes nothing, unless it is all that the request says of
    /// what the client is to do.
    pub(super) fn response_types(&mut self) -> Vec<String> {
        let Some(types) = self.list("response_types") else {
            return Vec::new();
        };
        let is_known = |kind: &str| {
            kind.split(' ')
                .all(|part| matches!(part, "code" | "token" | "id_token" | "none"))
                && !kind.is_empty()
        };
        if !types.iter().all(|kind| is_known(kind)) {
            self.problem(
                "response_types",
                "it must be a list of `code`, `token`, `id_token` and `none`",
            );
        } else if types.iter().any(|kind| *kind != "none")
            && self.get("grant_types").is_none()
            && self.get("client_type").is_none()
        {
            let problem = "it asks for a login (authorization code or implicit grant), and this server has no \
                           authorization endpoint; a machine says `grant_types: [\"client_credentials\"]`";
            self.problem("response_types", problem);
        }
        types.into_iter().map(str::to_owned).collect()
    }

    /// `scope`, as RFC 7591 has it, or `scopes`, a list.
    pub(super) fn scope(&mut self) -> String {
        // Empty is a value of its own here: no scope at all.
        let joined = match self.get("scope") {
            None => None,
            Some(Value::String(text)) => Some(ScopeSet::parse(text)),
            Some(_) => self.list("scope").map(ScopeSet::from_tokens),
        };
        let listed = self.list("scopes").map(ScopeSet::from_tokens);
        for (name, scopes) in [("scope", &joined), ("scopes", &listed)] {
            match scopes {
                Some(Err(why)) => self.problem(name, why.to_string()),
                Some(Ok(set))
                    if set.to_string().len() > MAX_JOINED || set.iter().count() > MAX_ITEMS =>
                {
                    self.problem(
                        name,
                        format!("at most {MAX_ITEMS} scopes, of {MAX_JOINED} bytes together"),
                    );
                }
                _ => {}
            }
        }
        match (joined, listed) {
            (Some(Ok(joined)), Some(Ok(listed))) => {
                if !joined.is_same_as(&listed) {
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

    /// A list, or one text as Auth0's grants have it.
    pub(super) fn audience(&mut self) -> Vec<String> {
        let Some(list) = self.list_or_joined("audience") else {
            return Vec::new();
        };
        if !list.iter().all(|audience| is_audience(audience)) {
            self.problem(
                "audience",
                "an audience is not empty and holds no white space",
            );
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
            if let Some(why) = why_no_claim(name) {
                self.problem(&format!("claims.{name}"), why);
            } else if RESERVED_CLAIMS.contains(&name.as_str()) {
                self.problem(
                    &format!("claims.{name}"),
                    "the issuer sets this claim itself",
                );
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
            Some("") => None,
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
        let jwks = self
            .get("jwks")
            .filter(|jwks| jwks.as_object().is_none_or(|set| !set.is_empty()))?;
        let keys = jwks.get("keys").and_then(Value::as_array);
        if let Err(why) = read_key_set(jwks.to_string().as_bytes()) {
            self.problem("jwks", format!("it {why}"));
        }
        // Other members of the set mean nothing here.
        Some(json!({ "keys": keys }))
    }

    pub(super) fn jwks_uri(&mut self) -> Option<String> {
        let uri = self.text_or_empty("jwks_uri", 2048)?;
        let is_usable = Url::parse(&uri).is_ok_and(|url| {
            url.scheme() == "https"
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        });
        if !is_usable {
            self.problem(
                "jwks_uri",
                "it must be an https URL without user, password and fragment",
            );
        }
        Some(uri)
    }

    pub(super) fn auth_method(&mut self, registration: &Registration) {
        let has_keys = registration.jwks.is_some() || registration.jwks_uri.is_some();
        if registration.jwks.is_some() && registration.jwks_uri.is_some() {
            self.problem(
                "jwks_uri",
                "a client has either `jwks` or `jwks_uri` (RFC 7591 §2)",
            );
        }
        match registration.token_endpoint_auth_method.as_deref() {
            Some("client_secret_basic" | "client_secret_post") if has_keys => self.problem(
                "token_endpoint_auth_method",
                "a client with keys uses them: it must be `private_key_jwt`",
            ),
            Some(PRIVATE_KEY_JWT) if !has_keys => {
                self.problem(
                    "token_endpoint_auth_method",
                    "`private_key_jwt` needs `jwks` or `jwks_uri`",
                );
            }
            None | Some("client_secret_basic" | "client_secret_post" | PRIVATE_KEY_JWT) => {}
            Some(other) => {
                let problem = format!(
                    "it must be `client_secret_basic`, `client_secret_post` or `private_key_jwt`{}",
                    foreign::why_no_method(other)
                );
                self.problem("token_endpoint_auth_method", problem);
            }
        }
    }
}

fn supported_grants() -> String {
    GrantType::ALL
        .map(|grant| format!("`{}`", grant.as_str()))
        .join(" and ")
}

/// 3600, 3600.0, "3600", "3600.0" and "1h" are one length of time.
fn whole_seconds(value: &Value) -> Option<Duration> {
    let text = match value {
        // A float is written without an exponent.
        Value::Number(number) => match number.as_u64() {
            Some(seconds) => return Some(Duration::from_secs(seconds)),
            None => format!("{}", number.as_f64()?),
        },
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let is_number =
        (1..=18).contains(&whole.len()) && whole.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && fraction.bytes().all(|byte| byte == b'0') {
        return whole.parse().ok().map(Duration::from_secs);
    }
    duration::parse(&text)
        .ok()
        .filter(|duration| duration.subsec_nanos() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_length_of_time_has_many_spellings() {
        for value in [
            json!(3600),
            json!(3600.0),
            json!(3.6e3),
            json!("3600"),
            json!("3600.0"),
            json!("3600.00"),
            json!("1h"),
            json!("60m"),
            json!("3600s"),
            json!("0.5h30m"),
        ] {
            assert_eq!(
                whole_seconds(&value),
                Some(Duration::from_secs(3600)),
                "{value}"
            );
        }
        assert_eq!(whole_seconds(&json!("0")), Some(Duration::ZERO));
        for value in [
            json!(3600.5),
            json!(-1),
            json!(-1.0),
            json!(1e300),
            json!("3600.5"),
            json!("1.5s"),
            json!("1500ms"),
            json!("-1"),
            json!("1e3"),
            json!(" 1"),
            json!(""),
            json!("."),
            json!(".0"),
            json!("x"),
            json!(true),
            json!([1]),
            json!("9".repeat(30)),
        ] {
            assert_eq!(whole_seconds(&value), None, "{value}");
        }
    }
}
