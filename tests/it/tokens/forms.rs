//! The `Authorization` header around a token, and places where no token is looked for.

use super::{World, outcome};
use crate::support::client::get;

#[tokio::test(flavor = "multi_thread")]
async fn the_header_holds_one_bearer_token_and_nothing_else() {
    let world = World::start().await;
    let token = world.good().sign();
    let (none, malformed) = ((401, "no_token"), (400, "malformed_authorization"));
    let cases: Vec<(String, (u16, &str))> = vec![
        (format!("Bearer {token}"), (200, "-")),
        (format!("bearer {token}"), (200, "-")),
        (format!("BEARER {token}"), (200, "-")),
        (format!("bEaReR {token}"), (200, "-")),
        (format!("Bearer   {token}"), (200, "-")),
        (format!("  Bearer {token}  "), (200, "-")),
        (format!("\tBearer {token}\t"), (200, "-")),
        (format!("Bearer\t{token}"), none),
        (format!("Bearer{token}"), none),
        (format!("Bearer: {token}"), none),
        (format!("Bearer={token}"), none),
        (format!("\"Bearer\" {token}"), none),
        (format!("Basic {token}"), none),
        (format!("Basic YTpi, Bearer {token}"), none),
        (format!("DPoP {token}"), (401, "token_binding")),
        (format!("dpop {token}"), (401, "token_binding")),
        (format!("DPoP{token}"), none),
        (format!("Token {token}"), none),
        (format!("JWT {token}"), none),
        (format!("Beare {token}"), none),
        (format!("Bearers {token}"), none),
        (token.clone(), none),
        (String::new(), none),
        ("Bearer".to_owned(), malformed),
        ("Bearer ".to_owned(), malformed),
        (format!("Bearer \t{token}"), malformed),
        (format!("Bearer {token} x"), malformed),
        (format!("Bearer {token},"), malformed),
        (format!("Bearer ,{token}"), malformed),
        (format!("Bearer {token}, Bearer {token}"), malformed),
        (format!("Bearer {token} {token}"), malformed),
        (format!("Bearer Bearer {token}"), malformed),
        (format!("Bearer \"{token}\""), malformed),
        (format!("Bearer '{token}'"), malformed),
        (format!("Bearer <{token}>"), malformed),
        (format!("Bearer token={token}"), malformed),
        (format!("Bearer token=\"{token}\", realm=\"x\""), malformed),
        (format!("Bearer {token};x=y"), malformed),
        (format!("Bearer ={token}"), malformed),
        (
            format!("Bearer {}", token.replacen('.', "%2E", 1)),
            malformed,
        ),
        (
            format!("Bearer {}", token.replacen('.', ". ", 1)),
            malformed,
        ),
        (
            format!("Bearer {}", token.replacen('.', ".\t", 1)),
            malformed,
        ),
        (
            format!("Bearer {}", token.replacen('.', "\u{ff0e}", 1)),
            malformed,
        ),
        (format!("Bearer \u{feff}{token}"), malformed),
        (format!("Bearer\u{a0}{token}"), malformed),
        (format!("Bearer {{\"payload\":\"{token}\"}}"), malformed),
        (
            format!("Bearer {}", token.replacen('.', "=.", 1)),
            malformed,
        ),
        (format!("Bearer {token}="), (401, "malformed_token")),
    ];
    let mut wrong = Vec::new();
    for (value, (status, reason)) in &cases {
        let outcome = world.outcome_of_header(value.as_bytes()).await;
        if outcome != (*status, (*reason).to_owned()) {
            wrong.push(format!(
                "{:?}: {outcome:?}, expected {status} {reason}",
                value.replace(&token, "TOKEN")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Bytes that HTTP itself does not allow in a header.
    for byte in [b'\0', b'\x01', b'\x7f', b'\r'] {
        let value = [b"Bearer ", token.as_bytes(), &[byte]].concat();
        assert_eq!(world.outcome_of_header(&value).await.0, 400, "{byte}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_looked_for_in_one_place_only() {
    let world = World::start().await;
    let token = world.good().sign();
    for (lines, judgement) in [
        (
            format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"),
            (400, "two_authorizations"),
        ),
        (
            format!("Authorization: Bearer {token}\r\nauthorization: \r\n"),
            (400, "two_authorizations"),
        ),
        (
            format!("Authorization: Basic YTpi\r\nAUTHORIZATION: Bearer {token}\r\n"),
            (400, "two_authorizations"),
        ),
        (
            format!("Proxy-Authorization: Bearer {token}\r\n"),
            (401, "no_token"),
        ),
        (
            format!("X-Authorization: Bearer {token}\r\n"),
            (401, "no_token"),
        ),
        (
            format!("X-Forwarded-Authorization: Bearer {token}\r\n"),
            (401, "no_token"),
        ),
        (format!("X-Access-Token: {token}\r\n"), (401, "no_token")),
        (
            format!("Cookie: access_token={token}; Authorization=Bearer {token}\r\n"),
            (401, "no_token"),
        ),
        (
            format!("Sec-WebSocket-Protocol: bearer, {token}\r\n"),
            (401, "no_token"),
        ),
    ] {
        let (status, reason) = outcome(&world.send(lines.as_bytes()).await);
        assert_eq!(
            (status, reason.as_str()),
            judgement,
            "{}",
            lines.replace(&token, "TOKEN")
        );
    }
    let target = format!("/any?access_token={token}");
    assert_eq!(
        outcome(&get(world.sidecar.address("api"), &target, &[]).await).0,
        401
    );
}
