use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::domain::secret::ExposeSecret;

const NOW: UnixTime = UnixTime(1_000_000);

fn answer(status: u16, body: impl Into<Bytes>) -> HttpAnswer {
    let status = StatusCode::from_u16(status).unwrap();
    HttpAnswer {
        status,
        headers: HeaderMap::new(),
        body: body.into(),
    }
}

fn parsed(body: &str) -> Result<TokenAnswer, FetchError> {
    parse(&answer(200, body.to_owned()), NOW, TokenKind::Bearer).map_err(|failure| failure.error)
}

fn lifetime(expires_in: &str) -> Result<u64, FetchError> {
    let body = format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":{expires_in}}}"#);
    parsed(&body).map(|answer| answer.lifetime.as_secs())
}

fn jwt(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn a_plain_answer_gives_token_and_lifetime() {
    let answer =
        parsed(r#"{"access_token":"a.b-c_~","token_type":"bEARER","expires_in":3600,"x":[1]}"#)
            .unwrap();
    assert_eq!(answer.token.expose_secret(), "a.b-c_~");
    assert_eq!(answer.lifetime, Duration::from_hours(1));
    assert!(!format!("{answer:?}").contains("a.b-c_~"));
}

#[test]
fn lifetimes_are_numbers_or_texts_of_numbers_of_at_least_a_second() {
    for (given, seconds) in [
        ("2", 2),
        ("\"300\"", 300),
        ("1.5", 1),
        ("\"90.5\"", 90),
        ("1e3", 1000),
        ("null", 300),
    ] {
        assert_eq!(lifetime(given), Ok(seconds), "{given}");
    }
    for huge in [
        "86401",
        "1e300",
        "99999999999999999999999",
        "\"99999999999999999999999\"",
    ] {
        assert_eq!(lifetime(huge), Ok(86_400), "{huge}");
    }
}

#[test]
fn an_expires_in_that_is_no_life_counts_as_missing_and_is_told() {
    for bad in [
        "0", "-1", "0.5", "\"0\"", "\"\"", "\"-5\"", "\"1h\"", "\"inf\"", "\"NaN\"", "true", "{}",
        "[9]",
    ] {
        for (token, seconds) in [(jwt(r#"{"exp":1000060}"#), 60), ("opaque".to_owned(), 300)] {
            let body =
                format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{bad}}}"#);
            let answer = parsed(&body).unwrap();
            assert_eq!(answer.lifetime.as_secs(), seconds, "{bad} {token}");
            assert_eq!(answer.deviations, [Deviation::ExpiresIn], "{bad}");
        }
    }
}

#[test]
fn without_expires_in_the_tokens_own_exp_counts_else_five_minutes() {
    let of = |token: &str| {
        parsed(&format!(
            r#"{{"access_token":"{token}","token_type":"Bearer"}}"#
        ))
        .map(|a| a.lifetime.as_secs())
    };
    assert_eq!(of(&jwt(r#"{"exp":1000060}"#)), Ok(60));
    assert_eq!(of(&jwt(r#"{"exp":99999999999}"#)), Ok(86_400));
    assert_eq!(of(&jwt(r#"{"exp":999999}"#)), Err(FetchError::Expired));
    for unknown in [
        "opaque",
        "a.b.c",
        &jwt("{}"),
        &jwt(r#"{"exp":"x"}"#),
        &jwt("[]"),
    ] {
        assert_eq!(of(unknown), Ok(300), "{unknown}");
    }
}

#[test]
fn each_malformed_answer_has_its_error() {
    for body in [
        "",
        "[]",
        "null",
        "{",
        "<html>",
        "access_token=a",
        "\u{feff}",
        r#"{"a":1} x"#,
    ] {
        assert_eq!(parsed(body).unwrap_err(), FetchError::Malformed, "{body}");
    }
    for body in [
        r"{}",
        r#"{"access_token":""}"#,
        r#"{"access_token":5}"#,
        r#"{"access_token":"a b"}"#,
        r#"{"access_token":"a\r\nX: y"}"#,
        r#"{"access_token":"ä"}"#,
        r#"{"access_token":"a\u0000"}"#,
        &format!(r#"{{"access_token":"{}"}}"#, "x".repeat(MAX_TOKEN_SIZE + 1)),
    ] {
        assert_eq!(parsed(body).unwrap_err(), FetchError::AccessToken, "{body}");
    }
    for (kind, known) in [
        ("mac", "mac"),
        ("MAC", "mac"),
        ("DPoP", "DPoP"),
        (" dpop ", "DPoP"),
        ("pop", "PoP"),
        ("N_A", "N_A"),
    ] {
        let body = format!(r#"{{"access_token":"a","expires_in":9,"token_type":"{kind}"}}"#);
        assert_eq!(
            parsed(&body).unwrap_err(),
            FetchError::TokenType(known),
            "{body}"
        );
    }
}

#[test]
fn responses_of_real_token_endpoints_are_accepted_and_deviations_logged() {
    let of = |answer: &HttpAnswer| {
        let answer = parse(answer, NOW, TokenKind::Bearer)
            .map_err(|failure| failure.error)
            .unwrap();
        assert_eq!(
            (answer.token.expose_secret(), answer.lifetime.as_secs()),
            ("a", 9)
        );
        answer
            .deviations
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    };
    let body = |members: &str| format!(r#"{{"access_token":"a","expires_in":9{members}}}"#);
    assert_eq!(of(&answer(200, body(r#","token_type":"bearer""#))), "");
    for none in ["", r#","token_type":null"#, r#","token_type":"""#] {
        assert_eq!(
            of(&answer(200, body(none))),
            "it has no token_type",
            "{none}"
        );
    }
    for kind in [
        "BearerToken",
        "Application Access Token",
        "jwt-bearer",
        "access_token",
        "JWT",
    ] {
        let told = of(&answer(200, body(&format!(r#","token_type":"{kind}""#))));
        assert_eq!(
            told,
            format!("its token_type is `{kind}` instead of Bearer")
        );
    }
    let bearer = body(r#","token_type":"Bearer""#);
    assert_eq!(
        of(&answer(201, bearer.clone())),
        "its status is 201 instead of 200"
    );
    assert_eq!(
        of(&answer(200, format!("\u{feff}{bearer}"))),
        "it begins with a byte order mark"
    );
    let twice = bearer.replacen('{', r#"{"access_token":"b","#, 1);
    assert_eq!(
        of(&answer(200, twice)),
        "a member is repeated; the last one counts"
    );
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain; charset=utf-8",
    ] {
        let mut form = answer(200, "access_token=a&token_type=bearer&expires_in=9\n");
        form.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        assert_eq!(of(&form), "it is a form instead of JSON");
    }
    let padded = bearer.replace("\"a\"", "\" a\\n\"");
    assert_eq!(
        of(&answer(200, padded)),
        "its access_token has white space around it"
    );
    let mut compressed = answer(200, bearer);
    compressed
        .headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(
        of(&compressed),
        "it is compressed although the request does not allow it"
    );
}

#[test]
fn a_token_type_that_could_be_a_token_is_not_shown() {
    for kind in [
        "7f3a9c",
        "eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
        &"x".repeat(61),
        "a\u{1b}[31m",
        "ä",
    ] {
        let mut deviations = Vec::new();
        check_token_type(Some(&Value::String(kind.to_owned())), &mut deviations).unwrap();
        assert_eq!(
            deviations,
            [Deviation::TokenType("another".to_owned())],
            "{kind:?}"
        );
    }
    let mut deviations = Vec::new();
    check_token_type(Some(&Value::Bool(true)), &mut deviations).unwrap();
    assert_eq!(
        deviations,
        [Deviation::TokenType("not a string".to_owned())]
    );
}

#[test]
fn a_refusal_keeps_known_codes_and_no_other_text() {
    let error = |status, body: &'static str| {
        parse(&answer(status, body), NOW, TokenKind::Bearer)
            .unwrap_err()
            .error
    };
    let refused = |code, status| FetchError::Refused { code, status };
    assert_eq!(
        error(401, r#"{"error":"invalid_client"}"#),
        refused(ErrorCode::InvalidClient, 401)
    );
    assert_eq!(
        error(200, r#"{"error":"invalid_scope"}"#),
        refused(ErrorCode::InvalidScope, 200)
    );
    assert_eq!(
        error(400, r#"{"error":"secret text"}"#),
        FetchError::Status(400)
    );
    assert_eq!(error(502, "<html>bad gateway"), FetchError::Status(502));
    assert_eq!(
        error(200, r#"{"error":"secret text"}"#),
        FetchError::ErrorAnswer(200)
    );
    assert_eq!(error(204, ""), FetchError::Malformed);
    assert_eq!(error(302, ""), FetchError::Status(302));
}

#[test]
fn retry_after_in_seconds_is_kept() {
    let with = |value: &'static str| {
        let mut answer = answer(429, "");
        answer
            .headers
            .insert(RETRY_AFTER, HeaderValue::from_static(value));
        parse(&answer, NOW, TokenKind::Bearer)
            .unwrap_err()
            .retry_after
    };
    assert_eq!(with("7"), Some(Duration::from_secs(7)));
    for other in [
        "",
        "-1",
        "x",
        "Fri, 31 Dec 1999 23:59:59 GMT",
        "99999999999999999999999",
    ] {
        assert_eq!(with(other), None, "{other}");
    }
    let dated = |date: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(
            RETRY_AFTER,
            HeaderValue::from_static("Fri, 31 Dec 1999 23:59:59 GMT"),
        );
        headers.insert(DATE, HeaderValue::from_static(date));
        retry_after(&headers).map(|wait| wait.as_secs())
    };
    assert_eq!(dated("Fri, 31 Dec 1999 23:59:29 GMT"), Some(30));
    assert_eq!(
        dated("Sat, 01 Jan 2000 00:00:00 GMT"),
        None,
        "it has passed"
    );
    assert_eq!(dated("yesterday"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_answered_without_panic(
        status in 200_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = parse(&answer(status, body), NOW, TokenKind::Bearer);
    }

    #[test]
    fn a_token_that_is_accepted_can_stand_in_a_header(token in "\\PC{0,40}", expires_in in any::<f64>()) {
        let expires_in = serde_json::Number::from_f64(expires_in);
        let body = serde_json::json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in});
        if let Ok(answer) = parse(&answer(200, body.to_string()), NOW, TokenKind::Bearer) {
            prop_assert!(HeaderValue::from_str(answer.token.expose_secret()).is_ok());
            prop_assert!(answer.lifetime >= Duration::from_secs(1) && answer.lifetime <= MAX_LIFETIME);
        }
    }

    #[test]
    fn claims_of_any_shape_give_a_bounded_lifetime(claims in "\\{\"exp\":[-0-9.eE\"]{0,25}\\}") {
        if let Ok(lifetime) = lifetime_by_claims(&jwt(&claims), NOW) {
            prop_assert!(!lifetime.is_zero());
        }
    }
}
