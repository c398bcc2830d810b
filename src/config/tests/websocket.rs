//! Token locations, and the keys of WebSockets and streams.

use std::time::Duration;

use super::{assert_problem, config, small_but, warnings};
use crate::domain::settings::Streams;
use crate::proxy::inbound::{CredentialConfig, Scheme, UpstreamAuthorization};
use crate::verifier::TokenLocations;

const ORIGINS: &str = "    allowedOrigins: [\"https://app.example\"]\n";

fn inbound(keys: &str) -> String {
    small_but(
        "    authorities: [self]\n",
        &format!("    authorities: [self]\n{keys}"),
    )
}

fn outbound(keys: &str) -> String {
    small_but(
        "    credential: hub\n",
        &format!("    credential: hub\n{keys}"),
    )
}

#[test]
fn by_default_only_the_header_has_the_token_and_streams_end_with_it() {
    let config = config(&inbound(""));
    let inbound = &config.inbound[0];
    assert_eq!(inbound.verifier.token_locations, TokenLocations::default());
    assert_eq!(inbound.verifier.allowed_origins, None);
    assert_eq!(inbound.upstream_authorization, UpstreamAuthorization::Keep);
    assert_eq!(inbound.websocket_idle, None);
    assert_eq!(inbound.settings.streams, Streams::EndWithToken);
    let outbound = &config.outbound[0];
    assert_eq!(outbound.attach.websocket_cookie, None);
    assert_eq!(outbound.websocket_idle, None);
}

#[test]
fn every_key_is_read() {
    let keys = format!(
        "    tokenLocations: [websocketSubprotocol, websocketCookie]\n    tokenCookie: \
         session\n    upstreamAuthorization: {{ cookie: token }}\n    wsIdle: 5m\n    streams: \
         untilClosed\n{ORIGINS}"
    );
    let config = config(&inbound(&keys));
    let inbound = &config.inbound[0];
    let expected = TokenLocations {
        bearer: false,
        basic: false,
        websocket_cookie: Some("session".into()),
        websocket_subprotocol: true,
    };
    assert_eq!(inbound.verifier.token_locations, expected);
    let origins = inbound.verifier.allowed_origins.as_ref().unwrap();
    assert_eq!(*origins, ["https://app.example".parse().unwrap()]);
    let cookie = UpstreamAuthorization::Cookie("token".to_owned());
    assert_eq!(inbound.upstream_authorization, cookie);
    assert_eq!(inbound.websocket_idle, Some(Duration::from_mins(5)));
    assert_eq!(inbound.settings.streams, Streams::UntilClosed);
    let keys = "    upstreamAuthorization: { cookie: token }\n    wsIdle: 1s\n";
    let config = super::config(&outbound(keys));
    let outbound = &config.outbound[0];
    assert_eq!(outbound.attach.websocket_cookie.as_deref(), Some("token"));
    assert_eq!(outbound.websocket_idle, Some(Duration::from_secs(1)));
    let stripped = super::config(&super::small_but(
        "    authorities: [self]\n",
        "    authorities: [self]\n    upstreamAuthorization: strip\n",
    ));
    let stripped = &stripped.inbound[0].upstream_authorization;
    assert_eq!(*stripped, UpstreamAuthorization::Strip);
}

#[test]
fn a_cookie_needs_origins() {
    let cookie = "    tokenLocations: [authorization, websocketCookie]\n";
    for origins in ["", "    allowedOrigins: []\n"] {
        let text = inbound(&format!("{cookie}{origins}"));
        assert_problem(&text, "inbound[0].tokenLocations", "needs `allowedOrigins`");
    }
    assert!(warnings(&inbound(&format!("{cookie}{ORIGINS}"))).is_empty());
    let unused = warnings(&inbound("    tokenCookie: session\n"));
    assert!(
        unused[0].contains("no effect without `websocketCookie`"),
        "{unused:?}"
    );
}

#[test]
fn contradictions_and_wrong_values_are_refused() {
    for (keys, path, message) in [
        (
            "    authorization: keep\n    upstreamAuthorization: strip\n",
            "upstreamAuthorization",
            "not both",
        ),
        (
            "    upstreamAuthorization: { cookie: \"a b\" }\n",
            "upstreamAuthorization.cookie",
            "the name of a cookie",
        ),
        ("    tokenLocations: []\n", "tokenLocations", ""),
        ("    wsIdle: 10ms\n", "wsIdle", "1s"),
    ] {
        assert_problem(&inbound(keys), &format!("inbound[0].{path}"), message);
    }
}

#[test]
fn each_credential_of_an_upstream_is_read() {
    for (form, header, scheme) in [
        (
            "{ basic: { user: a b, passwordFile: \"${DIR}/secret\" } }",
            "authorization",
            Scheme::Basic {
                user: "a b".to_owned(),
            },
        ),
        (
            "{ bearerFile: \"${DIR}/secret\" }",
            "authorization",
            Scheme::Bearer,
        ),
        (
            "{ header: X-Api_Key, valueFile: \"${DIR}/secret\" }",
            "x-api_key",
            Scheme::Plain,
        ),
        (
            "{ header: Authorization, valueFile: \"${DIR}/secret\" }",
            "authorization",
            Scheme::Plain,
        ),
    ] {
        let config = config(&inbound(&format!("    upstreamAuthorization: {form}\n")));
        let found = config.inbound[0].upstream_authorization.clone();
        let UpstreamAuthorization::Credential(CredentialConfig { header: name, .. }) = &found
        else {
            panic!("{found:?}")
        };
        assert_eq!(name.as_str(), header, "{form}");
        assert!(matches!(&found, UpstreamAuthorization::Credential(it) if it.scheme == scheme));
    }
}

#[test]
fn a_credential_of_an_upstream_has_one_form_and_a_usable_file() {
    let one_of = "set one of `cookie`, `basic`, `bearerFile`";
    let file = "\"${DIR}/secret\"";
    for (form, key, message) in [
        ("{}".to_owned(), "", one_of),
        (
            format!("{{ bearerFile: {file}, cookie: token }}"),
            "",
            one_of,
        ),
        (
            format!("{{ bearerFile: {file}, header: X-Key, valueFile: {file} }}"),
            "",
            one_of,
        ),
        ("{ header: X-Key }".to_owned(), "", "belong together"),
        (format!("{{ valueFile: {file} }}"), "", "belong together"),
        (
            format!("{{ header: X-M2M-Subject, valueFile: {file} }}"),
            ".header",
            "the sidecar sets this header itself",
        ),
        (
            format!("{{ header: Cookie, valueFile: {file} }}"),
            ".header",
            "or clients do",
        ),
        (
            format!("{{ header: Host, valueFile: {file} }}"),
            ".header",
            "HTTP or the sidecar uses this header",
        ),
        (
            format!("{{ basic: {{ user: \"a:b\", passwordFile: {file} }} }}"),
            ".basic.user",
            "no colon",
        ),
        (
            "{ bearerFile: \"${DIR}/nowhere\" }".to_owned(),
            ".bearerFile",
            "cannot be read",
        ),
        (
            "{ header: X-Key, valueFile: \"${DIR}\" }".to_owned(),
            ".valueFile",
            "not an ordinary file",
        ),
    ] {
        let text = inbound(&format!("    upstreamAuthorization: {form}\n"));
        let path = format!("inbound[0].upstreamAuthorization{key}");
        assert_problem(&text, &path, message);
    }
    let same = "    identityHeaders: { x-key: sub }\n    upstreamAuthorization: { header: X_Key, \
                valueFile: \"${DIR}/secret\" }\n";
    let path = "inbound[0].upstreamAuthorization.header";
    assert_problem(&inbound(same), path, "`identityHeaders` has it too");
}
