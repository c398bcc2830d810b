//! Clients of the issuer that authenticate by a certificate.

use super::{ISSUER, assert_problem, config, warnings};
use crate::domain::client_certificate::AlternativeName;
use crate::issuer::client::{Authentication, CertificateName};

/// An issuer with a client that has these keys.
fn client(keys: &str) -> String {
    let tls = "tls: { certFile: \"${DIR}/ca.pem\", keyFile: \"${DIR}/key.pem\", \
               clientCertificate: optional, clientCaFile: \"${DIR}/ca.pem\", selfSignedClients: \
               true }";
    ISSUER.replace(
        " }\n",
        &format!(", {tls}, clients: [{{ id: a, {keys} }}] }}\n"),
    )
}

#[test]
fn each_name_of_a_certificate_is_read() {
    let authentication = |keys: &str| {
        let config = config(&client(&format!("tlsClientAuth: {{ {keys} }}")));
        let issuer = config.issuer.unwrap().issuer;
        issuer.clients[0].authentication.clone()
    };
    for (keys, name) in [
        ("sanDNS: a.test", AlternativeName::Dns("a.test".to_owned())),
        (
            "sanURI: \"urn:example:b\"",
            AlternativeName::Uri("urn:example:b".to_owned()),
        ),
        (
            "sanEmail: a@b.test",
            AlternativeName::Email("a@b.test".to_owned()),
        ),
        (
            "sanIP: \"2001:db8::1\"",
            AlternativeName::Ip("2001:db8::1".parse().unwrap()),
        ),
    ] {
        let name = CertificateName::Alternative(name);
        assert_eq!(authentication(keys), Authentication::TlsClientAuth(name));
    }
    let Authentication::TlsClientAuth(CertificateName::Subject(name)) =
        authentication("subjectDN: \"CN=a, O=B\"")
    else {
        panic!()
    };
    assert_eq!(name.to_string(), "CN=a,O=B");
}

#[test]
fn a_client_has_one_certificate_and_nothing_else() {
    let name = "tlsClientAuth: { sanDNS: a.test }";
    for (keys, key, message) in [
        (
            "tlsClientAuth: {}".to_owned(),
            "tlsClientAuth",
            "set exactly one",
        ),
        (
            "tlsClientAuth: { sanDNS: a, sanEmail: b }".to_owned(),
            "tlsClientAuth",
            "set exactly one",
        ),
        (
            "tlsClientAuth: { subjectDN: \"a b\" }".to_owned(),
            "tlsClientAuth.subjectDN",
            "not a distinguished name",
        ),
        (
            "tlsClientAuth: { sanIP: a.test }".to_owned(),
            "tlsClientAuth.sanIP",
            "not an IP address",
        ),
        (
            "tlsClientAuth: { sanDNS: \"\" }".to_owned(),
            "tlsClientAuth.sanDNS",
            "must not be empty",
        ),
        (
            format!("{name}, jwksFile: \"${{DIR}}/keys.json\""),
            "jwksFile",
            "remove this key",
        ),
        (
            "tlsClientAuth: { selfSigned: true }".to_owned(),
            "tlsClientAuth.selfSigned",
            "needs `jwksFile` or `jwksUri`",
        ),
        (
            "tlsClientAuth: { selfSigned: true, sanDNS: a }, jwksFile: \"${DIR}/keys.json\""
                .to_owned(),
            "tlsClientAuth.sanDNS",
            "prove nothing",
        ),
    ] {
        let path = format!("issuer.clients[0].{key}");
        assert_problem(&client(&keys), &path, message);
    }
    let found = warnings(&client(&format!("{name}, secretFile: \"${{DIR}}/secret\"")));
    assert!(
        found
            .iter()
            .any(|it| it.contains("secretFile: ignored: the client authenticates without")),
        "{found:?}"
    );
}

#[test]
fn a_client_that_no_listener_can_authenticate_is_a_warning() {
    for (keys, missing) in [
        ("tlsClientAuth: { sanDNS: a }", "`tls.clientCaFile`"),
        (
            "tlsClientAuth: { selfSigned: true }, jwksFile: \"${DIR}/keys.json\"",
            "`tls.selfSignedClients: true`",
        ),
        (
            "secretFile: \"${DIR}/secret\", certificateBoundAccessTokens: true",
            "`tls.clientCertificate`",
        ),
    ] {
        let has_warning = |text: &str| {
            warnings(text).iter().any(|it| {
                it.contains("issuer.clients[0]: no listener of the issuer") && it.contains(missing)
            })
        };
        let plain = ISSUER.replace(" }\n", &format!(", clients: [{{ id: a, {keys} }}] }}\n"));
        assert!(has_warning(&plain), "{keys}");
        assert!(!has_warning(&client(keys)), "{keys}");
    }
}
