//! Tests of `replay`.

use super::*;

#[test]
fn a_401_is_one_and_its_likeness_in_grpc_and_nothing_else() {
    let refused = |status: u16, headers: &[(&'static str, &'static str)]| {
        let mut answer = ResponseHeader::build(status, None).unwrap();
        for (name, value) in headers {
            answer.insert_header(*name, *value).unwrap();
        }
        is_token_refused(
            &answer,
            &[TokenRefusal {
                status: 401,
                error: None,
            }],
        )
    };
    assert!(refused(401, &[]));
    for kind in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc; charset=x",
    ] {
        let whole = [
            ("content-type", kind),
            ("grpc-status", "16"),
            ("content-length", "0"),
        ];
        assert!(refused(200, &whole), "{kind}");
        assert!(!refused(200, &whole[..2]), "a message follows");
    }
    let refused = |status: u16, headers: &[(&'static str, &'static str)]| {
        refused(status, &[headers, &[("content-length", "0")]].concat())
    };
    assert!(!refused(403, &[]));
    assert!(!refused(407, &[]));
    assert!(!refused(
        200,
        &[("content-type", "application/grpc"), ("grpc-status", "7")]
    ));
    assert!(!refused(
        200,
        &[
            ("content-type", "application/grpc-web"),
            ("grpc-status", "16")
        ]
    ));
    assert!(!refused(
        200,
        &[("content-type", "application/json"), ("grpc-status", "16")]
    ));
    assert!(!refused(
        500,
        &[("content-type", "application/grpc"), ("grpc-status", "16")]
    ));
}

#[test]
fn the_challenge_decides_where_it_says_what_is_wrong() {
    let on = |status: u16, error: Option<&str>| TokenRefusal {
        status,
        error: error.map(str::to_owned),
    };
    let refusals = [on(401, None), on(403, Some("invalid_token")), on(419, None)];
    let refused = |status: u16, challenges: &[&'static str]| {
        let mut answer = ResponseHeader::build(status, None).unwrap();
        for challenge in challenges {
            answer
                .append_header("www-authenticate", *challenge)
                .unwrap();
        }
        is_token_refused(&answer, &refusals)
    };
    for (status, challenge, expected) in [
        (401, "Bearer", true),
        (
            401,
            r#"Bearer realm="a", error="invalid_token", error_description="it has expired, sorry""#,
            true,
        ),
        (
            401,
            r#"Bearer error="insufficient_scope", scope="a b""#,
            false,
        ),
        (401, "Bearer error=insufficient_scope", false),
        (401, r#"bearer ERROR = "Invalid_Request""#, false),
        (
            401,
            r#"Basic realm="x", Bearer realm="y", error="invalid_request""#,
            false,
        ),
        (
            401,
            r#"Bearer realm="say \", error=\"insufficient_scope\"", error="invalid_token""#,
            true,
        ),
        (
            401,
            r#"Bearer error_description="insufficient_scope""#,
            true,
        ),
        (401, "nonsense,,,=\"", true),
        (403, "Bearer", false),
        (403, r#"Bearer error="invalid_token""#, true),
        (403, r#"Bearer realm="r",error=invalid_token"#, true),
        (403, r#"Bearer error="insufficient_scope""#, false),
        (419, "", true),
        (418, r#"Bearer error="invalid_token""#, false),
    ] {
        assert_eq!(
            refused(status, &[challenge]),
            expected,
            "{status} {challenge}"
        );
    }
    assert!(!refused(
        401,
        &["Basic realm=\"a\"", "Bearer error=\"insufficient_scope\""]
    ));
    assert!(!refused(403, &[]));
    assert!(!is_token_refused(
        &ResponseHeader::build(401, None).unwrap(),
        &[]
    ));
}
