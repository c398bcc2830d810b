//! Parses a form or a JSON object into named parameters, each at most once.

use std::collections::HashSet;
use std::fmt;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use zeroize::Zeroizing;

use super::TokenError;
use super::exchange::ExchangeTexts;
use crate::domain::secret::SecretString;
use crate::issuer::excerpt::Excerpt;
use crate::jose::dpop::SCHEME;

/// The most parameters of one request, known and unknown.
const MAX_PARAMETERS: usize = 100;

/// The known parameters.
const KNOWN: [&str; 17] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "audience",
    "resource",
    "expiration",
    "token_name",
    "token",
    "refresh_token",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
];
/// The audience in a form of plgd's clients, as its server names it.
const AUD: &str = "aud";
/// The longest name of an unknown parameter in an answer.
const MAX_SHOWN_NAME: usize = 32;
/// The first bytes of a gzip file (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The parameters by which a client authenticates itself (RFC 6749 §2.3.1, RFC 7521 §4.2).
#[derive(Default)]
pub(in crate::issuer) struct ClientParameters {
    pub(in crate::issuer) id: Option<String>,
    pub(in crate::issuer) secret: Option<SecretString>,
    pub(in crate::issuer) assertion: Option<SecretString>,
    pub(in crate::issuer) assertion_type: Option<String>,
}

/// The known parameters, as text.
#[derive(Default)]
pub(in crate::issuer) struct Parameters {
    pub(in crate::issuer) grant_type: Option<String>,
    pub(in crate::issuer) client: ClientParameters,
    pub(in crate::issuer) scope: Option<String>,
    pub(in crate::issuer) audience: Vec<String>,
    /// `aud` of a form of plgd's clients; elsewhere an unknown parameter.
    pub(in crate::issuer) aud: Vec<String>,
    pub(in crate::issuer) resource: Vec<String>,
    pub(in crate::issuer) expiration: Option<String>,
    pub(in crate::issuer) token_name: Option<String>,
    pub(in crate::issuer) token: Option<SecretString>,
    pub(in crate::issuer) refresh_token: Option<SecretString>,
    pub(super) exchange: ExchangeTexts,
    token_type: Option<String>,
    seen: HashSet<String>,
    is_plgd_form: bool,
}

impl Parameters {
    /// Parses a body by its media type.
    pub(in crate::issuer) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, TokenError> {
        check_coding(headers, body)?;
        match media_type(headers)?.as_deref() {
            Some(b"application/x-www-form-urlencoded") => Self::default().with_form(body),
            Some(b"application/json") => Self::parse_json(body),
            _ if body.is_empty() => Ok(Self::default()),
            _ => Err(TokenError::ContentType),
        }
    }

    /// Parses a form of plgd's clients if the media type says so, and otherwise JSON.
    pub(in crate::issuer) fn parse_form_or_json(
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, TokenError> {
        check_coding(headers, body)?;
        // plgd's server searches the whole header for it.
        let is_form = content_type(headers)?.is_some_and(|value| {
            let value = value.as_bytes().to_ascii_lowercase();
            memchr::memmem::find(&value, b"application/x-www-form-urlencoded").is_some()
        });
        if is_form {
            Self {
                is_plgd_form: true,
                ..Self::default()
            }
            .with_form(body)
        } else {
            Self::parse_json(body)
        }
    }

    /// Parses protobuf's JSON: `clientId` is `client_id`, and only one of them may be present.
    pub(in crate::issuer) fn parse_protojson(
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, TokenError> {
        check_coding(headers, body)?;
        Self::parse_members(body, snake_case)
    }

    /// Whether this is a form of plgd's clients.
    pub(in crate::issuer) fn is_plgd_form(&self) -> bool {
        self.is_plgd_form
    }

    fn with_form(mut self, body: &[u8]) -> Result<Self, TokenError> {
        let pairs = body
            .split(|&byte| byte == b'&')
            .filter(|pair| !pair.is_empty());
        for (number, pair) in pairs.enumerate() {
            if number >= MAX_PARAMETERS {
                return Err(TokenError::TooLarge);
            }
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let mut half =
                || form_decode(halves.next().unwrap_or_default()).ok_or(TokenError::MalformedBody);
            let (name, value) = (half()?, half()?);
            self.add(name, value)?;
        }
        Ok(self)
    }

    fn parse_json(body: &[u8]) -> Result<Self, TokenError> {
        Self::parse_members(body, |name| name)
    }

    fn parse_members(body: &[u8], rename: fn(String) -> String) -> Result<Self, TokenError> {
        let Members(members) =
            serde_json::from_slice(body).map_err(|_| TokenError::MalformedBody)?;
        if members.len() > MAX_PARAMETERS {
            return Err(TokenError::TooLarge);
        }
        let mut parameters = Self::default();
        for (name, value) in members {
            parameters.add_json(rename(name), value)?;
        }
        Ok(parameters)
    }

    /// A list is allowed for parameters that a form may repeat or join.
    fn add_json(&mut self, name: String, value: Value) -> Result<(), TokenError> {
        match value {
            Value::Null => Ok(()),
            Value::String(text) => self.add(name, text),
            Value::Number(number) => self.add(name, number.to_string()),
            Value::Array(items) if matches!(name.as_str(), "audience" | "resource" | "scope") => {
                let texts = items.into_iter().map(|item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(TokenError::WrongType(Excerpt::of(&name))),
                });
                let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
                if name == "scope" {
                    return self.add(name, texts.join(" "));
                }
                texts
                    .into_iter()
                    .try_for_each(|text| self.add(name.clone(), text))
            }
            _ if KNOWN.contains(&name.as_str()) => Err(TokenError::WrongType(Excerpt::of(&name))),
            _ => self.add(name, "ignored".to_owned()),
        }
    }

    fn add(&mut self, name: String, value: String) -> Result<(), TokenError> {
        if value.is_empty() {
            return Ok(());
        }
        let is_aud = self.is_plgd_form && name == AUD;
        let repeatable = is_aud || matches!(name.as_str(), "audience" | "resource");
        match name.as_str() {
            "grant_type" => self.grant_type = Some(value),
            "client_id" => self.client.id = Some(value),
            "client_secret" => self.client.secret = Some(value.into()),
            "client_assertion" => self.client.assertion = Some(value.into()),
            "client_assertion_type" => self.client.assertion_type = Some(value),
            "scope" => self.scope = Some(value),
            "audience" => self.audience.push(value),
            "resource" => self.resource.push(value),
            "expiration" => self.expiration = Some(value),
            "token_name" => self.token_name = Some(value),
            "token" => self.token = Some(value.into()),
            "refresh_token" => self.refresh_token = Some(value.into()),
            "token_type" => self.token_type = Some(value),
            _ if is_aud => self.aud.push(value),
            _ => self.exchange.add(&name, value),
        }
        if self.seen.contains(&name) && !repeatable {
            return Err(repeated(&name));
        }
        self.seen.insert(name);
        Ok(())
    }

    /// Refuses a known parameter in the query of the URL that the body does not have: it would be
    /// silently ignored.
    pub(in crate::issuer) fn without_query(
        parsed: Result<Self, TokenError>,
        query: Option<&str>,
    ) -> Result<Self, TokenError> {
        let names = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let has_aud = parsed
            .as_ref()
            .is_ok_and(|parameters| parameters.is_plgd_form);
        let mut known = names.filter_map(|(name, _)| known(has_aud).find(|known| *known == name));
        let missing = match &parsed {
            Ok(parameters) => known.find(|name| !parameters.seen.contains(*name)),
            Err(_) => known.next(),
        };
        missing.map_or(parsed, |name| Err(TokenError::InQuery(name)))
    }

    /// Refuses a parameter whose name differs from a known one only in case, separators or a
    /// plural: ignoring it (RFC 6749 §3.2) would grant more than was requested.
    pub(in crate::issuer) fn check_spelling(&self) -> Result<(), TokenError> {
        let is_known = |name: &str| known(self.is_plgd_form).any(|known| known == name);
        let unknown = self.seen.iter().filter(|name| !is_known(name));
        let unknown: Vec<_> = unknown.map(|name| (folded(name), name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let misspelt = |known: &'static str| {
            let like = folded(known);
            let (_, given) = unknown.iter().find(|(folded, _)| *folded == like)?;
            (!self.seen.contains(known)).then_some((known, *given))
        };
        match known(self.is_plgd_form).find_map(misspelt) {
            Some((known, given)) => Err(TokenError::Misspelt {
                given: Excerpt::of(given),
                known,
            }),
            None => Ok(()),
        }
    }

    /// Refuses a request that asks for a bound token by a parameter (RFC 9200 §5.8.4 and its
    /// variants).
    pub(in crate::issuer) fn check_binding(&self, has_proof: bool) -> Result<(), TokenError> {
        let binding = [
            ("req_cnf", "the parameter req_cnf"),
            ("dpop_jkt", "the parameter dpop_jkt"),
        ];
        if let Some((_, what)) = binding
            .into_iter()
            .find(|(name, _)| self.seen.contains(*name))
        {
            return Err(TokenError::BoundToken(what));
        }
        match &self.token_type {
            Some(dpop) if has_proof && dpop.eq_ignore_ascii_case(SCHEME) => Ok(()),
            Some(other) if !other.eq_ignore_ascii_case("bearer") => {
                Err(TokenError::BoundToken("the parameter token_type"))
            }
            _ => Ok(()),
        }
    }
}

/// The known names; in forms of plgd's clients also `aud`.
fn known(with_aud: bool) -> impl Iterator<Item = &'static str> {
    KNOWN.into_iter().chain(with_aud.then_some(AUD))
}

/// The error of a repeated parameter. An unknown name is shown only if it looks like a name: it may
/// be a secret.
fn repeated(name: &str) -> TokenError {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let is_name = name.len() <= MAX_SHOWN_NAME && name.bytes().all(is_plain);
    if is_name {
        TokenError::Repeated(Excerpt::of(name))
    } else {
        TokenError::RepeatedUnknown
    }
}

/// A parameter's name without case, separators and plural.
fn folded(name: &str) -> String {
    let letters = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase());
    let letters: String = letters.collect();
    letters
        .strip_suffix('s')
        .map(str::to_owned)
        .unwrap_or(letters)
}

/// Refuses a compressed body, which would look malformed. A small request gains nothing by
/// compression, and a large one could expand to any size.
fn check_coding(headers: &HeaderMap, body: &[u8]) -> Result<(), TokenError> {
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

fn snake_case(name: String) -> String {
    let mut snake = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn content_type(headers: &HeaderMap) -> Result<Option<&HeaderValue>, TokenError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let first = values.next();
    if values.next().is_some() {
        Err(TokenError::RepeatedHeader("Content-Type"))
    } else {
        Ok(first)
    }
}

/// The body's media type in lower case, without parameters.
fn media_type(headers: &HeaderMap) -> Result<Option<Vec<u8>>, TokenError> {
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
struct Members(Vec<(String, Value)>);

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

#[cfg(test)]
mod tests;
