//! Padded hashes under RSA signatures (RFC 8017): opened, made with a defect, signed as they are.

use aws_lc_rs::digest::{self, SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use num_bigint::BigUint;
use serde_json::Value;

use super::wycheproof::text;

/// The RSA key of a group, private half included.
pub struct RsaNumbers {
    pub n: BigUint,
    e: BigUint,
    d: BigUint,
}

impl RsaNumbers {
    pub fn of(group: &Value) -> Self {
        let number = |name: &str| {
            let bytes = URL_SAFE_NO_PAD
                .decode(text(&group["private"], name))
                .expect("base64url");
            BigUint::from_bytes_be(&bytes)
        };
        Self {
            n: number("n"),
            e: number("e"),
            d: number("d"),
        }
    }

    /// The padded message under a signature (RFC 8017 §5.2.2).
    pub fn open(&self, signature: &[u8]) -> Vec<u8> {
        self.bytes(&BigUint::from_bytes_be(signature).modpow(&self.e, &self.n))
    }

    /// A signature over a padded message, whatever it is (RFC 8017 §5.2.1).
    pub fn sign(&self, padded: &[u8]) -> Vec<u8> {
        self.bytes(&BigUint::from_bytes_be(padded).modpow(&self.d, &self.n))
    }

    /// A number as long as the modulus.
    pub fn bytes(&self, number: &BigUint) -> Vec<u8> {
        let length = usize::try_from(self.n.bits()).expect("small").div_ceil(8);
        fixed(number, length)
    }
}

pub fn fixed(number: &BigUint, length: usize) -> Vec<u8> {
    let bytes = number.to_bytes_be();
    [vec![0; length.saturating_sub(bytes.len())], bytes].concat()
}

/// `padded` with `ours` in the place of `theirs`, or of the longest part of it that is there.
pub fn exchange(padded: &[u8], theirs: &[u8], ours: &[u8]) -> Vec<u8> {
    for length in (4..=theirs.len()).rev() {
        for start in 0..=theirs.len() - length {
            let part = &theirs[start..start + length];
            if let Some(at) = padded.windows(length).position(|window| window == part) {
                let mut exchanged = padded.to_vec();
                exchanged[at..at + length].copy_from_slice(&ours[start..start + length]);
                return exchanged;
            }
        }
    }
    // A defect that left nothing of the hash.
    padded.to_vec()
}

/// EMSA-PKCS1-v1_5 (RFC 8017 §9.2) of a SHA-256 hash, for a modulus of 2048 bits.
pub fn pkcs1(hash: &[u8]) -> Vec<u8> {
    // The DER of a DigestInfo with this algorithm, up to the hash.
    let info = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
    [&[0, 1], &[0xff; 202][..], &[0], info, hash].concat()
}

/// The parts of EMSA-PSS (RFC 8017 §9.1.1) with SHA-256, for a modulus of 2048 bits.
pub struct Pss {
    pub zeros: Vec<u8>,
    pub hash: Vec<u8>,
    /// The salt in the hash, and the one that is written down.
    pub salts: [Vec<u8>; 2],
    /// Between the zeros of DB and the salt.
    pub delimiter: u8,
    pub first_zero: u8,
    /// Exclusive-or'ed onto H and the masked DB.
    pub flip_h: (usize, u8),
    pub flip_db: (usize, u8),
    pub trailer: u8,
    pub mask_with: &'static digest::Algorithm,
}

impl Pss {
    pub fn new(message: &str) -> Self {
        let salt = vec![7; 32];
        Self {
            zeros: vec![0; 8],
            hash: digest(&SHA256, message.as_bytes()).as_ref().to_vec(),
            salts: [salt.clone(), salt],
            delimiter: 1,
            first_zero: 0,
            flip_h: (0, 0),
            flip_db: (0, 0),
            trailer: 0xbc,
            mask_with: &SHA256,
        }
    }

    pub fn salt(mut self, length: usize) -> Self {
        self.salts = [vec![7; length], vec![7; length]];
        self
    }

    pub fn padded(&self) -> Vec<u8> {
        let mut h = digest(
            &SHA256,
            &[&self.zeros[..], &self.hash, &self.salts[0]].concat(),
        )
        .as_ref()
        .to_vec();
        h[self.flip_h.0] ^= self.flip_h.1;
        let length = 256 - 32 - 1;
        let mut db = vec![0; length - self.salts[1].len() - 1];
        if let Some(first) = db.first_mut() {
            *first = self.first_zero;
        }
        db.push(self.delimiter);
        db.extend_from_slice(&self.salts[1]);
        for (byte, mask) in db.iter_mut().zip(mask(self.mask_with, &h, length)) {
            *byte ^= mask;
        }
        db[0] &= 0x7f;
        db[self.flip_db.0] ^= self.flip_db.1;
        [db, h, vec![self.trailer]].concat()
    }
}

/// MGF1 (RFC 8017 §B.2.1).
fn mask(algorithm: &'static digest::Algorithm, seed: &[u8], length: usize) -> Vec<u8> {
    let block = |n: u32| {
        digest(algorithm, &[seed, &n.to_be_bytes()].concat())
            .as_ref()
            .to_vec()
    };
    (0..).flat_map(block).take(length).collect()
}
