//! The readings of presented credentials.

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
    Credentials::parse(headers, parameters, &ProfilePolicy::STANDARD).map(|found| match found? {
        Credentials::Secret(credentials) => Some(credentials),
        Credentials::Assertion(_) => panic!("a secret"),
    })
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
    let parse = |headers: &HeaderMap,
                 id: Option<&str>,
                 secret: Option<&str>,
                 of_type: Option<&str>| {
        let parameters = ClientParameters {
            id: id.map(str::to_owned),
            secret: secret.map(SecretString::from),
            assertion: Some(SecretString::from("a.b.c")),
            assertion_type: of_type.map(str::to_owned),
        };
        Credentials::parse(headers, parameters, &ProfilePolicy::STANDARD).map(|found| match found {
            Some(Credentials::Assertion(assertion)) => assertion.named,
            other => panic!("{other:?}"),
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
