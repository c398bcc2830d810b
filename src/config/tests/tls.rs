//! TLS of the listeners.

use super::{Files, assert_problem, chmod, config, small_but, warnings};
use crate::domain::settings::TlsVersion;

const LISTEN: &str = "    listen: 127.0.0.1:8081\n";

/// The small configuration with an inbound listener that has these TLS settings.
fn with(tls: &str) -> String {
    small_but(LISTEN, &format!("{LISTEN}    tls: {{ {tls} }}\n"))
}

/// The same with a valid certificate and these settings.
fn valid_with(more: &str) -> String {
    with(&format!(
        "certFile: \"${{DIR}}/ca.pem\", keyFile: \"${{DIR}}/key.pem\"{more}"
    ))
}

#[test]
fn a_certificate_and_its_key_are_enough() {
    let config = config(&valid_with(""));
    let tls = config.inbound[0].tls.clone().unwrap();
    assert_eq!(
        (tls.pairs.len(), tls.clients, tls.min_version),
        (1, None, TlsVersion::Tls12)
    );
    for version in ["1.3", "\"1.3\""] {
        let tls = super::config(&valid_with(&format!(", minVersion: {version}")));
        let tls = tls.inbound[0].tls.clone().unwrap();
        assert_eq!(tls.min_version, TlsVersion::Tls13, "{version}");
    }
}

#[test]
fn every_problem_of_a_file_has_its_key() {
    for (tls, key, message) in [
        (
            "certFile: /nowhere, keyFile: \"${DIR}/key.pem\"",
            "certFile",
            "the file `/nowhere` cannot be read",
        ),
        (
            "certFile: \"${DIR}/ca.pem\", keyFile: /nowhere",
            "keyFile",
            "the file `/nowhere` cannot be read",
        ),
        (
            "certFile: \"${DIR}/key.pem\", keyFile: \"${DIR}/key.pem\"",
            "certFile",
            "contains no PEM certificate",
        ),
        (
            "certFile: \"${DIR}/ca.pem\", keyFile: \"${DIR}/ca.pem\"",
            "keyFile",
            "contains no private key",
        ),
        (
            "certFile: \"${DIR}/ca.pem\", keyFile: \"${DIR}/other-key.pem\"",
            "keyFile",
            "is not the private key of the certificate in `certFile`",
        ),
    ] {
        assert_problem(&with(tls), &format!("inbound[0].tls.{key}"), message);
    }
    let further = ", certificates: [{ certFile: \"${DIR}/ca.pem\", keyFile: \
                   \"${DIR}/other-key.pem\" }]";
    let key = "inbound[0].tls.certificates[0].keyFile";
    assert_problem(&valid_with(further), key, "is not the private key");
    let key = "inbound[0].tls.minVersion";
    assert_problem(&valid_with(", minVersion: 1.1"), key, "one of `1.2`, `1.3`");
    assert_problem(
        &valid_with(", minVersion: \"1.1\""),
        key,
        "`1.1` is not one of",
    );
}

#[test]
fn client_certificates_need_authorities_and_authorities_need_client_certificates() {
    for (more, key, message) in [
        (
            ", clientCertificate: required",
            "clientCertificate",
            "set `clientCaFile`",
        ),
        (
            ", clientCaFile: \"${DIR}/ca.pem\"",
            "clientCaFile",
            "no effect without `clientCertificate",
        ),
        (
            ", clientCrlFile: \"${DIR}/ca.pem\"",
            "clientCrlFile",
            "no effect without `clientCertificate",
        ),
        (
            ", clientCertificate: optional, clientCaFile: \"${DIR}/key.pem\"",
            "clientCaFile",
            "contains no PEM certificate",
        ),
        (
            ", clientCertificate: optional, clientCaFile: \"${DIR}/ca.pem\", clientCrlFile: \
             \"${DIR}/ca.pem\"",
            "clientCrlFile",
            "contains no PEM certificate revocation list",
        ),
    ] {
        assert_problem(&valid_with(more), &format!("inbound[0].tls.{key}"), message);
    }
}

#[test]
fn self_signed_certificates_are_optional_and_only_where_something_uses_them() {
    let switch = "selfSignedClients: true";
    let tls = config(&valid_with(&format!(
        ", clientCertificate: optional, {switch}"
    )));
    let clients = tls.inbound[0].tls.clone().unwrap().clients.unwrap();
    assert_eq!((clients.authorities, clients.self_signed), (None, true));
    for (more, key, message) in [
        (
            format!(", {switch}"),
            "selfSignedClients",
            "needs `clientCertificate: optional`",
        ),
        (
            format!(", clientCertificate: required, clientCaFile: \"${{DIR}}/ca.pem\", {switch}"),
            "selfSignedClients",
            "needs `clientCertificate: optional`",
        ),
        (
            format!(", clientCertificate: optional, clientCrlFile: \"${{DIR}}/ca.pem\", {switch}"),
            "clientCrlFile",
            "no effect without `clientCaFile`",
        ),
    ] {
        assert_problem(
            &valid_with(&more),
            &format!("inbound[0].tls.{key}"),
            message,
        );
    }
    let probes = small_but("", "")
        + "probes:\n  listen: 127.0.0.1:9900\n  tls: { certFile: \"${DIR}/ca.pem\", keyFile: \
           \"${DIR}/key.pem\", clientCertificate: optional, selfSignedClients: true }\n";
    assert_problem(&probes, "probes.tls.selfSignedClients", "only the issuer");
}

#[test]
fn the_issuer_has_tls_on_its_own_listener_only() {
    let text = small_but(
        "  listen: 127.0.0.1:8080\n",
        "  tls: { certFile: \"${DIR}/ca.pem\", keyFile: \"${DIR}/key.pem\" }\n",
    );
    let text = text.replace("  - name: in\n", "  - name: in\n    issuer: true\n");
    assert_problem(&text, "issuer.tls", "it needs `listen`");
}

#[test]
fn a_key_that_others_can_read_and_an_expired_certificate_are_warnings() {
    let files = Files::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["a".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = params.self_signed(&key).unwrap();
    std::fs::write(files.0.path().join("ca.pem"), expired.pem()).unwrap();
    std::fs::write(files.0.path().join("key.pem"), key.serialize_pem()).unwrap();
    chmod(&files.0.path().join("key.pem"), 0o644);
    let loaded = files.parse(&valid_with("")).unwrap();
    let found: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    let [certificate, key] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(
        certificate.contains(
            "inbound[0].tls.certFile: the certificate has expired: it was valid \
                              until 2021-01-01T00:00:00Z"
        ),
        "{certificate}"
    );
    assert!(
        key.contains("inbound[0].tls.keyFile: others can read the file"),
        "{key}"
    );
}

#[test]
fn a_public_management_api_with_tls_is_no_warning() {
    let admin = |tls: &str| {
        let text = small_but("", "");
        warnings(&format!(
            "{text}admin: {{ listen: \"0.0.0.0:9901\"{tls} }}\n"
        ))
    };
    assert!(
        admin("")
            .iter()
            .any(|it| it.contains("admin.listen") && it.contains("set `tls`"))
    );
    let tls = ", tls: { certFile: \"${DIR}/ca.pem\", keyFile: \"${DIR}/key.pem\" }";
    assert!(!admin(tls).iter().any(|it| it.contains("admin.listen")));
}
