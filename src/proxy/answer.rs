//! The sidecar's own responses: the table from reason to status, and the form of each.
//!
//! Only constants of the reason are sent: nothing of the token and nothing of an inner error.

mod asked;
mod table;

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use self::asked::ALGORITHM_NAMES;
pub use self::asked::Asked;
pub use self::table::{Challenge, table};
use self::table::{Row, row_of};
use super::fault::Fault;
use crate::domain::error_form::ErrorForm;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;
use crate::domain::websocket;
use crate::jose::dpop::{DPOP_NONCE, SCHEME};

/// Names the check that refused, so that the sidecar's response differs from the service's.
pub const REASON_HEADER: HeaderName = HeaderName::from_static("x-m2m-reason");

/// A response of the sidecar itself.
pub struct Answer<'a> {
    reason: Reason,
    realm: &'a str,
    scope: Option<&'a ScopeSet>,
    description: Cow<'static, str>,
    /// The beginning of the request's target, so that the client recognises the request.
    target: Option<&'a str>,
    retry_after: u64,
    /// Whether a token may be in Basic credentials.
    accepts_basic: bool,
    asked: Asked<'a>,
    pub(super) for_pages: bool,
    pub(super) form: ErrorForm,
}

/// Response headers that a page may read only if they are listed (CORS).
pub(super) const EXPOSED: HeaderValue =
    HeaderValue::from_static("DPoP-Nonce, Retry-After, WWW-Authenticate, X-M2M-Reason");
/// Default `Retry-After`, in seconds.
const RETRY_AFTER: u64 = 5;
/// The methods that a proxy listener forwards (RFC 9110 §15.5.6 requires the list with a 405).
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

impl<'a> Answer<'a> {
    /// The response for a reason. `realm` is the listener's name.
    #[must_use]
    pub fn new(reason: Reason, realm: &'a str) -> Self {
        let description = reason.meaning().into();
        Self {
            reason,
            realm,
            scope: None,
            description,
            target: None,
            retry_after: RETRY_AFTER,
            accepts_basic: false,
            asked: Asked::default(),
            for_pages: false,
            form: ErrorForm::default(),
        }
    }

    /// The response for a fault, with its rule, position and the beginning of the target.
    #[must_use]
    pub fn to_fault(fault: &'a Fault, realm: &'a str) -> Self {
        Self {
            description: fault.description(),
            target: fault.target(),
            ..Self::new(fault.reason, realm)
        }
    }

    /// Names the required scopes (RFC 6750 §3).
    #[must_use]
    pub fn needing(mut self, scope: Option<&'a ScopeSet>) -> Self {
        self.scope = scope;
        self
    }

    /// Lets the requesting page of another site read the response (CORS, Fetch standard).
    #[must_use]
    pub fn for_pages(mut self, for_pages: bool) -> Self {
        self.for_pages = for_pages;
        self
    }

    /// Asks for Basic credentials too if the token is missing or bad: git and others send them only
    /// then.
    #[must_use]
    pub fn accepting_basic(mut self, accepts_basic: bool) -> Self {
        self.accepts_basic = accepts_basic;
        self
    }

    /// Sets how a challenge asks for the token.
    #[must_use]
    pub fn asking(mut self, asked: Asked<'a>) -> Self {
        self.asked = asked;
        self
    }

    /// Sets the seconds after which a retry is reasonable.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = seconds;
        self
    }

    /// Replaces the reason's meaning by a longer description.
    #[must_use]
    pub fn describing(mut self, description: impl Into<Cow<'static, str>>) -> Self {
        self.description = description.into();
        self
    }

    #[must_use]
    pub fn status(&self) -> u16 {
        row_of(self.reason).status
    }

    /// One sentence for the client.
    pub(super) fn description(&self) -> &str {
        &self.description
    }

    pub(super) fn body(&self) -> Bytes {
        let Row { status, error, .. } = row_of(self.reason);
        if self.form != ErrorForm::OAuth {
            let mut members = self.form.members(status, error, &self.description);
            // A google.rpc.Status has no other member, or its clients cannot read it.
            if let (ErrorForm::Problem, Some(target)) = (self.form, self.target) {
                members.insert("target".to_owned(), target.into());
            }
            return format!("{}\n", serde_json::Value::from(members)).into();
        }
        // Both texts are constants without characters that JSON escapes. The target is escaped
        // ASCII.
        let target = self.target.map_or(String::new(), |target| {
            format!(
                r#","target":"{}""#,
                target.replace('\\', r"\\").replace('"', r#"\""#)
            )
        });
        format!(
            "{{\"error\":\"{error}\",\"error_description\":\"{}\"{target}}}\n",
            self.description
        )
        .into()
    }

    /// The challenge (RFC 6750 §3, RFC 9449 §7.1). The realm is a configured name, the scopes are
    /// scope tokens, and the URL was parsed, so none contains a quote.
    fn challenge(&self) -> Option<String> {
        let row = row_of(self.reason);
        let scheme = if self.asked.needs_proof(self.reason) {
            SCHEME
        } else {
            "Bearer"
        };
        let mut text = format!("{scheme} realm=\"{}\"", self.realm);
        match row.challenge {
            Challenge::No => return None,
            Challenge::Bare => {}
            Challenge::WithError => {
                text.push_str(&format!(
                    ", error=\"{}\", error_description=\"{}\"",
                    row.error, self.description
                ));
            }
        }
        if let Some(scope) = self.scope {
            text.push_str(&format!(", scope=\"{scope}\""));
        }
        if self.asked.needs_proof(self.reason) {
            text.push_str(&format!(", algs=\"{}\"", *ALGORITHM_NAMES));
        }
        if let Some(metadata) = self.asked.metadata {
            text.push_str(&format!(", resource_metadata=\"{metadata}\""));
        }
        Some(text)
    }

    /// The second challenge (RFC 7617 §2).
    fn basic_challenge(&self) -> Option<String> {
        let asks = self.accepts_basic && self.status() == 401;
        asks.then(|| format!("Basic realm=\"{}\", charset=\"UTF-8\"", self.realm))
    }

    pub(super) fn headers(&self, body: &Bytes) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static(self.form.media_type()),
            ),
            (header::CONTENT_LENGTH, HeaderValue::from(body.len())),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (REASON_HEADER, HeaderValue::from_static(self.reason.code())),
        ];
        if self.form != ErrorForm::OAuth {
            headers.push((
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ));
        }
        if let Some(challenge) = self
            .challenge()
            .and_then(|text| HeaderValue::try_from(text).ok())
        {
            headers.push((header::WWW_AUTHENTICATE, challenge));
        }
        if let Some(challenge) = self
            .basic_challenge()
            .and_then(|text| HeaderValue::from_str(&text).ok())
        {
            headers.push((header::WWW_AUTHENTICATE, challenge));
        }
        let nonce = self
            .asked
            .nonce
            .as_ref()
            .filter(|_| self.asked.needs_proof(self.reason));
        if let Some(nonce) = nonce.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.push((DPOP_NONCE, nonce));
        }
        if row_of(self.reason).retry {
            headers.push((header::RETRY_AFTER, HeaderValue::from(self.retry_after)));
        }
        if matches!(self.reason, Reason::Method | Reason::Tunnel) {
            headers.push((header::ALLOW, METHODS));
        }
        if self.reason == Reason::WebSocket {
            headers.push((header::SEC_WEBSOCKET_VERSION, websocket::VERSION));
        }
        headers
    }

    /// Whether the connection must close: the end of this request is unknown, or not worth waiting
    /// for.
    pub(super) fn ends_connection(&self) -> bool {
        use Reason as R;
        matches!(
            self.reason,
            R::MalformedRequest
                | R::Encrypted
                | R::AmbiguousPath
                | R::HeadTooLarge
                | R::HeadTimeout
                | R::BodyTimeout
                | R::Method
                | R::Tunnel
                | R::Expectation
                | R::Internal
        )
    }
}

/// The response as bytes, for requests without a session. The connection is closed after it.
#[must_use]
pub fn on_the_wire(fault: &Fault, form: ErrorForm) -> Vec<u8> {
    let answer = Answer {
        form,
        ..Answer::to_fault(fault, "")
    };
    let body = answer.body();
    let status = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut wire = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in answer.headers(&body) {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"connection: close\r\n\r\n");
    wire.extend_from_slice(&body);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_json_and_every_status_is_one() {
        for reason in Reason::ALL.iter().copied() {
            let answer = Answer::new(reason, "api");
            let body: serde_json::Value = serde_json::from_slice(&answer.body()).unwrap();
            assert_eq!(body["error_description"], reason.meaning());
            assert!(StatusCode::from_u16(answer.status()).is_ok());
            let challenge = answer.challenge();
            assert_eq!(
                challenge.is_some(),
                matches!(answer.status(), 401)
                    || matches!(
                        reason,
                        Reason::Scope
                            | Reason::Claim
                            | Reason::Authority
                            | Reason::Equals
                            | Reason::TwoAuthorizations
                            | Reason::MalformedAuthorization
                    )
            );
            assert!(challenge.is_none_or(|text| HeaderValue::from_str(&text).is_ok()));
        }
    }

    #[test]
    fn a_missing_token_is_challenged_without_an_error_code() {
        assert_eq!(
            Answer::new(Reason::NoToken, "api").challenge().unwrap(),
            "Bearer realm=\"api\""
        );
        let scope = ScopeSet::parse("a b").unwrap();
        let challenge = Answer::new(Reason::Scope, "api")
            .needing(Some(&scope))
            .challenge()
            .unwrap();
        assert!(
            challenge.contains("error=\"insufficient_scope\"")
                && challenge.ends_with(", scope=\"a b\"")
        );
    }

    #[test]
    fn every_reason_can_be_a_status_and_nothing_else() {
        for reason in Reason::ALL.iter().copied() {
            let answer = Answer {
                form: ErrorForm::Status,
                ..Answer::new(reason, "api")
            };
            let body: serde_json::Value = serde_json::from_slice(&answer.body()).unwrap();
            assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
            // The gRPC codes of the table for inbound listeners.
            let code = match answer.status() {
                400 | 417 => 3,
                401 => 16,
                403 => 7,
                405 | 501 => 12,
                408 | 504 => 4,
                413 | 429 | 431 => 8,
                500 | 508 => 13,
                502 | 503 => 14,
                other => panic!("no code for {other}"),
            };
            assert_eq!(
                (&body["code"], &body["message"]),
                (&code.into(), &reason.meaning().into())
            );
        }
    }

    #[test]
    fn the_wire_form_is_a_complete_answer() {
        let wire = String::from_utf8(on_the_wire(
            &Reason::MalformedRequest.into(),
            ErrorForm::OAuth,
        ))
        .unwrap();
        assert!(wire.starts_with("HTTP/1.1 400 Bad Request\r\n"));
        let (head, body) = wire.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(head.contains("x-m2m-reason: malformed_request"));
        assert!(wire.len() < 4096);
    }
}
