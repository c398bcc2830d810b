//! Wycheproof's vectors for JSON Web Signature (`tests/vectors`), one by one.

use std::collections::BTreeMap;

use m2m_sidecar::for_tests::jose::key_set::KeySet;
use m2m_sidecar::for_tests::jose::parse_algorithm;
use m2m_sidecar::for_tests::jose::verify::CompactJws;
use serde_json::{Value, json};

use crate::support::AUDIENCE;
use crate::support::client::try_send_raw;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

/// The vectors, group by group.
pub fn groups() -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!(
        "../../vectors/wycheproof_json_web_signature_test.json"
    ))
    .expect("the vectors are JSON");
    all["testGroups"].as_array().expect("a list").clone()
}

/// The tests of a group.
pub fn tests(group: &Value) -> &[Value] {
    group["tests"].as_array().expect("a list")
}

/// A text of a group or test.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text")
}

/// Why a valid vector is refused here; `None` if it must verify.
fn stricter(group: &Value, test: &Value) -> Option<&'static str> {
    let key = group.get("public").unwrap_or(&group["private"]);
    if key["kty"] == "oct" {
        return Some("HMAC: a shared secret is never a key of an authority");
    }
    if key["crv"] == "P-521" {
        return Some("ES512 is not offered");
    }
    // RFC 7520 signs PS384 with a key that says PS256. Here a key's `alg` binds.
    matches!(test["tcId"].as_u64(), Some(346 | 350)).then_some("the key's own alg is another")
}

/// Whether any key of the set verifies the text.
fn verifies(keys: &KeySet, jws: &str) -> bool {
    CompactJws::parse(jws).is_ok_and(|jws| {
        keys.candidates(jws.kid(), jws.algorithm())
            .is_ok_and(|keys| keys.iter().any(|key| jws.verify(key)))
    })
}

#[test]
fn every_vector_has_the_result_of_wycheproof_or_a_reason_to_be_stricter() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for group in groups() {
        // The private key where there is no public one: a set with a symmetric key in it.
        let key = group.get("public").unwrap_or(&group["private"]);
        let keys =
            KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap_or_default();
        for test in tests(&group) {
            let verified = verifies(&keys, text(test, "jws"));
            let (expected, why) = match (text(test, "result"), stricter(&group, test)) {
                ("valid", None) => (true, "valid, and verified"),
                ("valid", Some(why)) => (false, why),
                ("invalid", _) => (false, "invalid, and refused"),
                (other, _) => panic!("{other}: a result of a newer version"),
            };
            *counts.entry(why).or_default() += 1;
            if verified != expected {
                wrong.push(format!("{} {}", test["tcId"], test["comment"]));
            }
        }
    }
    println!("{counts:#?}");
    assert!(wrong.is_empty(), "wrong results: {wrong:#?}");
    let expected = [
        ("ES512 is not offered", 2),
        ("HMAC: a shared secret is never a key of an authority", 10),
        ("invalid, and refused", 355),
        ("the key's own alg is another", 2),
        ("valid, and verified", 32),
    ];
    assert_eq!(
        counts,
        BTreeMap::from(expected),
        "another edition of the vectors?"
    );
}

#[test]
fn keys_for_encryption_and_symmetric_ones_are_in_no_key_set() {
    for group in groups() {
        let key = group.get("public").unwrap_or(&group["private"]);
        let usable = KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).is_ok();
        let for_signatures = key["kty"] != "oct"
            && key["use"] != "enc"
            && key["key_ops"] != json!(["encrypt"])
            && key["alg"]
                .as_str()
                .is_none_or(|alg| parse_algorithm(alg).is_some());
        assert_eq!(usable, for_signatures, "{}", group["comment"]);
    }
}

/// As bearer tokens: their payloads are no claims of ours, so that none may pass, whatever its
/// signature.
#[tokio::test(flavor = "multi_thread")]
async fn no_vector_passes_as_a_bearer_token() {
    let own = TestKey::generate("own", Alg::ES256);
    let mut keys: Vec<_> = groups()
        .iter()
        .filter_map(|group| group.get("public").cloned())
        .collect();
    keys.push(own.public_jwk());
    let upstream = Upstream::start();
    let yaml = format!(
        "stateDir: \"@DIR@\"\nauthorities: {{ users: {{ issuer: \"https://users.example\", \
         jwksFile: \"@DIR@/keys.json\" }} }}\n\
         inbound:\n  - {{ name: api, listen: 127.0.0.1:0, upstream: \"{}\", authorities: [users], \
         audiences: [{AUDIENCE}], \
         rules: [{{ paths: [\"/**\"] }}] }}\n",
        upstream.url()
    );
    let builder = Sidecar::builder().file("keys.json", json!({ "keys": keys }).to_string());
    let sidecar = builder.start(&yaml).await;
    let outcome_of = async |token: &str| {
        let address = sidecar.address("api");
        let request =
            format!("GET / HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
        let answer = try_send_raw(address, request)
            .await
            .unwrap_or_else(|e| panic!("no answer: {e:?}"));
        (
            answer.status,
            answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
        )
    };
    let good = || super::draft::Draft::new("https://users.example", &own).sign();
    while outcome_of(&good()).await.0 != 200 {
        tokio::task::yield_now().await;
    }
    let before = upstream.received().len();
    let mut counts: BTreeMap<(u16, String), usize> = BTreeMap::new();
    for test in groups().iter().flat_map(tests) {
        let outcome = outcome_of(text(test, "jws")).await;
        let expected = match outcome.1.as_str() {
            // Its characters are no token's (RFC 6750 §2.1), or there are none.
            "malformed_authorization" => 400,
            "malformed_token" | "algorithm" => 401,
            other => panic!("{}: {other}", test["tcId"]),
        };
        assert_eq!(outcome.0, expected, "{}", test["tcId"]);
        *counts.entry(outcome).or_default() += 1;
    }
    println!("{counts:?}");
    assert_eq!(outcome_of(&good()).await.0, 200);
    assert_eq!(
        upstream.received().len(),
        before + 1,
        "no vector reached the upstream"
    );
}
