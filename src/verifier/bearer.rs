//! A request's one bearer token (RFC 6750 §2.1).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Refusal;
use crate::domain::oauth::MAX_TOKEN_SIZE;
use crate::domain::reason::Reason;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::jose::verify::{ClaimedToken, Jws};

/// The text of an unverified bearer token: a b64token of at most 64 KiB. It has no `Debug` output.
#[derive(Clone, Copy)]
pub struct BearerToken<'r>(&'r str);

impl<'r> BearerToken<'r> {
    /// Takes the token out of a request's headers.
    ///
    /// # Errors
    /// [`Reason::NoToken`], [`Reason::TwoAuthorizations`], [`Reason::MalformedAuthorization`] or
    /// [`Reason::TokenTooLarge`].
    pub fn extract(headers: &'r HeaderMap) -> Result<Self, Refusal> {
        let presented = PresentedToken::of_request(headers).map_err(Refusal::new)?;
        presented.checked().map_err(|reason| match reason {
            Reason::TokenTooLarge => Refusal::too_large(presented.bytes().len(), MAX_TOKEN_SIZE),
            reason => Refusal::new(reason),
        })
    }

    /// A token that was not sent in a header.
    ///
    /// # Errors
    /// [`Reason::MalformedToken`] or [`Reason::TokenTooLarge`].
    pub fn parse(text: &'r SecretString) -> Result<Self, Reason> {
        let presented = PresentedToken(text.expose_secret().as_bytes());
        presented.checked().map_err(|reason| match reason {
            Reason::MalformedAuthorization => Reason::MalformedToken,
            reason => reason,
        })
    }

    /// The token itself. Never log it.
    #[must_use]
    pub fn text(&self) -> &'r str {
        self.0
    }
}

/// The bytes of a request's token before any check of their syntax: a token in the cache needs
/// none, because its digest proves its bytes. It has no `Debug` output.
#[derive(Clone, Copy)]
pub(super) struct PresentedToken<'r>(&'r [u8]);

impl<'r> From<BearerToken<'r>> for PresentedToken<'r> {
    fn from(token: BearerToken<'r>) -> Self {
        Self(token.0.as_bytes())
    }
}

impl<'r> PresentedToken<'r> {
    /// The token of a request's headers.
    ///
    /// # Errors
    /// [`Reason::NoToken`], [`Reason::TwoAuthorizations`] or [`Reason::MalformedAuthorization`].
    pub fn of_request(headers: &'r HeaderMap) -> Result<Self, Reason> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Reason::NoToken)?;
        if values.next().is_some() {
            return Err(Reason::TwoAuthorizations);
        }
        let bytes = value.as_bytes();
        let (scheme, rest) = match bytes.iter().position(|byte| *byte == b' ') {
            Some(end) => bytes.split_at(end),
            None => (bytes, &[][..]),
        };
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return Ok(Self(trim_spaces(rest)));
        }
        // Credentials of another scheme are not a bearer token.
        let is_text = value.to_str().is_ok();
        Err(if is_text {
            Reason::NoToken
        } else {
            Reason::MalformedAuthorization
        })
    }

    pub fn bytes(self) -> &'r [u8] {
        self.0
    }

    /// The token, if it is a b64token of at most 64 KiB.
    ///
    /// # Errors
    /// [`Reason::MalformedAuthorization`] or [`Reason::TokenTooLarge`].
    pub fn checked(self) -> Result<BearerToken<'r>, Reason> {
        let text = std::str::from_utf8(self.0)
            .ok()
            .filter(|text| is_b64token(text));
        match text {
            None => Err(Reason::MalformedAuthorization),
            Some(text) if text.len() > MAX_TOKEN_SIZE => Err(Reason::TokenTooLarge),
            Some(text) => Ok(BearerToken(text)),
        }
    }
}

fn trim_spaces(mut bytes: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = bytes {
        bytes = rest;
    }
    bytes
}

/// The claims of a request's unverified bearer token, for the access log. `None` if the request has
/// no signed JWT.
#[must_use]
pub fn claimed_token(headers: &HeaderMap, with_audience: bool) -> Option<ClaimedToken> {
    let bearer = BearerToken::extract(headers).ok()?;
    let jws = Jws::parse(bearer.text()).ok()?;
    Some(jws.claimed_for_log(with_audience))
}

/// RFC 6750 §2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let is_in_alphabet = |byte: u8| {
        byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    };
    // Without an early end the compiler compares many bytes at once.
    !body.is_empty()
        && body
            .bytes()
            .fold(true, |all, byte| all & is_in_alphabet(byte))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn extract(values: &[&str]) -> Result<String, Reason> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                AUTHORIZATION,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        BearerToken::extract(&headers)
            .map(|t| t.text().to_owned())
            .map_err(|refusal| refusal.reason)
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_the_token_is_kept_as_it_is() {
        for value in [
            "Bearer a.b-c_d~e+f/g==",
            "bearer a.b-c_d~e+f/g==",
            "BEARER   a.b-c_d~e+f/g== ",
        ] {
            assert_eq!(extract(&[value]), Ok("a.b-c_d~e+f/g==".into()), "{value}");
        }
    }

    #[test]
    fn other_schemes_and_no_header_are_no_token() {
        for values in [
            &[][..],
            &["Basic YTpi"],
            &["Digest x=y"],
            &["Bearerabc"],
            &[""],
        ] {
            assert_eq!(extract(values), Err(Reason::NoToken), "{values:?}");
        }
    }

    #[test]
    fn two_headers_and_broken_ones_are_bad_requests() {
        assert_eq!(
            extract(&["Bearer a", "Bearer a"]),
            Err(Reason::TwoAuthorizations)
        );
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,Bearer b",
            "Bearer \"a\"",
            "Bearer =",
            "Bearer a\u{e9}",
            "Bearer a\tb",
        ] {
            assert_eq!(
                extract(&[value]),
                Err(Reason::MalformedAuthorization),
                "{value}"
            );
        }
    }

    #[test]
    fn a_token_over_64_kib_is_too_large_for_every_authority() {
        assert!(extract(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN_SIZE))]).is_ok());
        assert_eq!(
            extract(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN_SIZE + 1))]),
            Err(Reason::TokenTooLarge)
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_passes_no_separator(
            value in "[Bb]earer [ -~\u{80}-\u{ff}]{0,40}"
        ) {
            if let Ok(token) = extract(&[&value]) {
                prop_assert!(is_b64token(&token));
            }
        }
    }
}
