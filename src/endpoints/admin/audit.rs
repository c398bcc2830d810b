//! One log line per change: the action, the client, the peer, the changed members and the outcome.
//! Never a secret.

use axum::extract::Request;
use http::header::{HOST, ORIGIN};

use super::answer::Refusal;
use crate::domain::printable::excerpt;
use crate::endpoints::PeerAddress;

/// The longest excerpt of a text of the request, in bytes.
const LONGEST: usize = 128;
/// The longest excerpt of the cause, in bytes. It may name several members.
const LONGEST_REASON: usize = 512;

/// A change that was made or attempted.
#[derive(Clone, Copy, Default)]
pub(super) struct Change<'a> {
    pub action: &'static str,
    pub client_id: Option<&'a str>,
    pub secret_id: Option<&'a str>,
    pub jti: Option<&'a str>,
    /// The names of the changed members.
    pub changed: Option<&'a [String]>,
    /// The time up to which a client's tokens were revoked.
    pub until: Option<&'a str>,
}

impl Change<'_> {
    /// Writes the audit line with the outcome.
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

/// Writes the audit line of a request that was not authorized. A request beyond the limit gets no
/// line, so that a flood of guesses cannot fill the disk.
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
