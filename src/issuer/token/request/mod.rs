//! Token requests, parsed once: no later phase uses the headers or the body.
//!
//! A parameter without a value counts as absent (RFC 6749 §3.2). An unknown one is ignored, unless
//! its name resembles a known one. A repeated one is an error. Sizes are limited here, so that
//! later phases may compare lists.

mod credentials;
mod expiration;
mod parameters;
mod presented;

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::Url;

use crate::domain::clock::UnixTime;
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::issuer::error::TokenError;
use crate::issuer::excerpt::Excerpt;
use crate::issuer::profile::ProfilePolicy;

pub(in crate::issuer) use self::credentials::{
    Candidate, Credentials, PresentedAssertion, SecretCredentials,
};
pub(in crate::issuer) use self::parameters::Parameters;
pub(in crate::issuer) use self::presented::Presented;

/// The most scopes, and the most audiences and resources together.
const MAX_ENTRIES: usize = 100;
/// The header with a proof of possession (RFC 9449 §4.1).
const DPOP: &str = "dpop";
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
        Self::parse_in(&ProfilePolicy::STANDARD, headers, None, body)
    }

    /// Parses a request. The query of its URL must have no parameter. In plgd's profile a body that
    /// is no form is JSON, an `expiration` of 0 is none, and a form has its audience in `aud`.
    ///
    /// # Errors
    /// If the request is malformed.
    pub fn parse_in(
        profile: &ProfilePolicy,
        headers: &HeaderMap,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Self, TokenError> {
        let parameters = if profile.lenient_requests {
            Parameters::parse_form_or_json(headers, body)
        } else {
            Parameters::parse(headers, body)
        };
        Self::of(
            headers,
            Parameters::without_query(parameters, query)?,
            profile,
        )
    }

    /// Parses protobuf's JSON, in which names may be in camel case. plgd's tokens API ignores
    /// credentials in the header; here they count if the body names no client.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_protojson(headers: &HeaderMap, body: &[u8]) -> Result<Self, TokenError> {
        let parameters = Parameters::parse_protojson(headers, body)?;
        let mut headers = headers.clone();
        if parameters.client.id.is_some() {
            headers.remove(AUTHORIZATION);
        }
        Self::of(&headers, parameters, &ProfilePolicy::PLGD)
    }

    fn of(
        headers: &HeaderMap,
        parameters: Parameters,
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
        if headers.contains_key(DPOP) {
            return Err(TokenError::BoundToken("the header DPoP"));
        }
        parameters.check_bearer()?;
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

    pub(in crate::issuer) fn refresh_token(&self) -> Option<&SecretString> {
        self.refresh_token.as_ref()
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
mod tests {
    use http::HeaderValue;
    use http::header::{AUTHORIZATION, CONTENT_TYPE};
    use proptest::prelude::*;

    use super::*;

    fn form(body: &str) -> Result<TokenRequest, TokenError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=UTF-8"),
        );
        TokenRequest::parse(&headers, body.as_bytes())
    }

    fn json(body: &str) -> Result<TokenRequest, TokenError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        TokenRequest::parse(&headers, body.as_bytes())
    }

    #[test]
    fn form_and_json_mean_the_same() {
        let form = form(
            "grant_type=client_credentials&scope=a+b&audience=x%20y&audience=z&resource=urn%3Ar\
             &expiration=17&token_name=n%C3%A4me&unknown=1",
        )
        .unwrap();
        let json = json(
            r#"{"grant_type":"client_credentials","scope":"a b","audience":["x y","z"],"resource":"urn:r",
                "expiration":17,"token_name":"näme","unknown":{"a":[1]}}"#,
        )
        .unwrap();
        for request in [form, json] {
            assert_eq!(request.grant_type(), Some(GrantType::ClientCredentials));
            assert_eq!(request.scope().to_string(), "a b");
            assert_eq!(request.audiences(&[]).unwrap(), ["x", "y", "z", "urn:r"]);
            assert_eq!(request.expiration(UnixTime(0)), Some(UnixTime(17)));
            assert_eq!(request.token_name(), Some("näme"));
            assert!(request.credentials().is_none());
        }
    }

    fn plgd(content_type: &'static str, body: &str) -> Result<TokenRequest, TokenError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        TokenRequest::parse_in(&ProfilePolicy::PLGD, &headers, None, body.as_bytes())
    }

    fn plgd_form(parameters: &str) -> Result<TokenRequest, TokenError> {
        plgd(
            "application/x-www-form-urlencoded",
            &format!("grant_type=client_credentials&{parameters}"),
        )
    }

    #[test]
    fn in_a_form_of_plgds_clients_aud_is_the_audience() {
        let list = ["a".to_owned()];
        for (parameters, with_list, without, is_superseded) in [
            ("aud=x+y", &["x", "y"][..], &["x", "y"][..], false),
            ("aud=x&aud=y+x", &["x", "y"], &["x", "y"], false),
            ("aud=x&audience=y", &["x"], &["x"], true),
            ("audience=y&aud=x", &["x"], &["x"], true),
            ("audience=x&aud=x", &["x"], &["x"], true),
            ("audience=x+y", &["x", "y"], &[], false),
            ("audience=x&aud=", &["x"], &[], false),
            ("audience=x&resource=urn:r", &["x", "urn:r"], &[], false),
            ("aud=x&resource=urn:r", &["x"], &["x"], true),
            ("resource=urn:r", &["urn:r"], &[], false),
            ("aud=", &[], &[], false),
        ] {
            let request = plgd_form(parameters).unwrap();
            assert_eq!(request.audiences(&list).unwrap(), with_list, "{parameters}");
            assert_eq!(request.audiences(&[]).unwrap(), without, "{parameters}");
            assert_eq!(
                request.has_superseded_audience(),
                is_superseded,
                "{parameters}"
            );
        }
        let many = (0..101)
            .map(|i| i.to_string())
            .collect::<Vec<_>>()
            .join("+");
        for (ignored, error) in [
            (
                "resource=relative".to_owned(),
                TokenError::MalformedTarget(Excerpt::of_uri("relative")),
            ),
            (format!("audience={many}"), TokenError::TooLarge),
        ] {
            let request = plgd_form(&ignored).unwrap();
            assert_eq!(
                (request.audiences(&[]), request.audiences(&list)),
                (Ok(&[][..]), Err(error))
            );
        }
        for given in ["Aud", "auds", "a-u-d"] {
            let error = plgd_form(&format!("{given}=x")).unwrap_err();
            assert_eq!(
                error,
                TokenError::Misspelt {
                    given: Excerpt::of(given),
                    known: "aud"
                }
            );
        }
        assert_eq!(
            plgd_form(&format!("aud={many}")).unwrap_err(),
            TokenError::TooLarge
        );
    }

    #[test]
    fn in_plgds_profile_a_token_name_may_be_long() {
        let named =
            |characters: usize| plgd_form(&format!("token_name={}", "ä".repeat(characters)));
        assert_eq!(
            named(4096)
                .unwrap()
                .token_name()
                .map(|name| name.chars().count()),
            Some(4096)
        );
        assert_eq!(named(4097).unwrap_err(), TokenError::TokenName(4096));
        assert_eq!(
            plgd_form("token_name=a%0Ab").unwrap_err(),
            TokenError::TokenName(4096)
        );
    }

    #[test]
    fn elsewhere_aud_is_an_unknown_parameter() {
        let request = form("grant_type=client_credentials&aud=x&audience=y").unwrap();
        assert_eq!(request.audiences(&[]).unwrap(), ["y"]);
        assert!(!request.has_superseded_audience());
        let body =
            r#"{"grant_type":"client_credentials","aud":"x","audience":"y","resource":"urn:r"}"#;
        let request = plgd("application/json", body).unwrap();
        assert_eq!(
            request.audiences(&[]).unwrap(),
            ["y"],
            "in JSON an audience counts without a list too"
        );
        assert_eq!(
            request.audiences(&["a".to_owned()]).unwrap(),
            ["y", "urn:r"]
        );
        assert!(!request.has_superseded_audience());
    }

    #[test]
    fn an_expiration_of_the_last_minute_counts_as_not_given_in_plgds_profile() {
        let at = |seconds: i64| {
            let request = plgd_form("expiration=1800000000").unwrap();
            request
                .expiration(UnixTime(1_800_000_000 + seconds))
                .is_some()
        };
        assert_eq!(
            [-1, 0, 1, 59, 60, 61, 3600].map(at),
            [true, false, false, false, false, true, true]
        );
        for none in ["0", "-0", "0.0", "-1", "-7e9", &i64::MIN.to_string()] {
            assert!(
                plgd_form(&format!("expiration={none}"))
                    .unwrap()
                    .expiration(UnixTime(3600))
                    .is_none()
            );
        }
        assert!(
            plgd_form("expiration=1")
                .unwrap()
                .expiration(UnixTime(i64::MAX))
                .is_some()
        );
        let standard = form("grant_type=client_credentials&expiration=1800000000").unwrap();
        assert!(standard.expiration(UnixTime(1_800_000_000)).is_some());
    }

    #[test]
    fn a_parameter_without_a_value_is_absent() {
        let request = form(
            "grant_type=client_credentials&scope=&scope=a&client_secret&expiration=&token_name=&&audience=",
        )
        .unwrap();
        assert_eq!(request.scope().to_string(), "a");
        assert!(
            request.audiences(&[]).unwrap().is_empty()
                && request.expiration(UnixTime(0)).is_none()
                && request.token_name().is_none()
        );
        assert_eq!(form("grant_type=").unwrap_err(), TokenError::NoGrantType);
        assert_eq!(
            json(r#"{"grant_type":null}"#).unwrap_err(),
            TokenError::NoGrantType
        );
        let request = json(
            r#"{"grant_type":"client_credentials","scope":null,"audience":[],"client_id":""}"#,
        )
        .unwrap();
        assert!(
            request.scope().is_empty()
                && request.audiences(&[]).unwrap().is_empty()
                && request.credentials().is_none()
        );
    }

    #[test]
    fn a_repeated_parameter_is_refused_except_audience_and_resource() {
        for name in [
            "grant_type",
            "scope",
            "client_id",
            "client_secret",
            "expiration",
            "token_name",
            "unknown",
        ] {
            let error =
                form(&format!("grant_type=client_credentials&{name}=1&{name}=1")).unwrap_err();
            assert_eq!(error, TokenError::Repeated(Excerpt::of(name)), "{name}");
            assert_eq!(
                error.to_string(),
                format!("the parameter `{name}` is repeated")
            );
        }
        // An unknown one that may be a secret.
        for name in ["a%20secret", "a-very-long-name-that-may-be-a-secret"] {
            let error =
                form(&format!("grant_type=client_credentials&{name}=1&{name}=1")).unwrap_err();
            assert_eq!(error, TokenError::RepeatedUnknown, "{name}");
        }
        let grant_type = TokenError::Repeated(Excerpt::of("grant_type"));
        assert_eq!(
            json(r#"{"grant_type":"client_credentials","grant_type":"client_credentials"}"#)
                .unwrap_err(),
            grant_type
        );
        assert_eq!(
            form("grant_type=client_credentials&gr%61nt_type=x").unwrap_err(),
            grant_type
        );
        let request = form(
            "grant_type=client_credentials&audience=a&audience=a&resource=urn:a&resource=urn:b",
        )
        .unwrap();
        assert_eq!(request.audiences(&[]).unwrap(), ["a", "urn:a", "urn:b"]);
    }

    #[test]
    fn of_a_grant_that_there_is_not_nothing_else_is_looked_at() {
        for body in [
            "",
            "&resource=relative",
            "&scope=%22",
            "&client_assertion=x",
            "&Scope=a",
            "&req_cnf=x",
        ] {
            let request = form(&format!("grant_type=password{body}")).unwrap();
            assert_eq!(request.grant_type(), None, "{body}");
        }
        let named = form("grant_type=password&client_id=a").unwrap();
        assert_eq!(
            named.credentials().unwrap().named().collect::<Vec<_>>(),
            ["a"]
        );
        let text = TokenError::UnsupportedGrantType.to_string();
        assert!(
            GrantType::ALL
                .iter()
                .all(|grant| text.contains(grant.as_str())),
            "{text}"
        );
    }

    #[test]
    fn a_token_that_is_bound_to_a_key_is_not_issued_as_a_bearer_token() {
        let bound = |body: &str| form(&format!("grant_type=client_credentials&{body}")).map(|_| ());
        for (body, what) in [
            ("req_cnf=x", "the parameter req_cnf"),
            ("dpop_jkt=x", "the parameter dpop_jkt"),
            ("token_type=pop", "the parameter token_type"),
        ] {
            assert_eq!(bound(body), Err(TokenError::BoundToken(what)));
        }
        assert_eq!(bound("token_type=bearer"), Ok(()));
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert("DPoP", HeaderValue::from_static("a.b.c"));
        for profile in [&ProfilePolicy::STANDARD, &ProfilePolicy::PLGD] {
            let body = b"grant_type=client_credentials";
            let error = TokenRequest::parse_in(profile, &headers, None, body).unwrap_err();
            assert_eq!(error, TokenError::BoundToken("the header DPoP"));
            assert_eq!(error.code().as_str(), "invalid_request");
        }
    }

    #[test]
    fn a_parameter_in_the_query_is_refused_unless_the_body_has_it_too() {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let parse = |query, body: &str| {
            TokenRequest::parse_in(
                &ProfilePolicy::STANDARD,
                &headers,
                Some(query),
                body.as_bytes(),
            )
            .map(|_| ())
        };
        let grant = "grant_type=client_credentials";
        assert_eq!(parse(grant, ""), Err(TokenError::InQuery("grant_type")));
        assert_eq!(
            parse(grant, "a=%ff"),
            Err(TokenError::InQuery("grant_type"))
        );
        assert_eq!(
            parse("client_secret=s&x", grant),
            Err(TokenError::InQuery("client_secret"))
        );
        assert_eq!(
            parse("aud%69ence=a", grant),
            Err(TokenError::InQuery("audience"))
        );
        for query in ["", grant, "api-version=2", "Scope"] {
            assert_eq!(parse(query, grant), Ok(()), "{query}");
        }
    }

    #[test]
    fn a_parameter_that_is_nearly_a_known_one_is_refused() {
        for (given, known) in [
            ("scopes", "scope"),
            ("Scope", "scope"),
            ("audiences", "audience"),
            ("resources", "resource"),
            ("clientId", "client_id"),
            ("client-secret", "client_secret"),
            ("tokenName", "token_name"),
        ] {
            let error = form(&format!("grant_type=client_credentials&{given}=a")).unwrap_err();
            assert_eq!(
                error,
                TokenError::Misspelt {
                    given: Excerpt::of(given),
                    known
                }
            );
        }
        let error = form("grantType=client_credentials").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no parameter `grantType`; the name is `grant_type`"
        );
        for body in ["scopes=a&scope=b", "scope_id=a", "state=x", "username=x"] {
            assert!(
                form(&format!("grant_type=client_credentials&{body}")).is_ok(),
                "{body}"
            );
        }
    }

    #[test]
    fn a_compressed_body_is_refused_by_that_name() {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        assert_eq!(
            TokenRequest::parse(&headers, b"\x1f\x8b\x08").unwrap_err(),
            TokenError::ContentCoding
        );
        for (coding, accepted) in [("gzip", false), ("br", false), ("Identity", true)] {
            headers.insert("content-encoding", HeaderValue::from_static(coding));
            assert_eq!(
                TokenRequest::parse(&headers, b"grant_type=client_credentials").is_ok(),
                accepted
            );
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let many = |name: &str, n: usize| {
            (0..n)
                .map(|i| format!("&{name}=urn:{i}"))
                .collect::<String>()
        };
        let joined = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join("+");
        assert!(
            form(&format!(
                "grant_type=client_credentials{}",
                many("audience", 99)
            ))
            .is_ok()
        );
        assert_eq!(
            form(&format!(
                "grant_type=client_credentials{}",
                many("audience", 100)
            ))
            .unwrap_err(),
            TokenError::TooLarge
        );
        assert!(
            form(&format!(
                "grant_type=client_credentials&scope={}",
                joined(100)
            ))
            .is_ok()
        );
        assert_eq!(
            form(&format!(
                "grant_type=client_credentials&scope={}",
                joined(101)
            ))
            .unwrap_err(),
            TokenError::TooLarge
        );
        assert!(
            form(&format!(
                "grant_type=client_credentials&audience={}",
                joined(100)
            ))
            .is_ok()
        );
        let both = format!(
            "grant_type=client_credentials&audience={}&resource=urn:a",
            joined(100)
        );
        assert_eq!(form(&both).unwrap_err(), TokenError::TooLarge);
        let id = "i".repeat(256);
        assert!(form(&format!("grant_type=client_credentials&client_id={id}")).is_ok());
        assert_eq!(
            form(&format!("grant_type=client_credentials&client_id={id}i")).unwrap_err(),
            TokenError::TooLarge
        );
        let name = "ä".repeat(128);
        assert!(form(&format!("grant_type=client_credentials&token_name={name}")).is_ok());
        assert_eq!(
            form(&format!("grant_type=client_credentials&token_name={name}a")).unwrap_err(),
            TokenError::TokenName(128)
        );
    }

    #[test]
    fn malformed_values_are_refused_with_the_error_of_their_parameter() {
        for (body, error) in [
            ("scope=%22", TokenError::MalformedScope(Excerpt::of("\""))),
            (
                "scope=x+a%09b",
                TokenError::MalformedScope(Excerpt::of("a\tb")),
            ),
            (
                "resource=relative",
                TokenError::MalformedTarget(Excerpt::of("relative")),
            ),
            (
                "resource=/path",
                TokenError::MalformedTarget(Excerpt::of("/path")),
            ),
            (
                "resource=https://a/%23fragment",
                TokenError::MalformedTarget(Excerpt::of("https://a/...")),
            ),
            (
                "resource=https://a/+b",
                TokenError::MalformedTarget(Excerpt::of("https://a/ b")),
            ),
            (
                "resource=%0ahttps://a/",
                TokenError::MalformedTarget(Excerpt::of("\nhttps://a/")),
            ),
            ("expiration=soon", TokenError::MalformedExpiration),
            ("expiration=1.5", TokenError::MalformedExpiration),
            ("expiration=1.7e9", TokenError::MalformedExpiration),
            (
                "expiration=99999999999999999999",
                TokenError::MalformedExpiration,
            ),
            ("token_name=a%0ab", TokenError::TokenName(128)),
            ("client_assertion=x", TokenError::AssertionType),
            ("client_assertion_type=x", TokenError::AssertionType),
        ] {
            assert_eq!(
                form(&format!("grant_type=client_credentials&{body}")).unwrap_err(),
                error,
                "{body}"
            );
        }
    }

    #[test]
    fn a_request_shown_in_a_log_holds_no_secret() {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        // "id:s%2Becret": the decoded and the raw form.
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_static("Basic aWQ6cyUyQmVjcmV0"),
        );
        let basic = TokenRequest::parse(&headers, b"grant_type=client_credentials").unwrap();
        let post =
            form("grant_type=client_credentials&client_id=id&client_secret=s%2Becret").unwrap();
        for request in [basic, post] {
            let shown = format!("{request:?}");
            assert!(
                shown.contains("REDACTED") && !shown.contains("ecret\"") && !shown.contains("s+"),
                "{shown}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            content_type in prop_oneof![
                Just(&b"application/json"[..]), Just(&b"application/x-www-form-urlencoded"[..]), Just(&b"\xff"[..]),
            ],
            authorization in proptest::collection::vec(any::<u8>(), 0..40),
            basic in any::<bool>(),
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "(grant_type|scope|resource|[a-z]{0,3})=[ -~]{0,30}&[ -~]{0,30}".prop_map(String::into_bytes),
                r#"\{"(scope|audience|expiration)":[\[\]0-9a-z",{}]{0,20}\}"#.prop_map(String::into_bytes),
            ],
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_bytes(content_type).unwrap());
            let prefix = if basic { &b"Basic "[..] } else { &b""[..] };
            if let Ok(value) = HeaderValue::from_bytes(&[prefix, &authorization].concat()) {
                headers.insert(AUTHORIZATION, value);
            }
            let _ = TokenRequest::parse(&headers, &body);
        }
    }
}
