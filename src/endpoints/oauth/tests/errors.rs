//! The errors of the endpoints.

use super::*;
use crate::jose::dpop::InvalidProof;

#[tokio::test]
async fn every_refusal_has_the_status_headers_and_body_of_rfc_6749() {
    let good = basic("bare", "s");
    let wrong = basic("bare", "wrong");
    let unknown = basic("unknown", "s");
    let no_grant = basic("no-grant", "s");
    let grant = "grant_type=client_credentials";
    let with = |more: &str| format!("{grant}&{more}");
    let challenge = Some(r#"Basic realm="m2m-sidecar""#);
    // Authorization, Content-Type, body; status, error, description.
    type Case<'a> = (
        Option<&'a str>,
        Option<&'a str>,
        String,
        u16,
        &'a str,
        &'a str,
    );
    let cases: Vec<Case> = vec![
        (
            Some(&good),
            None,
            grant.into(),
            400,
            "invalid_request",
            "the content type must be application/x-www-form-urlencoded or application/json",
        ),
        (
            Some(&good),
            Some("text/plain"),
            grant.into(),
            400,
            "invalid_request",
            "the content type must be application/x-www-form-urlencoded or application/json",
        ),
        (
            Some(&good),
            Some("application/json"),
            "{".into(),
            400,
            "invalid_request",
            "the request body is malformed",
        ),
        (
            Some(&good),
            Some("application/json"),
            r#"{"grant_type":1,"scope":{}}"#.into(),
            400,
            "invalid_request",
            "the parameter `scope` has a wrong type",
        ),
        (
            Some(&good),
            Some(FORM),
            String::new(),
            400,
            "invalid_request",
            "grant_type is missing",
        ),
        (
            Some(&good),
            None,
            String::new(),
            400,
            "invalid_request",
            "grant_type is missing",
        ),
        (
            Some(&good),
            Some(FORM),
            with(grant),
            400,
            "invalid_request",
            "the parameter `grant_type` is repeated",
        ),
        (
            Some(&good),
            Some(FORM),
            with(&"a=&".repeat(100)),
            400,
            "invalid_request",
            "too many parameters, or one that is too long",
        ),
        (
            Some(&good),
            Some(FORM),
            with("client_secret=s"),
            400,
            "invalid_request",
            "more than one client authentication method is used",
        ),
        (
            Some(&good),
            Some(FORM),
            with("client_id=other"),
            400,
            "invalid_request",
            "more than one client authentication method is used",
        ),
        (
            Some(&good),
            Some(FORM),
            with("client_assertion=x"),
            400,
            "invalid_request",
            "client_assertion needs the client_assertion_type \
             urn:ietf:params:oauth:client-assertion-type:jwt-bearer (or its sibling \
             jwt-spiffe for a JWT-SVID)",
        ),
        (
            Some(&good),
            Some(FORM),
            with("expiration=1"),
            400,
            "invalid_request",
            "expiration must be a time in unix seconds, in the future, within the client's token \
             lifetime and before the client's expiry",
        ),
        (
            Some(&good),
            Some(FORM),
            with("token_name=%07"),
            400,
            "invalid_request",
            "token_name must be at most 128 printable characters",
        ),
        (
            Some(&wrong),
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            Some(&unknown),
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            Some("Basic ???"),
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            None,
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            Some("Bearer x"),
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            None,
            Some(FORM),
            with("client_id=bare&client_secret=wrong"),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            None,
            Some(FORM),
            with("client_id=bare"),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            None,
            Some(FORM),
            with("client_secret=s"),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            Some(&no_grant),
            Some(FORM),
            grant.into(),
            400,
            "unauthorized_client",
            "this client may not use this grant type",
        ),
        (
            Some(&good),
            Some(FORM),
            "grant_type=password".into(),
            400,
            "unsupported_grant_type",
            "this grant type is not supported; supported are client_credentials, refresh_token \
             and urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        (
            None,
            Some(FORM),
            "grant_type=authorization_code&code=x&client_id=bare".into(),
            400,
            "unsupported_grant_type",
            "this grant type is not supported; supported are client_credentials, refresh_token \
             and urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        (
            Some(&good),
            Some(FORM),
            with("scope=admin"),
            400,
            "invalid_scope",
            "the scope `admin` is not allowed to this client",
        ),
        (
            Some(&good),
            Some(FORM),
            with("audience=urn:other"),
            400,
            "invalid_target",
            "the audience or resource `urn:other` is not allowed to this client",
        ),
        (
            Some(&good),
            Some(FORM),
            with("resource=other"),
            400,
            "invalid_target",
            "the resource `other` is not an absolute URI without fragment",
        ),
    ];
    for (authorization, content_type, body, status, error, description) in cases {
        let answer = post_token(authorization, content_type, &body).await;
        let case = format!("{authorization:?} {body}: {}", answer.text);
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(
            answer.body,
            json!({"error": error, "error_description": description}),
            "{case}"
        );
        assert_eq!(
            answer.header(CONTENT_TYPE),
            Some("application/json"),
            "{case}"
        );
        assert_eq!(answer.header(CACHE_CONTROL), Some("no-store"), "{case}");
        assert_eq!(answer.header(PRAGMA), Some("no-cache"), "{case}");
        let used_basic = authorization.is_some_and(|value| value.starts_with("Basic"));
        let expected = if status == 401 && used_basic {
            challenge
        } else {
            None
        };
        assert_eq!(answer.header(WWW_AUTHENTICATE), expected, "{case}");
    }
}

/// plgd's coap-gateway takes these statuses for final, and ends the connection of the device.
#[test]
fn overload_and_faults_of_the_store_never_have_a_status_that_is_final() {
    const FINAL: [u16; 5] = [400, 401, 403, 404, 409];
    for error in [
        TokenError::Busy,
        TokenError::TooManyFailures { retry_after: 1 },
        TokenError::TooManyTokens { retry_after: 1 },
        TokenError::TooManyProofs,
        TokenError::ClientKeysUnavailable,
        TokenError::KeyNotReady,
        TokenError::StoreUnavailable,
        TokenError::StoreUnwritable("the disk is full"),
        TokenError::from(crate::store::StoreError::Unreadable),
        TokenError::Signing,
    ] {
        for answer in [token_error_answer(error), plgd::token_error_answer(error)] {
            let status = answer.status().as_u16();
            assert!(!FINAL.contains(&status), "{error:?}: {status}");
        }
    }
}

#[tokio::test]
async fn descriptions_keep_to_the_characters_of_rfc_6749() {
    for error in [
        TokenError::ContentType,
        TokenError::Expiration,
        TokenError::TokenName(128),
        TokenError::TooLarge,
        TokenError::ContentCoding,
        TokenError::UnsupportedGrantType,
        TokenError::BoundToken("the parameter req_cnf"),
        TokenError::NoCertificate,
        TokenError::NoProof,
        TokenError::InvalidProof(InvalidProof::Target),
        TokenError::ProofReused,
        TokenError::TooManyProofs,
        TokenError::ChangedChoice("owner"),
        TokenError::NoTarget,
    ] {
        let allowed = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert!(error.to_string().bytes().all(allowed), "{error}");
    }
}

#[tokio::test]
async fn a_body_beyond_64_kib_is_413() {
    let at_most = format!("grant_type={}", "x".repeat(MAX_BODY - 11));
    assert_eq!(
        post_token(None, Some(FORM), &at_most).await.body["error"],
        "unsupported_grant_type"
    );
    let answer = post_token(None, Some(FORM), &format!("{at_most}x")).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.header(CACHE_CONTROL), Some("no-store"));
    let expected = json!({
        "error": "invalid_request",
        "error_description": "the request body is larger than 64 KiB",
    });
    assert_eq!(answer.body, expected);
}

#[test]
fn a_temporary_error_is_503_with_retry_after() {
    let answer = token_error_answer(TokenError::Busy);
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[RETRY_AFTER], "1");
    assert_eq!(
        token_error_answer(TokenError::Signing).status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[tokio::test]
async fn other_methods_are_405_with_allow() {
    let issuer = issuer().await;
    for (method, path, allow) in [
        ("GET", "/m2m/oauth/token", "POST"),
        ("HEAD", "/m2m/oauth/token", "POST"),
        ("OPTIONS", "/m2m/oauth/token", "POST"),
        ("DELETE", "/m2m/.well-known/jwks.json", "GET,HEAD"),
        ("POST", "/m2m/.well-known/openid-configuration", "GET,HEAD"),
        (
            "BREW",
            "/.well-known/oauth-authorization-server/m2m",
            "GET,HEAD",
        ),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let answer = send(&router(&issuer), request).await;
        assert_eq!(
            (answer.status, answer.header(ALLOW)),
            (405, Some(allow)),
            "{method} {path}"
        );
        assert_eq!(answer.header(CONTENT_TYPE), Some("application/json"));
        if method != "HEAD" {
            assert_eq!(answer.body["error"], "invalid_request");
        }
    }
}

proptest! {
    #[test]
    fn any_request_gets_an_oauth_answer(
        content_type in prop_oneof![
            Just("application/json".to_owned()),
            Just(FORM.to_owned()),
            "[ -~]{0,20}",
        ],
        authorization in prop_oneof![
            "[ -~]{0,40}",
            "[ -~]{0,30}".prop_map(|text| basic(&text, &text)),
        ],
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..100),
            "grant_type=client_credentials&(client_id|client_secret|scope|audience)=[ -~]{0,20}"
                .prop_map(String::into_bytes),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let request = Request::post("/m2m/oauth/token")
                .header(CONTENT_TYPE, content_type)
                .header(AUTHORIZATION, authorization)
                .body(Body::from(body))
                .unwrap();
            send(&router(&issuer().await), request).await
        });
        prop_assert!(matches!(answer.status, 400 | 401), "{}", answer.text);
        prop_assert!(answer.body["error"].is_string());
    }
}
