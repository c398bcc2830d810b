//! Parses a form or a JSON object into named parameters, each at most once.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;

use super::TokenError;
use super::body::{Members, check_coding, content_type, form_decode, media_type, snake_case};
use super::exchange::ExchangeTexts;
use super::names::{AUD, KNOWN, folded, known, repeated};
use crate::domain::owner_pattern::is_chosen;
use crate::domain::secret::SecretString;
use crate::issuer::choice::{ChosenClaim, ClaimParameters};
use crate::issuer::excerpt::Excerpt;
use crate::jose::dpop::SCHEME;

/// The most parameters of one request, known and unknown.
const MAX_PARAMETERS: usize = 100;
/// Stands for a JSON value that is no text. No request may choose it as owner or device.
const NO_TEXT: &str = "\0";

/// The parameters by which a client authenticates itself (RFC 6749 §2.3.1, RFC 7521 §4.2).
#[derive(Default)]
pub(in crate::issuer) struct ClientParameters {
    pub(in crate::issuer) id: Option<String>,
    pub(in crate::issuer) secret: Option<SecretString>,
    pub(in crate::issuer) assertion: Option<SecretString>,
    pub(in crate::issuer) assertion_type: Option<String>,
}

/// A parameter for a claim: absent, or its value, or why it is no usable value.
pub(in crate::issuer) type Asked = Option<Result<String, TokenError>>;

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
    /// The parameter named as the owner claim.
    pub(in crate::issuer) owner: Asked,
    /// The parameter named as the device id claim.
    pub(in crate::issuer) device_id: Asked,
    claims: Arc<ClaimParameters>,
    token_type: Option<String>,
    seen: HashSet<String>,
    is_plgd_form: bool,
}

impl Parameters {
    /// Without parameters, and with the names of those for claims.
    fn with_claims(claims: &Arc<ClaimParameters>) -> Self {
        Self {
            claims: claims.clone(),
            ..Self::default()
        }
    }

    /// Parses a body by its media type.
    pub(in crate::issuer) fn parse(
        headers: &HeaderMap,
        body: &[u8],
        claims: &Arc<ClaimParameters>,
    ) -> Result<Self, TokenError> {
        check_coding(headers, body)?;
        let empty = Self::with_claims(claims);
        match media_type(headers)?.as_deref() {
            Some(b"application/x-www-form-urlencoded") => empty.with_form(body),
            Some(b"application/json") => empty.with_members(body, |name| name),
            _ if body.is_empty() => Ok(empty),
            _ => Err(TokenError::ContentType),
        }
    }

    /// Parses a form of plgd's clients if the media type says so, and otherwise JSON.
    pub(in crate::issuer) fn parse_form_or_json(
        headers: &HeaderMap,
        body: &[u8],
        claims: &Arc<ClaimParameters>,
    ) -> Result<Self, TokenError> {
        check_coding(headers, body)?;
        let empty = Self::with_claims(claims);
        // plgd's server searches the whole header for it.
        let is_form = content_type(headers)?.is_some_and(|value| {
            let value = value.as_bytes().to_ascii_lowercase();
            memchr::memmem::find(&value, b"application/x-www-form-urlencoded").is_some()
        });
        if is_form {
            Self {
                is_plgd_form: true,
                ..empty
            }
            .with_form(body)
        } else {
            empty.with_members(body, |name| name)
        }
    }

    /// Parses protobuf's JSON: `clientId` is `client_id`, and only one of them may be present.
    pub(in crate::issuer) fn parse_protojson(
        headers: &HeaderMap,
        body: &[u8],
        claims: &Arc<ClaimParameters>,
    ) -> Result<Self, TokenError> {
        check_coding(headers, body)?;
        Self::with_claims(claims).with_members(body, snake_case)
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

    fn with_members(
        mut self,
        body: &[u8],
        rename: fn(String) -> String,
    ) -> Result<Self, TokenError> {
        let Members(members) =
            serde_json::from_slice(body).map_err(|_| TokenError::MalformedBody)?;
        if members.len() > MAX_PARAMETERS {
            return Err(TokenError::TooLarge);
        }
        for (name, value) in members {
            // The name of a claim is not protobuf's.
            let name = match self.claims.find(&name) {
                Some(_) => name,
                None => rename(name),
            };
            self.add_json(name, value)?;
        }
        Ok(self)
    }

    /// A list is allowed for parameters that a form may repeat or join.
    fn add_json(&mut self, name: String, value: Value) -> Result<(), TokenError> {
        match value {
            Value::Null => Ok(()),
            Value::String(text) => self.add(name, text),
            _ if self.claims.find(&name).is_some() => self.add(name, NO_TEXT.to_owned()),
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
            _ if self.claims.find(&name).is_some() => self.choose(&name, value),
            _ => self.exchange.add(&name, value),
        }
        if self.seen.contains(&name) && !repeatable {
            return Err(repeated(&name));
        }
        self.seen.insert(name);
        Ok(())
    }

    /// Takes the parameter for a claim. A client that may not choose has it ignored in plgd's
    /// profile, so a malformed value is no error yet.
    fn choose(&mut self, name: &str, value: String) {
        let asked = if is_chosen(&value) {
            Ok(value)
        } else {
            Err(TokenError::MalformedChoice(Excerpt::of(name)))
        };
        match self.claims.find(name) {
            Some(ChosenClaim::Owner) => self.owner = Some(asked),
            Some(ChosenClaim::DeviceId) => self.device_id = Some(asked),
            None => {}
        }
    }

    /// Refuses a known parameter in the query of the URL that the body does not have: it would be
    /// silently ignored.
    pub(in crate::issuer) fn without_query(
        parsed: Result<Self, TokenError>,
        query: Option<&str>,
        claims: &ClaimParameters,
    ) -> Result<Self, TokenError> {
        let names = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let has_aud = parsed
            .as_ref()
            .is_ok_and(|parameters| parameters.is_plgd_form);
        let is_known =
            |name: &str| known(has_aud).any(|known| known == name) || claims.find(name).is_some();
        let mut known = names.map(|(name, _)| name).filter(|name| is_known(name));
        let missing = match &parsed {
            Ok(parameters) => known.find(|name| !parameters.seen.contains(&**name)),
            Err(_) => known.next(),
        };
        missing.map_or(parsed, |name| Err(TokenError::InQuery(Excerpt::of(&name))))
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

#[cfg(test)]
mod tests;
