//! The access log line and the metrics of each request: target, decision, reason and duration.
//!
//! The path is logged without its query. Headers are logged only as far as a refusal concerns them,
//! because any header can contain a token. Client-controlled text is escaped and truncated.
//! Successful probes are logged at level debug.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora::http::RequestHeader;
use tokio::time::Instant;
use tracing::Level;

use super::client::Client;
use super::connection::Way;
use super::fault::Fault;
use super::{answer, request_id};
use crate::domain::printable::excerpt;
use crate::domain::reason::Reason;
use crate::jose::verify::{ClaimedToken, Jws};
use crate::telemetry::{Decision, RequestMetrics, Role};
use crate::verifier::{TokenLocations, VerifiedToken, claimed_token};

/// Longest logged path, in bytes.
const LONGEST_PATH: usize = 256;
/// Longest logged claim or header field, in bytes.
const LONGEST_TEXT: usize = 128;

/// The record of one request until it ends.
pub struct Access {
    /// When the request head was complete.
    began: Instant,
    /// The check that decided, or the later failure.
    pub reason: Reason,
    /// The resulting decision.
    pub decision: Decision,
    /// The client address that a trusted proxy reported, if it differs from the connection's peer.
    pub client: Option<IpAddr>,
    /// The method and path of the request that a proxy asks about. They are logged in place of
    /// those of the question.
    pub original: Option<(Method, String)>,
    /// Further detail: constants and positions in the request.
    pub detail: Option<Cow<'static, str>>,
    /// The request's valid token.
    pub token: Option<VerifiedToken>,
    /// The claims of a refused token, unverified.
    claimed: Option<ClaimedToken>,
    /// The id that correlates this line with other logs.
    request_id: Option<HeaderValue>,
    /// Time from the last upstream attempt to the head of its response.
    pub upstream_time: Option<Duration>,
    upstream_began: Option<Instant>,
}

/// A request that has ended.
pub struct Logged<'r> {
    pub client: &'r Client<'r>,
    /// The path of its target.
    pub path: &'r str,
}

impl Access {
    /// Starts the record of a request.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            reason: Reason::Internal,
            decision: Decision::Error,
            client: None,
            original: None,
            detail: None,
            token: None,
            claimed: None,
            request_id: None,
            upstream_time: None,
            upstream_began: None,
        }
    }

    /// Adopts the request's id, or creates one.
    pub fn identify(&mut self, headers: &HeaderMap) {
        self.request_id = Some(request_id::taken_over_or_made(headers));
    }

    /// The request's id; `None` before [`Access::identify`].
    #[must_use]
    pub fn request_id(&self) -> Option<&HeaderValue> {
        self.request_id.as_ref()
    }

    /// Records that the request is permitted.
    pub fn allow(&mut self, reason: Reason) {
        self.decision = Decision::Allow;
        self.reason = reason;
    }

    /// Records that the request passes although an enforcing listener would refuse it.
    pub fn shadow(&mut self, reason: Reason) {
        self.decision = Decision::Shadow;
        self.reason = reason;
    }

    /// Records that one of the sidecar's own endpoints answered the request.
    pub fn answered(&mut self) {
        self.decision = Decision::Answered;
        self.reason = Reason::Local;
    }

    /// Records that the request was refused or failed.
    pub fn deny(&mut self, reason: Reason) {
        self.decision = if is_failure(reason) {
            Decision::Error
        } else {
            Decision::Deny
        };
        self.reason = reason;
    }

    /// Records the claims of the request's token if the token is the reason why the request is, or
    /// would be, refused.
    pub fn note_refused_token(&mut self, headers: &HeaderMap, locations: &TokenLocations) {
        if is_about_token(self.reason) && tracing::enabled!(target: "access", Level::INFO) {
            let with_audience = self.reason == Reason::Audience;
            self.claimed = claimed_token(headers, locations, with_audience);
        }
    }

    /// Records the claims of the token that is sent in exchange for the caller's.
    pub fn note_exchanged(&mut self, token: &str) {
        if tracing::enabled!(target: "access", Level::INFO) {
            let jws = Jws::parse(token).ok();
            self.claimed = jws.map(|jws| jws.claimed_for_log(false));
        }
    }

    /// Records the fault that refused the request or made it fail.
    pub fn refuse(&mut self, fault: &Fault) {
        self.deny(fault.reason);
        self.detail = fault.detail();
    }

    /// Records the start of an upstream attempt.
    pub fn upstream_begins(&mut self) {
        self.upstream_began = Some(Instant::now());
    }

    /// Records the arrival of the upstream's response head.
    pub fn upstream_answered(&mut self) {
        self.upstream_time = self.upstream_began.map(|began| began.elapsed());
    }

    /// Counts the request and writes its log line.
    pub fn end(&self, metrics: &RequestMetrics, request: &Logged<'_>) {
        let took = self.began.elapsed();
        metrics.ended(self.decision, self.reason, took);
        if tracing::enabled!(target: "access", Level::INFO) {
            self.log(metrics, request, took);
        }
    }

    fn log(&self, metrics: &RequestMetrics, request: &Logged<'_>, took: Duration) {
        let client = request.client;
        let status = client.status().map(|status| status.as_u16());
        let is_well = metrics.role() == Role::Probes && status.is_some_and(|status| status < 400);
        if is_well && !tracing::enabled!(target: "access", Level::DEBUG) {
            return;
        }
        let (peer, via) = self.peers(client);
        let process = client.process();
        let (method, path) = match &self.original {
            Some((method, path)) => (method.as_str(), path.as_str()),
            None => (client.method().as_str(), request.path),
        };
        let head = self.refused_head(request, status);
        let head = head.as_ref();
        let claimed = self.claimed.as_ref();
        let shown = |text: Option<&'_ String>| {
            text.map(|text| excerpt(text.as_bytes(), LONGEST_TEXT).into_owned())
        };
        let audience = claimed
            .filter(|_| self.reason == Reason::Audience)
            .and_then(|it| it.audience.as_ref());
        let claimed_jti = shown(claimed.and_then(|claimed| claimed.id.as_ref()));
        let token = self.token.as_ref();
        let tls = client.tls();
        let certificate = tls.and_then(|tls| tls.certificate.as_ref());
        // The names in a self-signed certificate could be any.
        let verified = certificate.filter(|it| it.is_verified);
        tracing::info!(
            target: "access",
            role = metrics.role().as_str(),
            listener = metrics.listener(),
            peer = tracing::field::display(peer),
            via = via.map(tracing::field::display),
            uid = process.map(|it| it.user),
            pid = process.and_then(|it| it.process),
            to = original_destination(client).map(tracing::field::display),
            method = method.get(..32).unwrap_or(method),
            path = excerpt(path.as_bytes(), LONGEST_PATH).as_ref(),
            status,
            decision = self.decision.as_str(),
            reason = self.reason.code(),
            detail = self.detail.as_deref(),
            host = head.and_then(Self::refused_host).as_deref(),
            origin = head.and_then(|head| self.refused_origin(head)).as_deref(),
            iss = shown(claimed.and_then(|claimed| claimed.issuer.as_ref())),
            aud = shown(audience),
            client_id = token.and_then(|token| token.client_id()),
            jti = token.and_then(|token| token.jti()).or(claimed_jti.as_deref()),
            act = token.and_then(|token| token.actors()),
            request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            tls = tls.map(|tls| tls.version.as_str()),
            certificate = shown(verified.map(|it| &it.subject)),
            x5t = certificate.map(|it| it.thumbprint.as_str()),
            bytes = client.body_bytes(),
            ms = milliseconds(took),
            upstream_ms = self.upstream_time.map(milliseconds),
        );
    }

    /// The client, and the peer of the connection if that is a proxy.
    fn peers(&self, client: &Client<'_>) -> (String, Option<String>) {
        let direct = match client.process() {
            Some(_) => "unix".to_owned(),
            None => client.peer().to_string(),
        };
        match self.client {
            Some(client) => (client.to_string(), Some(direct)),
            None => (direct, None),
        }
    }

    /// The head of a request whose host or origin is logged.
    fn refused_head(&self, request: &Logged<'_>, status: Option<u16>) -> Option<RequestHeader> {
        self.is_about_host(status)
            .then(|| request.client.received_head().ok())
            .flatten()
    }

    /// Whether the host that the request names is the reason for its refusal.
    fn is_about_host(&self, status: Option<u16>) -> bool {
        matches!(
            self.reason,
            Reason::Host | Reason::CrossSite | Reason::Destination | Reason::Loop
        ) || status == Some(StatusCode::MISDIRECTED_REQUEST.as_u16())
    }

    /// The refused host name: that of an absolute target, else `Host`.
    fn refused_host(head: &RequestHeader) -> Option<Cow<'_, str>> {
        let target = head.raw_path();
        let host = match target
            .windows(3)
            .position(|bytes| bytes == b"://")
            .filter(|_| !target.starts_with(b"/"))
        {
            Some(scheme) => {
                let authority = target.get(scheme + 3..).unwrap_or_default();
                let authority = authority.split(|byte| matches!(byte, b'/' | b'?')).next();
                // The part before `@` may be a password.
                authority.and_then(|authority| authority.rsplit(|byte| *byte == b'@').next())
            }
            None => head.headers.get(header::HOST).map(HeaderValue::as_bytes),
        };
        host.map(|host| excerpt(host, LONGEST_TEXT))
    }

    /// The origin of the page that sent the request, if the refusal concerns it.
    fn refused_origin<'h>(&self, head: &'h RequestHeader) -> Option<Cow<'h, str>> {
        if self.reason != Reason::CrossSite {
            return None;
        }
        if let Some(origin) = head.headers.get(header::ORIGIN) {
            return Some(excerpt(origin.as_bytes(), LONGEST_TEXT));
        }
        // The rest of a page's URL may be secret.
        let page = head.headers.get(header::REFERER)?.as_bytes();
        let origin = page
            .splitn(4, |byte| *byte == b'/')
            .take(3)
            .map(<[u8]>::len)
            .sum::<usize>()
            + 2;
        let origin = page
            .get(..origin)
            .unwrap_or(page)
            .split(|byte| matches!(byte, b'?' | b'#' | b'@'))
            .next();
        Some(excerpt(origin.unwrap_or_default(), LONGEST_TEXT))
    }
}

/// The address that the client of a redirected connection called.
fn original_destination(client: &Client<'_>) -> Option<SocketAddr> {
    match client.way() {
        Way::Redirected(to) => Some(*to),
        Way::Direct | Way::Tunnel(_) => None,
    }
}

/// Whether a reason is a failure, as opposed to a refusal.
fn is_failure(reason: Reason) -> bool {
    match reason {
        Reason::ClientGone | Reason::ClientStalled => true,
        reason => answer::table(reason).is_some_and(|row| row.status >= 500),
    }
}

/// Whether a reason concerns the token that the request carried.
fn is_about_token(reason: Reason) -> bool {
    let refused = answer::table(reason).is_some_and(|row| row.error == "invalid_token");
    refused
        || matches!(
            reason,
            Reason::Busy | Reason::KeysUnavailable | Reason::RevocationUnavailable
        )
}

/// Counts and logs a head that was refused before it became a request.
pub fn refused_head(metrics: &RequestMetrics, peer: SocketAddr, fault: &Fault) {
    metrics.ended(Decision::Deny, fault.reason, Duration::ZERO);
    tracing::info!(
        target: "access",
        role = metrics.role().as_str(),
        listener = metrics.listener(),
        peer = %peer,
        method = (fault.reason == Reason::Tunnel).then_some("CONNECT"),
        status = answer::table(fault.reason).map(|row| row.status),
        request_target = fault.target(),
        decision = Decision::Deny.as_str(),
        reason = fault.reason.code(),
        detail = fault.detail().as_deref(),
    );
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
