//! Transplants with other encodings of the same parts.

use super::*;

/// Base64 that a lenient decoder would read as what was signed.
pub(super) fn encodings(world: &World) -> Vec<Transplant> {
    let token = world.good().sign();
    let [header, payload, end] = token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("a token")
    };
    let with = |part: &str, inserted: &str| format!("{}{inserted}{}", &part[..4], &part[4..]);
    let mut all = Vec::new();
    for inserted in [
        " ", "\t", "?", "\"", "\u{e9}", "%20", "=", "==", ",", "\\", "+ ",
    ] {
        for (names, damaged) in [
            (
                ["spacesInHeader", "invalidCharactersInHeader"],
                format!("{}.{payload}.{end}", with(header, inserted)),
            ),
            (
                ["spacesInPayload", "invalidCharactersInPayload"],
                format!("{header}.{}.{end}", with(payload, inserted)),
            ),
            (
                ["rejectsSpacesInMac", "rejectsInvalidCharacterInsertedInMac"],
                format!("{header}.{payload}.{}", with(end, inserted)),
            ),
        ] {
            all.extend(names.map(|name| (name, damaged.clone(), NO_TOKEN_CHARACTERS)));
        }
    }
    for inserted in ["+", "/", "~", "+/+/"] {
        for (name, damaged) in [
            (
                "rejectsInvalidCharacters",
                format!("{header}.{payload}.{}", with(end, inserted)),
            ),
            (
                "rejects0ReplacedbyInvalidCharacter",
                format!(
                    "{header}.{payload}.{}{inserted}",
                    &end[..end.len() - inserted.len()]
                ),
            ),
            (
                "InvalidCharacterInPayload",
                format!("{header}.{}.{end}", with(payload, inserted)),
            ),
            (
                "InvalidCharacterInsertedInPayload",
                format!("{header}.{payload}{inserted}.{end}"),
            ),
            (
                "InvalidCharacterInsertedInHeader",
                format!("{header}{inserted}.{payload}.{end}"),
            ),
        ] {
            all.push((name, damaged, MALFORMED));
        }
    }
    all.push((
        "invalidBase64Padding",
        format!("{header}=.{payload}.{end}"),
        NO_TOKEN_CHARACTERS,
    ));
    all.push(("invalidBase64Padding", format!("{token}=="), MALFORMED));
    all.push((
        "invalidBase64PaddingInPayload",
        format!("{header}.{payload}=.{end}"),
        NO_TOKEN_CHARACTERS,
    ));
    // Signed as they are written, but with bits that belong to no byte.
    for spare in [1, 2, 4, 8] {
        let claims = (0..3).map(|n| world.good().claim("pad", &format!("\"{}\"", "p".repeat(n))));
        let draft = claims
            .into_iter()
            .find(|draft| draft.claims_json().len() % 3 == 1)
            .expect("one of three lengths");
        let message = draft.message();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = alphabet
            .find(&message[message.len() - 1..])
            .expect("base64url");
        let respelt = format!(
            "{}{}",
            &message[..message.len() - 1],
            &alphabet[last | spare..=last | spare]
        );
        let signature = world.ec.sign(Alg::ES256, respelt.as_bytes());
        all.push((
            "ModifiedUnusedBitsInPayload",
            written(&respelt, &draft.signed().1),
            MALFORMED,
        ));
        all.push((
            "MacOfIncorrectlyEncodedMessage",
            written(&respelt, &signature),
            MALFORMED,
        ));
    }
    all
}
