//! What the other side says of a failure: the message of a `google.rpc.Status`, as plgd's servers and grpc-gateway answer.
//!
//! The text is the other side's. Before it is shown, it is searched for what was sent and for what looks like a token, control
//! characters are escaped, and it is cut.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::HttpAnswer;

/// So many characters of a message are read.
const READ: usize = 1000;
/// So many characters of it are shown.
const SHOWN: usize = 200;
/// A message that holds so many bytes in a row of what was sent repeats it.
const REPEATED: usize = 8;
/// A word of this length with digits, small letters and capitals could be a token.
const COULD_BE_A_TOKEN: usize = 40;
/// Stands for a message that must not be shown.
const LEFT_OUT: &str = "it sends a message that repeats what was sent, which is left out";

impl HttpAnswer {
    /// What a failure's body says, for people: in words that begin with `it says`. `None`: the body is no `google.rpc.Status`
    /// with a message, bare or as the `error` of a stream. `sent` is what the message must not show: secrets, tokens.
    #[must_use]
    pub fn said(&self, sent: &[&str]) -> Option<String> {
        let first = serde_json::Deserializer::from_slice(&self.body).into_iter::<Map<String, Value>>().next();
        let status = first?.ok()?;
        let status = status.get("error").and_then(Value::as_object).unwrap_or(&status);
        status.get("code").and_then(Value::as_u64)?;
        let message = status.get("message")?.as_str()?.trim();
        if message.is_empty() {
            return None;
        }
        let read: String = message.chars().take(READ).collect();
        if repeats(&read, sent) {
            return Some(LEFT_OUT.to_owned());
        }
        let more = if read.chars().count() > SHOWN { "…" } else { "" };
        let shown: String = without_tokens(&read).chars().take(SHOWN).collect();
        Some(format!("it says `{}{more}`", escaped(&shown)))
    }
}

/// Whether a text holds a part of what was sent. Letter case does not count: an escape such as `%2F` may be written in either.
fn repeats(text: &str, sent: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    let parts: HashSet<&[u8]> = text.as_bytes().windows(REPEATED).collect();
    sent.iter().map(|sent| sent.to_ascii_lowercase()).any(|sent| match sent.len() {
        0 => false,
        1..REPEATED => text.contains(&sent),
        _ => sent.as_bytes().windows(REPEATED).any(|part| parts.contains(part)),
    })
}

/// A text in which an ellipsis stands for each word that could be a token.
fn without_tokens(text: &str) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let has = |is: fn(&char) -> bool| word.chars().any(|c| is(&c));
        let is_mixed =
            has(char::is_ascii_digit) && has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
        out.push_str(if word.len() >= COULD_BE_A_TOKEN && is_mixed { "…" } else { word });
        let next = after.find(is_of_word).unwrap_or(after.len());
        let (between, after) = after.split_at(next);
        out.push_str(between);
        rest = after;
    }
    out
}

/// A text on one line, in printable ASCII but for the ellipsis, without the backquote that ends it in a log line.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '`' => out.push('\''),
            ' '..='~' | '…' => out.push(c),
            // Writing to a String does not fail.
            _ => drop(write!(out, "{}", c.escape_default())),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn said(body: &str, sent: &[&str]) -> Option<String> {
        let (status, headers) = (StatusCode::UNAUTHORIZED, HeaderMap::new());
        HttpAnswer { status, headers, body: body.to_owned().into() }.said(sent)
    }

    fn of_message(message: &str, sent: &[&str]) -> String {
        said(&json!({"code": 16, "message": message, "details": []}).to_string(), sent).unwrap()
    }

    #[test]
    fn the_message_of_a_status_is_said_and_of_nothing_else() {
        let message = "cannot create token: invalid audience([])";
        assert_eq!(of_message(message, &[]), format!("it says `{message}`"));
        let in_a_stream = json!({"error": {"code": 16, "message": message}}).to_string();
        assert_eq!(said(&format!("{in_a_stream}\n\n"), &[]), Some(format!("it says `{message}`")));
        let beside_rfc_6749 = json!({"error": "invalid_client", "code": 16, "message": message}).to_string();
        assert_eq!(said(&beside_rfc_6749, &[]), Some(format!("it says `{message}`")));
        for other in [
            "",
            "{}",
            "[]",
            "<html>",
            r#"{"message":"x"}"#,
            r#"{"code":"16","message":"x"}"#,
            r#"{"code":16,"message":7}"#,
            r#"{"code":16,"message":" \n"}"#,
            r#"{"error":"invalid_client","error_description":"x"}"#,
        ] {
            assert_eq!(said(other, &[]), None, "{other}");
        }
    }

    #[test]
    fn what_was_sent_is_left_out_whole_in_part_and_in_another_spelling() {
        let secret = "p%2Fss-w0rd of 16 bytes";
        for message in [
            secret.to_owned(),
            format!("bad secret {secret:?}"),
            format!("bad secret {}", &secret[..REPEATED]),
            format!("bad secret {}", secret.to_lowercase()),
            format!("{}{secret}", "x".repeat(SHOWN - 10)),
        ] {
            assert_eq!(of_message(&message, &["", secret]), LEFT_OUT, "{message}");
        }
        assert_eq!(of_message("bad secret hunter2", &["hunter2"]), LEFT_OUT);
        assert_eq!(of_message("bad secret", &[secret, "short"]), "it says `bad secret`");
    }

    #[test]
    fn what_looks_like_a_token_is_left_out_and_the_rest_is_escaped_and_cut() {
        let jwt = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2h1YiJ9.c2lnbmF0dXJl";
        let seen = of_message(&format!("token '{jwt}' of `a`\n\u{1b}[31m\u{202e}is bad"), &[]);
        assert_eq!(seen, "it says `token '…' of 'a'\\n\\u{1b}[31m\\u{202e}is bad`");
        let place = "https://hub.example.com/m2m-oauth-server/api/v1/tokens?idFilter=2f1c9c1e-8d6f-4c55-9a6e-0d6f5c1f4a77";
        assert_eq!(of_message(place, &[]), format!("it says `{place}`"));
        let long = of_message(&"ä ".repeat(100_000), &[]);
        assert!(long.ends_with("…`") && long.len() < 2000, "{}", long.len());
    }

    proptest! {
        #[test]
        fn no_message_shows_a_secret_or_leaves_its_line(
            before in "\\PC{0,30}", after in ".{0,250}", secret in "[A-Za-z0-9+/=]{8,60}",
        ) {
            let seen = of_message(&format!("x{before}{secret}{after}"), &[&secret]);
            prop_assert_eq!(&seen, LEFT_OUT);
            let other = said(&json!({"code": 3, "message": after}).to_string(), &[]).unwrap_or_default();
            prop_assert!(!other.chars().any(char::is_control));
        }

        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), sent in ".{0,20}") {
            let (status, headers) = (StatusCode::UNAUTHORIZED, HeaderMap::new());
            let _ = HttpAnswer { status, headers, body: body.into() }.said(&[&sent]);
        }
    }
}
