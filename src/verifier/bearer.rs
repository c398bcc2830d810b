//! A request's one bearer token (RFC 6750 §2.1), and the places where it can be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::{Refusal, TokenLocations, TokenPlace};
use crate::domain::cookies;
use crate::domain::oauth::MAX_TOKEN_SIZE;
use crate::domain::reason::Reason;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::domain::websocket::{self, Offered};
use crate::jose::dpop::SCHEME;
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
        let found = FoundToken::in_header(headers, &TokenLocations::default());
        let presented = match found.map_err(Refusal::new)? {
            (FoundToken::Sent(presented), Scheme::Bearer) => presented,
            _ => return Err(Refusal::new(Reason::NoToken)),
        };
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

/// How a token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Bearer,
    /// With a proof (RFC 9449 §7.1).
    Dpop,
    Basic,
    /// Not in the `Authorization` header.
    None,
}

impl Scheme {
    /// The scheme of the request's `Authorization` header, by which a challenge is chosen.
    #[must_use]
    pub fn is_dpop(headers: &HeaderMap) -> bool {
        let value = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        value.is_some_and(|value| is_scheme(split_scheme(value).0, SCHEME))
    }
}

/// A request's token, as sent or decoded. It has no `Debug` output.
pub(super) enum FoundToken<'r> {
    Sent(PresentedToken<'r>),
    Decoded(Zeroizing<Vec<u8>>),
}

impl<'r> FoundToken<'r> {
    /// The token of a request, and its scheme.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn of_request(
        headers: &'r HeaderMap,
        locations: &TokenLocations,
    ) -> Result<(Self, Scheme), Reason> {
        let (found, place) = Self::find(headers, locations)?;
        let scheme = match (place, &found) {
            (TokenPlace::Cookie | TokenPlace::Subprotocol, _) => Scheme::None,
            (TokenPlace::Authorization, Self::Decoded(_)) => Scheme::Basic,
            (TokenPlace::Authorization, _) if Scheme::is_dpop(headers) => Scheme::Dpop,
            (TokenPlace::Authorization, _) => Scheme::Bearer,
        };
        Ok((found, scheme))
    }

    /// The token of a request, and its place: the first of cookie, subprotocol and header that has
    /// one and is a location of the listener. Cookie and subprotocol are read on requests for a
    /// WebSocket only.
    ///
    /// # Errors
    /// [`Reason::NoToken`], [`Reason::TwoAuthorizations`], [`Reason::MalformedAuthorization`] or
    /// [`Reason::MalformedToken`].
    pub fn find(
        headers: &'r HeaderMap,
        locations: &TokenLocations,
    ) -> Result<(Self, TokenPlace), Reason> {
        if locations.are_of_websockets() && websocket::asks(headers) {
            for place in [TokenPlace::Cookie, TokenPlace::Subprotocol] {
                if let Some(token) = Self::of_websocket(place, headers, locations)? {
                    return Ok((Self::Sent(token), place));
                }
            }
        }
        let (found, _) = Self::in_header(headers, locations)?;
        Ok((found, TokenPlace::Authorization))
    }

    /// The token at a place.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn at(
        place: TokenPlace,
        headers: &'r HeaderMap,
        locations: &TokenLocations,
    ) -> Result<Self, Reason> {
        if place == TokenPlace::Authorization {
            return Self::in_header(headers, locations).map(|(found, _)| found);
        }
        let found = Self::of_websocket(place, headers, locations)?;
        found.map(Self::Sent).ok_or(Reason::NoToken)
    }

    /// The token in the cookie or the subprotocol; `None` if there is none, or the listener does
    /// not look there.
    fn of_websocket(
        place: TokenPlace,
        headers: &'r HeaderMap,
        locations: &TokenLocations,
    ) -> Result<Option<PresentedToken<'r>>, Reason> {
        match (place, &locations.websocket_cookie) {
            (TokenPlace::Cookie, Some(name)) => {
                let mut values = cookies::values(headers, name);
                let token = values.next();
                // Servers differ in the one that they read.
                if values.next().is_some() {
                    return Err(Reason::TwoAuthorizations);
                }
                Ok(token.filter(|token| !token.is_empty()).map(PresentedToken))
            }
            (TokenPlace::Subprotocol, _) if locations.websocket_subprotocol => {
                match websocket::offered_token(headers) {
                    Offered::Nothing => Ok(None),
                    Offered::Token(token) => Ok(Some(PresentedToken(token))),
                    Offered::Two => Err(Reason::TwoAuthorizations),
                }
            }
            _ => Ok(None),
        }
    }

    /// The token of the `Authorization` header, and its scheme.
    fn in_header(
        headers: &'r HeaderMap,
        locations: &TokenLocations,
    ) -> Result<(Self, Scheme), Reason> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Reason::NoToken)?;
        if values.next().is_some() {
            return Err(Reason::TwoAuthorizations);
        }
        let (name, rest) = split_scheme(value.as_bytes());
        let sent = || Self::Sent(PresentedToken(trim_spaces(rest)));
        if locations.bearer && is_scheme(name, "bearer") {
            return Ok((sent(), Scheme::Bearer));
        }
        if locations.bearer && is_scheme(name, SCHEME) {
            return Ok((sent(), Scheme::Dpop));
        }
        if locations.basic && is_scheme(name, "basic") {
            let token = of_basic(trim_spaces(rest))?;
            return Ok((Self::Decoded(token), Scheme::Basic));
        }
        // Credentials of another scheme are not a bearer token.
        let is_text = value.to_str().is_ok();
        Err(if is_text {
            Reason::NoToken
        } else {
            Reason::MalformedAuthorization
        })
    }

    pub fn token(&self) -> PresentedToken<'_> {
        match self {
            Self::Sent(token) => *token,
            Self::Decoded(token) => PresentedToken(token),
        }
    }
}

/// The token in Basic credentials (RFC 7617 §2): the user name or the password, whichever is a JWT.
///
/// # Errors
/// [`Reason::MalformedAuthorization`], also for two different tokens, or [`Reason::MalformedToken`]
/// without a JWT.
fn of_basic(credentials: &[u8]) -> Result<Zeroizing<Vec<u8>>, Reason> {
    let decoded = STANDARD.decode(credentials).map(Zeroizing::new);
    let decoded = decoded.map_err(|_| Reason::MalformedAuthorization)?;
    let colon = decoded.iter().position(|byte| *byte == b':');
    let (user, password) = colon
        .and_then(|colon| Some((decoded.get(..colon)?, decoded.get(colon + 1..)?)))
        .ok_or(Reason::MalformedAuthorization)?;
    match (looks_like_jwt(user), looks_like_jwt(password)) {
        (true, true) if user != password => Err(Reason::MalformedAuthorization),
        (true, _) => Ok(Zeroizing::new(user.to_vec())),
        (_, true) => Ok(Zeroizing::new(password.to_vec())),
        (false, false) => Err(Reason::MalformedToken),
    }
}

/// Three parts in base64url, separated by dots (RFC 7515 §3.1).
fn looks_like_jwt(text: &[u8]) -> bool {
    let is_part = |part: &[u8]| {
        let is_in_alphabet =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !part.is_empty() && part.iter().all(is_in_alphabet)
    };
    let mut parts = text.split(|byte| *byte == b'.');
    parts.by_ref().take(3).filter(|part| is_part(part)).count() == 3 && parts.next().is_none()
}

impl<'r> PresentedToken<'r> {
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

/// The scheme of credentials, and the rest (RFC 9110 §11.4).
fn split_scheme(credentials: &[u8]) -> (&[u8], &[u8]) {
    match credentials.iter().position(|byte| *byte == b' ') {
        Some(end) => credentials.split_at(end),
        None => (credentials, &[]),
    }
}

fn is_scheme(name: &[u8], scheme: &str) -> bool {
    name.eq_ignore_ascii_case(scheme.as_bytes())
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
pub fn claimed_token(
    headers: &HeaderMap,
    locations: &TokenLocations,
    with_audience: bool,
) -> Option<ClaimedToken> {
    let (found, _) = FoundToken::find(headers, locations).ok()?;
    let bearer = found.token().checked().ok()?;
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

    fn at(bearer: bool, basic: bool) -> TokenLocations {
        TokenLocations {
            bearer,
            basic,
            ..TokenLocations::default()
        }
    }

    fn in_basic(credentials: &str) -> Result<String, Reason> {
        let mut headers = HeaderMap::new();
        let value = format!("Basic {}", STANDARD.encode(credentials));
        headers.append(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        let locations = at(true, true);
        let (found, scheme) = FoundToken::of_request(&headers, &locations)?;
        assert_eq!(scheme, Scheme::Basic);
        Ok(found.token().checked()?.text().to_owned())
    }

    #[test]
    fn a_jwt_in_basic_credentials_is_the_user_name_or_the_password() {
        for (credentials, expected) in [
            ("a.b.c:", Ok("a.b.c")),
            (":a.b.c", Ok("a.b.c")),
            ("a.b.c:x-oauth-basic", Ok("a.b.c")),
            ("git:a-_.b.c", Ok("a-_.b.c")),
            ("a.b.c:a.b.c", Ok("a.b.c")),
            ("a.b.c:d.e.f", Err(Reason::MalformedAuthorization)),
            ("a.b.c", Err(Reason::MalformedAuthorization)),
            ("user:password", Err(Reason::MalformedToken)),
            ("user:a.b.c:", Err(Reason::MalformedToken)),
            ("user:a.b", Err(Reason::MalformedToken)),
            ("user:a.b.c.d", Err(Reason::MalformedToken)),
            ("user:a..c", Err(Reason::MalformedToken)),
            ("user:a.b.\u{e9}", Err(Reason::MalformedToken)),
            (":", Err(Reason::MalformedToken)),
            ("", Err(Reason::MalformedAuthorization)),
        ] {
            assert_eq!(
                in_basic(credentials),
                expected.map(str::to_owned),
                "{credentials}"
            );
        }
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic YS5iLmM6"));
        let found = |bearer, basic| FoundToken::of_request(&headers, &at(bearer, basic)).map(drop);
        assert_eq!(found(true, false), Err(Reason::NoToken));
        assert_eq!(found(false, true), Ok(()));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic YS5iLmM6!"));
        let broken = FoundToken::of_request(&headers, &at(true, true)).map(drop);
        assert_eq!(broken, Err(Reason::MalformedAuthorization));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"));
        let other = FoundToken::of_request(&headers, &at(false, true)).map(drop);
        assert_eq!(other, Err(Reason::NoToken));
    }

    proptest! {
        #[test]
        fn basic_credentials_never_panic_and_give_only_a_jwt(credentials in "[ab.:\\-é]{0,12}") {
            if let Ok(token) = in_basic(&credentials) {
                prop_assert!(looks_like_jwt(token.as_bytes()));
                prop_assert!(credentials.contains(&token));
            }
        }

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
