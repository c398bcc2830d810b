//! Tokens that are bound to a key: by DPoP, or to a client certificate.

use super::outbound::credential;
use super::{assert_problem, config, small_with, warnings};
use crate::jose::Algorithm;

#[test]
fn dpop_has_an_algorithm_that_signs_each_request() {
    let dpop = |lines: &str| config(&small_with("credentials", lines)).credentials[0].dpop;
    assert_eq!(dpop(""), None);
    assert_eq!(dpop("    dpop: false\n"), None);
    assert_eq!(dpop("    dpop: true\n"), Some(Algorithm::ES256));
    assert_eq!(dpop("    dpop: {}\n"), Some(Algorithm::ES256));
    assert_eq!(
        dpop("    dpop: { algorithm: EdDSA }\n"),
        Some(Algorithm::EdDSA)
    );
    let path = |key: &str| format!("credentials.hub.{key}");
    for (lines, key, message) in [
        (
            "    dpop: { algorithm: RS256 }\n",
            "dpop.algorithm",
            "must be ES256, ES384 or EdDSA",
        ),
        (
            "    dpop: true\n    localApi: true\n",
            "localApi",
            "cannot be used without its key",
        ),
        (
            "    dpop: true\n    keepToken: true\n",
            "keepToken",
            "made at each start",
        ),
    ] {
        assert_problem(&small_with("credentials", lines), &path(key), message);
    }
}

#[test]
fn a_dpop_token_is_sent_in_its_own_way_only() {
    let with = |listener: &str| {
        small_with("credentials", "    dpop: true\n").replace(
            "    credential: hub\n",
            &format!("    credential: hub\n{listener}"),
        )
    };
    config(&with(""));
    for (listener, key) in [
        ("    header: X-Token\n", "header"),
        ("    prefix: \"Token \"\n", "prefix"),
        (
            "    upstreamAuthorization: { cookie: token }\n",
            "upstreamAuthorization",
        ),
    ] {
        let path = format!("outbound[0].{key}");
        assert_problem(&with(listener), &path, "`Authorization: DPoP` with a proof");
    }
}

#[test]
fn a_certificate_that_the_upstream_does_not_see_is_a_warning() {
    let text = |tls: &str| {
        credential(
            "    authMethod: self_signed_tls_client_auth\n    certFile: ${DIR}/ca.pem\n    \
             keyFile: ${DIR}/key.pem\n",
        )
        .replace(
            "    credential: hub\n",
            &format!("    credential: hub\n{tls}"),
        )
    };
    let has_warning = |tls: &str| {
        let found = warnings(&text(tls));
        found.iter().any(|it| {
            it.contains("outbound[0].upstreamTls: it does not show the client certificate")
        })
    };
    assert!(has_warning(""));
    let text =
        text("    upstreamTls: { certFile: \"${DIR}/ca.pem\", keyFile: \"${DIR}/key.pem\" }\n")
            .replace("upstream: http://", "upstream: https://");
    let found = warnings(&text);
    assert!(
        !found.iter().any(|it| it.contains("does not show")),
        "{found:?}"
    );
}
