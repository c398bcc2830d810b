use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::domain::secret::ExposeSecret;
use crate::jose::sign::SigningKey;
use crate::jose::verify::Jws;

fn jwk(algorithm: Algorithm) -> Value {
    SigningKey::generate(algorithm).unwrap().public_jwk()
}

fn parse(keys: &[Value]) -> Result<KeySet, InvalidKeySet> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

#[test]
fn one_broken_key_does_not_spoil_the_others() {
    let good = jwk(Algorithm::ES256);
    let broken = [
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}),
        json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": 5}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!(null),
        json!("x"),
    ];
    for bad in &broken {
        let refused = parse(std::slice::from_ref(bad)).unwrap_err();
        assert!(matches!(refused, InvalidKeySet::NoUsableKey(_)), "{bad}");
    }
    let mut all = broken.to_vec();
    all.push(good);
    assert_eq!(parse(&all).unwrap().len(), 1);
}

#[test]
fn invalid_numbers_are_refused() {
    let (mut rsa, mut ec) = (jwk(Algorithm::RS256), jwk(Algorithm::ES256));
    // With exponent 1 every message is its own signature.
    for exponent in ["AQ", "AA", "", "Ag", "AQAA"] {
        rsa["e"] = exponent.into();
        assert!(parse(std::slice::from_ref(&rsa)).is_err(), "{exponent}");
    }
    // Coordinates of two keys: a point beside the curve.
    ec["y"] = jwk(Algorithm::ES256)["y"].clone();
    assert!(parse(&[ec]).is_err());
}

#[test]
fn other_documents_are_refused() {
    for (bad, why) in [
        ("", "it is empty"),
        ("{}", "it has no list `keys`"),
        ("[]", "JSON, but not an object"),
        (r#"{"keys":{}}"#, "it has no list `keys`"),
        (r#"{"keys":null}"#, "it has no list `keys`"),
        (r#"{"keys":[],"keys":[]}"#, "repeats the member `keys`"),
        (
            r#"{"keys":[{"kid":"a","kid":"a"}]}"#,
            "repeats the member `kid`",
        ),
        ("<html>", "HTML"),
        ("\u{feff}{\"keys\":[]}", "byte order mark"),
        (r#"{"keys":[]}"#, "holds no key"),
    ] {
        let refused = KeySet::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(why), "{bad}: {refused}");
    }
}

#[test]
fn an_empty_member_counts_as_missing() {
    for name in ["use", "key_ops", "alg", "kid", "crv", "x5c", "x5t"] {
        for nothing in [json!(null), json!(""), json!([])] {
            for algorithm in [Algorithm::RS256, Algorithm::ES256] {
                // `crv` is required for EC keys, and a list is not a valid `kid`.
                if (name, algorithm) == ("crv", Algorithm::ES256)
                    || (name == "kid" && nothing.is_array())
                {
                    continue;
                }
                let mut key = jwk(algorithm);
                key[name] = nothing.clone();
                let set = parse(&[key]).unwrap();
                assert!(
                    set.candidates(None, algorithm).is_ok() && set.left_out().is_empty(),
                    "{name}"
                );
            }
        }
    }
    let mut svid = jwk(Algorithm::ES256);
    svid["use"] = "jwt-svid".into();
    assert!(parse(&[svid]).is_ok());
}

#[test]
fn a_left_out_key_is_named_with_its_reason() {
    let changed = |name: &str, value: Value| {
        let mut key = jwk(Algorithm::ES256);
        key["kid"] = "k\u{1b}".into();
        key[name] = value;
        key
    };
    let mut short = jwk(Algorithm::RS256);
    short["n"] = "AQAB".into();
    for (bad, why, is_meant) in [
        (json!(null), "it is not a JSON object", false),
        (
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            "a shared secret",
            false,
        ),
        (json!({"kty": "XX"}), "`kty` `XX` is not supported", false),
        (json!({"use": "sig"}), "`kty` is missing", false),
        (
            json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
            "for encryption",
            true,
        ),
        (
            changed("crv", "P-521".into()),
            "its curve `P-521` is not supported",
            false,
        ),
        (
            changed("use", "enc".into()),
            "`use` is `enc`: it is for encryption",
            true,
        ),
        (
            changed("use", "tls".into()),
            "`use` is `tls`, neither `sig` nor `jwt-svid`",
            false,
        ),
        (changed("use", 7.into()), "`use` is not a string", false),
        (
            changed("key_ops", json!(["sign"])),
            "`key_ops` does not name `verify`",
            false,
        ),
        (
            changed("key_ops", json!(["wrapKey"])),
            "encryption only",
            true,
        ),
        (
            changed("key_ops", "verify".into()),
            "`key_ops` is not a list",
            false,
        ),
        (
            changed("alg", "RS256".into()),
            "`alg` `RS256` does not fit its kind",
            false,
        ),
        (
            changed("alg", "ES256K".into()),
            "`alg` `ES256K` is not supported",
            false,
        ),
        (
            changed("alg", "RSA-OAEP-256".into()),
            "`alg` `RSA-OAEP-256` is for encryption",
            true,
        ),
        (changed("x", "AA".into()), "`x` has 1 bytes, not 32", false),
        (changed("y", "!".into()), "`y` is not base64url", false),
        (changed("y", "".into()), "`y` is missing", false),
        (short, "`n` has 24 bits, fewer than 2048", false),
    ] {
        let set = parse(&[bad, jwk(Algorithm::ES256)]).unwrap();
        let [left_out] = set.left_out() else {
            panic!("{why}")
        };
        assert!(left_out.why.contains(why), "{left_out}");
        assert_eq!(left_out.is_meant, is_meant, "{left_out}");
        assert!(left_out.key.starts_with("keys[0]") && !left_out.to_string().contains('\u{1b}'));
    }
    let all = parse(&vec![json!({"kty": "oct"}); 5])
        .unwrap_err()
        .to_string();
    assert!(
        all.contains("keys[2]: ") && all.ends_with("; and 2 more"),
        "{all}"
    );
}

#[test]
fn keys_beyond_the_first_256_are_counted() {
    let mut keys = vec![json!({"kty": "oct"}); 255];
    keys.push(jwk(Algorithm::ES256));
    assert_eq!(parse(&keys).unwrap().unread(), 0);
    keys.push(jwk(Algorithm::ES256));
    let set = parse(&keys).unwrap();
    assert_eq!((set.len(), set.unread()), (1, 1));
}

#[test]
fn a_key_verifies_only_what_its_alg_use_and_key_ops_allow() {
    let mut key = jwk(Algorithm::RS256);
    let set = parse(std::slice::from_ref(&key)).unwrap();
    assert_eq!(
        set.candidates(None, Algorithm::PS256).err(),
        Some(NoCandidate::Algorithm)
    );
    key.as_object_mut().unwrap().remove("alg");
    assert!(
        parse(std::slice::from_ref(&key))
            .unwrap()
            .candidates(None, Algorithm::PS256)
            .is_ok()
    );
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!(7)),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!("verify")),
        ("alg", json!("ES256")),
        ("alg", json!("HS256")),
        ("alg", json!(1)),
        ("kid", json!(1)),
    ] {
        let mut bad = key.clone();
        bad[name] = value;
        assert!(parse(&[bad]).is_err(), "{name}");
    }
}

#[test]
fn a_kid_gives_one_candidate_and_no_kid_at_most_two() {
    let keys: Vec<_> = (0..8).map(|_| jwk(Algorithm::ES256)).collect();
    let set = parse(&keys).unwrap();
    let kid = keys[3]["kid"].as_str().unwrap();
    assert_eq!(
        set.candidates(Some(kid), Algorithm::ES256).unwrap().len(),
        1
    );
    assert_eq!(
        set.candidates(None, Algorithm::ES256).unwrap().len(),
        MAX_CANDIDATES
    );
    assert_eq!(
        set.candidates(Some("other"), Algorithm::ES256).err(),
        Some(NoCandidate::UnknownKid)
    );
    assert_eq!(
        set.candidates(Some(kid), Algorithm::RS256).err(),
        Some(NoCandidate::Algorithm)
    );
}

#[test]
fn a_key_is_parsed_once_for_each_algorithm_it_verifies() {
    for algorithm in crate::jose::ALGORITHMS {
        let key = SigningKey::generate(*algorithm).unwrap();
        let set = parse(&[key.public_jwk()]).unwrap();
        let token = key.sign("JWT", &json!({})).unwrap();
        let jws = Jws::parse(token.expose_secret()).unwrap();
        assert!(jws.verify(&set.keys[0]), "{algorithm:?}");
        let prepared =
            |set: &KeySet| std::ptr::from_ref(set.keys[0].prepared_for(*algorithm).unwrap());
        assert_eq!(prepared(&set), prepared(&set.clone()), "{algorithm:?}");
    }
}

#[test]
fn a_signature_is_only_right_for_its_text_and_its_algorithm() {
    let keys = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].map(|algorithm| {
        let key = SigningKey::generate(algorithm).unwrap();
        (algorithm, key)
    });
    for (algorithm, key) in &keys {
        let mut jwk = key.public_jwk();
        jwk.as_object_mut().unwrap().remove("alg");
        let set = parse(&[jwk]).unwrap();
        let token = key.sign("JWT", &json!({"a": 1})).unwrap();
        let (text, signature) = token.expose_secret().rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let verifies = |algorithm, text: &str, signature: &[u8]| {
            set.keys[0].verifies(algorithm, text.as_bytes(), signature)
        };
        assert!(verifies(*algorithm, text, &signature));
        assert!(!verifies(*algorithm, &text[1..], &signature));
        assert!(!verifies(*algorithm, text, &signature[1..]));
        assert!(!verifies(*algorithm, text, &[]));
        for other in crate::jose::ALGORITHMS.iter().filter(|it| *it != algorithm) {
            assert!(
                !verifies(*other, text, &signature),
                "{algorithm:?} {other:?}"
            );
        }
    }
}

#[test]
fn recently_used_keys_are_tried_first_and_each_key_gets_its_turn() {
    let keys: Vec<_> = (0..6).map(|_| jwk(Algorithm::ES256)).collect();
    let set = parse(&keys).unwrap();
    let print = |n: usize| set.keys[n].fingerprint;
    let tried = || {
        let candidates = set.candidates(None, Algorithm::ES256).unwrap();
        assert_eq!(candidates.len(), 2);
        candidates
            .iter()
            .map(|key| key.fingerprint)
            .collect::<Vec<_>>()
    };
    let all = |tries: usize| {
        (0..tries)
            .flat_map(|_| tried())
            .collect::<std::collections::HashSet<_>>()
    };
    // In a thousand tries a key that has one chance in 24 is left out less than once in 10^18.
    assert_eq!(
        all(1000).len(),
        6,
        "no key has verified yet: all get their turn"
    );
    set.verified_by(&set.keys[4]);
    assert_eq!(tried()[0], print(4));
    assert_eq!(all(1000).len(), 6);
    set.verified_by(&set.keys[2]);
    let pairs: Vec<_> = (0..1000).map(|_| tried()).collect();
    assert!(pairs.iter().all(|pair| pair[0] == print(2)));
    assert!(pairs.iter().filter(|pair| pair[1] == print(4)).count() > 600);
    assert_eq!(
        pairs
            .concat()
            .iter()
            .collect::<std::collections::HashSet<_>>()
            .len(),
        6
    );
    // The next edition takes the record over, also of keys that are gone.
    let next = parse(&keys[1..]).unwrap().after(&set);
    let candidates = next.candidates(None, Algorithm::ES256).unwrap();
    assert_eq!(candidates[0].fingerprint, print(2));
    // Two keys are both tried, the one that verified last first.
    let two = parse(&keys[1..3]).unwrap();
    two.verified_by(&two.keys[1]);
    let candidates = two.candidates(None, Algorithm::ES256).unwrap();
    assert_eq!(
        candidates
            .iter()
            .map(|key| key.fingerprint)
            .collect::<Vec<_>>(),
        [print(2), print(1)]
    );
}
