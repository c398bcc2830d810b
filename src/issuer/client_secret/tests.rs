use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);

#[test]
fn a_generated_secret_is_recognised_and_only_its_digest_is_stored() {
    let (secret, stored) = generate(NOW, Some(UnixTime(9)));
    let text = secret.expose_secret();
    let bits = text
        .strip_prefix("m2m_")
        .map(|bits| URL_SAFE_NO_PAD.decode(bits).unwrap());
    assert_eq!(bits.unwrap().len(), 32);
    assert_eq!(
        parse(stored.hash.expose_secret()),
        Some(Stored::Sha256(sha256(text.as_bytes())))
    );
    assert_eq!(stored.last_four.as_deref(), Some(&text[text.len() - 4..]));
    assert_eq!(
        (stored.created_at, stored.expires_at),
        (NOW, Some(UnixTime(9)))
    );
    uuid::Uuid::parse_str(&stored.secret_id).unwrap();
    let (other, _) = generate(NOW, None);
    assert_ne!(text, other.expose_secret());
}

#[tokio::test]
async fn supplied_secrets_of_one_client_share_a_salt_and_other_clients_have_another() {
    let secret = |text: &str| SecretString::from(text);
    let one = hashed(secret("sixteen bytes ok"), &[], NOW, None)
        .await
        .unwrap();
    assert!(
        one.hash
            .expose_secret()
            .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
    );
    assert_eq!(one.last_four, None, "they would help to guess it");
    let Some(Stored::Argon2(salt, digest)) = parse(one.hash.expose_secret()) else {
        panic!("argon2")
    };
    assert_eq!(argon2id(&secret("sixteen bytes ok"), &salt), Some(digest));
    assert_ne!(argon2id(&secret("sixteen bytes oK"), &salt), Some(digest));
    let of_client = [generate(NOW, None).1, one];
    let two = hashed(secret("sixteen bytes ok, too"), &of_client, NOW, None)
        .await
        .unwrap();
    let Some(Stored::Argon2(second, _)) = parse(two.hash.expose_secret()) else {
        panic!("argon2")
    };
    assert_eq!(second, salt);
    let other = hashed(secret("sixteen bytes ok"), &[], NOW, None)
        .await
        .unwrap();
    let Some(Stored::Argon2(third, same)) = parse(other.hash.expose_secret()) else {
        panic!("argon2")
    };
    assert!(third != salt && same != digest);
}

#[tokio::test]
async fn a_short_secret_is_refused() {
    let short = hashed(SecretString::from("fifteen bytes!!"), &[], NOW, None).await;
    assert_eq!(short.unwrap_err(), UnusableSecret::TooShort);
}

#[test]
fn other_costs_and_broken_forms_are_not_read() {
    let (salt, digest) = (
        STANDARD_NO_PAD.encode([1; 16]),
        STANDARD_NO_PAD.encode([2; 32]),
    );
    let good = format!("{ARGON2}{salt}${digest}");
    assert_eq!(parse(&good), Some(Stored::Argon2([1; 16], [2; 32])));
    for bad in [
        "plain".to_owned(),
        "sha256:00".to_owned(),
        format!("sha256:{}", "g".repeat(64)),
        good.replace("19456", "8"),
        good.replace("argon2id", "argon2i"),
        good.replace("v=19", "v=16"),
        format!("{good}AA"),
        format!("{ARGON2}{salt}"),
    ] {
        assert_eq!(parse(&bad), None, "{bad}");
    }
}
