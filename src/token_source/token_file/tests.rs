use std::sync::Arc;

use super::*;
use crate::domain::clock::SystemClock;

fn jwt(header: &str, claims: &str, signature: usize) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let parts = [
        encode(header.as_bytes()),
        encode(claims.as_bytes()),
        encode(&vec![7; signature]),
    ];
    parts.join(".")
}

fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

async fn read_text(text: &str) -> Result<(String, Duration), FetchError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let read = read(file.path(), &clock(), [0; 32]).await;
    let read = read.inspect_err(|failure| {
        let shown = file.path().display().to_string();
        assert!(failure.text().contains(&shown), "{}", failure.text());
    });
    read.map(|grant| (grant.token.expose_secret().to_owned(), grant.lifetime))
        .map_err(|failure| failure.error)
}

#[tokio::test]
async fn the_white_space_around_a_token_is_not_part_of_it() {
    for text in ["key-1", "key-1\n", " key-1\r\n\n"] {
        assert_eq!(
            read_text(text).await.unwrap(),
            ("key-1".to_owned(), READ_AGAIN),
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn a_jwt_is_used_until_its_own_end() {
    let now = clock().now().0;
    let until = |exp: i64| jwt(r#"{"alg":"ES256"}"#, &format!(r#"{{"exp":{exp}}}"#), 64);
    let (_, lifetime) = read_text(&until(now + 600)).await.unwrap();
    assert!((598..=600).contains(&lifetime.as_secs()), "{lifetime:?}");
    let (_, lifetime) = read_text(&until(4_102_444_800)).await.unwrap();
    assert_eq!(lifetime, MAX_LIFETIME);
    let expired = FetchError::TokenFile(TokenFileFault::Expired);
    assert_eq!(read_text(&until(now - 1)).await, Err(expired));
    // Without an end, and with one that is no number.
    for claims in ["{}", r#"{"exp":"soon"}"#, "[]"] {
        let token = jwt(r#"{"alg":"RS256"}"#, claims, 256);
        assert_eq!(read_text(&token).await.unwrap().1, READ_AGAIN, "{claims}");
    }
}

#[tokio::test]
async fn each_fault_of_a_file_has_its_name() {
    use TokenFileFault as F;
    for (text, fault) in [
        ("", F::Empty),
        (" \n", F::Empty),
        ("two words", F::Malformed),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n", F::Malformed),
        ("schlüssel", F::Malformed),
        ("\0", F::Unreadable),
    ] {
        let refused = Err(FetchError::TokenFile(fault));
        assert_eq!(read_text(text).await, refused, "{text:?}");
    }
    let nowhere = Path::new("/nowhere/at/all");
    let missing = read(nowhere, &clock(), [0; 32]).await.map(drop);
    assert_eq!(
        missing.unwrap_err().error,
        FetchError::TokenFile(F::Missing)
    );
    assert_eq!(check(nowhere), Ok(false));
    assert!(check(Path::new("/")).is_err());
}

#[test]
fn the_beginning_of_a_jwt_is_no_token() {
    for (algorithm, length) in [
        ("ES256", 64),
        ("EdDSA", 64),
        ("ES384", 96),
        ("RS256", 256),
        ("PS256", 384),
        ("HS256", 32),
    ] {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        let whole = jwt(&header, r#"{"exp":1}"#, length);
        assert!(!is_cut_off(&whole), "{algorithm}");
        let header_end = whole.find('.').unwrap();
        for end in header_end + 1..whole.len() {
            let is_rsa_word = algorithm.ends_with("S256") && length > 64;
            // An RSA signature of another key size cannot be told from a whole one.
            if is_rsa_word && !is_cut_off(&whole[..end]) {
                let signature = whole[..end].rsplit('.').next().unwrap();
                let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap().len();
                assert!(bytes.is_multiple_of(8) && bytes >= 128);
                continue;
            }
            assert!(is_cut_off(&whole[..end]), "{algorithm} {end}");
        }
    }
    for opaque in ["key-1", "a.b.c", "eyJrIjoiT0tT", "v2.local.abc.def", ""] {
        assert!(!is_cut_off(opaque), "{opaque}");
    }
}
