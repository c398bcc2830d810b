//! DPoP towards the upstream (RFC 9449 §7): a proof for each request, with the upstream's nonce.

use http::header;
use pingora::http::{RequestHeader, ResponseHeader};

use super::{Credential, Destination, Outbound, Route, State, replay};
use crate::domain::reason::Reason;
use crate::jose::dpop::{DPOP, DPOP_NONCE};
use crate::proxy::fault::Fault;
use crate::proxy::head;
use crate::proxy::headers::Added;
use crate::token_source::AccessToken;

/// The text before a token in `Authorization`.
pub(super) const PREFIX: &str = "DPoP ";

const NO_PROOF: &str = "the DPoP proof cannot be made for this request";

impl Outbound {
    /// Adds the proof of a token that needs one. The request has its target and `Host`.
    pub(super) fn write_proof(
        &self,
        request: &mut RequestHeader,
        added: &mut Added,
        state: &State,
        token: &AccessToken,
    ) -> Result<(), Fault> {
        let Some(to) = self.proven(state) else {
            return Ok(());
        };
        let (is_tls, ..) = to.upstream.origin();
        let scheme = if is_tls { "https://" } else { "http://" };
        let host = request.headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let (path, _) = head::target(request)?;
        let url = [scheme, host, path].concat();
        let at = (request.method.as_str(), url.as_str());
        let proof = to.credential.proof(token, at, &to.nonce);
        let proof = proof.ok_or_else(|| Fault::because(Reason::TokenUnavailable, NO_PROOF))?;
        added.replace(request, DPOP, proof);
        Ok(())
    }

    /// The destination of a request with a proof.
    fn proven(&self, state: &State) -> Option<&Destination> {
        match (&state.route, &state.credential) {
            (Some(Route::To(index, _)), Some(Credential::Attached(..))) => {
                let to = self.destinations.get(*index)?;
                to.credential.is_dpop().then_some(to)
            }
            _ => None,
        }
    }

    /// Notes the upstream's nonce. Gives whether the request is to be repeated with it.
    pub(super) fn takes_nonce(&self, response: &ResponseHeader, state: &State) -> bool {
        let Some(to) = self.proven(state) else {
            return false;
        };
        let has_nonce = to.nonce.note(&response.headers);
        has_nonce && !state.has_nonce && replay::demands_nonce(response)
    }

    /// Removes the nonce from a response: the caller makes no proofs.
    pub(super) fn remove_nonce(&self, response: &mut ResponseHeader, state: &State) {
        if self.proven(state).is_some() {
            response.remove_header(&DPOP_NONCE);
        }
    }
}
