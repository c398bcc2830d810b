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
use super::parameters::{ClientParameters, form_decode};
use crate::domain::oauth::{CLIENT_ASSERTION_TYPE, ClientAuthMethod, MAX_TOKEN_SIZE};
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
        let assertion = match (assertion, assertion_type) {
            (None, None) => None,
            (Some(jwt), Some(of_type)) if of_type == CLIENT_ASSERTION_TYPE => Some(jwt),
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
        Ok(Some(Self::Assertion(PresentedAssertion { named, jwt })))
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
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        headers
    }

    fn basic(joined: &str) -> HeaderMap {
        headers(&format!("Basic {}", STANDARD.encode(joined)))
    }

    fn parse_secret(
        headers: &HeaderMap,
        id: Option<String>,
        secret: Option<SecretString>,
    ) -> Result<Option<SecretCredentials>, TokenError> {
        let parameters = ClientParameters {
            id,
            secret,
            ..ClientParameters::default()
        };
        Credentials::parse(headers, parameters, &ProfilePolicy::STANDARD).map(
            |found| match found? {
                Credentials::Secret(credentials) => Some(credentials),
                Credentials::Assertion(_) => panic!("a secret"),
            },
        )
    }

    fn readings(credentials: &SecretCredentials) -> Vec<(&str, &str)> {
        credentials
            .candidates()
            .map(|c| (c.client_id.as_str(), c.secret.expose_secret()))
            .collect()
    }

    #[test]
    fn basic_is_read_decoded_and_then_raw() {
        for (joined, expected) in [
            ("id:secret", vec![("id", "secret")]),
            ("id:a:b", vec![("id", "a:b")]),
            (
                "id:p%2Bq+r%3A%25",
                vec![("id", "p+q r:%"), ("id", "p%2Bq+r%3A%25")],
            ),
            ("my%3Aid:s", vec![("my:id", "s"), ("my%3Aid", "s")]),
            ("id:100%", vec![("id", "100%"), ("id", "100%")]),
            ("id:%ff", vec![("id", "%ff")]),
            ("id:", vec![("id", "")]),
            (":", vec![("", "")]),
        ] {
            let credentials = parse_secret(&basic(joined), None, None).unwrap().unwrap();
            assert_eq!(readings(&credentials), expected, "{joined}");
            assert_eq!(credentials.method(), ClientAuthMethod::ClientSecretBasic);
        }
    }

    #[test]
    fn the_scheme_is_not_case_sensitive_and_other_schemes_are_no_credentials() {
        assert!(
            parse_secret(&headers("bASIC aWQ6c2VjcmV0"), None, None)
                .unwrap()
                .is_some()
        );
        for other in ["Bearer abc", "Digest x", "", "Basically aWQ6c2VjcmV0"] {
            assert!(
                parse_secret(&headers(other), None, None).unwrap().is_none(),
                "{other}"
            );
        }
        let post = parse_secret(&headers("Bearer abc"), Some("id".into()), Some("s".into()))
            .unwrap()
            .unwrap();
        assert_eq!(readings(&post), [("id", "s")]);
        assert_eq!(post.method(), ClientAuthMethod::ClientSecretPost);
    }

    #[test]
    fn malformed_basic_is_invalid_client() {
        let no_utf8 = format!("Basic {}", STANDARD.encode(b"id:\xff"));
        for bad in [
            "Basic",
            "Basic ",
            "Basic ???",
            "Basic aWQ",
            "Basic aWQ=",
            "Basic aWQ6c2VjcmV0 x",
            &no_utf8,
        ] {
            let error = parse_secret(&headers(bad), None, None).unwrap_err();
            assert_eq!(error, TokenError::InvalidClient { basic: true }, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn basic_may_be_in_base64_for_urls_and_without_padding(id in "[a-z?>~ä]{1,9}", secret in "[^%+]{0,40}") {
            let joined = format!("{id}:{secret}");
            for base64 in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
                let headers = headers(&format!("Basic {}", base64.encode(&joined)));
                let credentials = parse_secret(&headers, None, None).unwrap().unwrap();
                prop_assert_eq!(readings(&credentials), [(id.as_str(), secret.as_str())]);
            }
        }
    }

    #[test]
    fn one_method_per_request() {
        let parse = |id: Option<&str>, secret: Option<&str>| {
            parse_secret(
                &basic("i%64:s"),
                id.map(str::to_owned),
                secret.map(SecretString::from),
            )
            .map(|_| ())
        };
        assert_eq!(parse(Some("id"), None), Ok(()));
        assert_eq!(parse(Some("i%64"), None), Ok(()));
        for (id, secret) in [
            (Some("id"), Some("s")),
            (None, Some("s")),
            (Some("other"), None),
        ] {
            assert_eq!(parse(id, secret), Err(TokenError::SeveralAuthMethods));
        }
    }

    #[test]
    fn two_authorization_headers_are_refused() {
        let mut headers = basic("id:s");
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer abc"));
        assert_eq!(
            parse_secret(&headers, None, None).unwrap_err(),
            TokenError::RepeatedHeader("Authorization")
        );
    }

    #[test]
    fn an_overlong_client_id_is_refused() {
        let id = "i".repeat(257);
        assert_eq!(
            parse_secret(&basic(&format!("{id}:s")), None, None).unwrap_err(),
            TokenError::TooLarge
        );
    }

    #[test]
    fn beside_an_assertion_an_id_only_identifies_and_a_secret_is_a_second_method() {
        let parse =
            |headers: &HeaderMap, id: Option<&str>, secret: Option<&str>, of_type: Option<&str>| {
                let parameters = ClientParameters {
                    id: id.map(str::to_owned),
                    secret: secret.map(SecretString::from),
                    assertion: Some(SecretString::from("a.b.c")),
                    assertion_type: of_type.map(str::to_owned),
                };
                Credentials::parse(headers, parameters, &ProfilePolicy::STANDARD).map(|found| {
                    match found {
                        Some(Credentials::Assertion(assertion)) => assertion.named,
                        other => panic!("{other:?}"),
                    }
                })
            };
        let (none, jwt) = (HeaderMap::new(), Some(CLIENT_ASSERTION_TYPE));
        assert_eq!(parse(&none, None, None, jwt).unwrap(), Vec::<String>::new());
        assert_eq!(parse(&none, Some("id"), None, jwt).unwrap(), ["id"]);
        assert_eq!(parse(&basic("id:"), None, None, jwt).unwrap(), ["id"]);
        assert_eq!(parse(&basic("id:"), Some("id"), None, jwt).unwrap(), ["id"]);
        assert_eq!(
            parse(&headers("Bearer abc"), None, None, jwt).unwrap(),
            Vec::<String>::new()
        );
        let several = Err(TokenError::SeveralAuthMethods);
        assert_eq!(parse(&basic("id:secret"), None, None, jwt), several);
        assert_eq!(parse(&basic("id:"), Some("other"), None, jwt), several);
        assert_eq!(parse(&none, Some("id"), Some("secret"), jwt), several);
        assert_eq!(parse(&none, None, Some("secret"), jwt), several);
        for of_type in [
            None,
            Some("jwt"),
            Some("urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
        ] {
            assert_eq!(
                parse(&none, Some("id"), None, of_type),
                Err(TokenError::AssertionType)
            );
        }
    }

    /// The id, and the secret or the assertion.
    fn parse_plgd(
        headers: &HeaderMap,
        [id, secret, assertion, assertion_type]: [Option<&str>; 4],
    ) -> Result<(Vec<String>, String), TokenError> {
        let parameters = ClientParameters {
            id: id.map(str::to_owned),
            secret: secret.map(SecretString::from),
            assertion: assertion.map(SecretString::from),
            assertion_type: assertion_type.map(str::to_owned),
        };
        let found =
            Credentials::parse(headers, parameters, &ProfilePolicy::PLGD)?.expect("credentials");
        Ok(match &found {
            Credentials::Secret(it) => (
                found.named().collect(),
                it.first.secret.expose_secret().to_owned(),
            ),
            Credentials::Assertion(it) => (it.named.clone(), it.jwt.expose_secret().to_owned()),
        })
    }

    #[test]
    fn in_plgds_profile_equal_credentials_may_come_twice_and_different_ones_may_not() {
        let parse =
            |basic_text: &str, id, secret| parse_plgd(&basic(basic_text), [id, secret, None, None]);
        let of = |id: &str, secret: &str| Ok((vec![id.to_owned()], secret.to_owned()));
        for (id, secret) in [
            (Some("id"), Some("s")),
            (None, Some("s")),
            (Some("id"), None),
        ] {
            assert_eq!(parse("id:s", id, secret), of("id", "s"));
        }
        let both = Ok((vec!["id".to_owned(); 2], "p+ q".to_owned()));
        assert_eq!(
            parse("id:p%2B+q", Some("id"), Some("p+ q")),
            both,
            "as the RFC encodes it"
        );
        assert_eq!(
            parse("id:p%2B+q", Some("id"), Some("p%2B+q")),
            both,
            "as it is"
        );
        for (text, id, secret) in [
            ("id:s", Some("id"), Some("t")),
            ("id:t", Some("id"), Some("s")),
            ("id:s", Some("other"), Some("s")),
            ("id:s", Some("other"), None),
            ("id:s", None, Some("t")),
            ("id:s", Some("id"), Some("s\n")),
            ("id:", Some("id"), Some("s")),
            // One reading's id with the other reading's secret.
            ("i%64:%73", Some("id"), Some("%73")),
        ] {
            assert_eq!(
                parse(text, id, secret),
                Err(TokenError::SeveralAuthMethods),
                "{text} {id:?} {secret:?}"
            );
        }
    }

    #[test]
    fn in_plgds_profile_a_secret_beside_an_assertion_and_a_missing_type_do_not_matter() {
        let (none, jwt, of_type) = (HeaderMap::new(), Some("a.b.c"), Some(CLIENT_ASSERTION_TYPE));
        let of = Ok((vec!["id".to_owned()], "a.b.c".to_owned()));
        assert_eq!(parse_plgd(&none, [Some("id"), None, jwt, None]), of);
        assert_eq!(parse_plgd(&none, [Some("id"), Some("s"), jwt, of_type]), of);
        assert_eq!(
            parse_plgd(&basic("id:s"), [Some("id"), None, jwt, of_type]),
            of
        );
        assert_eq!(parse_plgd(&basic("id:s"), [None, Some("t"), jwt, None]), of);
        let secret = Ok((vec!["id".to_owned()], "s".to_owned()));
        for of_type in [of_type, Some("urn:x")] {
            assert_eq!(
                parse_plgd(&none, [Some("id"), Some("s"), None, of_type]),
                secret
            );
        }
        let other = parse_plgd(&basic("id:"), [Some("other"), None, jwt, of_type]);
        assert_eq!(other, Err(TokenError::SeveralAuthMethods));
        for wrong in [
            "jwt",
            "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
        ] {
            let error = parse_plgd(&none, [Some("id"), None, jwt, Some(wrong)]).unwrap_err();
            assert_eq!(error, TokenError::AssertionType);
        }
    }

    #[test]
    fn an_overlong_assertion_is_refused() {
        for (length, accepted) in [(MAX_TOKEN_SIZE, true), (MAX_TOKEN_SIZE + 1, false)] {
            let parameters = ClientParameters {
                assertion: Some("x".repeat(length).into()),
                assertion_type: Some(CLIENT_ASSERTION_TYPE.to_owned()),
                ..ClientParameters::default()
            };
            assert_eq!(
                Credentials::parse(&HeaderMap::new(), parameters, &ProfilePolicy::STANDARD).is_ok(),
                accepted
            );
        }
    }
}
