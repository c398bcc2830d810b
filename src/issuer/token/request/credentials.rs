//! The credentials of a client: one method per request (RFC 6749 §2.3).
//!
//! plgd's profile accepts more, as plgd's server does: equal credentials in header and body, an
//! assertion without its type, a type without an assertion, and a secret beside an assertion, which
//! is ignored.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::TokenError;
use super::body::form_decode;
use super::parameters::ClientParameters;
use crate::domain::oauth::{
    CLIENT_ASSERTION_TYPE, ClientAuthMethod, MAX_TOKEN_SIZE, SVID_ASSERTION_TYPE,
};
use crate::domain::secret::{self, ExposeSecret, SecretString};
use crate::issuer::profile::ProfilePolicy;
use crate::jose::verify::Jws;

/// The longest client id, in bytes.
const MAX_CLIENT_ID: usize = 256;

/// RFC 7617 §2 requires padding; some clients omit it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The credentials of a client.
#[derive(Debug)]
pub(in crate::issuer) enum Credentials {
    /// A secret, or only an id.
    Secret(SecretCredentials),
    /// A JWT.
    Assertion(PresentedAssertion),
}

/// A presented id and secret, in one or two readings.
#[derive(Debug)]
pub(in crate::issuer) struct SecretCredentials {
    method: ClientAuthMethod,
    first: Candidate,
    fallback: Option<Candidate>,
}

/// One reading of the presented credentials.
#[derive(Debug)]
pub(in crate::issuer) struct Candidate {
    pub(in crate::issuer) client_id: String,
    /// Empty if none was presented; then never right.
    pub(in crate::issuer) secret: SecretString,
}

/// A JWT by which a client authenticates itself (RFC 7521 §4.2).
#[derive(Debug)]
pub(in crate::issuer) struct PresentedAssertion {
    /// The readings of the client id beside it; may be empty.
    pub(in crate::issuer) named: Vec<String>,
    pub(in crate::issuer) jwt: SecretString,
    /// Whether it is announced as a JWT-SVID.
    pub(in crate::issuer) is_svid: bool,
}

impl Credentials {
    /// Finds the credentials in the `Authorization` header or among the parameters.
    ///
    /// Schemes other than Basic are ignored: web pages send their user's bearer token along.
    pub(in crate::issuer) fn parse(
        headers: &HeaderMap,
        parameters: ClientParameters,
        profile: &ProfilePolicy,
    ) -> Result<Option<Self>, TokenError> {
        let ClientParameters {
            id,
            mut secret,
            assertion,
            assertion_type,
        } = parameters;
        let is_lenient = profile.lenient_requests;
        let is_svid = assertion_type.as_deref() == Some(SVID_ASSERTION_TYPE);
        let assertion = match (assertion, assertion_type) {
            (None, None) => None,
            (Some(jwt), Some(of_type)) if of_type == CLIENT_ASSERTION_TYPE || is_svid => Some(jwt),
            (assertion, None) | (assertion @ None, _) if is_lenient => assertion,
            _ => return Err(TokenError::AssertionType),
        };
        let several = assertion.is_some() && secret.is_some();
        if several && is_lenient {
            secret = None;
        }
        let named = SecretCredentials::parse(headers, id, secret, profile)?;
        let has_secret = named
            .as_ref()
            .is_some_and(|named| named.candidates().any(Candidate::has_secret));
        if !is_lenient && (several || (assertion.is_some() && has_secret)) {
            return Err(TokenError::SeveralAuthMethods);
        }
        let Some(jwt) = assertion else {
            return Ok(named.map(Self::Secret));
        };
        if jwt.expose_secret().len() > MAX_TOKEN_SIZE {
            return Err(TokenError::TooLarge);
        }
        let named = named.iter().flat_map(SecretCredentials::candidates);
        let named = named.map(|candidate| candidate.client_id.clone()).collect();
        let presented = PresentedAssertion {
            named,
            jwt,
            is_svid,
        };
        Ok(Some(Self::Assertion(presented)))
    }
}

impl Credentials {
    /// The client ids that the request names, before authentication.
    pub(in crate::issuer) fn named(&self) -> impl Iterator<Item = String> {
        let named: Vec<String> = match self {
            Self::Secret(credentials) => credentials
                .candidates()
                .map(|it| it.client_id.clone())
                .collect(),
            Self::Assertion(assertion) if assertion.named.is_empty() => {
                let jws = Jws::parse(assertion.jwt.expose_secret()).ok();
                jws.and_then(|jws| jws.claimed_issuer().map(str::to_owned))
                    .into_iter()
                    .collect()
            }
            Self::Assertion(assertion) => assertion.named.clone(),
        };
        named.into_iter()
    }
}

impl Candidate {
    pub(in crate::issuer) fn has_secret(&self) -> bool {
        !self.secret.expose_secret().is_empty()
    }
}

impl SecretCredentials {
    fn parse(
        headers: &HeaderMap,
        client_id: Option<String>,
        client_secret: Option<SecretString>,
        profile: &ProfilePolicy,
    ) -> Result<Option<Self>, TokenError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let basic = values
            .next()
            .and_then(|value| basic_credentials(value.as_bytes()));
        if values.next().is_some() {
            return Err(TokenError::RepeatedHeader("Authorization"));
        }
        let credentials = match (basic, client_id) {
            (Some(encoded), client_id) => {
                let basic =
                    Self::parse_basic(encoded).ok_or(TokenError::InvalidClient { basic: true })?;
                // A `client_id` equal to Basic's is no second method. A secret is one, but plgd's
                // clients may repeat theirs.
                let is_repeated = match &client_secret {
                    None => client_id.is_none_or(|id| basic.names(&id)),
                    Some(secret) => {
                        profile.lenient_requests && basic.says(client_id.as_deref(), secret)
                    }
                };
                if !is_repeated {
                    return Err(TokenError::SeveralAuthMethods);
                }
                basic
            }
            (None, Some(client_id)) => {
                let secret = client_secret.unwrap_or_else(|| SecretString::from(""));
                let first = Candidate { client_id, secret };
                Self {
                    method: ClientAuthMethod::ClientSecretPost,
                    first,
                    fallback: None,
                }
            }
            (None, None) => return Ok(None),
        };
        if credentials
            .candidates()
            .any(|candidate| candidate.client_id.len() > MAX_CLIENT_ID)
        {
            return Err(TokenError::TooLarge);
        }
        Ok(Some(credentials))
    }

    /// RFC 6749 §2.3.1 form-encodes id and secret before Basic's own encoding; many clients do not.
    /// If that makes a difference, the text has two readings, the RFC's first.
    pub(super) fn parse_basic(encoded: &[u8]) -> Option<Self> {
        // Some clients write base64url, which differs in two characters: for some secrets only.
        let standard = encoded.iter().map(|&byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        });
        let standard: Zeroizing<Vec<u8>> = Zeroizing::new(standard.collect());
        let joined = Zeroizing::new(BASE64.decode(&*standard).ok()?);
        let (client_id, secret) = std::str::from_utf8(&joined).ok()?.split_once(':')?;
        let raw = Candidate {
            client_id: client_id.to_owned(),
            secret: SecretString::from(secret),
        };
        let is_encoded = joined.iter().any(|&byte| byte == b'%' || byte == b'+');
        let decoded = form_decode(client_id.as_bytes()).zip(form_decode(secret.as_bytes()));
        let (first, fallback) = match decoded.filter(|_| is_encoded) {
            Some((client_id, secret)) => (
                Candidate {
                    client_id,
                    secret: secret.into(),
                },
                Some(raw),
            ),
            None => (raw, None),
        };
        Some(Self {
            method: ClientAuthMethod::ClientSecretBasic,
            first,
            fallback,
        })
    }

    /// The readings, in the order of the attempts.
    pub(in crate::issuer) fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        std::iter::once(&self.first).chain(&self.fallback)
    }

    /// The id as the RFC reads it.
    pub(in crate::issuer) fn client_id(&self) -> &str {
        &self.first.client_id
    }

    /// How they were presented.
    pub(in crate::issuer) fn method(&self) -> ClientAuthMethod {
        self.method
    }

    fn names(&self, client_id: &str) -> bool {
        self.candidates()
            .any(|candidate| candidate.client_id == client_id)
    }

    /// Whether these are the same credentials. An absent id is no difference.
    fn says(&self, client_id: Option<&str>, secret: &SecretString) -> bool {
        self.candidates().any(|candidate| {
            client_id.is_none_or(|id| id == candidate.client_id)
                && secret::matches(&candidate.secret, secret)
        })
    }
}

/// The credentials after the scheme `Basic` in an `Authorization` value; `None` for another scheme.
pub(super) fn basic_credentials(value: &[u8]) -> Option<&[u8]> {
    let end = value
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    scheme
        .eq_ignore_ascii_case(b"basic")
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests;
