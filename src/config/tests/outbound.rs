//! Accepted and refused settings: credentials of every method, forward proxies, the local API.

use std::path::Path;
use std::time::Duration;

use super::{assert_problem, config, problems, small_but, small_with, warnings};
use crate::domain::listen::Listen;
use crate::jose::Algorithm;
use crate::proxy::outbound::{Kind, TokenRefusal};
use crate::token_source::{Authentication, PrivateKeyJwt};

/// The small configuration, its credential with these lines instead of the secret's file.
pub(super) fn credential(lines: &str) -> String {
    small_but("    clientSecretFile: ${DIR}/secret\n", lines)
        .replace("http://127.0.0.1:8080/oauth", "https://a.example/oauth")
}

fn authentication(lines: &str) -> Authentication {
    config(&credential(lines)).credentials[0]
        .authentication
        .clone()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn every_authentication_method_has_its_files() {
    let of =
        authentication("    authMethod: private_key_jwt\n    privateKeyFile: ${DIR}/key.pem\n");
    let Authentication::PrivateKeyJwt(PrivateKeyJwt {
        key_file,
        algorithm: None,
        kid: None,
        audience: None,
    }) = of
    else {
        panic!()
    };
    assert_eq!(name(&key_file), "key.pem");
    let of = authentication(
        "    authMethod: private_key_jwt\n    privateKeyFile: ${DIR}/key.pem\n    keyID: k1\n    \
         algorithm: ES256\n    \
         assertionAudience: https://b.example\n",
    );
    let Authentication::PrivateKeyJwt(of) = of else {
        panic!()
    };
    assert_eq!(
        (of.algorithm, of.kid.as_deref()),
        (Some(Algorithm::ES256), Some("k1"))
    );
    assert_eq!(of.audience.as_deref(), Some("https://b.example"));
    let of = authentication("    authMethod: private_key_jwt\n    assertionFile: ${DIR}/jwt\n");
    assert!(
        matches!(of, Authentication::Assertion { file, is_svid: false } if name(&file) == "jwt")
    );
    let of = authentication("    authMethod: spiffe_jwt\n    assertionFile: ${DIR}/jwt\n");
    assert!(
        matches!(of, Authentication::Assertion { file, is_svid: true } if name(&file) == "jwt")
    );
    let of = authentication(
        "    authMethod: tls_client_auth\n    certFile: ${DIR}/ca.pem\n    keyFile: \
         ${DIR}/key.pem\n    caFile: ${DIR}/ca.pem\n",
    );
    assert!(
        matches!(of, Authentication::Certificate { cert_file, .. } if name(&cert_file) == "ca.pem")
    );
}

#[test]
fn the_answers_that_refuse_a_token_are_statuses_with_or_without_an_error() {
    let retry_on = |lines: &str| {
        config(&small_with("outbound", lines)).outbound[0]
            .attach
            .retry_on
            .clone()
    };
    let on = |status: u16, error: Option<&str>| TokenRefusal {
        status,
        error: error.map(str::to_owned),
    };
    let both = "    retryOn: [401, 403 invalid_token, \"498 expired\"]\n";
    assert_eq!(
        retry_on(both),
        [
            on(401, None),
            on(403, Some("invalid_token")),
            on(498, Some("expired"))
        ]
    );
    assert_eq!(
        retry_on(&format!("    retryUnauthorized: false\n{both}")),
        []
    );
    for (wrong, key, message) in [
        ("[]", "outbound[0].retryOn", ""),
        ("[302]", "outbound[0].retryOn[0]", ""),
        ("[invalid_token]", "outbound[0].retryOn[0]", ""),
        (
            "[401, 403 insufficient_scope]",
            "outbound[0].retryOn[1]",
            "a new token does not help",
        ),
        (
            "[200 invalid_token]",
            "outbound[0].retryOn[0]",
            "from 400 to 599",
        ),
    ] {
        assert_problem(
            &small_with("outbound", &format!("    retryOn: {wrong}\n")),
            key,
            message,
        );
    }
}

#[test]
fn a_key_of_another_method_and_a_file_that_is_none_are_refused() {
    let jwt = "    authMethod: private_key_jwt\n";
    let tls = "    authMethod: tls_client_auth\n";
    let secret = "    clientSecretFile: ${DIR}/secret\n";
    for (lines, key, message) in [
        (
            format!("{jwt}{secret}    privateKeyFile: ${{DIR}}/key.pem\n"),
            "credentials.hub.clientSecretFile",
            "does not use this key",
        ),
        (
            format!("{secret}    keyID: k\n"),
            "credentials.hub.keyID",
            "does not use this key",
        ),
        (
            format!("{secret}    certFile: ${{DIR}}/ca.pem\n"),
            "credentials.hub.certFile",
            "does not use this key",
        ),
        (
            jwt.to_owned(),
            "credentials.hub",
            "`privateKeyFile` (or `assertionFile`) is required",
        ),
        (
            "    authMethod: spiffe_jwt\n".to_owned(),
            "credentials.hub",
            "`assertionFile` is required",
        ),
        (
            String::new(),
            "credentials.hub",
            "`clientSecretFile` is required",
        ),
        (
            format!("{jwt}    privateKeyFile: ${{DIR}}/secret\n"),
            "credentials.hub.privateKeyFile",
            "no private key that can sign",
        ),
        (
            format!("{jwt}    privateKeyFile: ${{DIR}}/key.pem\n    algorithm: RS256\n"),
            "credentials.hub.privateKeyFile",
            "for this `algorithm`",
        ),
        (
            format!("{jwt}    privateKeyFile: ${{DIR}}/none\n"),
            "credentials.hub.privateKeyFile",
            "cannot be read",
        ),
        (
            format!("{jwt}    assertionFile: ${{DIR}}/secret\n"),
            "credentials.hub.assertionFile",
            "contains no JWT",
        ),
        (
            format!("{jwt}    assertionFile: ${{DIR}}/jwt\n    keyID: k\n"),
            "credentials.hub.keyID",
            "is sent unchanged",
        ),
        (
            format!("{jwt}    privateKeyFile: ${{DIR}}/key.pem\n    keyID: a b\n"),
            "credentials.hub.keyID",
            "without spaces",
        ),
        (
            format!("{tls}    certFile: ${{DIR}}/ca.pem\n    keyFile: ${{DIR}}/other-key.pem\n"),
            "credentials.hub.certFile",
            "do not match",
        ),
        (
            format!("{secret}    caFile: ${{DIR}}/key.pem\n"),
            "credentials.hub.caFile",
            "no PEM certificate",
        ),
        (
            format!("{secret}    keepToken: true\n"),
            "credentials.hub.keepToken",
            "encryptionKeyFile",
        ),
        (
            format!(
                "{secret}    rotateSecret: {{ admin: \"http://127.0.0.1:1\", adminTokenFile: \
                 \"${{DIR}}/none\" }}\n"
            ),
            "credentials.hub.rotateSecret.adminTokenFile",
            "cannot be read",
        ),
        (
            format!(
                "{secret}    rotateSecret: {{ admin: \"http://127.0.0.1:1\", adminTokenFile: \
                 \"${{DIR}}/secret\", every: 1m, grace: 0s }}\n"
            ),
            "credentials.hub.rotateSecret.every",
            "from 1h to 8784h",
        ),
        (
            format!(
                "{secret}    rotateSecret: {{ admin: \"http://127.0.0.1:1\", adminTokenFile: \
                 \"${{DIR}}/secret\", every: 60d, grace: 31d }}\n"
            ),
            "credentials.hub.rotateSecret.grace",
            "from 0s to 720h",
        ),
        (
            format!(
                "{secret}    rotateSecret: {{ admin: \"http://127.0.0.1:1\", adminTokenFile: \
                 \"${{DIR}}/secret\", every: 7d, grace: 7d }}\n"
            ),
            "credentials.hub.rotateSecret.grace",
            "shorter than `every`",
        ),
    ] {
        assert_problem(&credential(&lines), key, message);
    }
    let plain = credential(&format!(
        "{tls}    certFile: ${{DIR}}/ca.pem\n    keyFile: ${{DIR}}/key.pem\n"
    ))
    .replace("https://a.example", "http://127.0.0.1:1");
    assert_problem(&plain, "credentials.hub.tokenUrl", "needs https");
    let both = credential(&format!("{tls}    clientSecretFile: ${{DIR}}/secret\n"));
    assert_eq!(
        problems(&both).len(),
        3,
        "one for each: a key too many, two too few"
    );
}

#[test]
fn a_kept_token_lies_in_the_state_directory_and_a_rotation_arrives() {
    let text = credential(
        "    clientSecretFile: ${DIR}/secret\n    keepToken: true\n    localApi: true\n    \
         rotateSecret: { admin: \"http://127.0.0.1:1\", adminTokenFile: \"${DIR}/secret\", every: \
         7d, grace: 1h }\n",
    );
    let text = format!(
        "{text}stateDir: /var/lib/x\nstore: {{ encryptionKeyFile: \"${{DIR}}/store-key\" \
         }}\nlocalApi: {{ listen: \"127.0.0.1:9902\" }}\n"
    );
    let config = config(&text);
    let hub = &config.credentials[0];
    assert_eq!(
        hub.kept_at.as_ref().unwrap().file,
        Path::new("/var/lib/x/token-hub")
    );
    let rotation = hub.rotation.as_ref().unwrap();
    assert_eq!(
        (rotation.every, rotation.grace),
        (Duration::from_hours(168), Duration::from_hours(1))
    );
    assert_eq!(name(&rotation.secret_file), "secret");
    assert!(hub.local_api);
    assert_eq!(
        config.local_api.map(|api| api.listen),
        Some(Listen::At("127.0.0.1:9902".parse().unwrap()))
    );
}

/// The small configuration, its outbound listener a forward proxy with these keys.
fn forward(keys: &str) -> String {
    small_but(
        "    upstream: http://127.0.0.1:9\n    credential: hub\n",
        &format!(
            "    forwardProxy:\n      targets:\n        - {{ host: hub.example, upstream: \
             \"https://hub.example\", credential: hub{keys}\n"
        ),
    )
}

#[test]
fn a_forward_proxy_has_targets() {
    let config = config(&forward(
        ", port: 8080, paths: [\"/api/**\"] }\n      other: passThrough",
    ));
    let Kind::Forward(forward) = &config.outbound[0].kind else {
        panic!()
    };
    assert!(forward.pass_through);
    let target = &forward.targets[0];
    assert_eq!((target.host.as_str(), target.port), ("hub.example", 8080));
    assert_eq!(target.paths.as_ref().unwrap().len(), 1);
    assert!(target.target.upstream.tls);
    assert!(forward.tunnels.is_empty() && !forward.transparent);
    let tunnels = " }\n      tunnels: [hub.example, \"*.example:8443\"]\n    transparent: false";
    let tunnels = super::config(&self::forward(tunnels));
    let Kind::Forward(tunnels) = &tunnels.outbound[0].kind else {
        panic!()
    };
    let shown: Vec<_> = tunnels.tunnels.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["hub.example:443", "*.example:8443"]);
    let config = super::config(&self::forward(" }"));
    let Kind::Forward(forward) = &config.outbound[0].kind else {
        panic!()
    };
    assert!(
        !forward.pass_through
            && forward.targets[0].paths.is_none()
            && forward.targets[0].port == 80
    );
}

#[test]
fn contradictory_keys_are_refused() {
    let target = "targets: [{ host: a, upstream: \"https://a\", credential: hub }]";
    for (text, key, message) in [
        (
            small_but(
                "credential: hub",
                &format!("credential: hub\n    forwardProxy: {{ {target} }}"),
            ),
            "outbound[0].forwardProxy",
            "not both",
        ),
        (
            small_but("    credential: hub\n", ""),
            "outbound[0]",
            "set `upstream` and `credential`",
        ),
        (
            forward(" }\n    hosts: [a]"),
            "outbound[0].hosts",
            "remove this key",
        ),
        (
            forward(" }\n    preserveHost: true"),
            "outbound[0].preserveHost",
            "remove this key",
        ),
        (
            forward(" }\n    mapLocation: true"),
            "outbound[0].mapLocation",
            "remove this key",
        ),
        (
            forward(" }\n      tunnels: [\"hub.example:80\"]"),
            "outbound[0].forwardProxy.tunnels[0]",
            "remove hub.example:80: it is a target",
        ),
        (
            forward(" }\n      tunnels: [\"*\"]"),
            "outbound[0].forwardProxy.tunnels[0]",
            "`*.` before a host",
        ),
        (
            forward(" }\n      tunnels: [a.example]\n    transparent: true"),
            "outbound[0].forwardProxy.tunnels",
            "remove this key",
        ),
        (
            forward(
                " }\n    transparent: true\n    tls: { certFile: \"${DIR}/ca.pem\", keyFile: \
                 \"${DIR}/key.pem\" }",
            ),
            "outbound[0].tls",
            "expects no TLS",
        ),
        (
            small_with("outbound", "    transparent: true\n"),
            "outbound[0].transparent",
            "needs `forwardProxy`",
        ),
        (
            forward(", port: 0 }"),
            "outbound[0].forwardProxy.targets[0].port",
            "at least 1",
        ),
        (
            forward(", paths: [api] }"),
            "outbound[0].forwardProxy.targets[0].paths[0]",
            "begin with `/`",
        ),
        (
            forward(", paths: [] }"),
            "outbound[0].forwardProxy.targets[0].paths",
            "not be empty",
        ),
        (
            forward(" }").replace("credential: hub }", "credential: hup }"),
            "outbound[0].forwardProxy.targets[0].credential",
            "no credential is named",
        ),
        (
            small_but(
                "issuer:\n",
                "localApi: { listen: \"0.0.0.0:1\" }\nissuer:\n",
            ),
            "localApi.listen",
            "loopback only",
        ),
        (
            small_but(
                "issuer:\n",
                "localApi: { listen: \"127.0.0.1:8082\" }\nissuer:\n",
            ),
            "outbound[0].listen",
            "already used by `localApi.listen`",
        ),
        (
            small_but(
                "credential: hub",
                "credential: hub\n    upstreamTimeouts: { idle: 0s }",
            ),
            "outbound[0].upstreamTimeouts.idle",
            "at least 1ms",
        ),
        (
            small_but(
                "credential: hub",
                "credential: hub\n    downstreamTimeouts: { write: 25h }",
            ),
            "outbound[0].downstreamTimeouts.write",
            "from 1ms to 24h",
        ),
        (
            small_but("credential: hub", "credential: hub\n    keepAlive: 0s"),
            "outbound[0].keepAlive",
            "from 1s to 1h",
        ),
    ] {
        assert_problem(&text, key, message);
    }
}

#[test]
fn a_loop_that_can_be_seen_is_refused() {
    let back = "leads back to this sidecar's own listener `outbound[0]`";
    for upstream in [
        "http://127.0.0.1:8082",
        "http://localhost:8082",
        "https://127.0.0.1:8082",
    ] {
        let to = format!("upstream: {upstream}\n    credential: hub");
        let text = small_but("upstream: http://127.0.0.1:9\n    credential: hub", &to);
        assert_problem(&text, "outbound[0].upstream", back);
        let everywhere = text.replace(
            "listen: 127.0.0.1:8082",
            "listen: 0.0.0.0:8082\n    allowRemote: true",
        );
        assert_problem(&everywhere, "outbound[0].upstream", back);
    }
    assert_problem(
        &small_but("127.0.0.1:8080/oauth", "127.0.0.1:8082/oauth"),
        "credentials.hub.tokenUrl",
        back,
    );
    let text = forward(" }").replace("https://hub.example", "http://127.0.0.1:8082");
    assert_problem(&text, "outbound[0].forwardProxy.targets[0].upstream", back);
    assert!(
        problems(&small_but(
            "upstream: http://127.0.0.1:9\n    credential",
            "upstream: http://127.0.0.1:8081\n    credential"
        ))
        .is_empty()
    );
}

#[test]
fn plain_http_is_a_warning() {
    let open = credential("    clientSecretFile: ${DIR}/secret\n")
        .replace("https://a.example", "http://a.example");
    assert!(
        warnings(&open)
            .iter()
            .any(|warning| warning.contains("can read the client authentication"))
    );
    let unserved = credential("    clientSecretFile: ${DIR}/secret\n    localApi: true\n");
    assert!(
        warnings(&unserved)
            .iter()
            .any(|warning| warning.contains("without the section `localApi`"))
    );
    let unused = small_but(
        "issuer:\n",
        "localApi: { listen: \"127.0.0.1:1\" }\nissuer:\n",
    );
    assert!(
        warnings(&unused)
            .iter()
            .any(|warning| warning.contains("it gives out no tokens"))
    );
    let open = forward(" }").replace("https://hub.example", "http://hub.example");
    assert!(
        warnings(&open)
            .iter()
            .any(|warning| warning.contains("can read the token"))
    );
}

#[test]
fn a_listener_that_pages_could_call_without_a_word_is_warned_of() {
    let warned = |lines: &str| {
        let found = warnings(&small_with("outbound", lines));
        found
            .iter()
            .filter(|warning| warning.contains("requireHeader"))
            .count()
    };
    assert_eq!(warned(""), 0);
    assert_eq!(warned("    hosts: [\"127.0.0.1:9\", localhost]\n"), 0);
    assert_eq!(warned("    hosts: [sidecar.test]\n"), 1);
    assert_eq!(warned("    allowRemote: true\n"), 1);
    assert_eq!(
        warned("    hosts: [sidecar.test]\n    requireHeader: X-Sidecar\n"),
        0
    );
}
