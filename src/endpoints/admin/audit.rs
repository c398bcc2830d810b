//! One log line per change: the action, the client, the peer, the changed members and the outcome.
//! Never a secret.

use axum::extract::Request;
use http::header::{HOST, ORIGIN};

use super::answer::Refusal;
use crate::domain::printable::excerpt;
use crate::endpoints::PeerAddress;

/// How much of a text of the request is shown, in bytes.
const LONGEST: usize = 128;
/// How much of the cause is shown: it may name several members.
const LONGEST_REASON: usize = 512;

/// A change, or an attempt.
#[derive(Clone, Copy, Default)]
pub(super) struct Change<'a> {
    pub action: &'static str,
    pub client_id: Option<&'a str>,
    pub secret_id: Option<&'a str>,
    pub jti: Option<&'a str>,
    /// The names of the changed members.
    pub changed: Option<&'a [String]>,
    /// Up to when a client's tokens ended.
    pub until: Option<&'a str>,
}

impl Change<'_> {
    /// Tells the audit log how it ended.
    pub(super) fn record<T>(&self, result: &Result<T, Refusal>, peer: PeerAddress) {
        let outcome = result
            .as_ref()
            .map_or_else(|refusal| refusal.code().1, |_| "done");
        let reason = result
            .as_ref()
            .err()
            .map(|refusal| shown(&refusal.cause(), LONGEST_REASON));
        tracing::info!(
            target: "audit",
            action = self.action,
            client_id = self.client_id.map(|id| shown(id, LONGEST)),
            secret_id = self.secret_id.map(|id| shown(id, LONGEST)),
            jti = self.jti.map(|jti| shown(jti, LONGEST)),
            changed = self.changed.map(|names| shown(&names.join(" "), LONGEST_REASON)),
            until = self.until,
            outcome,
            reason,
            actor = "admin",
            peer = %peer.0,
            "management request"
        );
    }
}

/// Tells the audit log of a request that was not let in. One that is beyond the limit leaves no
/// line: a flood of guesses must not fill the disk.
pub(super) fn refused(refusal: &Refusal, request: &Request) {
    if matches!(refusal, Refusal::TooManyWrongTokens(_)) {
        return;
    }
    let header = |name| {
        request
            .headers()
            .get(name)
            .map(|value| excerpt(value.as_bytes(), LONGEST).into_owned())
    };
    let peer = request
        .extensions()
        .get::<PeerAddress>()
        .map(|peer| tracing::field::display(peer.0));
    tracing::info!(
        target: "audit",
        action = "enter",
        outcome = refusal.code().1,
        reason = refusal.cause(),
        host = header(HOST).filter(|_| matches!(refusal, Refusal::Host | Refusal::CrossSite)),
        origin = header(ORIGIN).filter(|_| matches!(refusal, Refusal::CrossSite)),
        method = %request.method(),
        path = shown(request.uri().path(), LONGEST),
        peer,
        "management request"
    );
}

fn shown(text: &str, limit: usize) -> String {
    excerpt(text.as_bytes(), limit).into_owned()
}
