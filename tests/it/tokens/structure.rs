//! The form of a token: parts, base64, size.

use super::World;
use super::attacks::Attack;
use super::draft::Draft;
use crate::support::keys::base64url;

/// The longest token that is looked at.
pub const MAX_TOKEN: usize = 8 * 1024;

/// Texts that are no compact JWS, or one that could be written otherwise.
pub fn attacks(world: &World) -> Vec<Attack> {
    let token = world.good().sign();
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("a token")
    };
    let mut attacks: Vec<Attack> = [
        ("opaque", "0123456789abcdef".to_owned()),
        ("a dot", ".".to_owned()),
        ("two dots", "..".to_owned()),
        ("three dots", "...".to_owned()),
        ("four dots", "....".to_owned()),
        ("the header alone", header.to_owned()),
        ("two parts", format!("{header}.{payload}")),
        ("no signature", format!("{header}.{payload}.")),
        ("no header", format!(".{payload}.{signature}")),
        ("no payload", format!("{header}..{signature}")),
        ("only a signature", format!("..{signature}")),
        ("an empty fourth part", format!("{token}.")),
        ("a fourth part", format!("{token}.{signature}")),
        ("an empty part before", format!(".{token}")),
        (
            "an empty part between",
            format!("{header}..{payload}.{signature}"),
        ),
        (
            "five parts, as a JWE",
            format!("{header}.{payload}.{signature}.{payload}.{signature}"),
        ),
        ("the token twice", format!("{token}.{token}")),
        ("the token twice, glued", format!("{token}{token}")),
        (
            "another token's ending",
            format!("{token}.eyJhbGciOiJub25lIn0"),
        ),
        (
            "payload and signature changed over",
            format!("{header}.{signature}.{payload}"),
        ),
        ("padding after the signature", format!("{token}==")),
        ("one padding sign too many", format!("{token}===")),
        ("a tilde", format!("{token}~")),
        (
            "a tilde and a part, as an SD-JWT",
            format!("{token}~{payload}~"),
        ),
        (
            "the other alphabet",
            format!("{header}.{payload}.+/{}", &signature[2..]),
        ),
        (
            "one character too many",
            format!("{header}.{payload}.{signature}AAA"),
        ),
        (
            "one character too few",
            format!("{header}.{payload}.{}", &signature[..signature.len() - 1]),
        ),
        (
            "bits after the signature's end",
            format!("{header}.{payload}.{}", with_spare_bit(signature)),
        ),
        ("bits after the payload's end", {
            let payload = payload_of(world, 1);
            format!("{header}.{}.{signature}", with_spare_bit(&payload))
        }),
        (
            "bits after the header's end",
            format!(
                "{}.{payload}.{signature}",
                with_spare_bit("eyJhbGciOiJFUzI1NiJ9IA")
            ),
        ),
    ]
    .map(|(name, token)| (name.to_owned(), token, "malformed_token"))
    .to_vec();
    attacks.push((
        "header and payload changed over".to_owned(),
        format!("{payload}.{header}.{signature}"),
        "algorithm",
    ));
    for (name, json) in [
        ("empty", &b""[..]),
        ("a list", b"[]"),
        ("a text", b"\"ES256\""),
        ("a number", b"1"),
        ("null", b"null"),
        ("no JSON", b"alg=ES256"),
        ("cut off", b"{\"alg\":\"ES256\""),
        ("with a byte order mark", b"\xef\xbb\xbf{\"alg\":\"ES256\"}"),
        ("in UTF-16", b"{\0\"\0a\0\"\0"),
        ("not UTF-8", b"{\"alg\":\"ES256\",\"kid\":\"\xff\"}"),
        ("followed by another", b"{\"alg\":\"ES256\"}{}"),
        ("with a NUL", b"{\"alg\":\"ES256\"}\0"),
        ("with alg twice", b"{\"alg\":\"none\",\"alg\":\"ES256\"}"),
        (
            "with alg twice, alike",
            b"{\"alg\":\"ES256\",\"alg\":\"ES256\"}",
        ),
        (
            "with alg twice, escaped",
            b"{\"alg\":\"ES256\",\"\\u0061lg\":\"none\"}",
        ),
        (
            "with kid twice",
            b"{\"alg\":\"ES256\",\"kid\":\"es256-1\",\"kid\":\"own\"}",
        ),
        (
            "with a member twice, deep inside",
            b"{\"alg\":\"ES256\",\"jwk\":{\"kty\":\"EC\",\"kty\":\"oct\"}}",
        ),
    ] {
        attacks.push((
            format!("a header {name}"),
            world.good().sign_with_header(json),
            "malformed_token",
        ));
    }
    let deep = format!(
        "{{\"alg\":\"ES256\",\"x\":{}{}}}",
        "[".repeat(2000),
        "]".repeat(2000)
    );
    attacks.push((
        "a header of 2,000 levels".to_owned(),
        world.good().sign_with_header(deep),
        "malformed_token",
    ));
    attacks.push((
        "an empty header object".to_owned(),
        world.good().sign_with_header("{}"),
        "algorithm",
    ));
    attacks.push((
        "one byte too long".to_owned(),
        of_length(&world.good(), MAX_TOKEN + 1),
        "token_too_large",
    ));
    attacks.push((
        "twice too long".to_owned(),
        of_length(&world.good(), 2 * MAX_TOKEN),
        "token_too_large",
    ));
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    attacks.push((
        "10,000 levels".to_owned(),
        world.good().claim("x", &deep).sign(),
        "token_too_large",
    ));
    attacks
}

/// A good payload whose encoding leaves `spare` sextets partly unused.
fn payload_of(world: &World, spare: usize) -> String {
    (0..3)
        .map(|pad| {
            world
                .good()
                .claim("pad", &format!("\"{}\"", "p".repeat(pad)))
                .claims_json()
        })
        .find(|json| json.len() % 3 == spare)
        .map(base64url)
        .expect("one of three lengths")
}

/// The same bytes to a decoder that does not look at the bits after the last one.
fn with_spare_bit(text: &str) -> String {
    let (last, rest) = (text.as_bytes()[text.len() - 1], &text[..text.len() - 1]);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.iter().position(|c| *c == last).expect("base64url");
    assert_eq!(
        (value & 1, text.len() % 4 > 1),
        (0, true),
        "there are spare bits and they are zero"
    );
    format!("{rest}{}", char::from(alphabet[value | 1]))
}

/// A good token of exactly this length.
pub fn of_length(token: &Draft, length: usize) -> String {
    let base = token.message().len() + 87;
    let about = (length - base) * 3 / 4;
    for pad in about.saturating_sub(40)..about + 10 {
        for more in 0..3 {
            let pad = format!("\"{}\"", "p".repeat(pad));
            let padded = token
                .clone()
                .claim("pad", &pad)
                .header("x", &format!("\"{}\"", "x".repeat(more)));
            if padded.message().len() + 87 == length {
                return padded.sign();
            }
        }
    }
    panic!("no token of {length} bytes")
}
