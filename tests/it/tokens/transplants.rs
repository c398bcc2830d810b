//! The defects of Wycheproof's vectors on tokens of ours: right claims, a trusted key, and one
//! thing wrong.
//!
//! The padding of RSASSA-PKCS1-v1_5 is taken over from the vectors themselves: their private key is
//! public, so the padded hash of each vector is opened, our token's hash put in the place of the
//! vector's, and signed again. The other defects are made again here, under the names that the
//! vectors have.

mod encodings;

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use num_bigint::BigUint;
use serde_json::{Value, json};

use super::draft::{Draft, written};
use super::padding::{Pss, RsaNumbers, exchange, fixed, pkcs1};
use super::wycheproof::{groups, tests, text};
use crate::support::AUDIENCE;
use crate::support::client::try_send_raw;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const ISSUER: &str = "https://users.example";
/// The order of P-256 and of P-384 (SEC 2 §2.4, §2.5).
const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const P384_ORDER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

/// The first group of vectors with this comment.
fn group(comment: &str) -> Value {
    groups()
        .into_iter()
        .find(|group| group["comment"] == comment)
        .expect("a group")
}

/// A listener that trusts the keys of the vectors, and some of ours.
struct World {
    ec: TestKey,
    ec384: TestKey,
    ps512: TestKey,
    encryption: [TestKey; 2],
    upstream: Upstream,
    sidecar: Sidecar,
}

impl World {
    async fn start() -> Self {
        let key = TestKey::generate;
        let (ec, ec384, ps512) = (
            key("ec", Alg::ES256),
            key("ec384", Alg::ES384),
            key("ps512", Alg::PS512),
        );
        let encryption = [key("use", Alg::ES256), key("ops", Alg::ES256)];
        let mut not_for_signatures = encryption.each_ref().map(TestKey::public_jwk);
        not_for_signatures[0]["use"] = "enc".into();
        not_for_signatures[1]["use"] = Value::Null;
        not_for_signatures[1]["key_ops"] = json!(["encrypt"]);
        let keys = [
            group("rs256")["public"].clone(),
            group("ps256")["public"].clone(),
            ec.public_jwk(),
            ec384.public_jwk(),
            ps512.public_jwk(),
            not_for_signatures[0].clone(),
            not_for_signatures[1].clone(),
        ];
        let upstream = Upstream::start();
        let yaml = format!(
            "stateDir: \"@DIR@\"\nauthorities: {{ users: {{ issuer: \"{ISSUER}\", jwksFile: \
             \"@DIR@/keys.json\" }} }}\n\
             inbound:\n  - {{ name: api, listen: 127.0.0.1:0, upstream: \"{}\", authorities: \
             [users], audiences: \
             [{AUDIENCE}], rules: [{{ paths: [\"/**\"] }}] }}\n",
            upstream.url()
        );
        let builder = Sidecar::builder().file("keys.json", json!({ "keys": keys }).to_string());
        let world = Self {
            ec,
            ec384,
            ps512,
            encryption,
            upstream,
            sidecar: builder.start(&yaml).await,
        };
        while world.outcome_of(&world.good().sign()).await.0 != 200 {
            tokio::task::yield_now().await;
        }
        world
    }

    fn good(&self) -> Draft {
        Draft::new(ISSUER, &self.ec)
    }

    /// The message of a token that says it is signed by a key of the vectors.
    fn message(&self, alg: &str, kid: &str) -> String {
        self.good()
            .header("alg", &json!(alg).to_string())
            .header("kid", &json!(kid).to_string())
            .message()
    }

    async fn outcome_of(&self, token: &str) -> (u16, String) {
        let address = self.sidecar.address("api");
        let request =
            format!("GET / HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
        let answer = try_send_raw(address, request)
            .await
            .unwrap_or_else(|e| panic!("no answer: {e:?}"));
        (
            answer.status,
            answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_modified_padding_verifies_over_right_claims() {
    let world = World::start().await;
    let group = group("rs256");
    let key = RsaNumbers::of(&group);
    let mut refused = 0;
    for test in tests(&group) {
        let valid = test["result"] == "valid";
        if !valid && test["flags"] != json!(["ModifiedPadding"]) {
            continue;
        }
        let (signed, signature) = text(test, "jws").rsplit_once('.').expect("three parts");
        let padded = key.open(&URL_SAFE_NO_PAD.decode(signature).expect("base64url"));
        let message = world.message("RS256", "kid-rsa-sign");
        let ours = digest(&SHA256, message.as_bytes());
        let mut exchanged = exchange(
            &padded,
            digest(&SHA256, signed.as_bytes()).as_ref(),
            ours.as_ref(),
        );
        // A defect of one byte of the hash is none when that byte happens to be the one of our
        // hash.
        if !valid && exchanged == pkcs1(ours.as_ref()) {
            exchanged[255] ^= 1;
        }
        let outcome = world
            .outcome_of(&written(&message, &key.sign(&exchanged)))
            .await;
        let expected = if valid {
            (200, "-")
        } else {
            (401, "signature")
        };
        assert_eq!(
            (outcome.0, outcome.1.as_str()),
            expected,
            "{} {}",
            test["tcId"],
            test["comment"]
        );
        refused += usize::from(!valid);
    }
    println!("{refused} modified paddings refused");
    assert!(refused > 200, "{refused}");
}

/// A vector's name, a token with its defect, and the expected outcome.
type Transplant = (&'static str, String, (u16, &'static str));
const SIGNATURE: (u16, &str) = (401, "signature");
const MALFORMED: (u16, &str) = (401, "malformed_token");
const NO_TOKEN_CHARACTERS: (u16, &str) = (400, "malformed_authorization");

/// RSASSA-PSS, by the key of the vectors.
fn pss(world: &World) -> Vec<Transplant> {
    let key = RsaNumbers::of(&group("ps256"));
    let message = world.message("PS256", "PS256_2048");
    let new = || Pss::new(&message);
    let mut all: Vec<Transplant> = Vec::new();
    let mut pss = |name, pss: &Pss, expected| {
        all.push((name, written(&message, &key.sign(&pss.padded())), expected));
    };
    pss("normalPayload", &new(), (200, "-"));
    pss(
        "saltIsAll0",
        &Pss {
            salts: [vec![0; 32], vec![0; 32]],
            ..new()
        },
        (200, "-"),
    );
    pss(
        "saltIsAll1",
        &Pss {
            salts: [vec![0xff; 32], vec![0xff; 32]],
            ..new()
        },
        (200, "-"),
    );
    for length in [0, 1, 16, 20, 28, 31, 33, 48, 64, 128, 222] {
        pss("SaltLenChanged", &new().salt(length), SIGNATURE);
    }
    for (name, message) in [("ModifiedHash", "x"), ("ModifiedHash", "")] {
        pss(name, &Pss::new(message), SIGNATURE);
    }
    let shorter = digest(&SHA384, message.as_bytes()).as_ref().to_vec();
    pss(
        "ModifiedHash",
        &Pss {
            hash: shorter,
            ..new()
        },
        SIGNATURE,
    );
    pss(
        "SaltModified",
        &Pss {
            salts: [vec![7; 32], vec![8; 32]],
            ..new()
        },
        SIGNATURE,
    );
    for at in [0, 7] {
        let mut zeros = vec![0; 8];
        zeros[at] = 1;
        pss("ZeroPaddingModified", &Pss { zeros, ..new() }, SIGNATURE);
    }
    pss(
        "ZeroPaddingModified",
        &Pss {
            zeros: Vec::new(),
            ..new()
        },
        SIGNATURE,
    );
    for delimiter in [0, 2, 0x81] {
        pss("PSModified", &Pss { delimiter, ..new() }, SIGNATURE);
    }
    pss(
        "PSModified",
        &Pss {
            first_zero: 1,
            ..new()
        },
        SIGNATURE,
    );
    for (name, at) in [
        ("MhashModified", 16),
        ("FirstByteOfMhashModified", 0),
        ("LastByteOfMhashModified", 31),
        ("lastByteOfMhashModified", 31),
    ] {
        for bit in [0, 7] {
            pss(
                name,
                &Pss {
                    flip_h: (at, 1 << bit),
                    ..new()
                },
                SIGNATURE,
            );
        }
    }
    for at in [0, 1, 100, 222] {
        pss(
            "MaskedDbChanged",
            &Pss {
                flip_db: (at, 1),
                ..new()
            },
            SIGNATURE,
        );
    }
    pss(
        "MaskedDbChanged",
        &Pss {
            mask_with: &SHA384,
            ..new()
        },
        SIGNATURE,
    );
    pss(
        "EmModified",
        &Pss {
            flip_db: (0, 0x80),
            ..new()
        },
        SIGNATURE,
    );
    for trailer in [0, 0xbd, 0xcc, 0x3c] {
        pss("EmModified", &Pss { trailer, ..new() }, SIGNATURE);
    }
    let good = key.sign(&new().padded());
    let number = |number: BigUint| key.bytes(&number);
    for (name, signature) in [
        ("SignatureIs0", vec![0; 256]),
        ("SignatureIs0", vec![0]),
        ("SignatureIs1", number(1_u8.into())),
        ("SignatureIsNsub1", number(&key.n - 1_u8)),
        ("SignatureIsn", number(key.n.clone())),
        (
            "SignatureIsnotReduced",
            number(BigUint::from_bytes_be(&good) + &key.n),
        ),
        ("prependingZerosToSignature", [&[0, 0], &good[..]].concat()),
        ("appendingZerosToSignature", [&good[..], &[0, 0]].concat()),
        ("truncatedSignature", good[..254].to_vec()),
        ("truncatedSignature", good[2..].to_vec()),
        (
            "modifiedSignature",
            [&good[..255], &[good[255] ^ 1]].concat(),
        ),
    ] {
        all.push((name, written(&message, &signature), SIGNATURE));
    }
    all
}

/// One RSA key, and every algorithm but its own.
fn primitives(world: &World) -> Vec<Transplant> {
    let good = || Draft::new(ISSUER, &world.ps512);
    let mut all = vec![("normalPayload", good().sign(), (200, "-"))];
    for (name, alg) in [
        ("UsingRS256", Alg::RS256),
        ("UsingRS384", Alg::RS384),
        ("UsingRS512", Alg::RS512),
        ("UsingPS256", Alg::PS256),
        ("UsingPS384", Alg::PS384),
    ] {
        all.push((name, good().with(alg).sign(), SIGNATURE));
        let named = good()
            .with(alg)
            .header("alg", &json!(alg.name()).to_string());
        all.push((name, named.sign(), (401, "algorithm")));
    }
    all
}

/// r and s at the edges of their ranges, and wider than they are.
fn curves(world: &World) -> Vec<Transplant> {
    let mut all = Vec::new();
    for (key, order) in [(&world.ec, P256_ORDER), (&world.ec384, P384_ORDER)] {
        let (message, signature) = Draft::new(ISSUER, key).signed();
        let half = signature.len() / 2;
        let n = BigUint::parse_bytes(order.as_bytes(), 16).expect("hex");
        let number = |bytes: &[u8]| BigUint::from_bytes_be(bytes);
        let (r, s) = (number(&signature[..half]), number(&signature[half..]));
        let wide = |r: &BigUint, s: &BigUint, by: usize| {
            [fixed(r, half + by), fixed(s, half + by)].concat()
        };
        let none = BigUint::ZERO;
        let edges = [
            ("Zero", none.clone()),
            ("One", 1_u8.into()),
            ("Nminus1", &n - 1_u8),
            ("N", n.clone()),
        ];
        all.push(("valid", written(&message, &wide(&r, &s, 0)), (200, "-")));
        // ECDSA's other signature: RFC 7518 has no rule about the size of s. It says the same and
        // no more.
        all.push((
            "valid",
            written(&message, &wide(&r, &(&n - &s), 0)),
            (200, "-"),
        ));
        for (r_is, r) in &edges {
            for (s_is, s) in &edges {
                let name: &'static str = format!("rIs{r_is}_sIs{s_is}").leak();
                all.push((name, written(&message, &wide(r, s, 0)), SIGNATURE));
            }
        }
        let overflow = |number: &BigUint| number + (BigUint::from(1_u8) << (8 * half));
        for (name, damaged) in [
            ("SignatureTooLong", wide(&r, &s, 1)),
            ("TrailingZeros", [wide(&r, &s, 0), vec![0; 2]].concat()),
            ("TrailingZeros", [wide(&r, &s, 1), vec![0]].concat()),
            ("RisTooBig", wide(&(&r + &n), &s, 1)),
            ("SisTooBig", wide(&r, &(&s + &n), 1)),
            ("IntegerOverflow", wide(&overflow(&r), &s, 1)),
            ("IntegerOverflow", wide(&r, &overflow(&s), 1)),
            ("BufferOverflow", wide(&r, &s, 225)),
        ] {
            all.push((name, written(&message, &damaged), SIGNATURE));
        }
    }
    all
}

/// Parts that are missing, too many, or not what was signed.
fn parts(world: &World) -> Vec<Transplant> {
    let (message, mut signature) = world.good().signed();
    let token = written(&message, &signature);
    let [header, payload, end] = token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("a token")
    };
    signature[9] ^= 0x10;
    let none = |alg: &str| world.good().header("alg", &json!(alg).to_string());
    let own = TestKey::generate("ec", Alg::ES256);
    let embedded = world
        .good()
        .by(&own)
        .header("jwk", &own.public_jwk().to_string());
    let serialized =
        json!({ "payload": payload, "protected": header, "signature": end }).to_string();
    let secret = {
        let jwk = world.ec.public_jwk();
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(text(&jwk, name)).expect("base64url");
        [coordinate("x"), coordinate("y")].concat()
    };
    let confused = world.good().header("alg", "\"HS256\"").message();
    let tag = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let tag = aws_lc_rs::hmac::sign(&tag, confused.as_bytes());
    let other_header = world.good().header("kid", "\"Xc\"").message();
    let other_payload = world.good().claim("sub", "\"root\"").message();
    let kid_of = |key: &TestKey| Draft::new(ISSUER, key).sign();
    vec![
        ("acceptsValid", token.clone(), (200, "-")),
        (
            "rejectsModifiedSignature",
            written(&message, &signature),
            SIGNATURE,
        ),
        (
            "rejectsModifiedPayload",
            format!("{other_payload}.{end}"),
            SIGNATURE,
        ),
        (
            "rejectsModifiedHeader",
            format!("{other_header}.{end}"),
            (401, "unknown_kid"),
        ),
        ("rejectsMissingSignature", format!("{message}."), MALFORMED),
        (
            "rejectsMissingSignatureAndSeparator",
            message.clone(),
            MALFORMED,
        ),
        (
            "rejectsMissingPayload",
            format!("{header}..{end}"),
            MALFORMED,
        ),
        (
            "rejectsMissingPayloadAndSeparator",
            format!("{header}.{end}"),
            MALFORMED,
        ),
        (
            "rejectsMissingHeader",
            format!(".{payload}.{end}"),
            MALFORMED,
        ),
        (
            "rejectsMissingHeaderAndSeparator",
            format!("{payload}.{end}"),
            MALFORMED,
        ),
        (
            "rejectsMissingHeaderAndSignature",
            format!(".{payload}."),
            MALFORMED,
        ),
        (
            "rejectsMissingHeaderSignatureAndSeparators",
            payload.to_owned(),
            MALFORMED,
        ),
        (
            "rejectsMissingHeaderSignatureAndSeparator",
            payload.to_owned(),
            MALFORMED,
        ),
        ("rejectsEmptyString", String::new(), NO_TOKEN_CHARACTERS),
        ("rejectsExtraEmptyComponent", format!("{token}."), MALFORMED),
        ("rejectsExtraComponent", format!("{token}.{end}"), MALFORMED),
        (
            "rejectsNoneAlgorithmAndMissingSignature",
            format!("{}.", none("none").message()),
            MALFORMED,
        ),
        (
            "algIsNone",
            format!("{}.", none("NONE").message()),
            MALFORMED,
        ),
        (
            "algIsNone",
            format!("{}.", none("none").no_header("kid").message()),
            MALFORMED,
        ),
        ("algIsNone", none("none").sign(), (401, "algorithm")),
        (
            "rejectsValidJsonSerialization",
            serialized,
            NO_TOKEN_CHARACTERS,
        ),
        (
            "rejectsAttackerProvidedEmbeddedJwk",
            embedded.sign(),
            SIGNATURE,
        ),
        (
            "rejectsSymmetryConfusionAttacks_aesKeyFromEcVerificationKeyBytes",
            written(&confused, tag.as_ref()),
            (401, "algorithm"),
        ),
        (
            "rejectWrongUse",
            kid_of(&world.encryption[0]),
            (401, "unknown_kid"),
        ),
        (
            "rejectWrongKeyOps",
            kid_of(&world.encryption[1]),
            (401, "unknown_kid"),
        ),
        (
            "rejectWrongUse",
            world
                .good()
                .by(&world.encryption[0])
                .no_header("kid")
                .sign(),
            SIGNATURE,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_defect_of_the_vectors_passes_over_right_claims() {
    let world = World::start().await;
    let before = world.upstream.received().len();
    let all = [
        pss(&world),
        primitives(&world),
        curves(&world),
        parts(&world),
        encodings::encodings(&world),
    ]
    .concat();
    let mut wrong = Vec::new();
    for (number, (name, token, (status, reason))) in all.iter().enumerate() {
        let outcome = world.outcome_of(token).await;
        if outcome != (*status, (*reason).to_owned()) {
            wrong.push(format!(
                "{number} {name}: {outcome:?}, expected {status} {reason}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} decided wrong:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
    let good = all
        .iter()
        .filter(|(_, _, (status, _))| *status == 200)
        .count();
    println!(
        "{} transplants: {good} good ones passed, the others were refused",
        all.len()
    );
    assert_eq!(world.upstream.received().len(), before + good);

    // Every kind of defect in the file has its transplant; the modified paddings have a test of
    // their own.
    let transplanted: BTreeSet<_> = all.iter().map(|(name, _, _)| (*name).to_owned()).collect();
    let groups = groups();
    let vectors = groups
        .iter()
        .flat_map(tests)
        .filter(|test| test["result"] == "invalid" && test["flags"] != json!(["ModifiedPadding"]));
    let missing: BTreeSet<_> = vectors
        .map(|test| text(test, "comment").to_owned())
        .collect();
    let missing: Vec<_> = missing.difference(&transplanted).collect();
    assert!(missing.is_empty(), "no transplant of {missing:?}");
}
