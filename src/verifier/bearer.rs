//! A request's one bearer token (RFC 6750 §2.1).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Refusal;
use crate::domain::oauth::MAX_TOKEN_SIZE;
use crate::domain::reason::Reason;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::jose::verify::{ClaimedToken, Jws};

/// The text of an unverified bearer token. Its `Debug` output is empty.
pub struct BearerToken(SecretString);

impl BearerToken {
    /// Takes the token out of a request's headers.
    ///
    /// # Errors
    /// [`Reason::NoToken`], [`Reason::TwoAuthorizations`], [`Reason::MalformedAuthorization`] or
    /// [`Reason::TokenTooLarge`].
    pub fn extract(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Err(Refusal::new(Reason::NoToken));
        };
        if values.next().is_some() {
            return Err(Refusal::new(Reason::TwoAuthorizations));
        }
        let text = value
            .to_str()
            .map_err(|_| Refusal::new(Reason::MalformedAuthorization))?;
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            // Credentials of another scheme are not a bearer token.
            return Err(Refusal::new(Reason::NoToken));
        }
        let token = rest.trim_matches(' ');
        if !is_b64token(token) {
            return Err(Refusal::new(Reason::MalformedAuthorization));
        }
        if token.len() > MAX_TOKEN_SIZE {
            return Err(Refusal::too_large(token.len(), MAX_TOKEN_SIZE));
        }
        Ok(Self(SecretString::from(token)))
    }

    /// A token that was not sent in a header.
    ///
    /// # Errors
    /// [`Reason::MalformedToken`] or [`Reason::TokenTooLarge`].
    pub fn parse(text: SecretString) -> Result<Self, Reason> {
        if !is_b64token(text.expose_secret()) {
            return Err(Reason::MalformedToken);
        }
        if text.expose_secret().len() > MAX_TOKEN_SIZE {
            return Err(Reason::TokenTooLarge);
        }
        Ok(Self(text))
    }

    /// The token itself. Never log it.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.expose_secret()
    }
}

/// The claims of a request's unverified bearer token, for the access log. `None` if the request has
/// no signed JWT.
#[must_use]
pub fn claimed_token(headers: &HeaderMap) -> Option<ClaimedToken> {
    let bearer = BearerToken::extract(headers).ok()?;
    Some(Jws::parse(bearer.text()).ok()?.claimed_for_log())
}

/// RFC 6750 §2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        })
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
