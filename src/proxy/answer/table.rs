//! The table from reason to status and error.

use crate::domain::reason::Reason;

/// The form of the challenge (RFC 6750 §3) in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// No challenge.
    No,
    /// Without an error code, for a request without a token.
    Bare,
    /// With the body's error code.
    WithError,
}

/// The response for a reason.
pub struct Row {
    pub status: u16,
    /// The body's `error`.
    pub error: &'static str,
    pub challenge: Challenge,
    /// Whether `Retry-After` is sent.
    pub retry: bool,
}

const fn row(status: u16, error: &'static str) -> Row {
    Row {
        status,
        error,
        challenge: Challenge::No,
        retry: false,
    }
}

/// The table. `None`: the request passed, or the client is gone.
#[must_use]
pub fn table(reason: Reason) -> Option<Row> {
    use Reason as R;
    let challenge = |status, error| Row {
        challenge: Challenge::WithError,
        ..row(status, error)
    };
    let retry = |status, error| Row {
        retry: true,
        ..row(status, error)
    };
    Some(match reason {
        R::NoToken => Row {
            challenge: Challenge::Bare,
            ..row(401, "unauthorized")
        },
        R::TwoAuthorizations | R::MalformedAuthorization => challenge(400, "invalid_request"),
        R::TokenTooLarge
        | R::MalformedToken
        | R::Algorithm
        | R::TokenType
        | R::CriticalHeader
        | R::UnknownIssuer
        | R::Tenant
        | R::UnknownKid
        | R::Signature
        | R::MalformedClaims
        | R::NoExpiry
        | R::Expired
        | R::LifetimeTooLong
        | R::NotYetValid
        | R::IssuedInFuture
        | R::Revoked
        | R::Inactive
        | R::Audience
        | R::SenderConstrained
        | R::TokenBinding
        | R::CertificateBinding
        | R::ProofKey
        | R::ExchangeRefused => challenge(401, "invalid_token"),
        R::ProofMissing | R::ProofInvalid | R::ProofReplayed => {
            challenge(401, "invalid_dpop_proof")
        }
        R::ProofNonce => challenge(401, "use_dpop_nonce"),
        R::Scope | R::Claim | R::Authority | R::Equals => challenge(403, "insufficient_scope"),
        R::NoRule => row(403, "access_denied"),
        R::RateLimited | R::TooManyAtOnce | R::Throttled => retry(429, "too_many_requests"),
        R::Busy
        | R::TooManyConnections
        | R::KeysUnavailable
        | R::RevocationUnavailable
        | R::IntrospectionUnavailable
        | R::IntrospectionCredentials
        | R::IntrospectionAnswer
        | R::IntrospectionLimited
        | R::ProofMemory
        | R::TokenUnavailable
        | R::TokenFile => retry(503, "temporarily_unavailable"),
        R::AmbiguousPath | R::OriginalRequest | R::MalformedRequest | R::Encrypted => {
            row(400, "invalid_request")
        }
        R::Host | R::CrossSite | R::Destination | R::AskingPeer => row(403, "access_denied"),
        R::Loop => row(508, "loop_detected"),
        R::Method | R::Tunnel => row(405, "method_not_allowed"),
        R::Expectation => row(417, "expectation_failed"),
        R::WebSocket => row(400, "invalid_request"),
        R::HeadTooLarge => row(431, "request_header_fields_too_large"),
        R::HeadTimeout | R::BodyTimeout => row(408, "request_timeout"),
        R::BodyTooLarge => row(413, "content_too_large"),
        R::UpstreamUnreachable | R::UpstreamTls | R::UpstreamBroken => row(502, "bad_gateway"),
        R::UpstreamTimeout => row(504, "gateway_timeout"),
        R::Internal => INTERNAL,
        R::Permitted
        | R::Public
        | R::Anonymous
        | R::Preflight
        | R::Local
        | R::OwnAuthorization
        | R::TokenAttached
        | R::TokenRenewed
        | R::PassedThrough
        | R::TunnelOpened
        | R::ClientGone
        | R::ClientStalled => return None,
    })
}

const INTERNAL: Row = row(500, "server_error");

pub(super) fn row_of(reason: Reason) -> Row {
    table(reason).unwrap_or(INTERNAL)
}
