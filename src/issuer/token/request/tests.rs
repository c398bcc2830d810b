//! Token requests, well-formed and malformed.

use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use proptest::prelude::*;

use super::*;
use crate::domain::secret::ExposeSecret;

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
    TokenRequest::parse_in(
        (&ProfilePolicy::PLGD, &Arc::default()),
        &headers,
        None,
        body.as_bytes(),
    )
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
    let named = |characters: usize| plgd_form(&format!("token_name={}", "ä".repeat(characters)));
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
    let body = r#"{"grant_type":"client_credentials","aud":"x","audience":"y","resource":"urn:r"}"#;
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
    let request =
        json(r#"{"grant_type":"client_credentials","scope":null,"audience":[],"client_id":""}"#)
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
        let error = form(&format!("grant_type=client_credentials&{name}=1&{name}=1")).unwrap_err();
        assert_eq!(error, TokenError::Repeated(Excerpt::of(name)), "{name}");
        assert_eq!(
            error.to_string(),
            format!("the parameter `{name}` is repeated")
        );
    }
    // An unknown one that may be a secret.
    for name in ["a%20secret", "a-very-long-name-that-may-be-a-secret"] {
        let error = form(&format!("grant_type=client_credentials&{name}=1&{name}=1")).unwrap_err();
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
    let request =
        form("grant_type=client_credentials&audience=a&audience=a&resource=urn:a&resource=urn:b")
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
fn a_parameter_binds_no_token() {
    let bound = |body: &str| form(&format!("grant_type=client_credentials&{body}")).map(|_| ());
    for (body, what) in [
        ("req_cnf=x", "the parameter req_cnf"),
        ("dpop_jkt=x", "the parameter dpop_jkt"),
        ("token_type=pop", "the parameter token_type"),
    ] {
        assert_eq!(bound(body), Err(TokenError::BoundToken(what)));
    }
    assert_eq!(bound("token_type=bearer"), Ok(()));
    assert!(bound("token_type=DPoP").is_err(), "without a proof");
}

#[test]
fn a_request_has_at_most_one_proof() {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert("DPoP", HeaderValue::from_static("a.b.c"));
    let body = b"grant_type=client_credentials&token_type=DPoP";
    for profile in [&ProfilePolicy::STANDARD, &ProfilePolicy::PLGD] {
        let request =
            TokenRequest::parse_in((profile, &Arc::default()), &headers, None, body).unwrap();
        assert_eq!(request.proof().unwrap().expose_secret(), "a.b.c");
    }
    headers.append("DPoP", HeaderValue::from_static("a.b.d"));
    let error = TokenRequest::parse(&headers, body).unwrap_err();
    assert_eq!(error, TokenError::InvalidProof(InvalidProof::Two));
    assert_eq!(error.code().as_str(), "invalid_dpop_proof");
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
            (&ProfilePolicy::STANDARD, &Arc::default()),
            &headers,
            Some(query),
            body.as_bytes(),
        )
        .map(|_| ())
    };
    let grant = "grant_type=client_credentials";
    assert_eq!(
        parse(grant, ""),
        Err(TokenError::InQuery(Excerpt::of("grant_type")))
    );
    assert_eq!(
        parse(grant, "a=%ff"),
        Err(TokenError::InQuery(Excerpt::of("grant_type")))
    );
    assert_eq!(
        parse("client_secret=s&x", grant),
        Err(TokenError::InQuery(Excerpt::of("client_secret")))
    );
    assert_eq!(
        parse("aud%69ence=a", grant),
        Err(TokenError::InQuery(Excerpt::of("audience")))
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
    let post = form("grant_type=client_credentials&client_id=id&client_secret=s%2Becret").unwrap();
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
            "(grant_type|scope|resource|[a-z]{0,3})=[ -~]{0,30}&[ -~]{0,30}"
                .prop_map(String::into_bytes),
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
