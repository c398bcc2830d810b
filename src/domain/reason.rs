//! Reason codes: which check decided a request.
//!
//! The code goes into the `x-m2m-reason` header, the access log and the metrics. Codes are stable:
//! tools and people match on them. What each means in HTTP is the table of `proxy::respond`;
//! `docs/reason-codes.md` is made from both.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal => $advice:literal,)+) => {
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

            /// What an operator does about it: where to look, which key to change.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)+ }
            }
        }
    };
}

reasons! {
    /// The token was verified and a rule permits the request.
    Permitted = "permitted" =>
        "Nothing: this is the good case. `client_id` in the access log says whose token it was.",
    /// A rule makes the path public; no token was asked for.
    Public = "public" =>
        "Nothing. If the path should need a token, remove `access: public` from the rule that matches, or \
         put a stricter rule above it.",
    /// A CORS preflight was passed on; no token was asked for.
    Preflight = "preflight" =>
        "Nothing: browsers send preflights without a token, and `corsPreflight: pass` lets them through where a rule \
         matches the request that they announce.",
    /// One of our own endpoints answered.
    Local = "local" =>
        "Nothing: the sidecar answered itself (issuer endpoints, probes). What the token endpoint decided is \
         in the log lines with target `audit`.",
    /// The request carries no bearer token.
    NoToken = "no_token" =>
        "Have the client send `Authorization: Bearer <token>`. If it does, look for a proxy in between that \
         drops the header. If the path is meant for everyone, give it a rule with `access: public`.",
    /// There are two `Authorization` headers.
    TwoAuthorizations = "two_authorizations" =>
        "Find out who adds the second header: often the client and a gateway in front of it each set one. \
         Exactly one must arrive.",
    /// The `Authorization: Bearer` header holds no token, or characters no token has.
    MalformedAuthorization = "malformed_authorization" =>
        "Look at what the client sends: one `Bearer`, one space, the token; no quotes, no line break. An \
         empty shell variable (`Bearer $TOKEN`) looks like this too.",
    /// The token is longer than its authority's tokens may be.
    TokenTooLarge = "token_too_large" =>
        "Let the authority put fewer claims into access tokens: groups and roles are the usual cause. Or raise \
         `authorities.X.maxTokenSize` (8 KiB; 32 KiB with `profile: plgd`).",
    /// The token is not a signed JWT in compact form.
    MalformedToken = "malformed_token" =>
        "The client sends something else than a JWT: an opaque token, an API key, or a token that was cut \
         off. Ask the authority for JWT access tokens.",
    /// The token's `alg` is none that this authority may use.
    Algorithm = "algorithm" =>
        "Compare the `alg` in the token's header with `authorities.*.algorithms`. `none` and the HMAC \
         algorithms are never accepted.",
    /// The token's `typ` is not that of an access token.
    TokenType = "token_type" =>
        "The client probably sends an ID token or a refresh token; it must send the access token. Accepted \
         are `at+jwt`, `JWT`, or no `typ` at all.",
    /// The token's header has `crit`, or `b64`: extensions that are not supported.
    CriticalHeader = "critical_header" =>
        "The authority issues tokens with header extensions; switch them off there for access tokens.",
    /// The token's `iss` is missing, or none of this listener's authorities.
    UnknownIssuer = "unknown_issuer" =>
        "Compare the token's `iss` with `authorities.*.issuer`, character by character: a slash at the end (unless the \
         authority has `profile: plgd`) or another scheme makes another issuer. Then see whether the listener's `authorities` names that \
         authority.",
    /// The authority publishes no key with the token's `kid`, or none that fits its `alg`.
    UnknownKid = "unknown_kid" =>
        "The token is older or newer than the published keys, or comes from another installation of the \
         authority. Compare its `kid` with the key set at the authority's `jwks_uri`; `m2m_jwks_age_seconds` \
         says how old the sidecar's copy is.",
    /// No key of the authority made this signature.
    Signature = "signature" =>
        "The token was changed on its way, or another issuer that uses the same `iss` and `kid` signed it. \
         Fetch a new token directly from the authority; if that one is refused too, compare the key sets.",
    /// A claim has a type that its definition does not allow, or says two things.
    MalformedClaims = "malformed_claims" =>
        "Decode the token: `exp`, `nbf` and `iat` must be numbers, `iss` and `client_id` texts, `aud` a text \
         or a list of texts; `scope` and `scp`, where both are there, must name the same scopes. A claim that \
         `identityHeaders` forwards must fit into a header: no control characters, no spaces at its ends or \
         in the items of a list.",
    /// The token has no `exp`.
    NoExpiry = "no_expiry" =>
        "Let the authority issue tokens that expire. Tokens that never do are accepted only with \
         `requireExpiry: false`, and where the issuer can be asked whether they were revoked or `revocation: none` \
         says that it is not asked.",
    /// The token's `exp` has passed.
    Expired = "expired" =>
        "The client must get a new token; a library that caches tokens should renew them before `exp`. If \
         tokens are refused right after they were issued, compare the clocks of both machines (`clockSkew` \
         is what is forgiven).",
    /// The token's `nbf` is still to come.
    NotYetValid = "not_yet_valid" =>
        "Compare the clocks of this machine and of the authority. `authorities.*.clockSkew` forgives up to \
         10 minutes.",
    /// The token's `iat` is still to come.
    IssuedInFuture = "issued_in_future" =>
        "This machine's clock is behind the authority's: check time synchronisation. \
         `authorities.*.clockSkew` forgives up to 10 minutes.",
    /// The token was revoked, or its issuer no longer vouches for it.
    Revoked = "revoked" =>
        "Somebody took the token back, at the issuer or with all tokens of its client; the client must get a new one. If \
         nobody did, see which way `authorities.*.revocation` asks, and what the issuer says about the token's `jti`.",
    /// None of the listener's audiences is in the token's `aud`.
    Audience = "audience" =>
        "Compare the token's `aud` with the listener's `audiences`. Usually the client must ask for the \
         right audience (`audience` or `resource` in its token request), and be allowed to have it.",
    /// The token is bound to a key (`cnf`), and no proof of that key can be checked here.
    SenderConstrained = "sender_constrained" =>
        "The client was given a DPoP or mTLS-bound token; let it ask for an ordinary bearer token.",
    /// No rule of the listener matches the path and method.
    NoRule = "no_rule" =>
        "Add a rule whose `paths` and `methods` match; `path` and `method` of the access log line say what \
         to match. Rules are tried from the top, the first match decides. `m2m-sidecar explain` names the nearest rule and \
         what differs.",
    /// The token lacks a scope that the rule asks for.
    Scope = "scope" =>
        "The `scope` in the `WWW-Authenticate` header says what is needed. Let the client ask for it, and \
         the authority allow it; or change the rule's `scopes` or `anyScope`.",
    /// The token lacks a claim value that the rule asks for.
    Claim = "claim" =>
        "Compare the token's claims with the rule's `claims`: each of them must have one of the values that the rule \
         lists, of a list one item. `m2m-sidecar explain` names the rule.",
    /// More requests came than the listener allows.
    RateLimited = "rate_limited" =>
        "The client should wait as long as `Retry-After` says. If it should be allowed more, raise \
         `inbound[].limits.requestsPerSecond` or `burst`; `limits.per` says whose requests are counted together.",
    /// As many requests as the listener allows are under way at once.
    TooManyAtOnce = "too_many_at_once" =>
        "The client should send fewer requests at a time, or the service answer sooner (`upstream_ms`). Otherwise raise \
         `inbound[].limits.concurrent`; `limits.per` says whose requests are counted together.",
    /// More tokens that are seen for the first time came at once than can be verified within a
    /// second.
    Busy = "busy" =>
        "A client sends another token with each request, or somebody floods the listener with made-up ones (`peer` in the log \
         lines). Requests whose token was verified before are answered meanwhile. Have clients keep their tokens until they expire; \
         more `threads` verify more.",
    /// The listener has as many connections as it may, and none of them is idle.
    TooManyConnections = "too_many_connections" =>
        "Clients should keep their connections and send fewer requests at a time. If there are to be more, raise the \
         listener's `maxConnections`, and the limit of descriptors (`LimitNOFILE`, `ulimit -n`) with it.",
    /// The authority's keys cannot be had.
    KeysUnavailable = "keys_unavailable" =>
        "The authority's keys could not be fetched and none are kept, or the token's `kid` is a new one and the \
         authority cannot be asked just now. Look for the warnings that name the \
         authority (name resolution, TLS, `caFile`, timeout), and try its discovery document with curl from \
         this machine.",
    /// It cannot be found out whether the token was revoked.
    RevocationUnavailable = "revocation_unavailable" =>
        "The issuer's revocation list, tokens endpoint or introspection endpoint has not answered for longer than \
         `revocation.maxStale`, or never, or its metadata names none that can be used. Look for the warnings that name the \
         authority; `authorities.*.revocation` says who is asked, `onFailure` what then happens.",
    /// The path could be read in two ways.
    AmbiguousPath = "ambiguous_path" =>
        "`error_description` and `detail` in the log line say what the path has. Have the client use plain paths; an attack looks \
         like this too. If the service needs such paths, the listener's keys `encodedSlash` (`%2F`), `pathParameters` (`;`), \
         `doubleEncoding` (`%252F`: Jenkins, RabbitMQ) and `nonUtf8` (`%F6`: ISO 8859-1) allow them with `keep`. Where letter case is \
         the matter, `pathCase` says whether the service ignores it.",
    /// The request is not valid HTTP.
    MalformedRequest = "malformed_request" =>
        "Something that is not HTTP/1.1 reached the port, a TLS handshake on a plain port for example, or \
         the head or body is framed in a way that two servers could read differently. `error_description` and `detail` in \
         the log line name the rule that is broken and the place, `target` and `request_target` show the beginning of the target. Usual causes: no \
         `Host`, a space in a URL, a method in small letters, a bare line feed, two lengths. `peer` in the log line says who it was.",
    /// The request's `Expect` header asks for something else than `100-continue`.
    Expectation = "expectation" =>
        "Have the client leave the header out: no other expectation is defined.",
    /// The `Host` header, or the URL that was asked for, is none that this listener answers for.
    Host = "host" =>
        "Outbound listeners accept only IP addresses, `localhost` and the upstream's name as `Host`, against \
         DNS rebinding. If the program calls the listener or the upstream by another name, add that to \
         `outbound[].hosts`. If the listener is the program's HTTP proxy, the request was for another server: \
         except that one from the proxy (`no_proxy`), never add it to `hosts`.",
    /// The method is not allowed here.
    Method = "method" =>
        "Proxy listeners forward the methods in the `Allow` header.",
    /// A tunnel was asked for (CONNECT): inside it no token can be looked at or attached. Use an
    /// http:// URL.
    Tunnel = "tunnel" =>
        "The program takes the listener for an HTTPS proxy. Let it call `http://` URLs: an outbound listener speaks https to \
         the upstream itself. As a forward proxy it is set by `http_proxy`, not by `https_proxy`.",
    /// The request asks for a WebSocket, which is not passed on.
    WebSocket = "websocket" =>
        "WebSockets are not supported yet. Have the client use another transport if it has one (long polling, server-sent events), \
         or let it reach the service by another way.",
    /// A page in a browser, of another site, sent the request.
    CrossSite = "cross_site" =>
        "A browser page of another site tried to use the listener, and was kept from it; `Origin`, `Referer` or `Sec-Fetch-Site` say so, or \
         the header of `requireHeader` is missing. Outbound listeners are for programs: if a person's page needs the API, it needs an \
         authorization of its own, or its origin in `allowedOrigins`. A program that sends a `Referer` of another host needs that origin there too.",
    /// The request has an `Authorization` header of its own, and the listener is not to overwrite
    /// it.
    OwnAuthorization = "own_authorization" =>
        "Nothing, if it is meant: `overwrite: false` lets such requests pass as they are. Set `overwrite: \
         true` to replace the program's own header.",
    /// The request's head is larger than the listener takes, or has more than 200 fields.
    HeadTooLarge = "head_too_large" =>
        "Send fewer or shorter headers: cookies and very large tokens are the usual cause. The limit is 32 KiB; \
         more where `maxTokenSize` of the listener's authorities is more than 8 KiB.",
    /// The request's head did not arrive within 10 s.
    HeadTimeout = "head_timeout" =>
        "A slow or broken client, or a port scan. Only many of them from one `peer` are worth a look.",
    /// The request's body is larger than allowed.
    BodyTooLarge = "body_too_large" =>
        "Raise `inbound[].maxBody` if such requests are meant. Token requests are limited to 64 KiB.",
    /// The client paused for too long while it sent the request's body.
    BodyTimeout = "body_timeout" =>
        "The client stopped in the middle of its request: look at its network and its own timeouts. Raise \
         `downstreamTimeouts.read` of the listener (inbound 60 s, outbound 10 min) if the client is meant to pause. Token requests \
         have 10 s.",
    /// An access token was attached.
    TokenAttached = "token_attached" =>
        "Nothing: this is the good case of an outbound listener.",
    /// The upstream refused the access token; the request was sent once more with a new one.
    TokenRenewed = "token_renewed" =>
        "Nothing, if it happens now and then: tokens are revoked. If it happens every half minute, the upstream answers 401 \
         for something else than the token, such as a missing scope; `retryUnauthorized: false` leaves such answers alone.",
    /// The forward proxy sent the request on as it was, without a token.
    PassedThrough = "passed_through" =>
        "Nothing, if it is meant: `forwardProxy.other: passThrough` lets requests that are for no target pass. `deny` \
         refuses them.",
    /// The forward proxy does not send requests there.
    Destination = "destination" =>
        "`error_description` says what does not fit: the request must be a whole `http://` URL whose host, port and path are \
         those of one of `forwardProxy.targets`. Where others pass through, they pass to public addresses only.",
    /// The request would come back to this sidecar.
    Loop = "loop" =>
        "`upstream` resolves to the sidecar's own listener, or what it leads to sends the request back here, such as another \
         sidecar. Name the service itself; in a container `localhost` is the container, not the host. A service that calls \
         this listener while it serves a request must not copy that request's `M2M-Loop` header.",
    /// No access token could be had for the request.
    TokenUnavailable = "token_unavailable" =>
        "Run `m2m-sidecar token --config FILE --credential NAME`: it says why. Usually the client secret is \
         wrong, a scope is not allowed, or the authority is down; `m2m_token_fetch_total` counts it.",
    /// The upstream's name could not be resolved, or its connection was refused or broke.
    UpstreamUnreachable = "upstream_unreachable" =>
        "See whether the service runs and listens where `upstream` points, as seen from the sidecar: in a \
         container, 127.0.0.1 is the container itself.",
    /// TLS with the upstream failed.
    UpstreamTls = "upstream_tls" =>
        "`error_description` and `detail` in the log line say why. The upstream's certificate must be valid, signed by an authority that \
         `upstreamTls.caFile` (or the platform) trusts, and carry the upstream's host or `upstreamTls.serverName`. A TLS alert is what the \
         upstream itself says: with `certificate required`, or `handshake failure` or `bad certificate` in TLS 1.2, it demands a client \
         certificate; the sidecar shows none yet, so the upstream must not demand one from it.",
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout" =>
        "`ms` of the access log line shows how long it took. About `upstreamTimeouts.connect` (2 s): the \
         address does not answer at all, look at the network and firewall. About `upstreamTimeouts.read` \
         (60 s): the service is slow; raise it if that is meant.",
    /// The upstream's answer was no valid HTTP, or broke off.
    UpstreamBroken = "upstream_broken" =>
        "`error_description` and `detail` in the log line say what is wrong. Look into the service's own log: it closed the connection in the middle of an answer, crashed, or \
         speaks TLS where `upstream` says `http://`.",
    /// The client went away before the answer was complete.
    ClientGone = "client_gone" =>
        "Nothing, unless it is frequent: then the client's timeout is shorter than the service's answer \
         takes (`ms` shows how long it waited).",
    /// The client paused for too long while it read the answer.
    ClientStalled = "client_stalled" =>
        "Raise `downstreamTimeouts.write` of the listener (inbound 30 s, outbound 10 min) if the client is meant to pause, as a \
         player or an import into a slow database does. Otherwise look at what keeps the client busy.",
    /// A fault of the sidecar itself.
    Internal = "internal" =>
        "Look for an error line of the same moment in the log, and report it: this should not happen.",
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
            assert!(
                reason
                    .code()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            for text in [reason.meaning(), reason.advice()] {
                assert!(text.ends_with('.'), "{}: {text}", reason.code());
            }
        }
    }
}
