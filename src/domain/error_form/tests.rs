//! Tests of `error_form`.

use proptest::prelude::*;

use super::*;

const BASE: &str = "/m2m-oauth-server";

#[test]
fn the_path_decides_which_members_an_error_has() {
    let forms = ErrorForms::of_issuer(BASE);
    for (path, form) in [
        ("/m2m-oauth-server/api/v1/tokens", ErrorForm::Status),
        ("/m2m-oauth-server/api/v1/tokens/", ErrorForm::Status),
        ("/m2m-oauth-server/api/v1/tokens/x", ErrorForm::Status),
        ("/m2m-oauth-server/api/v1/unknown", ErrorForm::Status),
        ("/m2m-oauth-server/api/oauth/token", ErrorForm::Status),
        ("/m2m-oauth-server/.well-known/jwks.json", ErrorForm::Status),
        ("/m2m-oauth-server/unknown", ErrorForm::Status),
        ("/m2m-oauth-server/oauthx", ErrorForm::Status),
        ("/m2m-oauth-server/", ErrorForm::Status),
        ("/m2m-oauth-server", ErrorForm::Status),
        ("/m2m-oauth-server/oauth/token", ErrorForm::Both),
        ("/m2m-oauth-server/oauth/token/", ErrorForm::Both),
        ("/m2m-oauth-server/oauth/token/x", ErrorForm::Status),
        ("/m2m-oauth-server/oauth/revoke", ErrorForm::Status),
        ("/m2m-oauth-server/oauth", ErrorForm::Status),
        ("/m2m-oauth-server/oauth2/token", ErrorForm::Both),
        ("/m2m-oauth-server/token", ErrorForm::Both),
        ("/m2m-oauth-serverx/api/v1/tokens", ErrorForm::OAuth),
        ("/M2M-OAUTH-SERVER/api/v1/tokens", ErrorForm::OAuth),
        ("/api/v1/tokens", ErrorForm::OAuth),
        ("/oauth/token", ErrorForm::OAuth),
        ("/", ErrorForm::OAuth),
    ] {
        assert_eq!(forms.of_path(path), form, "{path}");
        assert_eq!(ErrorForms::default().of_path(path), ErrorForm::OAuth);
        for head in [
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n"),
            format!("GET {path}?/x=/m2m-oauth-server/oauth HTTP/1.1"),
            format!("\r\nDELETE http://a.example{path} HTTP/1.1\r\n"),
            format!("GET {path}?{}", "x".repeat(99)),
        ] {
            assert_eq!(forms.of_head(head.as_bytes()), form, "{head}");
        }
    }
}

#[test]
fn a_target_without_a_normal_form_is_where_it_begins() {
    let forms = ErrorForms::of_issuer(BASE);
    for (target, form) in [
        ("/m2m-oauth-server/api/v1/%2e%2e%2fx", ErrorForm::Status),
        ("/x/..//m2m-oauth-server/./oauth/token", ErrorForm::Both),
        ("/m2m-oauth-server/%6Fauth/token", ErrorForm::Both),
        ("/m2m-oauth-server/../x", ErrorForm::OAuth),
        ("/m2m-oauth-server/oauth/tok%zz", ErrorForm::Status),
        ("/m2m-oauth-server#x", ErrorForm::Status),
        ("*", ErrorForm::OAuth),
        ("", ErrorForm::OAuth),
    ] {
        assert_eq!(forms.of_target(target.as_bytes()), form, "{target}");
    }
    assert_eq!(
        forms.of_head(b"GET  /m2m-oauth-server/oauth/token  HTTP/1.1"),
        ErrorForm::Both
    );
    assert_eq!(
        forms.of_head(b"\x16\x03\x01"),
        ErrorForm::Status,
        "no path was read"
    );
    assert_eq!(
        ErrorForms::of_shared(BASE, &HashSet::new()).of_head(b"GET"),
        ErrorForm::OAuth
    );
}

#[test]
fn an_issuer_without_a_path_shares_a_listener_with_its_upstream() {
    let paths = HashSet::from(["/oauth/token".to_owned(), "/api/v1/tokens".to_owned()]);
    let shared = ErrorForms::of_shared("", &paths);
    let of = |path| shared.of_path(path);
    assert_eq!(
        (of("/oauth/token"), of("/api/v1/tokens")),
        (ErrorForm::Both, ErrorForm::Status)
    );
    assert_eq!(
        (of("/api/v1/devices"), of("/")),
        (ErrorForm::OAuth, ErrorForm::OAuth)
    );
    let own = ErrorForms::of_issuer("");
    assert_eq!(
        (own.of_path("/"), own.of_path("/oauth/token")),
        (ErrorForm::Status, ErrorForm::Both)
    );
    let below = ErrorForms::of_shared(BASE, &paths);
    assert_eq!(
        below.of_path("/m2m-oauth-server/unknown"),
        ErrorForm::Status
    );
}

#[test]
fn a_status_has_its_three_members_and_no_other() {
    let names = |form: ErrorForm| {
        form.members(404, "not_found", "there is none")
            .into_iter()
            .map(|it| it.0)
    };
    assert_eq!(
        names(ErrorForm::OAuth).collect::<Vec<_>>(),
        ["error", "error_description"]
    );
    assert_eq!(
        names(ErrorForm::Status).collect::<Vec<_>>(),
        ["code", "details", "message"]
    );
    let both = ErrorForm::Both.members(404, "not_found", "there is none");
    assert_eq!(
        (both.len(), &both["code"], &both["details"]),
        (5, &json!(5), &json!([]))
    );
    assert_eq!(
        (&both["message"], &both["error"]),
        (&json!("there is none"), &json!("not_found"))
    );
}

proptest! {
    #[test]
    fn no_head_panics(head in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ErrorForms::of_issuer(BASE).of_head(&head);
    }
}

#[test]
fn a_listener_has_a_form_of_its_own_beside_the_issuers_paths() {
    let paths: HashSet<String> =
        ["/oauth/token".to_owned(), "/m2m/api/v1/tokens".to_owned()].into();
    for form in [ErrorForm::Status, ErrorForm::Problem] {
        let alone = ErrorForms::default().elsewhere(form, &HashSet::new());
        let shared = ErrorForms::default().elsewhere(form, &paths);
        let plgd = ErrorForms::of_shared("/m2m", &paths).elsewhere(form, &paths);
        for (path, of_shared, of_plgd) in [
            ("/devices", form, form),
            ("/oauth/token", ErrorForm::OAuth, ErrorForm::OAuth),
            ("/oauth/tokens", form, form),
            ("/m2m/api/v1/tokens", ErrorForm::OAuth, ErrorForm::Status),
            ("/m2m/oauth/token", form, ErrorForm::Both),
        ] {
            assert_eq!(alone.of_path(path), form, "{path}");
            assert_eq!(shared.of_path(path), of_shared, "{path}");
            assert_eq!(plgd.of_path(path), of_plgd, "{path}");
            let head = format!("GET {path}?x HTTP/1.1\r\nHost");
            assert_eq!(shared.of_head(head.as_bytes()), of_shared, "{path}");
        }
        for forms in [alone, shared, plgd] {
            assert_eq!(forms.of_no_request(), form);
            assert_eq!(forms.of_head(b"\x16\x03"), form);
            assert_eq!(forms.of_target(b"/a b"), form);
        }
    }
    let oauth = ErrorForms::of_shared("/m2m", &paths).elsewhere(ErrorForm::OAuth, &paths);
    assert_eq!(oauth.of_path("/m2m/x"), ErrorForm::Status);
    assert_eq!(oauth.of_path("/oauth/token"), ErrorForm::OAuth);
}

#[test]
fn a_problem_has_the_members_of_rfc_9457() {
    let members = Value::from(ErrorForm::Problem.members(403, "insufficient_scope", "Not yours."));
    let expected = json!({
        "title": "Forbidden", "status": 403, "detail": "Not yours.", "error": "insufficient_scope",
    });
    assert_eq!(members, expected);
}
