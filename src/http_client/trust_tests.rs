//! Certificates of every kind that servers show, against what a `caFile` holds.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

use super::*;

struct Made {
    der: CertificateDer<'static>,
    pem: String,
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    )
    .unwrap();
    // Otherwise all of them have one name.
    params.distinguished_name.push(
        DnType::CommonName,
        format!("certificate {}", fastrand::u64(..)),
    );
    params
}

fn self_signed(params: &CertificateParams) -> Made {
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Made {
        der: certificate.der().clone(),
        pem: certificate.pem(),
    }
}

/// An authority, and a certificate that it has issued.
fn issued(params: &CertificateParams) -> (Made, Made) {
    let key = KeyPair::generate().unwrap();
    let mut authority = self::params(&[]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap();
    let root = Made {
        der: root.der().clone(),
        pem: root.pem(),
    };
    let leaf = params
        .signed_by(&KeyPair::generate().unwrap(), &Issuer::new(authority, key))
        .unwrap();
    (
        root,
        Made {
            der: leaf.der().clone(),
            pem: leaf.pem(),
        },
    )
}

/// The verification of a server that presents `shown` under the name `a.example`.
fn verified(ca_pem: &str, shown: &Made) -> Result<(), String> {
    verified_at(ca_pem, shown, UnixTime::now())
}

fn verified_at(ca_pem: &str, shown: &Made, now: UnixTime) -> Result<(), String> {
    let name = ServerName::try_from("a.example").unwrap();
    let verified = Trust::only(ca_pem.as_bytes()).unwrap().verify_server_cert(
        &shown.der,
        &[],
        &name,
        &[],
        now,
    );
    verified
        .map(drop)
        .map_err(|error| explain(&error.to_string()))
}

#[test]
fn a_certificate_of_the_ca_file_is_trusted_as_the_servers_own() {
    let plain = self_signed(&params(&["a.example"]));
    assert_eq!(verified(&plain.pem, &plain), Ok(()));
    // As `openssl req -x509` makes them: an authority's and the server's in one.
    let mut both = params(&["a.example"]);
    both.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let both = self_signed(&both);
    assert_eq!(verified(&both.pem, &both), Ok(()));
    assert_eq!(
        verified(&format!("{}{}", plain.pem, both.pem), &both),
        Ok(())
    );
    // The server's own, without the authority that has issued it.
    let (root, leaf) = issued(&params(&["a.example"]));
    assert_eq!(verified(&leaf.pem, &leaf), Ok(()));
    assert_eq!(verified(&root.pem, &leaf), Ok(()));
    // The same where its authority has the server's own name.
    let mut namesake = params(&["a.example"]);
    namesake.distinguished_name = rcgen::DistinguishedName::new();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(namesake.clone(), key);
    let leaf = namesake
        .signed_by(&KeyPair::generate().unwrap(), &issuer)
        .unwrap();
    let leaf = Made {
        der: leaf.der().clone(),
        pem: leaf.pem(),
    };
    assert_eq!(verified(&leaf.pem, &leaf), Ok(()));
}

#[test]
fn a_certificate_of_the_ca_file_must_be_the_very_one_of_this_name_and_valid() {
    let mut both = params(&["a.example"]);
    both.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (one, another) = (self_signed(&both), self_signed(&both));
    assert!(
        verified(&one.pem, &another).is_err(),
        "the same names, another key"
    );
    both.subject_alt_names = params(&["b.example"]).subject_alt_names;
    let other = self_signed(&both);
    let why = verified(&other.pem, &other).unwrap_err();
    assert_eq!(
        why,
        "TLS: its certificate is not for \"a.example\", only for DnsName(\"b.example\")"
    );
    let (_, leaf) = issued(&params(&["a.example"]));
    for shown in [one, leaf] {
        let never = [0, 32_503_680_000]
            .map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        assert!(verified_at(&shown.pem, &shown, never[0]).is_err());
    }
}

#[test]
fn each_refusal_says_what_is_wrong_with_the_certificate() {
    let good = self_signed(&params(&["other.example"]));
    let why = |made: &Made| verified(&good.pem, made).unwrap_err();
    let self_signed_one = self_signed(&params(&["a.example"]));
    assert!(
        why(&self_signed_one).contains("no trusted authority has issued its certificate"),
        "{}",
        why(&self_signed_one)
    );
    let mut both = params(&["a.example"]);
    both.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert!(why(&self_signed(&both)).contains("CA:TRUE"));
    // Issued again under the same name, while the file holds the old one.
    let mut plain = params(&["a.example"]);
    plain.is_ca = IsCa::NoCa;
    let (old, new) = (self_signed(&plain), self_signed(&plain));
    assert!(
        verified(&old.pem, &new)
            .unwrap_err()
            .contains("an older or another one")
    );
    let mut by_cn = params(&[]);
    by_cn
        .distinguished_name
        .push(DnType::CommonName, "a.example");
    let (root, by_cn) = issued(&by_cn);
    let without_san = verified(&root.pem, &by_cn).unwrap_err();
    assert!(
        without_san.contains("no subjectAltName") && without_san.contains("CN"),
        "{without_san}"
    );
    // The same when it stands in the file itself.
    let without_san = verified(&by_cn.pem, &by_cn).unwrap_err();
    assert!(without_san.contains("no subjectAltName"), "{without_san}");
    let mut for_clients = params(&["a.example"]);
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (root, for_clients) = issued(&for_clients);
    assert!(
        verified(&root.pem, &for_clients)
            .unwrap_err()
            .contains("serverAuth")
    );
    let mut old = params(&["a.example"]);
    old.not_after = rcgen::date_time_ymd(2001, 9, 9);
    let (root, old) = issued(&old);
    let expired = verified(&root.pem, &old).unwrap_err();
    assert_eq!(
        expired,
        "TLS: its certificate has expired: it was valid until 2001-09-09T00:00:00Z"
    );
    let mut early = params(&["a.example"]);
    early.not_before = rcgen::date_time_ymd(2999, 1, 1);
    early.not_after = rcgen::date_time_ymd(3000, 1, 1);
    let early = self_signed(&early);
    let not_yet = verified(&early.pem, &early).unwrap_err();
    assert!(
        not_yet.contains("not valid yet, only from 2999-01-01T00:00:00Z on"),
        "{not_yet}"
    );
}

/// Made by `openssl x509 -req -signkey` without extensions, as many instructions still have it.
const VERSION_1: &str = include_str!("version_1.pem");

#[test]
fn a_certificate_of_version_1_is_refused_with_these_words() {
    let der = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
    let shown = Made {
        der,
        pem: VERSION_1.to_owned(),
    };
    let why = verified(VERSION_1, &shown).unwrap_err();
    assert!(
        why.contains("X.509 version 1") && why.contains("subjectAltName"),
        "{why}"
    );
}

#[test]
fn failures_of_the_handshake_have_words_of_their_own() {
    for (text, expected) in [
        (
            "received corrupt message of type InvalidContentType",
            "answers without TLS",
        ),
        (
            "received fatal alert: CertificateRequired",
            "demands a client certificate",
        ),
        (
            "received fatal alert: ProtocolVersion",
            "TLS alert protocol version: it speaks neither TLS 1.2 nor TLS 1.3",
        ),
        (
            "peer is incompatible: ServerTlsVersionIsDisabledByOurConfig",
            "in common",
        ),
        (
            "tls handshake eof",
            "closed the connection during the TLS handshake",
        ),
        ("something\nnew", "TLS: something\\nnew"),
    ] {
        let explained = explain(text);
        assert!(explained.contains(expected), "{text}: {explained}");
    }
    assert!(explain(&"x".repeat(10_000)).len() < 300);
    let many = "certificate not valid for name \"a\"; certificate is only valid for ".to_owned()
        + &"x".repeat(9999);
    assert!(explain(&many).len() < 300);
}

#[test]
fn a_ca_file_must_hold_certificates() {
    for pem in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert_eq!(
            Trust::only(pem.as_bytes()).err(),
            Some(UnusableCertificates),
            "{pem}"
        );
    }
}

#[test]
fn the_platforms_certificates_are_read_only_when_those_of_the_ca_file_do_not_suffice() {
    let (own, other) = (
        self_signed(&params(&["a.example"])),
        self_signed(&params(&["a.example"])),
    );
    let trust = Trust::with_platform(Some(own.pem.as_bytes())).unwrap();
    let name = ServerName::try_from("a.example").unwrap();
    let verify =
        |shown: &Made| trust.verify_server_cert(&shown.der, &[], &name, &[], UnixTime::now());
    let has_read = || trust.all.as_ref().unwrap().get().is_some();
    verify(&own).unwrap();
    assert!(!trust.is_empty() && !has_read());
    let error = verify(&other).unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    assert_eq!(has_read(), platform().is_some());
    verify(&own).unwrap();
}
