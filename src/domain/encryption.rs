//! Encryption of private keys and tokens at rest: AES-256-GCM with a key from outside the store.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::DecodePaddingMode::Indifferent;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

use crate::domain::hash::sha256;
use crate::domain::secret::{ExposeSecret, SecretString};

/// The prefix of every ciphertext. No PEM begins like this.
const MARK: &str = "aes256gcm:";
const KEY_BYTES: usize = 32;
/// 32 random bytes contain about 30 different values. Fewer than this limit occur by chance less
/// than once in 10^13 keys.
const LEAST_VALUES: usize = 16;

/// The text is not an encryption key. The error shows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEncryptionKey {
    #[error(
        "contains no key: it must be 32 random bytes as base64 or hex (`openssl rand -base64 32`)"
    )]
    Form,
    #[error("contains a key that is not random: generate one with `openssl rand -base64 32`")]
    Weak,
}

/// A ciphertext cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongKey;

/// Encrypts stored secrets. It prints nothing.
#[derive(Clone)]
pub struct EncryptionKey {
    key: Arc<RandomizedNonceKey>,
    /// The SHA-256 of the key's bytes.
    digest: [u8; 32],
}

impl PartialEq for EncryptionKey {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.digest, &other.digest).is_ok()
    }
}

impl std::fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EncryptionKey")
    }
}

impl EncryptionKey {
    /// Parses a key: 32 bytes in hex or in either base64 alphabet. White space around it is
    /// ignored.
    ///
    /// Passphrases are refused: they would need stretching, and a file that can hold a passphrase
    /// can also hold a key.
    ///
    /// # Errors
    /// [`InvalidEncryptionKey`].
    pub fn parse(text: &SecretString) -> Result<Self, InvalidEncryptionKey> {
        let bytes = decode(text.expose_secret().trim()).ok_or(InvalidEncryptionKey::Form)?;
        let mut seen = [false; 256];
        bytes
            .iter()
            .for_each(|byte| seen[usize::from(*byte)] = true);
        if seen.iter().filter(|seen| **seen).count() < LEAST_VALUES {
            return Err(InvalidEncryptionKey::Weak);
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| InvalidEncryptionKey::Form)?;
        Ok(Self {
            key: Arc::new(key),
            digest: sha256(&bytes),
        })
    }

    /// Encrypts a text. The ciphertext decrypts only under the same `name`, so that an attacker
    /// with write access to the store cannot exchange ciphertexts.
    ///
    /// # Errors
    /// [`WrongKey`] if the cryptography library fails, which is not expected.
    pub fn seal(&self, name: &str, text: &SecretString) -> Result<SecretString, WrongKey> {
        let mut text = Zeroizing::new(text.expose_secret().as_bytes().to_vec());
        // Reserves room for the tag: a growing buffer would leave a copy of the plaintext behind.
        text.reserve_exact(AES_256_GCM.tag_len());
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(name), &mut *text)
            .map_err(|_| WrongKey)?;
        let sealed = [nonce.as_ref().as_slice(), text.as_slice()].concat();
        Ok(SecretString::from(
            [MARK, STANDARD.encode(sealed).as_str()].concat(),
        ))
    }

    /// Decrypts a text that [`seal`](Self::seal) encrypted for the same `name`.
    ///
    /// # Errors
    /// [`WrongKey`] if the key or name differs, or the ciphertext was changed.
    pub fn open(&self, name: &str, sealed: &SecretString) -> Result<SecretString, WrongKey> {
        let sealed = sealed.expose_secret().strip_prefix(MARK).ok_or(WrongKey)?;
        let mut sealed = Zeroizing::new(STANDARD.decode(sealed).map_err(|_| WrongKey)?);
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN).ok_or(WrongKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| WrongKey)?;
        let text = self
            .key
            .open_in_place(nonce, Aad::from(name), text)
            .map_err(|_| WrongKey)?;
        Ok(SecretString::from(
            std::str::from_utf8(text).map_err(|_| WrongKey)?,
        ))
    }
}

#[must_use]
pub fn is_sealed(text: &SecretString) -> bool {
    text.expose_secret().starts_with(MARK)
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let padding = GeneralPurposeConfig::new().with_decode_padding_mode(Indifferent);
    let base64 = |alphabet| {
        GeneralPurpose::new(alphabet, padding)
            .decode(text)
            .map(Zeroizing::new)
            .ok()
    };
    let hex = || {
        let digits = text
            .bytes()
            .map(|byte| char::from(byte).to_digit(16))
            .collect::<Option<Vec<_>>>()?;
        let bytes = digits
            .chunks(2)
            .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok());
        bytes.collect::<Option<Vec<u8>>>().map(Zeroizing::new)
    };
    let found = match text.len() {
        // Hex of 32 bytes; in base64 it would be 48.
        64 => hex(),
        _ => base64(&base64::alphabet::STANDARD).or_else(|| base64(&base64::alphabet::URL_SAFE)),
    };
    found.filter(|bytes| bytes.len() == KEY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> EncryptionKey {
        let bytes: Vec<u8> = (first..first + 32).collect();
        EncryptionKey::parse(&STANDARD.encode(bytes).into()).unwrap()
    }

    #[test]
    fn a_ciphertext_decrypts_only_with_its_key_and_kid() {
        let pem = SecretString::from("-----BEGIN PRIVATE KEY-----\nsecret\n");
        let sealed = key(1).seal("a", &pem).unwrap();
        assert!(is_sealed(&sealed) && !is_sealed(&pem));
        assert!(!sealed.expose_secret().contains("PRIVATE"));
        assert_eq!(
            key(1).open("a", &sealed).unwrap().expose_secret(),
            pem.expose_secret()
        );
        assert_eq!(key(1).open("b", &sealed).unwrap_err(), WrongKey);
        assert_eq!(key(2).open("a", &sealed).unwrap_err(), WrongKey);
        let again = key(1).seal("a", &pem).unwrap();
        assert_ne!(
            again.expose_secret(),
            sealed.expose_secret(),
            "another nonce"
        );
        let bytes = STANDARD
            .decode(sealed.expose_secret().strip_prefix(MARK).unwrap())
            .unwrap();
        for at in [0, NONCE_LEN, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = SecretString::from(format!("{MARK}{}", STANDARD.encode(changed)));
            assert_eq!(
                key(1).open("a", &changed).unwrap_err(),
                WrongKey,
                "byte {at}"
            );
        }
        for bad in [
            "",
            MARK,
            "aes256gcm:AAAA",
            "aes256gcm:!",
            pem.expose_secret(),
        ] {
            assert_eq!(
                key(1).open("a", &bad.into()).unwrap_err(),
                WrongKey,
                "{bad}"
            );
        }
    }

    #[test]
    fn a_key_is_32_random_bytes_in_base64_or_hex() {
        let hex = "000102030405060708090a0B0C0D0E0F101112131415161718191a1b1c1dFEFF";
        let bytes: Vec<u8> = (0..30).chain([0xfe, 0xff]).collect();
        let sealed = EncryptionKey::parse(&hex.into())
            .unwrap()
            .seal("k", &"x".into())
            .unwrap();
        let base64 = STANDARD.encode(&bytes);
        let url_safe = base64.replace('+', "-").replace('/', "_");
        assert_ne!(base64, url_safe);
        for same in [
            &base64,
            &url_safe,
            base64.trim_end_matches('='),
            &format!(" {base64}\n"),
        ] {
            let key = EncryptionKey::parse(&same.into()).unwrap();
            assert_eq!(
                key.open("k", &sealed).unwrap().expose_secret(),
                "x",
                "{same}"
            );
        }
        let of = |text: &str| EncryptionKey::parse(&text.into()).unwrap_err();
        for bad in [
            "",
            "correct horse battery staple correct horse",
            &hex[1..],
            &hex[2..],
            &base64[4..],
        ] {
            assert_eq!(of(bad), InvalidEncryptionKey::Form, "{bad}");
        }
        assert_eq!(of(&STANDARD.encode([0; 33])), InvalidEncryptionKey::Form);
        for weak in [
            "0".repeat(64),
            "0123456789abcdef".repeat(4),
            STANDARD.encode([7; 32]),
        ] {
            assert_eq!(of(&weak), InvalidEncryptionKey::Weak, "{weak}");
        }
        assert_eq!(format!("{:?}", key(1)), "EncryptionKey");
    }
}
