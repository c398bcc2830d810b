//! Decides about a request of a listener, and records the decision.

use std::net::IpAddr;

use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::evaluate::{Counting, Evaluated, admit, check_length, check_method, evaluate, refusal};
use super::{Context, Inbound};
use crate::proxy::forwarded::RequestOrigin;
use crate::proxy::head;
use crate::telemetry::Decision;
use crate::verifier::{Mode, Permit, Refusal};

impl Inbound {
    /// Decides about a request: `Ok(Some(path))` goes to an endpoint of the sidecar, `Ok(None)` to
    /// the upstream.
    pub(super) async fn decide(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Option<String>, Refusal> {
        let connection = head::accept(session).map_err(Refusal::new)?;
        let peer = connection.peer.ip();
        ctx.connection = Some(connection);
        let request = session.req_header();
        let origin = RequestOrigin::read(&request.headers, peer, &self.trusted_proxies);
        ctx.access.client = origin.client_behind_proxy();
        ctx.origin = Some(origin);
        // Checked before the target, because the target of CONNECT is not a path.
        check_method(&request.method)?;
        let (path, query) = head::target(request).map_err(|fault| refusal(&fault))?;
        let own = self.own.as_ref().map(|own| &own.paths);
        let path = (path, self.ordinary);
        let limits = self.limits.as_deref();
        let mut counting = Counting {
            limits,
            peer,
            slot: None,
            refusal: None,
        };
        let evaluated = evaluate(
            &self.gate,
            own,
            &request.method,
            path,
            &request.headers,
            &mut counting,
        )
        .await;
        let evaluated = evaluated.map_err(|refusal| match counting.refusal.take() {
            Some(over) if over.reason == refusal.reason => over,
            _ => refusal,
        })?;
        let (path, permit) = match evaluated {
            Evaluated::Own(path) => return Ok(Some(path.as_str().to_owned())),
            Evaluated::Permitted(path, permit) => (path, permit),
        };
        self.mark.check(&request.headers).map_err(Refusal::new)?;
        ctx.access.client_id = permit
            .token()
            .and_then(|token| token.client_id())
            .map(str::to_owned);
        ctx.access.jti = permit
            .token()
            .and_then(|token| token.jti())
            .map(str::to_owned);
        if permit.would_be_refused() {
            ctx.access.shadow(permit.reason());
            ctx.access.note_refused_token(&request.headers);
        } else {
            ctx.access.allow(permit.reason());
        }
        ctx.slot = counting.slot;
        self.limit(request, &permit, peer, ctx)?;
        ctx.target = match query {
            Some(query) => format!("{}?{query}", path.as_str()),
            None => path.as_str().to_owned(),
        };
        ctx.permit = Some(permit);
        Ok(None)
    }

    /// Applies body size and rate limits after the token checks, so that a client cannot use up the
    /// budget of another.
    pub(super) fn limit(
        &self,
        request: &RequestHeader,
        permit: &Permit,
        peer: IpAddr,
        ctx: &mut Context,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = check_length(self.max_body, &request.headers) {
            self.over_limit(refusal, ctx)?;
        }
        // A request that would be refused anyway does not count, unless the query to its authority
        // has counted it already.
        let is_counted = permit.would_be_refused() || ctx.slot.is_some();
        let Some(limits) = self.limits.as_ref().filter(|_| !is_counted) else {
            return Ok(());
        };
        match admit(limits, permit.token().map(|token| &**token), peer) {
            Ok(slot) => {
                ctx.slot = Some(slot);
                Ok(())
            }
            Err(refusal) => self.over_limit(refusal, ctx),
        }
    }

    /// In shadow mode a request beyond a limit passes; the refusal is recorded unless an earlier
    /// check has refused.
    pub(super) fn over_limit(&self, refusal: Refusal, ctx: &mut Context) -> Result<(), Refusal> {
        if self.gate.mode() == Mode::Enforce {
            return Err(Refusal {
                client_id: ctx.access.client_id.take(),
                ..refusal
            });
        }
        if ctx.access.decision == Decision::Allow {
            ctx.access.shadow(refusal.reason);
        }
        Ok(())
    }
}
