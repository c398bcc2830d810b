//! One line per change: who did what to which client, from where, and how it ended. Never a secret.

use super::answer::Refusal;
use crate::endpoints::PeerAddress;

/// What was done, or tried.
#[derive(Clone, Copy, Default)]
pub(super) struct Change<'a> {
    pub action: &'static str,
    pub client_id: Option<&'a str>,
    pub secret_id: Option<&'a str>,
    pub jti: Option<&'a str>,
}

impl Change<'_> {
    /// Tells the audit log how it ended.
    pub(super) fn record<T>(&self, result: &Result<T, Refusal>, peer: PeerAddress) {
        let outcome = result.as_ref().map_or_else(|refusal| refusal.code().1, |_| "done");
        let reason = result.as_ref().err().and_then(Refusal::store_fault);
        let (action, client_id, secret_id, jti) = (self.action, self.client_id, self.secret_id, self.jti);
        tracing::info!(
            target: "audit",
            action,
            client_id,
            secret_id,
            jti,
            outcome,
            reason,
            actor = "admin",
            peer = %peer.0,
            "management request"
        );
    }
}

/// Tells the audit log of a request that was not let in. One that is beyond the limit leaves no line: a flood of
/// guesses must not fill the disk.
pub(super) fn refused(refusal: &Refusal, peer: Option<&PeerAddress>) {
    if !matches!(refusal, Refusal::TooManyWrongTokens(_)) {
        let (outcome, peer) = (refusal.code().1, peer.map(|peer| tracing::field::display(peer.0)));
        tracing::info!(target: "audit", action = "enter", outcome, peer, "management request");
    }
}
