//! Reason codes: which check decided a request.
//!
//! The code goes into the `x-m2m-reason` header, the access log and the metrics. Codes are stable: tools and people
//! match on them. What each means in HTTP is the table of `proxy::respond`.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// Which check decided.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What the code means, for people.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// The token was verified and a rule permits the request.
    Permitted = "permitted",
    /// A rule makes the path public; no token was asked for.
    Public = "public",
    /// One of our own endpoints answered.
    Local = "local",
    /// The request carries no bearer token.
    NoToken = "no_token",
    /// There are two `Authorization` headers.
    TwoAuthorizations = "two_authorizations",
    /// The `Authorization: Bearer` header holds no token, or characters no token has.
    MalformedAuthorization = "malformed_authorization",
    /// The token is longer than 8 KiB.
    TokenTooLarge = "token_too_large",
    /// The token is not a signed JWT in compact form.
    MalformedToken = "malformed_token",
    /// The token's `alg` is none that this authority may use.
    Algorithm = "algorithm",
    /// The token's `typ` is not that of an access token.
    TokenType = "token_type",
    /// The token's header has `crit`, or `b64`: extensions that are not supported.
    CriticalHeader = "critical_header",
    /// The token's `iss` is missing, or none of this listener's authorities.
    UnknownIssuer = "unknown_issuer",
    /// The authority publishes no key with the token's `kid`, or none that fits its `alg`.
    UnknownKid = "unknown_kid",
    /// No key of the authority made this signature.
    Signature = "signature",
    /// A claim has a type that its definition does not allow, or is repeated.
    MalformedClaims = "malformed_claims",
    /// The token has no `exp`.
    NoExpiry = "no_expiry",
    /// The token's `exp` has passed.
    Expired = "expired",
    /// The token's `nbf` is still to come.
    NotYetValid = "not_yet_valid",
    /// The token's `iat` is still to come.
    IssuedInFuture = "issued_in_future",
    /// None of the listener's audiences is in the token's `aud`.
    Audience = "audience",
    /// The token is bound to a key (`cnf`), and no proof of that key can be checked here.
    SenderConstrained = "sender_constrained",
    /// No rule of the listener matches the path and method.
    NoRule = "no_rule",
    /// The token lacks a scope that the rule asks for.
    Scope = "scope",
    /// The authority's keys cannot be had.
    KeysUnavailable = "keys_unavailable",
    /// The path could be read in two ways.
    AmbiguousPath = "ambiguous_path",
    /// The request is not valid HTTP.
    MalformedRequest = "malformed_request",
    /// The `Host` header is none that this listener answers for.
    Host = "host",
    /// The method is not allowed here.
    Method = "method",
    /// A page in a browser, of another site, sent the request.
    CrossSite = "cross_site",
    /// The request has an `Authorization` header of its own, and the listener is not to overwrite it.
    OwnAuthorization = "own_authorization",
    /// The request's head is larger than 32 KiB.
    HeadTooLarge = "head_too_large",
    /// The request's head did not arrive within 10 s.
    HeadTimeout = "head_timeout",
    /// The request's body is larger than allowed.
    BodyTooLarge = "body_too_large",
    /// The request's body did not arrive in time.
    BodyTimeout = "body_timeout",
    /// An access token was attached.
    TokenAttached = "token_attached",
    /// No access token could be had for the request.
    TokenUnavailable = "token_unavailable",
    /// The upstream's name could not be resolved, or its connection was refused or broke.
    UpstreamUnreachable = "upstream_unreachable",
    /// The upstream's certificate or name could not be verified.
    UpstreamTls = "upstream_tls",
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout",
    /// The upstream's answer was no valid HTTP, or broke off.
    UpstreamBroken = "upstream_broken",
    /// The client went away before the answer was complete.
    ClientGone = "client_gone",
    /// A fault of the sidecar itself.
    Internal = "internal",
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_explained() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!(reason.meaning().ends_with('.'), "{}", reason.code());
        }
    }
}
