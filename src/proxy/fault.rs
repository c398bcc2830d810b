//! Describes why a request is refused: the broken rule and its position.
//!
//! Rules are constants and may be sent to clients. Of the request itself only the beginning of the
//! target is shown, without parts that could be secret.

use std::borrow::Cow;
use std::fmt;

use crate::domain::reason::Reason;

/// How many bytes of a target are shown.
const SHOWN: usize = 64;
/// A query value of at least this length could be a token and is omitted.
const COULD_BE_A_TOKEN: usize = 16;
/// Substrings of parameter names whose values are always omitted.
const SECRET_NAMES: &[&str] = &[
    "token",
    "secret",
    "passw",
    "pwd",
    "key",
    "code",
    "auth",
    "sig",
    "credential",
    "jwt",
    "session",
    "assertion",
];
const LEFT_OUT: &[u8] = b"...";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The reason, as sent, logged and counted.
    pub reason: Reason,
    /// The broken rule and the remedy; `None` where the reason says enough.
    rule: Option<Cow<'static, str>>,
    /// The position of the error.
    place: Option<Place>,
    /// The beginning of the target, safe to show.
    target: Option<String>,
    /// Whether the client speaks another protocol, so that it cannot read a response.
    is_foreign: bool,
}

/// A position in a request. Bytes and lines count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A byte of the target.
    Target(usize),
    /// A line of the head; line 1 is the request line.
    Line(usize),
    /// The body's framing.
    Body,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(byte) => write!(f, "byte {byte} of the target"),
            Self::Line(line) => write!(f, "line {line} of the head"),
            Self::Body => write!(f, "in the body"),
        }
    }
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            rule: None,
            place: None,
            target: None,
            is_foreign: false,
        }
    }
}

impl Fault {
    /// A request that violates HTTP by this rule.
    #[must_use]
    pub fn malformed(rule: &'static str) -> Self {
        Self {
            rule: Some(rule.into()),
            ..Self::from(Reason::MalformedRequest)
        }
    }

    /// A connection whose first line is that of another protocol.
    #[must_use]
    pub fn of_another_protocol(rule: &'static str) -> Self {
        Self {
            is_foreign: true,
            ..Self::malformed(rule)
        }
    }

    /// Whether the client speaks another protocol, so that it cannot read a response.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// A fault for another reason.
    #[must_use]
    pub fn because(reason: Reason, rule: impl Into<Cow<'static, str>>) -> Self {
        Self {
            rule: Some(rule.into()),
            ..Self::from(reason)
        }
    }

    /// Adds the position, unless one is set.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    /// Adds the beginning of the request's target.
    #[must_use]
    pub fn of_target(mut self, target: &[u8]) -> Self {
        self.target.get_or_insert_with(|| shown(target));
        self
    }

    /// The beginning of the target, escaped and without possible secrets.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// The rule and the position, for the log.
    #[must_use]
    pub fn detail(&self) -> Option<Cow<'static, str>> {
        match (&self.rule, self.place) {
            (Some(rule), Some(place)) => Some(format!("{rule} ({place})").into()),
            (Some(rule), None) => Some(rule.clone()),
            (None, Some(place)) => Some(place.to_string().into()),
            (None, None) => None,
        }
    }

    /// One sentence for the client.
    #[must_use]
    pub fn description(&self) -> Cow<'static, str> {
        describe(self.reason, self.detail().as_deref())
    }
}

/// The meaning of a reason, with the detail if there is one.
#[must_use]
pub fn describe(reason: Reason, detail: Option<&str>) -> Cow<'static, str> {
    match detail {
        Some(detail) => format!("{}: {detail}.", reason.meaning().trim_end_matches('.')).into(),
        None => reason.meaning().into(),
    }
}

/// The first bytes of a target, escaped. User information, long query values and values of secret
/// parameters are omitted.
fn shown(target: &[u8]) -> String {
    let (path, query) = match target.iter().position(|byte| *byte == b'?') {
        Some(mark) => (
            target.get(..mark).unwrap_or_default(),
            target.get(mark + 1..),
        ),
        None => (target, None),
    };
    let mut out = Vec::new();
    // A space in the target can be followed by a header that belongs on its own line.
    for (number, word) in without_user_information(path)
        .split(|byte| *byte == b' ')
        .enumerate()
    {
        if number > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(if number > 0 && word.len() >= COULD_BE_A_TOKEN {
            LEFT_OUT
        } else {
            word
        });
    }
    for (number, parameter) in query
        .into_iter()
        .flat_map(|query| query.split(|byte| *byte == b'&'))
        .enumerate()
    {
        out.push(if number == 0 { b'?' } else { b'&' });
        let (name, value) = match parameter.iter().position(|byte| *byte == b'=') {
            Some(sign) => parameter.split_at(sign + 1),
            None => (&[][..], parameter),
        };
        let name_is_long = name.len() > 2 * COULD_BE_A_TOKEN;
        out.extend_from_slice(if name_is_long { LEFT_OUT } else { name });
        let is_left_out = name_is_long || value.len() >= COULD_BE_A_TOKEN || is_secret_name(name);
        out.extend_from_slice(if is_left_out { LEFT_OUT } else { value });
    }
    if out.len() > SHOWN {
        out.truncate(SHOWN);
        out.extend_from_slice(LEFT_OUT);
    }
    out.escape_ascii().to_string()
}

fn is_secret_name(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES
        .iter()
        .any(|secret| memchr::memmem::find(&name, secret.as_bytes()).is_some())
}

/// A target without `user:password@` in its authority (RFC 9110 §4.2.4).
fn without_user_information(path: &[u8]) -> Cow<'_, [u8]> {
    let Some(scheme) = memchr::memmem::find(path, b"//").filter(|at| *at > 0) else {
        return path.into();
    };
    let (scheme, rest) = path.split_at(scheme + 2);
    let end = rest
        .iter()
        .position(|byte| *byte == b'/')
        .unwrap_or(rest.len());
    match rest
        .get(..end)
        .and_then(|authority| memchr::memrchr(b'@', authority))
    {
        Some(at) => [scheme, LEFT_OUT, rest.get(at..).unwrap_or_default()]
            .concat()
            .into(),
        None => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_is_shown_without_what_could_be_a_secret() {
        let long = "x".repeat(80);
        for (target, expected) in [
            ("/a b", "/a b"),
            ("/q?query=a b", "/q?query=a b"),
            ("/q?a=1&access_token=x y&b=2", "/q?a=1&access_token=...&b=2"),
            ("/q?API_KEY=1", "/q?API_KEY=..."),
            ("/q?a=0123456789abcdef", "/q?a=..."),
            ("/q?0123456789abcdef", "/q?..."),
            (
                "/a Authorization: Bearer eyJhbGciOiJFUzI1NiJ9",
                "/a Authorization: Bearer ...",
            ),
            (
                "http://user:password@a.example/x y",
                "http://...@a.example/x y",
            ),
            ("/caf\u{e9}\"\\", "/caf\\xc3\\xa9\\\"\\\\"),
            (&format!("/{long}"), &format!("/{}...", &long[..63])),
        ] {
            assert_eq!(shown(target.as_bytes()), expected);
        }
    }

    #[test]
    fn a_description_says_the_rule_and_the_place() {
        let fault = Fault::malformed("the target has a space; send it as %20").at(Place::Target(3));
        assert_eq!(
            fault.at(Place::Line(1)).description(),
            "The request is not valid HTTP: the target has a space; send it as %20 (byte 3 of the \
             target)."
        );
        assert_eq!(
            Fault::from(Reason::HeadTimeout).description(),
            Reason::HeadTimeout.meaning()
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_is_short(target in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = shown(&target);
            prop_assert!(text.is_ascii() && text.len() <= 4 * SHOWN + 3);
        }
    }
}
