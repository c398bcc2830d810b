//! The files of credentials: the parts that are read, and the files that are watched.

use super::*;

#[test]
fn only_a_jwt_is_accepted_as_an_assertion() {
    assert!(is_jwt("e30.e30.c2ln") && is_jwt("a-_.B9.x"));
    for text in [
        "", "a", "a.b", "a.b.", ".b.c", "a.b.c.d", "a b.c.d", "a.b.c\n", "a+b.c.d", "ä.b.c",
    ] {
        assert!(!is_jwt(text), "{text:?}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), " e30.e30.c2ln\r\n\n").unwrap();
    assert_eq!(
        read_assertion(file.path()).unwrap().expose_secret(),
        "e30.e30.c2ln"
    );
    std::fs::write(file.path(), "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
    assert!(read_assertion(file.path()).is_err());
}

#[test]
fn each_file_contributes_only_its_own_kind_of_block() {
    let both = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\nnoise\n\
                -----BEGIN EC PRIVATE KEY-----\nBB==\n-----END EC PRIVATE KEY-----\n";
    let key = blocks(&both.into(), |label| label.ends_with("PRIVATE KEY"));
    assert_eq!(
        key,
        "-----BEGIN EC PRIVATE KEY-----\nBB==\n-----END EC PRIVATE KEY-----\n"
    );
    let certificate = blocks(&both.into(), |label| label == "CERTIFICATE");
    assert_eq!(
        certificate,
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    );
}

#[tokio::test]
async fn every_file_of_a_credential_is_watched() {
    use crate::token_source::{login, testing};

    let authority = testing::Authority::start().await;
    for (authentication, files) in [
        (testing::secret_basic("/secret".into()), vec!["/secret"]),
        (
            Authentication::PrivateKeyJwt(PrivateKeyJwt {
                key_file: "/key".into(),
                algorithm: None,
                kid: None,
                audience: None,
            }),
            vec!["/key"],
        ),
        (
            Authentication::Assertion {
                file: "/jwt".into(),
                is_svid: false,
            },
            vec!["/jwt"],
        ),
        (
            Authentication::Certificate {
                cert_file: "/cert".into(),
                key_file: "/key".into(),
            },
            vec!["/cert", "/key"],
        ),
    ] {
        let config = Config {
            authentication,
            ca_file: Some("/ca".into()),
            ..testing::config(&authority)
        };
        let expected = files.into_iter().chain(["/ca"]).map(PathBuf::from);
        assert_eq!(
            Material::watched_files(&config),
            expected.collect::<Vec<_>>()
        );
    }
    let secret = |path: &str| login::Field::File(path.into());
    let login = login::Login {
        url: "https://a.example/login".parse().unwrap(),
        method: http::Method::POST,
        headers: vec![(http::HeaderName::from_static("x-user"), secret("/user"))],
        body: login::LoginBody::Form(vec![("password".into(), secret("/password"))]),
        token: login::TokenPlace::Member("/token".into()),
        expires_in: None,
        lifetime: None,
    };
    let config = Config {
        endpoint: TokenEndpoint::Login(Box::new(login)),
        authentication: Authentication::None,
        ..testing::config(&authority)
    };
    let expected = ["/user", "/password"].map(PathBuf::from);
    assert_eq!(Material::watched_files(&config), expected);
}

#[test]
fn a_certificate_needs_its_own_key() {
    let pair = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["client".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (
            SecretString::from(certificate.pem()),
            SecretString::from(key.serialize_pem()),
        )
    };
    let ((certificate, key), (other_certificate, other_key)) = (pair(), pair());
    assert!(check_client_certificate(&certificate, &key).is_ok());
    assert!(check_client_certificate(&other_certificate, &other_key).is_ok());
    assert!(check_client_certificate(&certificate, &other_key).is_err());
    assert!(check_client_certificate(&key, &certificate).is_err());
    assert!(check_client_certificate(&"".into(), &key).is_err());
}
