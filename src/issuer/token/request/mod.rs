//! Token requests, parsed once: no later phase uses the headers or the body.
//!
//! A parameter without a value counts as absent (RFC 6749 §3.2). An unknown one is ignored, unless
//! its name resembles a known one. A repeated one is an error. Sizes are limited here, so that
//! later phases may compare lists.

mod body;
mod credentials;
mod exchange;
mod expiration;
mod names;
mod parameters;
mod presented;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::Url;

use crate::domain::clock::UnixTime;
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::issuer::choice::ClaimParameters;
use crate::issuer::error::TokenError;
use crate::issuer::excerpt::Excerpt;
use crate::issuer::profile::ProfilePolicy;
use crate::jose::dpop::{InvalidProof, sent_proof};

pub(in crate::issuer) use self::credentials::{
    Candidate, Credentials, PresentedAssertion, SecretCredentials,
};
pub(in crate::issuer) use self::exchange::{ExchangeParameters, PresentedToken};
pub use self::names::parameter_like;
pub(in crate::issuer) use self::parameters::{Asked, Parameters};
pub(in crate::issuer) use self::presented::Presented;

/// The most scopes, and the most audiences and resources together.
const MAX_ENTRIES: usize = 100;
/// The oldest `expiration` that means "no expiration".
const OLDEST_CLICK: Duration = Duration::from_secs(60);

/// A well-formed token request (RFC 6749 §4.4.2), before authentication.
#[derive(Debug, Default)]
pub struct TokenRequest {
    credentials: Option<Credentials>,
    grant_type: Option<GrantType>,
    scope: ScopeSet,
    audiences: Audiences,
    expiration: Option<UnixTime>,
    /// plgd's web page may have sent `expiration`.
    is_of_plgd: bool,
    token_name: Option<String>,
    refresh_token: Option<SecretString>,
    /// Only of a token exchange.
    exchange: Option<ExchangeParameters>,
    owner: Asked,
    device_id: Asked,
    /// The DPoP proof (RFC 9449 §5).
    proof: Option<SecretString>,
}

/// The audiences and resources of a request.
#[derive(Debug)]
struct Audiences {
    /// An error only beside a `without_list`, which then counts for clients without a list.
    asked: Result<Vec<String>, TokenError>,
    /// Those that count for a client without a list of audiences, if they differ.
    without_list: Option<Vec<String>>,
    /// Whether `aud` takes precedence over `audience` or `resource`.
    is_superseded: bool,
}

impl Default for Audiences {
    fn default() -> Self {
        Self {
            asked: Ok(Vec::new()),
            without_list: None,
            is_superseded: false,
        }
    }
}

impl TokenRequest {
    /// Parses a request's headers and body.
    ///
    /// # Errors
    /// If the request is malformed.
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, TokenError> {
        let form = (&ProfilePolicy::STANDARD, &Arc::default());
        Self::parse_in(form, headers, None, body)
    }

    /// Parses a request. The query of its URL must have no parameter. In plgd's profile a body that
    /// is no form is JSON, an `expiration` of 0 is none, and a form has its audience in `aud`. The
    /// parameters that `claims` name choose owner and device.
    ///
    /// # Errors
    /// If the request is malformed.
    pub fn parse_in(
        (profile, claims): (&ProfilePolicy, &Arc<ClaimParameters>),
        headers: &HeaderMap,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Self, TokenError> {
        let parameters = if profile.lenient_requests {
            Parameters::parse_form_or_json(headers, body, claims)
        } else {
            Parameters::parse(headers, body, claims)
        };
        Self::of(
            headers,
            Parameters::without_query(parameters, query, claims)?,
            profile,
        )
    }

    /// Parses protobuf's JSON, in which names may be in camel case. plgd's tokens API ignores
    /// credentials in the header; here they count if the body names no client.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_protojson(
        claims: &Arc<ClaimParameters>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, TokenError> {
        let parameters = Parameters::parse_protojson(headers, body, claims)?;
        let mut headers = headers.clone();
        if parameters.client.id.is_some() {
            headers.remove(AUTHORIZATION);
        }
        Self::of(&headers, parameters, &ProfilePolicy::PLGD)
    }

    fn of(
        headers: &HeaderMap,
        mut parameters: Parameters,
        profile: &ProfilePolicy,
    ) -> Result<Self, TokenError> {
        let Some(grant_type) = &parameters.grant_type else {
            parameters.check_spelling()?;
            return Err(TokenError::NoGrantType);
        };
        let Some(grant_type) = GrantType::parse(grant_type) else {
            // Only the client's id is needed, for the audit log.
            let credentials = Credentials::parse(headers, parameters.client, profile)
                .ok()
                .flatten();
            return Ok(Self {
                credentials,
                ..Self::default()
            });
        };
        parameters.check_spelling()?;
        let proof = match sent_proof(headers) {
            Ok(proof) => Some(SecretString::from(proof)),
            Err(InvalidProof::Missing) => None,
            Err(invalid) => return Err(TokenError::InvalidProof(invalid)),
        };
        parameters.check_binding(proof.is_some())?;
        let exchange = (grant_type == GrantType::TokenExchange)
            .then(|| ExchangeParameters::of(std::mem::take(&mut parameters.exchange)))
            .transpose()?;
        let audiences = Audiences::parse(&parameters, profile)?;
        let expiration = parameters.expiration.as_deref();
        let expiration = expiration
            .map(|text| expiration::parse(text, profile.lenient_requests))
            .transpose()?;
        Ok(Self {
            credentials: Credentials::parse(headers, parameters.client, profile)?,
            grant_type: Some(grant_type),
            scope: parse_scope(parameters.scope.as_deref().unwrap_or_default())?,
            audiences,
            // Protobuf has no absent number; plgd's server ignores a negative one too.
            expiration: expiration.filter(|it| !profile.lenient_requests || it.0 > 0),
            is_of_plgd: profile.lenient_requests,
            token_name: parameters
                .token_name
                .map(|name| parse_token_name(name, profile.limits.token_name))
                .transpose()?,
            refresh_token: parameters.refresh_token,
            exchange,
            owner: parameters.owner,
            device_id: parameters.device_id,
            proof,
        })
    }

    pub(in crate::issuer) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The requested grant type; `None` if it is unsupported.
    #[must_use]
    pub fn grant_type(&self) -> Option<GrantType> {
        self.grant_type
    }

    /// The requested scopes; may be empty.
    pub(in crate::issuer) fn scope(&self) -> &ScopeSet {
        &self.scope
    }

    /// The audiences and resources that count for a client with this list; may be empty. For a
    /// client without a list, as for plgd's server, `resource` and the `audience` of a form are
    /// ignored.
    ///
    /// # Errors
    /// If they are malformed, or too many.
    pub(in crate::issuer) fn audiences(&self, allowed: &[String]) -> Result<&[String], TokenError> {
        match self
            .audiences
            .without_list
            .as_ref()
            .filter(|_| allowed.is_empty())
        {
            Some(without_list) => Ok(without_list),
            None => self.audiences.asked.as_deref().map_err(|error| *error),
        }
    }

    /// Whether the form has `audience` or `resource` beside `aud`, which takes precedence.
    pub(in crate::issuer) fn has_superseded_audience(&self) -> bool {
        self.audiences.is_superseded
    }

    /// The requested end of the token.
    ///
    /// plgd's web page sends the time of the click for "no expiration". In plgd's profile such a
    /// time counts as absent, which grants nothing more.
    pub(in crate::issuer) fn expiration(&self, now: UnixTime) -> Option<UnixTime> {
        let is_a_click =
            |asked: &UnixTime| self.is_of_plgd && *asked <= now && asked.until(now) <= OLDEST_CLICK;
        self.expiration.filter(|asked| !is_a_click(asked))
    }

    /// The requested name of the token, the claim `name`.
    pub(in crate::issuer) fn token_name(&self) -> Option<&str> {
        self.token_name.as_deref()
    }

    /// The DPoP proof.
    pub(in crate::issuer) fn proof(&self) -> Option<&SecretString> {
        self.proof.as_ref()
    }

    /// The parameters of a token exchange.
    pub(in crate::issuer) fn exchange(&self) -> Option<&ExchangeParameters> {
        self.exchange.as_ref()
    }

    /// The requested owner.
    ///
    /// # Errors
    /// If it is no usable text.
    pub(in crate::issuer) fn owner(&self) -> Result<Option<&str>, TokenError> {
        asked(&self.owner)
    }

    /// The requested device.
    ///
    /// # Errors
    /// If it is no usable text.
    pub(in crate::issuer) fn device_id(&self) -> Result<Option<&str>, TokenError> {
        asked(&self.device_id)
    }

    pub(in crate::issuer) fn refresh_token(&self) -> Option<&SecretString> {
        self.refresh_token.as_ref()
    }
}

fn asked(parameter: &Asked) -> Result<Option<&str>, TokenError> {
    match parameter {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(error)) => Err(*error),
    }
}

fn parse_scope(text: &str) -> Result<ScopeSet, TokenError> {
    // Counted before parsing, which compares each scope with each.
    if entries(text).count() > MAX_ENTRIES {
        return Err(TokenError::TooLarge);
    }
    let is_malformed = |entry: &&str| ScopeSet::from_tokens([entry]).is_err();
    match entries(text).find(is_malformed) {
        Some(malformed) => Err(TokenError::MalformedScope(Excerpt::of(malformed))),
        None => ScopeSet::parse(text).map_err(|_| TokenError::MalformedScope(Excerpt::of(text))),
    }
}

impl Audiences {
    /// plgd's server reads only `aud` of a form and `audience` of JSON.
    fn parse(parameters: &Parameters, profile: &ProfilePolicy) -> Result<Self, TokenError> {
        let Parameters {
            audience,
            aud,
            resource,
            ..
        } = parameters;
        if !aud.is_empty() {
            let is_superseded = !audience.is_empty() || !resource.is_empty();
            return Ok(Self {
                asked: Ok(parse_audiences(aud, &[])?),
                without_list: None,
                is_superseded,
            });
        }
        let read_by_plgd = if parameters.is_plgd_form() {
            &[][..]
        } else {
            audience
        };
        let asked = parse_audiences(audience, resource);
        let (asked, without_list) = if profile.lenient_requests {
            (asked, Some(parse_audiences(read_by_plgd, &[])?))
        } else {
            (Ok(asked?), None)
        };
        Ok(Self {
            asked,
            without_list,
            is_superseded: false,
        })
    }
}

/// `audience` values may be joined by spaces; a `resource` is one absolute URI (RFC 8707 §2). Both
/// become `aud`.
fn parse_audiences(audience: &[String], resource: &[String]) -> Result<Vec<String>, TokenError> {
    let asked = audience.iter().flat_map(|text| entries(text));
    if asked.clone().count() + resource.len() > MAX_ENTRIES {
        return Err(TokenError::TooLarge);
    }
    if let Some(malformed) = resource.iter().find(|uri| !is_resource(uri)) {
        return Err(TokenError::MalformedTarget(Excerpt::of_uri(malformed)));
    }
    let mut audiences = Vec::new();
    for audience in asked.map(str::to_owned).chain(resource.iter().cloned()) {
        if !audiences.contains(&audience) {
            audiences.push(audience);
        }
    }
    Ok(audiences)
}

fn is_resource(uri: &str) -> bool {
    // The URL parser ignores white space and controls; in an identifier they are mistakes.
    let visible = |b: u8| b.is_ascii_graphic() && b != b'#';
    uri.bytes().all(visible) && Url::parse(uri).is_ok()
}

fn parse_token_name(name: String, most: usize) -> Result<String, TokenError> {
    let printable = !name.chars().any(char::is_control);
    if printable && name.chars().count() <= most {
        Ok(name)
    } else {
        Err(TokenError::TokenName(most))
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(' ').filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests;
