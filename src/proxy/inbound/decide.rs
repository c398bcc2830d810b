//! Decides about a request of a listener, and records the decision.

use std::collections::HashSet;
use std::net::IpAddr;

use http::HeaderMap;
use pingora::http::RequestHeader;

use super::evaluate::{
    Counting, Evaluated, Received, admit, check_length, check_method, evaluate, refusal,
};
use super::{Inbound, State};
use crate::proxy::access::Access;
use crate::proxy::answer::{Answer, Asked};
use crate::proxy::client::Client;
use crate::proxy::connection::ClientError;
use crate::proxy::fault;
use crate::proxy::forwarded::RequestOrigin;
use crate::proxy::head;
use crate::telemetry::Decision;
use crate::verifier::{Mode, Permit, Refusal, Scheme};

impl Inbound {
    /// Evaluates a request: `Ok(Some(path))` goes to an endpoint of the sidecar, `Ok(None)` to the
    /// upstream.
    pub(super) async fn evaluate(
        &self,
        client: &Client<'_>,
        request: &RequestHeader,
        state: &mut State,
        access: &mut Access,
    ) -> Result<Option<String>, Refusal> {
        let peer = client.peer().ip();
        let origin = RequestOrigin::read(&request.headers, peer, &self.trusted_proxies);
        access.client = origin.client_behind_proxy();
        let tls = client.tls();
        let origin = origin.over_tls(tls.is_some());
        let (client, called) = (origin.known_client(), origin.called());
        // The certificate of a proxy that reports a client is not the client's.
        let tls = tls.filter(|_| !origin.reports_client());
        state.origin = Some(origin);
        // Checked before the target, because the target of CONNECT is not a path.
        check_method(&request.method)?;
        let (path, query) = head::target(request).map_err(|fault| refusal(&fault))?;
        let own = self.own.as_ref().map(|own| &own.paths);
        let received = Received {
            method: &request.method,
            path,
            query,
            headers: &request.headers,
            client,
            scopes: None,
            sender: called.sender(&request.headers, path, tls),
        };
        let (path, permit) = match self
            .evaluate_within_limits(own, received, peer, state)
            .await?
        {
            Evaluated::Own(path) => return Ok(Some(path.as_str().to_owned())),
            Evaluated::Permitted(path, permit) => (path, permit),
        };
        self.mark.check(&request.headers).map_err(Refusal::new)?;
        state.websocket = self.opening(request, &permit)?;
        self.admit(&request.headers, &permit, peer, state, access)?;
        // Most targets are in normal form already.
        let route = self.route(&permit);
        let is_whole = route.is_none_or(|route| route.stripped == 0);
        let is_as_sent = path.is_as_sent() && request.raw_path().starts_with(b"/") && is_whole;
        let path = route.map_or(path.as_str(), |route| route.path(path.as_str()));
        state.target = (!is_as_sent).then(|| match query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        });
        state.permit = Some(permit);
        Ok(None)
    }

    /// Evaluates a request. The limits count one that needs a query of its authority, by this
    /// address if by address.
    pub(in crate::proxy) async fn evaluate_within_limits<'r>(
        &self,
        own: Option<&HashSet<String>>,
        received: Received<'r>,
        counted: IpAddr,
        state: &mut State,
    ) -> Result<Evaluated<'r>, Refusal> {
        let mut counting = Counting {
            limits: self.limits.as_deref(),
            peer: counted,
            slot: None,
            refusal: None,
        };
        let evaluated = evaluate(&self.gate, own, received, self.ordinary, &mut counting).await;
        let evaluated = evaluated.map_err(|refusal| match counting.refusal.take() {
            Some(over) if over.reason == refusal.reason => over,
            _ => refusal,
        })?;
        state.slot = counting.slot;
        Ok(evaluated)
    }

    /// Records that a request passes, unless a limit refuses it.
    pub(in crate::proxy) fn admit(
        &self,
        headers: &HeaderMap,
        permit: &Permit,
        counted: IpAddr,
        state: &mut State,
        access: &mut Access,
    ) -> Result<(), Refusal> {
        access.token = permit.token().cloned();
        if permit.would_be_refused() {
            access.shadow(permit.reason());
            access.note_refused_token(headers, self.gate.locations());
        } else {
            access.allow(permit.reason());
        }
        self.limit(headers, permit, counted, state, access)
    }

    /// Applies body size and rate limits after the token checks, so that a client cannot use up the
    /// budget of another.
    fn limit(
        &self,
        headers: &HeaderMap,
        permit: &Permit,
        counted: IpAddr,
        state: &mut State,
        access: &mut Access,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = check_length(self.max_body, headers) {
            over_limit(permit.mode(), refusal, access)?;
        }
        // A request that would be refused anyway does not count, unless the query to its authority
        // has counted it already.
        let is_counted = permit.would_be_refused() || state.slot.is_some();
        let Some(limits) = self.limits.as_ref().filter(|_| !is_counted) else {
            return Ok(());
        };
        match admit(limits, permit.token().map(|token| &**token), counted) {
            Ok(slot) => {
                state.slot = Some(slot);
                Ok(())
            }
            Err(refusal) => over_limit(permit.mode(), refusal, access),
        }
    }

    /// How a challenge asks for the token of a request.
    fn asked(&self, request: &RequestHeader) -> Asked<'_> {
        Asked {
            dpop: self.needs_proof || Scheme::is_dpop(&request.headers),
            nonce: self.gate.nonce(),
            metadata: self.metadata.as_deref(),
        }
    }

    /// Answers a request that is refused.
    pub(in crate::proxy) async fn refuse(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        refusal: Refusal,
        access: &mut Access,
    ) -> Result<(), ClientError> {
        access.deny(refusal.reason);
        access.note_refused_token(&request.headers, self.gate.locations());
        access.token = refusal.token.or(access.token.take());
        let description = fault::describe(refusal.reason, refusal.detail.as_deref());
        access.detail = refusal.detail;
        let mut answer = Answer::new(refusal.reason, &self.name)
            .needing(refusal.needed.as_ref())
            .describing(description)
            .accepting_basic(self.gate.locations().basic)
            .asking(self.asked(request))
            .for_pages(self.for_pages);
        if let Some(wait) = refusal.retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            answer = answer.retry_after(seconds.try_into().unwrap_or(u64::MAX));
        }
        answer.write(client, request).await
    }
}

/// In shadow mode a request beyond a limit passes; the refusal is recorded unless an earlier
/// check has refused.
pub(super) fn over_limit(mode: Mode, refusal: Refusal, access: &mut Access) -> Result<(), Refusal> {
    if mode == Mode::Enforce {
        return Err(Refusal {
            token: access.token.take(),
            ..refusal
        });
    }
    if access.decision == Decision::Allow {
        access.shadow(refusal.reason);
    }
    Ok(())
}
