//! The places of a request where a listener looks for the token.

use http::HeaderMap;

use super::TokenLocations;
use super::bearer::FoundToken;
use crate::domain::secret::SecretString;

/// The place of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// The `Authorization` header.
    Authorization,
    /// The cookie.
    Cookie,
    /// The subprotocol behind `Bearer`.
    Subprotocol,
}

impl TokenLocations {
    /// Whether requests for a WebSocket have further places.
    pub(super) fn are_of_websockets(&self) -> bool {
        self.websocket_subprotocol || self.websocket_cookie.is_some()
    }

    /// The place of a request's token; `None` if it has none.
    #[must_use]
    pub fn place_in(&self, headers: &HeaderMap) -> Option<TokenPlace> {
        let found = FoundToken::find(headers, self);
        found.ok().map(|(_, place)| place)
    }

    /// The token at a place of a request. `None` if it is not there any more.
    #[must_use]
    pub fn token_at(&self, place: TokenPlace, headers: &HeaderMap) -> Option<SecretString> {
        let found = FoundToken::at(place, headers, self).ok()?;
        let bearer = found.token().checked().ok()?;
        Some(SecretString::from(bearer.text()))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::domain::reason::Reason;
    use crate::domain::secret::ExposeSecret;

    const COOKIE: (&str, &str) = ("cookie", "a=1; token=of.the.cookie");
    const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "json, Bearer, of.the.protocol");
    const HEADER: (&str, &str) = ("authorization", "Bearer of.the.header");

    fn everywhere() -> TokenLocations {
        TokenLocations {
            websocket_cookie: Some("token".into()),
            websocket_subprotocol: true,
            ..TokenLocations::default()
        }
    }

    fn find(
        locations: &TokenLocations,
        fields: &[(&'static str, &str)],
        upgrades: bool,
    ) -> Result<(String, TokenPlace), Reason> {
        let mut headers = HeaderMap::new();
        let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
        let upgrade = upgrade.iter().filter(|_| upgrades);
        for (name, value) in fields.iter().chain(upgrade) {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let (found, place) = FoundToken::find(&headers, locations)?;
        let text = found.token().checked()?.text().to_owned();
        assert_eq!(locations.place_in(&headers), Some(place));
        let again = locations.token_at(place, &headers).unwrap();
        assert_eq!(again.expose_secret(), text);
        Ok((text, place))
    }

    fn found(text: &str, place: TokenPlace) -> Result<(String, TokenPlace), Reason> {
        Ok((text.to_owned(), place))
    }

    #[test]
    fn an_upgrade_has_its_token_in_the_first_place_that_holds_one() {
        let of_cookie = found("of.the.cookie", TokenPlace::Cookie);
        let of_protocol = found("of.the.protocol", TokenPlace::Subprotocol);
        let of_header = found("of.the.header", TokenPlace::Authorization);
        let all = &[HEADER, PROTOCOL, COOKIE][..];
        for (fields, expected) in [
            (all, of_cookie.clone()),
            (&[HEADER, PROTOCOL], of_protocol.clone()),
            (&[HEADER], of_header.clone()),
            (&[HEADER, ("cookie", "token=")], of_header.clone()),
            (&[COOKIE, ("sec-websocket-protocol", "Bearer")], of_cookie),
            (&[("sec-websocket-protocol", "json")], Err(Reason::NoToken)),
        ] {
            assert_eq!(find(&everywhere(), fields, true), expected, "{fields:?}");
        }
        assert_eq!(find(&everywhere(), all, false), of_header, "no upgrade");
        let header_only = TokenLocations::default();
        assert_eq!(find(&header_only, all, true), of_header);
        let protocol_only = TokenLocations {
            bearer: false,
            websocket_cookie: None,
            ..everywhere()
        };
        assert_eq!(find(&protocol_only, all, true), of_protocol);
        assert_eq!(find(&protocol_only, all, false), Err(Reason::NoToken));
        assert_eq!(
            find(&protocol_only, &[HEADER, COOKIE], true),
            Err(Reason::NoToken)
        );
    }

    #[test]
    fn an_ambiguous_or_broken_token_is_not_skipped() {
        let protocol = |value| ("sec-websocket-protocol", value);
        for (fields, reason) in [
            (
                [HEADER, ("cookie", "token=a; token=a")],
                Reason::TwoAuthorizations,
            ),
            (
                [HEADER, protocol("Bearer, a, Bearer, b")],
                Reason::TwoAuthorizations,
            ),
            ([HEADER, protocol("Bearer")], Reason::MalformedAuthorization),
            (
                [HEADER, ("cookie", "token=\"a\"")],
                Reason::MalformedAuthorization,
            ),
            ([HEADER, HEADER], Reason::TwoAuthorizations),
        ] {
            assert_eq!(
                find(&everywhere(), &fields, true),
                Err(reason),
                "{fields:?}"
            );
        }
    }
}
