//! Signatures of another key, damaged ones, and other encodings.

use super::World;
use super::attacks::Attack;
use super::draft::written;
use crate::support::keys::{Alg, TestKey};

/// Right claims under a wrong signature.
pub fn attacks(world: &World) -> Vec<Attack> {
    let impostor = TestKey::generate("es256-1", Alg::ES256);
    let mut attacks: Vec<Attack> = vec![
        (
            "a impostor's".to_owned(),
            world.good().by(&impostor).sign(),
            "signature",
        ),
        (
            "a impostor's, no kid".to_owned(),
            world.good().by(&impostor).no_header("kid").sign(),
            "signature",
        ),
        (
            "of a key taken back".to_owned(),
            world.signed_by("es256-0").sign(),
            "unknown_kid",
        ),
        (
            "of a key taken back, no kid".to_owned(),
            world.signed_by("es256-0").no_header("kid").sign(),
            "signature",
        ),
        (
            "of a key taken back, another's kid".to_owned(),
            world
                .signed_by("es256-0")
                .header("kid", "\"es256-1\"")
                .sign(),
            "signature",
        ),
    ];
    for kid in ["es256-1", "es384-1", "rs256-1", "ps256-1", "eddsa-1"] {
        let (message, signature) = world.signed_by(kid).signed();
        let (other, _) = world.signed_by(kid).claim("sub", "\"root\"").signed();
        attacks.push((
            format!("{kid}: another message's"),
            written(&other, &signature),
            "signature",
        ));
        let retyped = world.signed_by(kid).header("typ", "\"JWT\"").message();
        attacks.push((
            format!("{kid}: another header's"),
            written(&retyped, &signature),
            "signature",
        ));
        for (name, damaged) in damages(&signature) {
            attacks.push((
                format!("{kid}: {name}"),
                written(&message, &damaged),
                "signature",
            ));
        }
    }
    for kid in ["es256-1", "es384-1"] {
        let (message, signature) = world.signed_by(kid).signed();
        for (name, damaged) in ecdsa_forms(&signature) {
            attacks.push((
                format!("{kid}: {name}"),
                written(&message, &damaged),
                "signature",
            ));
        }
    }
    let (message, signature) = world.signed_by("eddsa-1").signed();
    attacks.push((
        "eddsa-1: S and L added".to_owned(),
        written(&message, &with_order_added(&signature)),
        "signature",
    ));
    // R is the neutral element and S is 0. They verify under a key of small order, if a key set
    // contains one.
    let nothing = [&[1][..], &[0; 63]].concat();
    attacks.push((
        "eddsa-1: the neutral element".to_owned(),
        written(&message, &nothing),
        "signature",
    ));
    attacks
}

/// Damages that fit every algorithm.
fn damages(signature: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (length, half) = (signature.len(), signature.len() / 2);
    let mut all: Vec<(String, Vec<u8>)> = vec![
        (
            "halves changed over".to_owned(),
            [&signature[half..], &signature[..half]].concat(),
        ),
        (
            "backwards".to_owned(),
            signature.iter().rev().copied().collect(),
        ),
        ("a zero before".to_owned(), [&[0], signature].concat()),
        ("a zero after".to_owned(), [signature, &[0]].concat()),
        ("three bytes after".to_owned(), [signature, b"abc"].concat()),
        ("twice".to_owned(), [signature, signature].concat()),
        ("the first byte away".to_owned(), signature[1..].to_vec()),
        (
            "the last byte away".to_owned(),
            signature[..length - 1].to_vec(),
        ),
        ("only half".to_owned(), signature[..half].to_vec()),
        ("one byte".to_owned(), vec![0]),
        ("only zeros".to_owned(), vec![0; length]),
        ("only ones".to_owned(), vec![0xff; length]),
        (
            "the number one".to_owned(),
            [vec![0; length - 1], vec![1]].concat(),
        ),
        (
            "far too long".to_owned(),
            signature.iter().copied().cycle().take(4 * 1024).collect(),
        ),
    ];
    for at in [0, 1, half - 1, half, length - 2, length - 1] {
        for bit in [0, 7] {
            let mut flipped = signature.to_vec();
            flipped[at] ^= 1 << bit;
            all.push((format!("bit {bit} of byte {at} flipped"), flipped));
        }
    }
    all
}

/// The same r and s in other encodings (RFC 7518 §3.4 allows one form).
fn ecdsa_forms(signature: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let half = signature.len() / 2;
    let (r, s) = signature.split_at(half);
    let integer = |number: &[u8]| {
        let start = number
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(half - 1);
        let sign = if number[start] & 0x80 == 0 {
            &[][..]
        } else {
            &[0]
        };
        let value = [sign, &number[start..]].concat();
        [&[2, u8::try_from(value.len()).expect("short")][..], &value].concat()
    };
    let both = [integer(r), integer(s)].concat();
    let der = [&[0x30, u8::try_from(both.len()).expect("short")][..], &both].concat();
    let wide = |by: usize| [&vec![0; by][..], r, &vec![0; by], s].concat();
    vec![
        ("in DER", der),
        ("both a byte wider", wide(1)),
        ("both as wide as P-521", wide(66 - half)),
        ("r twice", [r, r].concat()),
        ("r and zero", [r, &vec![0; half]].concat()),
        ("zero and s", [&vec![0; half], s].concat()),
    ]
}

/// S + L: the same signature unless S < L is checked (RFC 8032 §5.1.7).
fn with_order_added(signature: &[u8]) -> Vec<u8> {
    let order = num_bigint::BigUint::from_bytes_be(
        &(0..32)
            .map(|n| {
                u8::from_str_radix(
                    &"1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed"
                        [2 * n..2 * n + 2],
                    16,
                )
            })
            .collect::<Result<Vec<_>, _>>()
            .expect("hex"),
    );
    let s = num_bigint::BigUint::from_bytes_le(&signature[32..]) + order;
    let mut bytes = s.to_bytes_le();
    bytes.resize(32, 0);
    [&signature[..32], &bytes].concat()
}
