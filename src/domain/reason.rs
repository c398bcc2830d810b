//! Reason codes: the check that decided a request.
//!
//! A code appears in the `x-m2m-reason` header, the access log and the metrics. Codes are stable,
//! because tools and people match on them. `proxy::respond` maps each to an HTTP answer, and
//! `docs/reason-codes.md` is generated from both.

mod declare;

use declare::reasons;

reasons! {
    /// The token was verified and a rule permits the request.
    Permitted = "permitted" =>
        "No action: the request passed. `client_id` in the access log names the client of the \
         token.",
    /// A rule makes the path public; no token is required.
    Public = "public" =>
        "No action. If the path should require a token, remove `access: public` from the matching \
         rule, or put a stricter rule above it.",
    /// The request carries no token, and the rule does not require one.
    Anonymous = "anonymous" =>
        "No action: the rule has `access: optional`. The service got the request without identity \
         headers.",
    /// A CORS preflight was answered or forwarded; no token is required.
    Preflight = "preflight" =>
        "No action: browsers send preflights without a token. With `cors` the listener answers \
         them. `corsPreflight: pass` forwards them if a rule matches the request that they \
         announce.",
    /// One of the sidecar's own endpoints answered.
    Local = "local" =>
        "No action: the sidecar answered itself (issuer endpoints, probes). Decisions of the token \
         endpoint are in the log lines with target `audit`.",
    /// The request carries no bearer token.
    NoToken = "no_token" =>
        "Make the client send `Authorization: Bearer <token>`. If it does, look for a proxy in \
         between that removes the header. If the path should be public, add a rule with `access: \
         public`.",
    /// The request has two `Authorization` headers.
    TwoAuthorizations = "two_authorizations" =>
        "Find the program that adds the second header. Often the client and a gateway in front of \
         it each set one. Exactly one must arrive.",
    /// The `Authorization: Bearer` header holds no token, or invalid characters.
    MalformedAuthorization = "malformed_authorization" =>
        "Check the header that the client sends: one `Bearer`, one space and the token, without \
         quotes or line breaks. An empty shell variable (`Bearer $TOKEN`) also causes this.",
    /// The token is longer than the limit of its authority.
    TokenTooLarge = "token_too_large" =>
        "Configure the authority to put fewer claims into access tokens: groups and roles are the \
         usual cause. Or raise `authorities.X.maxTokenSize` (8 KiB; 32 KiB with `profile: plgd`).",
    /// The token is not a signed JWT in compact form.
    MalformedToken = "malformed_token" =>
        "The client sends an opaque token, an API key or a truncated token. Configure the \
         authority to issue JWT access tokens, or set `authorities.X.introspection`.",
    /// The authority may not use the token's `alg`.
    Algorithm = "algorithm" =>
        "Compare the `alg` in the token's header with `authorities.*.algorithms`. `none` and the \
         HMAC algorithms are never accepted.",
    /// The token's `typ` is not that of an access token.
    TokenType = "token_type" =>
        "The client probably sends an ID token or a refresh token; it must send the access token. \
         Accepted are `at+jwt`, `JWT` and tokens without `typ`.",
    /// The token's header contains `crit` or `b64`, which are not supported.
    CriticalHeader = "critical_header" =>
        "The authority issues tokens with header extensions. Disable them there for access tokens.",
    /// The token's `iss` is missing, or belongs to no authority of this listener.
    UnknownIssuer = "unknown_issuer" =>
        "Compare the token's `iss` with `authorities.*.issuer`, character by character. Another \
         scheme makes a different issuer, and so does a slash at the end, unless the authority has \
         `profile: plgd`. Then check that the listener's `authorities` contains that authority.",
    /// The token's tenant is not allowed, or its `tid` is not the tenant of its `iss`.
    Tenant = "tenant" =>
        "Compare `iss` and `tid` of the token with `authorities.X.tenants`. Add the tenant if its \
         tokens are to be accepted.",
    /// The authority publishes no key with the token's `kid`, or none that fits its `alg`.
    UnknownKid = "unknown_kid" =>
        "The token is older or newer than the published keys, or comes from another installation \
         of the authority. Compare its `kid` with the key set at the authority's `jwks_uri`. \
         `m2m_jwks_age_seconds` is the age of the sidecar's copy.",
    /// No key of the authority matches the token's signature.
    Signature = "signature" =>
        "The token was changed in transit, or another issuer with the same `iss` and `kid` signed \
         it. Fetch a new token directly from the authority. If it is refused too, compare the key \
         sets.",
    /// A claim has the wrong type, or two claims contradict each other.
    MalformedClaims = "malformed_claims" =>
        "Decode the token. `exp`, `nbf` and `iat` must be numbers, `iss` and `client_id` texts, \
         and `aud` a text or a list of texts. If both `scope` and `scp` are present, they must \
         name the same scopes. A claim that `identityHeaders` forwards must fit into a header: no \
         control characters, and no spaces at its ends or in the items of a list.",
    /// The token has no `exp`.
    NoExpiry = "no_expiry" =>
        "Configure the authority to issue tokens that expire. Tokens without `exp` need \
         `requireExpiry: false`, and either a revocation check or an explicit `revocation: none`.",
    /// The token's `exp` has passed.
    Expired = "expired" =>
        "The client must get a new token. A library that caches tokens should renew them before \
         `exp`. If new tokens are refused immediately, compare the clocks of both machines: \
         `clockSkew` is the accepted difference.",
    /// The token's `exp` is further away than its authority's tokens may live.
    LifetimeTooLong = "lifetime_too_long" =>
        "Configure the authority to issue tokens that expire sooner, or raise \
         `authorities.*.maxTokenLifetime`.",
    /// The token's `nbf` is in the future.
    NotYetValid = "not_yet_valid" =>
        "Compare the clocks of this machine and of the authority. `authorities.*.clockSkew` \
         accepts a difference of up to 10 minutes.",
    /// The token's `iat` is in the future.
    IssuedInFuture = "issued_in_future" =>
        "This machine's clock is behind the authority's: check time synchronisation. \
         `authorities.*.clockSkew` accepts a difference of up to 10 minutes.",
    /// The token was revoked, or its issuer does not confirm it.
    Revoked = "revoked" =>
        "The token was revoked at the issuer, alone or with all tokens of its client. The client \
         must get a new one. If that was not intended, check which source \
         `authorities.*.revocation` selects, and the issuer's status for the token's `jti`.",
    /// The authority says that the opaque token is not active: unknown, expired or revoked.
    Inactive = "inactive" =>
        "The client must get a new token. If new ones are refused too, check that they are of the \
         authority whose `introspection` is asked.",
    /// The token's `aud` contains none of the listener's audiences.
    Audience = "audience" =>
        "Compare the token's `aud` with the listener's `audiences`. Usually the client must \
         request the right audience (`audience` or `resource` in its token request), and be \
         allowed to get it.",
    /// The token is bound to a key (`cnf`), and the sidecar cannot check the proof of that key.
    SenderConstrained = "sender_constrained" =>
        "Inbound listeners check `cnf.jkt` (DPoP) and `cnf.x5t#S256` (mTLS); with any other member \
         a token is refused. Token exchange and plgd's tokens API accept no bound token. Configure \
         the client to request a plain bearer token.",
    /// The token's binding to a key does not fit the way in which the token is sent.
    TokenBinding = "token_binding" =>
        "`error_description`, and `detail` in the log line, name the mismatch. A DPoP-bound token \
         (`cnf.jkt`) is sent as `Authorization: DPoP <token>` with a proof in the header `DPoP`, \
         every other token as `Bearer`. With `dpop.required` the listener accepts only DPoP-bound \
         tokens.",
    /// The token is bound to a certificate that the client's connection does not have.
    CertificateBinding = "certificate_binding" =>
        "The client must connect with the certificate with which it requested the token; `x5t` in \
         the access log is that of its connection. The listener must ask for it \
         (`tls.clientCertificate`). A proxy in front that ends TLS hides it.",
    /// The token is bound to a key, and the request carries no proof of that key.
    ProofMissing = "proof_missing" =>
        "The client must send a proof in the header `DPoP` with each request (RFC 9449). If it \
         does, look for a proxy in between that removes the header.",
    /// The DPoP proof of the request is not valid.
    ProofInvalid = "proof_invalid" =>
        "`error_description`, and `detail` in the log line, name the failed check. For `htu`, set \
         `publicUrl` to the URL that clients call: behind a proxy the sidecar may see another \
         host, scheme or port, and the path must arrive unchanged. For `iat`, compare the clocks.",
    /// The token is bound to another key than that of the DPoP proof.
    ProofKey = "proof_key" =>
        "The client must make its proofs with the key of its token request. If it has a new key, \
         it must get a new token. Otherwise the token was stolen.",
    /// The DPoP proof was used before.
    ProofReplayed = "proof_replayed" =>
        "The client must make a proof with a new `jti` for each request, also when it repeats a \
         request. Otherwise the proof was copied in transit.",
    /// The DPoP proof must have a nonce that the listener gave lately.
    ProofNonce = "proof_nonce" =>
        "No action if it is rare: the client repeats the request with the nonce of the header \
         `DPoP-Nonce`. If a client never succeeds, its library ignores the header, or its requests \
         reach several sidecars in turn: each has nonces of its own. `dpop.nonce: false` disables \
         them.",
    /// More DPoP proofs are in use than the sidecar can remember.
    ProofMemory = "proof_memory" =>
        "A million proofs of the last minute are remembered, so that none is used twice. Find the \
         client that sends so many requests, and limit it with `inbound[].limits`.",
    /// No rule of the listener matches the path and method.
    NoRule = "no_rule" =>
        "Add a rule whose `paths` and `methods` match the `path` and `method` of the access log \
         line. Rules are tried from the top, and the first match decides. `m2m-sidecar explain` \
         shows the nearest rule and the difference.",
    /// The token lacks a scope that the rule requires.
    Scope = "scope" =>
        "The `scope` in the `WWW-Authenticate` header lists the required scopes. Configure the \
         client to request them, and the authority to allow them; or change the rule's `scopes` or \
         `anyScope`.",
    /// The token lacks a claim value that the rule requires.
    Claim = "claim" =>
        "Compare the token's claims with the rule's `claims`. Each claim must have one of the \
         listed values; a claim that is a list must contain one. `m2m-sidecar explain` shows the \
         rule.",
    /// The rule does not accept tokens of this authority.
    Authority = "authority" =>
        "The token is valid on the listener, but the rule lists other `authorities`. Configure the \
         client to get its token from one of these, or add the authority to the rule. `m2m-sidecar \
         explain` shows the rule.",
    /// A part of the request does not equal the claim that the rule compares it with.
    Equals = "equals" =>
        "Compare the path, query or header with the claim that the rule's `equals` names: the \
         client may only request its own device, tenant or owner. The token may lack the claim. A \
         parameter or header that occurs twice, or that servers could read differently, is never \
         equal; `detail` in the access log says so.",
    /// The request exceeds the listener's rate limit.
    RateLimited = "rate_limited" =>
        "The client should wait for the time in `Retry-After`. To allow more, raise \
         `inbound[].limits.requestsPerSecond` or `burst`. `limits.per` selects which requests are \
         counted together.",
    /// The listener's limit of concurrent requests is reached.
    TooManyAtOnce = "too_many_at_once" =>
        "The client should send fewer requests at a time, or the service respond faster \
         (`upstream_ms`). Otherwise raise `inbound[].limits.concurrent`. `limits.per` selects \
         which requests are counted together.",
    /// The quota of calls to the upstream is used up.
    Throttled = "throttled" =>
        "The program should wait for the time in `Retry-After`. `outbound[].throttle` or \
         `credentials.X.throttle` sets the quota. With `mode: wait`, requests wait for their turn.",
    /// More new tokens arrived at once than the sidecar can verify within a second.
    Busy = "busy" =>
        "A client sends a new token with each request, or an attacker floods the listener with \
         invalid ones (`peer` in the log lines). Requests with cached tokens are still answered. \
         Configure clients to reuse their tokens until they expire. More `threads` verify more \
         tokens.",
    /// The listener's limit of connections is reached, and none of them is idle.
    TooManyConnections = "too_many_connections" =>
        "Clients should keep their connections open and send fewer requests at a time. To allow \
         more, raise the listener's `maxConnections`, together with the limit of file descriptors \
         (`LimitNOFILE`, `ulimit -n`).",
    /// The authority's keys are not available.
    KeysUnavailable = "keys_unavailable" =>
        "The authority's keys could not be fetched and no copy is usable. Or the token's `kid` is \
         new and the authority does not answer at the moment. Look for the warnings that name the \
         authority (name resolution, TLS, `caFile`, timeout). Try its discovery document with curl \
         from this machine.",
    /// The token's revocation status is unknown.
    RevocationUnavailable = "revocation_unavailable" =>
        "The issuer's revocation list, tokens endpoint or introspection endpoint has not answered \
         for longer than `revocation.maxStale`, or its metadata names no usable one. Look for the \
         warnings that name the authority. `authorities.*.revocation` selects the source, and \
         `onFailure` the answer without a status.",
    /// The authority did not answer in time about the opaque token.
    IntrospectionUnavailable = "introspection_unavailable" =>
        "Check that the sidecar reaches `authorities.X.introspection.url`; it must answer within 2 \
         s. The log and `/status` name the cause.",
    /// The authority refuses the sidecar's own credentials at its introspection endpoint.
    IntrospectionCredentials = "introspection_credentials" =>
        "Check the client in `authorities.X.introspection`, and that it may introspect tokens. The \
         log has the authority's answer.",
    /// The answer of the authority's introspection endpoint cannot be used.
    IntrospectionAnswer = "introspection_answer" =>
        "The answer is not 200, or no JSON object with a boolean `active`. The log names the \
         fault. Compare `authorities.X.introspection.url` with `introspection_endpoint` of the \
         metadata.",
    /// Too many opaque tokens wait for the authority's answer, or were refused lately.
    IntrospectionLimited = "introspection_limited" =>
        "A client sends many tokens that the authority refuses (`peer` in the access log), or the \
         authority is slow. Tokens that were active before are still asked about.",
    /// Servers could interpret the path in two ways.
    AmbiguousPath = "ambiguous_path" =>
        "`error_description`, and `detail` in the log line, name the problem of the path. \
         Configure the client to use plain paths; an attack also looks like this. If the service \
         needs such paths, set the listener's keys to `keep`: `encodedSlash` (`%2F`), \
         `pathParameters` (`;`), `doubleEncoding` (`%252F`: Jenkins, RabbitMQ) and `nonUtf8` \
         (`%F6`: ISO 8859-1). If the problem is letter case, set `pathCase`.",
    /// The proxy that asks for a decision does not say clearly what the original request is.
    OriginalRequest = "original_request" =>
        "`error_description`, and `detail` in the log line, name the header or parameter. \
         Configure the proxy as docs/external-authorization.md shows for the value of \
         `decisions[].from`: it must set each header itself, once, so that no client can.",
    /// The peer may not ask this listener for decisions.
    AskingPeer = "asking_peer" =>
        "`peer` in the log line is the address that asked. If it is your proxy, add it to \
         `decisions[].trustedProxies`, or let it show a client certificate. Nothing else must \
         reach the listener.",
    /// The request is not valid HTTP.
    MalformedRequest = "malformed_request" =>
        "The port received something other than HTTP/1.1, such as a TLS handshake. Or servers \
         could parse the head or body in different ways. `error_description`, and `detail` in the \
         log line, name the broken rule and its position. `target` and `request_target` show the \
         beginning of the target. Usual causes: no `Host`, a space in a URL, a method in lower \
         case, a bare line feed, two lengths. `peer` in the log line is the client.",
    /// The request's `Expect` header contains something other than `100-continue`.
    Expectation = "expectation" =>
        "Configure the client not to send the header: no other expectation is defined.",
    /// The listener does not serve the `Host` header or URL of the request.
    Host = "host" =>
        "Outbound listeners accept only IP addresses, `localhost` and the upstream's name as \
         `Host`, to prevent DNS rebinding. If the program uses another name of the listener or \
         upstream, add it to `outbound[].hosts`. If the listener is the program's HTTP proxy, the \
         request was for another server: exclude that server from the proxy (`no_proxy`) instead \
         of adding it to `hosts`.",
    /// The method is not allowed here.
    Method = "method" => "Proxy listeners forward the methods in the `Allow` header.",
    /// The request opens a tunnel (CONNECT) that this listener does not permit. Use an http:// URL.
    Tunnel = "tunnel" =>
        "The program uses the listener as an HTTPS proxy. Configure it to call `http://` URLs: an \
         outbound listener uses https to the upstream itself. A forward proxy opens tunnels only \
         to its targets and to the hosts of `forwardProxy.tunnels`.",
    /// A tunnel was opened (CONNECT): to a target, or to a host of `forwardProxy.tunnels`.
    TunnelOpened = "tunnel_opened" =>
        "No action. `path` in the access log is host and port. Requests inside a tunnel to a \
         target have log lines of their own; other tunnels get no token.",
    /// The connection carries TLS where the sidecar must attach a token.
    Encrypted = "encrypted" =>
        "`detail` in the log line has the destination. Configure the program to call `http://` \
         URLs: the sidecar itself uses https. Do not redirect port 443.",
    /// The request asks for a WebSocket, but its handshake is not valid.
    WebSocket = "websocket" =>
        "`error_description`, and `detail` in the log line, name the rule of RFC 6455 that the \
         handshake breaks. The client is no WebSocket library of today, or a proxy in between \
         changes the headers.",
    /// A browser page of another site sent the request.
    CrossSite = "cross_site" =>
        "A browser page of another site tried to use the listener and was refused. The cause is \
         `Origin`, `Referer` or `Sec-Fetch-Site`, or the missing header of `requireHeader`. \
         Outbound listeners are for programs. If a page needs the API, give it its own \
         authorization, or add its origin to `allowedOrigins`. On inbound listeners this concerns \
         WebSockets only. Do the same for a program that sends a `Referer` of another host.",
    /// The request already has an `Authorization` header, and the listener does not overwrite it.
    OwnAuthorization = "own_authorization" =>
        "No action if this is intended: `overwrite: false` forwards such requests unchanged. Set \
         `overwrite: true` to replace the program's own header.",
    /// The request's head exceeds the listener's size limit, or has more than 200 fields.
    HeadTooLarge = "head_too_large" =>
        "Send fewer or shorter headers: cookies and very large tokens are the usual cause. The \
         limit is 32 KiB. It is higher if `maxTokenSize` of the listener's authorities exceeds 8 \
         KiB.",
    /// The request's head did not arrive within 10 s.
    HeadTimeout = "head_timeout" =>
        "The cause is a slow or broken client, or a port scan. Investigate only if one `peer` \
         causes many of them.",
    /// The request's body is larger than allowed.
    BodyTooLarge = "body_too_large" =>
        "Raise `inbound[].maxBody` if such requests are intended. Token requests are limited to 64 \
         KiB.",
    /// The client paused for too long while it sent the request's body.
    BodyTimeout = "body_timeout" =>
        "The client stopped in the middle of its request: check its network and its own timeouts. \
         If such pauses are intended, raise `downstreamTimeouts.read` of the listener (inbound 60 \
         s, outbound 10 min). Token requests have 10 s.",
    /// An access token was attached.
    TokenAttached = "token_attached" => "No action: the request was forwarded with a token.",
    /// The upstream refused the access token, so the request was sent again with a new one.
    TokenRenewed = "token_renewed" =>
        "No action if it is rare: tokens are revoked. If it happens every half minute, the \
         upstream answers 401 for a different reason, such as a missing scope. `retryUnauthorized: \
         false` disables the retry.",
    /// The forward proxy forwarded the request unchanged, without a token.
    PassedThrough = "passed_through" =>
        "No action if this is intended: `forwardProxy.other: passThrough` forwards requests that \
         match no target. `deny` refuses them.",
    /// The forward proxy does not forward requests to this destination.
    Destination = "destination" =>
        "`error_description` names the mismatch. The request must have a whole `http://` URL whose \
         host, port and path match one of `forwardProxy.targets`. With `other: passThrough`, other \
         requests are forwarded to public addresses only.",
    /// The request would return to this sidecar.
    Loop = "loop" =>
        "`upstream` resolves to the sidecar's own listener, or to a server that sends the request \
         back, such as another sidecar. Name the service itself: in a container, `localhost` is \
         the container, not the host. A service that calls this listener while it handles a \
         request must not copy that request's `M2M-Loop` header.",
    /// No access token is available for this request.
    TokenUnavailable = "token_unavailable" =>
        "Run `m2m-sidecar token --config FILE --credential NAME` to see the cause. Usually the \
         client secret is wrong, a scope is not allowed, or the authority is down. \
         `m2m_token_fetch_total` counts these failures.",
    /// The file with the access token for this request has no usable token.
    TokenFile = "token_file" =>
        "`/status` and the log name the file of `credentials.X.tokenFile` and the problem. Check \
         that the program that writes it runs, and that the sidecar may read it.",
    /// The authority refuses the caller's token, which is to be exchanged.
    ExchangeRefused = "exchange_refused" =>
        "The caller must send a valid access token that is meant for this service. If it does, \
         check the exchange policy of the credential's client at the authority: the accepted \
         subjects and audiences, the scopes, and the number of actors. `detail` in the log line \
         names the authority's error, and the audit log of an m2m-sidecar issuer the cause.",
    /// The upstream's name could not be resolved, or its connection was refused or broke.
    UpstreamUnreachable = "upstream_unreachable" =>
        "Check that the service runs and listens at `upstream`, as seen from the sidecar: in a \
         container, 127.0.0.1 is the container itself.",
    /// TLS with the upstream failed.
    UpstreamTls = "upstream_tls" =>
        "`error_description`, and `detail` in the log line, name the cause. The upstream's \
         certificate must be valid, signed by an authority that `upstreamTls.caFile` (or the \
         platform) trusts, and name the upstream's host or `upstreamTls.serverName`. A TLS alert \
         comes from the upstream. It demands a client certificate if the alert is `certificate \
         required`, or `handshake failure` or `bad certificate` in TLS 1.2: set \
         `upstreamTls.certFile` and `upstreamTls.keyFile`. It does not trust the present one if \
         the alert is `unknown ca` or `bad certificate`.",
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout" =>
        "`ms` of the access log line is the duration. If it is close to `upstreamTimeouts.connect` \
         (2 s), the address does not answer: check the network and firewall. If it is close to \
         `upstreamTimeouts.read` (60 s), the service is slow: raise the timeout if that is \
         intended.",
    /// The upstream's response was not valid HTTP, or was incomplete.
    UpstreamBroken = "upstream_broken" =>
        "`error_description`, and `detail` in the log line, name the problem. Check the service's \
         own log: it closed the connection in the middle of a response, crashed, or uses TLS \
         although `upstream` is `http://`.",
    /// The client closed the connection before the response was complete.
    ClientGone = "client_gone" =>
        "No action, unless it is frequent. Then the client's timeout is shorter than the service's \
         response time (`ms` shows how long the client waited).",
    /// The client paused for too long while it read the response.
    ClientStalled = "client_stalled" =>
        "If such pauses are intended, raise `downstreamTimeouts.write` of the listener (inbound 30 \
         s, outbound 10 min). A player or an import into a slow database pauses. Otherwise find \
         out what delays the client.",
    /// An internal error of the sidecar.
    Internal = "internal" =>
        "Find the error line of the same moment in the log and report it as a bug.",
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
