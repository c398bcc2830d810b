use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::nonces::NONCE_WINDOW;
use super::*;
use crate::domain::clock::UnixTime;
use crate::domain::secret::ExposeSecret;
use crate::jose::sign::SigningKey;
use crate::jose::{ALGORITHMS, Algorithm};

/// RFC 9449 §4.1, figure 1.
const TOKEN_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI\
    6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRs\
    Y3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwi\
    aHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2f\
    Q.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
/// RFC 9449 §7.1, figure 12.
const RESOURCE_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwie\
    CI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVF\
    RsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIi\
    wiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsIml\
    hdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW\
    9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const RESOURCE_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
/// RFC 9449 §6.1, figure 9.
const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

const NOW: UnixTime = UnixTime(1_800_000_000);
const URL: &str = "https://api.example/devices/1";
const TOKEN: &str = "an.access.token";

fn url(text: &str) -> TargetUri {
    TargetUri::parse(text).unwrap()
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::ES256).unwrap()
}

fn expected(url: &TargetUri) -> Expected<'_> {
    Expected {
        method: "GET",
        url,
        token: Some(TOKEN),
        thumbprint: None,
        nonces: None,
        now: NOW,
    }
}

fn new_proof() -> NewProof<'static> {
    NewProof {
        method: "GET",
        url: URL,
        token: Some(TOKEN),
        nonce: None,
        now: NOW,
    }
}

/// Verifies the proof of a new key with these claims, where `null` removes one.
fn verified(changes: &Value) -> Result<Proof, InvalidProof> {
    let ath = super::making::token_hash(TOKEN);
    let mut claims = json!({
        "jti": "1", "htm": "GET", "htu": URL, "iat": NOW.0, "ath": ath,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    let text = key().sign_with_jwk(TYPE, &claims).unwrap();
    Proof::verify(text.expose_secret(), &expected(&url(URL)))
}

#[test]
fn the_examples_of_rfc_9449_are_valid() {
    let at_token_endpoint = url("https://server.example.com/token");
    let proof = Proof::verify(
        TOKEN_PROOF,
        &Expected {
            method: "POST",
            token: None,
            now: UnixTime(1_562_262_616),
            ..expected(&at_token_endpoint)
        },
    );
    assert_eq!(proof.unwrap().thumbprint(), THUMBPRINT);
    let at_resource = url("https://resource.example.org/protectedresource");
    let right = Expected {
        token: Some(RESOURCE_TOKEN),
        thumbprint: Some(THUMBPRINT),
        now: UnixTime(1_562_262_618),
        ..expected(&at_resource)
    };
    assert!(Proof::verify(RESOURCE_PROOF, &right).is_ok());
    let of_other_key = Expected {
        thumbprint: Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4J"),
        ..right
    };
    let refused = Proof::verify(RESOURCE_PROOF, &of_other_key);
    assert_eq!(refused, Err(InvalidProof::OtherKey));
}

#[test]
fn the_thumbprints_of_rfc_7638_and_rfc_8037_are_computed() {
    let rsa = json!({
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1\
              L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4\
              QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO\
              pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF\
              Cur-kEgU8awapJzKnqDKgw",
    });
    let ed25519 = json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    for (jwk, expected) in [
        (rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (ed25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ] {
        let thumbprint = thumbprint::of_jwk(&jwk).unwrap();
        assert_eq!(thumbprint, expected);
        assert!(thumbprint::is_thumbprint(&thumbprint));
    }
    let no_thumbprints = [
        "",
        "x",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xt",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X=",
        "NzbLsXh8uDCcd+6MNwXF4W/7noWXFZAfHkxZsRGC9Xs",
    ];
    for text in no_thumbprints {
        assert!(!thumbprint::is_thumbprint(text), "{text}");
    }
    assert_eq!(thumbprint::of_jwk(&json!({"kty": "oct", "k": "AA"})), None);
    assert_eq!(
        thumbprint::of_jwk(&json!({"kty": "EC", "crv": "P-256"})),
        None
    );
}

#[test]
fn every_algorithm_makes_a_proof_that_is_valid_once() {
    let (url, memory) = (url(URL), ReplayMemory::default());
    for algorithm in ALGORITHMS.iter().copied() {
        let key = SigningKey::generate(algorithm).unwrap();
        let thumbprint = key.thumbprint().unwrap();
        let bound = Expected {
            thumbprint: Some(&thumbprint),
            ..expected(&url)
        };
        let verify = || {
            let text = new_proof().sign(&key).unwrap();
            Proof::verify(text.expose_secret(), &bound).unwrap()
        };
        let (proof, other) = (verify(), verify());
        assert_eq!(proof.thumbprint(), thumbprint);
        assert_eq!(memory.use_once(&proof, NOW), Ok(()));
        assert_eq!(memory.use_once(&proof, NOW), Err(NotFirst::Replayed));
        assert_eq!(memory.use_once(&other, NOW), Ok(()));
    }
}

#[test]
fn a_new_proof_names_the_url_without_query_and_fragment() {
    let (url, key) = (url(URL), key());
    let new = NewProof {
        url: "https://api.example/devices/1?a=b#c",
        ..new_proof()
    };
    let text = new.sign(&key).unwrap();
    assert!(Proof::verify(text.expose_secret(), &expected(&url)).is_ok());
}

#[test]
fn each_claim_is_checked() {
    let minute = 60;
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"iat": NOW.0 - minute}), Ok(())),
        (json!({"iat": NOW.0 + minute}), Ok(())),
        (json!({"iat": 1_800_000_000.5}), Ok(())),
        (
            json!({"htu": "HTTPS://API.example:443/x/../%64evices/1?q=1#f"}),
            Ok(()),
        ),
        (json!({"unknown": [1]}), Ok(())),
        (json!({"iat": NOW.0 - minute - 1}), Err(InvalidProof::Old)),
        (
            json!({"iat": NOW.0 + minute + 1}),
            Err(InvalidProof::Future),
        ),
        (json!({"iat": i64::MIN}), Err(InvalidProof::Old)),
        (json!({"iat": i64::MAX}), Err(InvalidProof::Future)),
        (json!({"iat": "1800000000"}), Err(InvalidProof::Claims)),
        (json!({"iat": null}), Err(InvalidProof::Claims)),
        (json!({"jti": null}), Err(InvalidProof::Claims)),
        (json!({"jti": 1}), Err(InvalidProof::Claims)),
        (json!({"jti": ""}), Err(InvalidProof::Id)),
        (json!({"jti": "x".repeat(MAX_ID_SIZE)}), Ok(())),
        (
            json!({"jti": "x".repeat(MAX_ID_SIZE + 1)}),
            Err(InvalidProof::Id),
        ),
        (json!({"htm": "POST"}), Err(InvalidProof::Method)),
        (json!({"htm": "get"}), Err(InvalidProof::Method)),
        (json!({"htm": ["GET"]}), Err(InvalidProof::Claims)),
        (json!({"htm": null}), Err(InvalidProof::Claims)),
        (
            json!({"htu": "http://api.example/devices/1"}),
            Err(InvalidProof::Target),
        ),
        (
            json!({"htu": "https://api.example/devices/2"}),
            Err(InvalidProof::Target),
        ),
        (
            json!({"htu": "https://api.example:8443/devices/1"}),
            Err(InvalidProof::Target),
        ),
        (
            json!({"htu": "https://api.example.evil/devices/1"}),
            Err(InvalidProof::Target),
        ),
        (
            json!({"htu": "https://u@api.example/devices/1"}),
            Err(InvalidProof::Target),
        ),
        (json!({"htu": "/devices/1"}), Err(InvalidProof::Target)),
        (json!({"htu": ""}), Err(InvalidProof::Target)),
        (json!({"htu": null}), Err(InvalidProof::Claims)),
        (json!({"ath": null}), Err(InvalidProof::TokenHash)),
        (json!({"ath": "x"}), Err(InvalidProof::TokenHash)),
    ] {
        let result = verified(&changes);
        assert_eq!(result.map(drop), expected, "{changes}");
    }
}

/// The proof of `key` with another header.
fn with_header(key: &SigningKey, change: impl FnOnce(&mut Value)) -> String {
    let text = new_proof().sign(key).unwrap();
    let (header, rest) = text.expose_secret().split_once('.').unwrap();
    let mut header: Value = serde_json::from_slice(&decoded(header)).unwrap();
    change(&mut header);
    format!("{}.{rest}", encoded(header.to_string().as_bytes()))
}

fn decoded(part: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap()
}

fn encoded(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn the_header_is_checked() {
    let (key, url) = (key(), url(URL));
    let other = SigningKey::generate(Algorithm::ES256).unwrap().public_jwk();
    let small_rsa = json!({"kty": "RSA", "e": "AQAB", "n": encoded(&[0xc1; 128])});
    let set = |name: &'static str, value: Value| (name, value);
    for ((name, value), expected) in [
        (set("typ", json!("JWT")), InvalidProof::Type),
        (set("typ", json!("DPOP+JWT")), InvalidProof::Type),
        (set("typ", json!(null)), InvalidProof::Type),
        (set("alg", json!("none")), InvalidProof::Algorithm),
        (set("alg", json!("HS256")), InvalidProof::Algorithm),
        (set("alg", json!("ES384")), InvalidProof::Algorithm),
        (set("alg", json!("RS256")), InvalidProof::Algorithm),
        (set("crit", json!(["exp"])), InvalidProof::Critical),
        (set("jwk", json!(null)), InvalidProof::Key),
        (set("jwk", json!("x")), InvalidProof::Key),
        (
            set("jwk", json!({"kty": "oct", "k": "c2VjcmV0"})),
            InvalidProof::PrivateKey,
        ),
        (set("jwk", json!({"kty": "oct"})), InvalidProof::Key),
        (set("jwk", small_rsa), InvalidProof::Key),
        (set("jwk", other), InvalidProof::Signature),
    ] {
        let text = with_header(&key, |header| header[name] = value.clone());
        let result = Proof::verify(&text, &self::expected(&url));
        assert_eq!(result.map(drop), Err(expected), "{name}: {value}");
    }
    for (member, value, expected) in [
        ("d", "AQAB".to_owned(), InvalidProof::PrivateKey),
        ("use", "enc".to_owned(), InvalidProof::Key),
        ("crv", "P-521".to_owned(), InvalidProof::Key),
        (
            "x",
            format!("{}=", key.public_jwk()["x"].as_str().unwrap()),
            InvalidProof::Key,
        ),
        ("x", encoded(&[7; 32]), InvalidProof::Key),
    ] {
        let text = with_header(&key, |header| header["jwk"][member] = json!(value));
        let result = Proof::verify(&text, &self::expected(&url));
        assert_eq!(result.map(drop), Err(expected), "{member}");
    }
    let removed = with_header(&key, |header| {
        header.as_object_mut().unwrap().remove("jwk");
    });
    let result = Proof::verify(&removed, &self::expected(&url));
    assert_eq!(result, Err(InvalidProof::Key));
}

#[test]
fn an_rsa_key_has_one_spelling() {
    let (key, url) = (SigningKey::generate(Algorithm::RS256).unwrap(), url(URL));
    let padded = |name| {
        let jwk = key.public_jwk();
        let number = decoded(jwk[name].as_str().unwrap());
        encoded(&[&[0][..], &number].concat())
    };
    for name in ["n", "e"] {
        let text = with_header(&key, |header| header["jwk"][name] = json!(padded(name)));
        let result = Proof::verify(&text, &expected(&url));
        assert_eq!(result, Err(InvalidProof::Key), "{name}");
    }
}

#[test]
fn texts_that_are_no_proof_are_refused() {
    let url = url(URL);
    let long = "a".repeat(MAX_PROOF_SIZE + 1);
    for (text, why) in [
        ("", InvalidProof::Malformed),
        ("a.b.c", InvalidProof::Malformed),
        (&long[1..], InvalidProof::Malformed),
        (&long, InvalidProof::TooLarge),
    ] {
        assert_eq!(Proof::verify(text, &expected(&url)), Err(why));
    }
    let proof = |values: &[&str]| {
        let values = values
            .iter()
            .map(|it| (DPOP, HeaderValue::from_str(it).unwrap()));
        let headers: HeaderMap = HeaderMap::from_iter([]);
        let headers = values.fold(headers, |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
        sent_proof(&headers).map(str::to_owned)
    };
    assert_eq!(proof(&[]), Err(InvalidProof::Missing));
    assert_eq!(proof(&["a"]), Ok("a".to_owned()));
    assert_eq!(proof(&["a", "a"]), Err(InvalidProof::Two));
    assert_eq!(proof(&["\u{e9}"]), Err(InvalidProof::Malformed));
}

#[test]
fn urls_are_compared_in_normal_form() {
    for (one, other) in [
        ("https://A.example", "https://a.example:443/"),
        ("http://a.example:80/a/./b", "HTTP://a.example/a/c/../b?x#y"),
        ("https://a.example/%7euser%2f", "https://a.example/~user%2F"),
        ("https://[::1]:8443/x", "https://[0:0::1]:8443/x"),
    ] {
        assert_eq!(url(one), url(other));
    }
    for (one, other) in [
        ("https://a.example/a", "https://a.example/a/"),
        ("https://a.example/a", "https://a.example//a"),
        ("https://a.example/a", "https://a.example/A"),
        ("https://a.example/a%2Fb", "https://a.example/a/b"),
        ("https://a.example/a", "http://a.example/a"),
        ("https://a.example/a", "https://a.example:444/a"),
    ] {
        assert_ne!(url(one), url(other));
    }
    for text in [
        "",
        "a",
        "ftp://a.example/",
        "https:a.example/",
        "https:///a.example/",
        "https://",
        "https://user@a.example/",
        "https://:secret@a.example/",
        "https://a.example\\b",
        "https://a.example/a b",
        "https://a.example/\t",
        "https://a.example/\u{e9}",
        "https://a.example/%",
        "https://a.example/%4",
        "https://a.example/%zz",
        "https://a.example:99999/",
    ] {
        assert_eq!(TargetUri::parse(text), None, "{text}");
    }
}

#[test]
fn the_url_of_a_request_is_that_of_its_parts() {
    let of = |host, path| TargetUri::of_request("https", host, path).map(|it| it.to_string());
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of("a.example:443", "/%61"), some("https://a.example/a"));
    let refused = [
        ("", "/"),
        ("a.example/b", "/"),
        ("a@b", "/"),
        ("a?", "/"),
        ("a", "*"),
        ("a", "/a?b"),
    ];
    for (host, path) in refused {
        assert_eq!(of(host, path), None, "{host} {path}");
    }
    let base = url("https://api.example:8443/base");
    let moved = base.with_path("/base/x").unwrap();
    assert_eq!(moved.as_str(), "https://api.example:8443/base/x");
}

#[test]
fn a_nonce_is_accepted_in_its_window_and_the_next() {
    let (nonces, url, key) = (Nonces::default(), url(URL), key());
    let began = UnixTime(NOW.0.div_euclid(60) * 60);
    let nonce = nonces.current(began);
    assert_eq!(
        nonce,
        nonces.current(began.plus(NONCE_WINDOW - Duration::from_secs(1)))
    );
    for (after, expected) in [
        (0, Some(true)),
        (59, Some(true)),
        (60, Some(false)),
        (119, Some(false)),
        (120, None),
    ] {
        let now = UnixTime(began.0 + after);
        assert_eq!(nonces.is_current(&nonce, now), expected, "{after}");
    }
    assert_eq!(
        nonces.is_current(&nonce, UnixTime(began.0 - 1)),
        None,
        "of the future"
    );
    assert_eq!(
        Nonces::default().is_current(&nonce, began),
        None,
        "of another process"
    );
    let with = |nonce| {
        let text = NewProof {
            nonce,
            ..new_proof()
        }
        .sign(&key)
        .unwrap();
        let demanded = Expected {
            nonces: Some(&nonces),
            ..expected(&url)
        };
        Proof::verify(text.expose_secret(), &demanded).map(|proof| proof.needs_nonce())
    };
    let (current, last) = (nonces.current(NOW), nonces.current(NOW.minus(NONCE_WINDOW)));
    assert_eq!(with(Some(current.as_str())), Ok(false));
    assert_eq!(with(Some(last.as_str())), Ok(true));
    assert_eq!(with(Some("x")), Err(InvalidProof::Nonce));
    assert_eq!(with(None), Err(InvalidProof::Nonce));
}

/// A valid proof whose `iat` is this.
fn proof_of(issued_at: UnixTime, key: &SigningKey) -> Proof {
    let url = url(URL);
    let text = NewProof {
        now: issued_at,
        ..new_proof()
    }
    .sign(key)
    .unwrap();
    Proof::verify(
        text.expose_secret(),
        &Expected {
            now: issued_at,
            ..expected(&url)
        },
    )
    .unwrap()
}

#[test]
fn a_proof_is_remembered_until_it_is_too_old() {
    let (memory, key) = (ReplayMemory::default(), key());
    let (early, late) = (
        proof_of(NOW.minus(MAX_AGE), &key),
        proof_of(NOW.plus(MAX_AGE), &key),
    );
    assert_eq!(memory.use_once(&late, NOW), Ok(()));
    assert_eq!(memory.use_once(&early, NOW), Ok(()));
    for after in [0, 60, 119, 120] {
        let now = UnixTime(NOW.0 + after);
        assert_eq!(
            memory.use_once(&late, now),
            Err(NotFirst::Replayed),
            "{after}"
        );
    }
    let again = proof_of(NOW.plus(MAX_AGE * 3), &key);
    let mut others = (0..64).map(|_| proof_of(NOW.plus(MAX_AGE * 3), &key));
    assert!(others.all(|other| memory.use_once(&other, NOW.plus(MAX_AGE * 3)).is_ok()));
    assert_eq!(memory.use_once(&again, NOW.plus(MAX_AGE * 3)), Ok(()));
    assert!(memory.len() <= 67);
}

#[test]
fn a_full_memory_accepts_no_proof_until_the_first_ones_are_too_old() {
    let (memory, key) = (ReplayMemory::with_capacity(32), key());
    let results: Vec<_> = (0..200)
        .map(|_| memory.use_once(&proof_of(NOW, &key), NOW))
        .collect();
    let accepted = results.iter().filter(|it| it.is_ok()).count();
    assert!(accepted <= 32 && memory.len() == accepted, "{accepted}");
    assert!(results.contains(&Err(NotFirst::Full)));
    let later = NOW.plus(MAX_AGE * 2);
    assert_eq!(memory.use_once(&proof_of(later, &key), later), Ok(()));
}

proptest! {
    #[test]
    fn hostile_proofs_never_panic_and_are_never_valid(
        text in "[A-Za-z0-9_.=-]{0,300}|\\PC{0,60}",
        header in "\\{(\"(typ|alg|jwk|crit|kid)\":(\"(dpop\\+jwt|ES256|none|[a-z]{0,3})\"|\
            \\{\"kty\":\"(EC|RSA|oct|OKP)\",\"(crv|x|n|k|d)\":\"[A-Za-z0-9]{0,5}\"\\}|\
            null|1),?){0,5}\\}",
        payload in "\\{(\"(jti|htm|htu|iat|ath)\":(\
            \"(GET|https://api.example/devices/1|[a-z]{0,3})\"|1800000000|null),?){0,5}\\}",
    ) {
        let url = url(URL);
        prop_assert!(Proof::verify(&text, &expected(&url)).is_err());
        let made = format!("{}.{}.c2ln", encoded(header.as_bytes()), encoded(payload.as_bytes()));
        prop_assert!(Proof::verify(&made, &expected(&url)).is_err());
    }

    #[test]
    fn a_changed_proof_is_refused(at in 0..10_000_usize, to in "[A-Za-z0-9_.-]") {
        let valid = RESOURCE_PROOF;
        let at = at % valid.len();
        prop_assume!(valid[at..=at] != to);
        let changed = format!("{}{to}{}", &valid[..at], &valid[at + 1..]);
        let url = url("https://resource.example.org/protectedresource");
        let expected = Expected {
            token: Some(RESOURCE_TOKEN),
            now: UnixTime(1_562_262_618),
            ..expected(&url)
        };
        prop_assert!(Proof::verify(&changed, &expected).is_err());
    }

    #[test]
    fn a_normal_url_is_read_as_itself(text in "[hH]ttps?://[ -~]{0,40}") {
        if let Some(url) = TargetUri::parse(&text) {
            prop_assert_eq!(TargetUri::parse(url.as_str()), Some(url.clone()));
            prop_assert!(!url.as_str().contains(['?', '#', '\\', ' ']));
        }
    }
}
