//! The inbound role: verifies the token, authorizes the request, forwards the identity.

mod config;
mod decide;
mod evaluate;

use std::os::fd::RawFd;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

pub use self::config::{Config, OwnEndpoints};
pub use self::evaluate::{Evaluated, admit, check_length, evaluate};
use super::access::Access;
use super::answer::{Answer, REASON_HEADER};
use super::connection::ConnectionState;
use super::fault::{self, Fault};
use super::forwarded::RequestOrigin;
use super::headers::{ClientHeaders, IdentityHeaders};
use super::loop_mark::LoopMark;
use super::request_id::REQUEST_ID;
use super::upstream::{self, Repeat, Tries, Upstream};
use super::{failure, head, local};
use crate::domain::path::Ordinary;
use crate::domain::reason::Reason;
use crate::domain::settings::{Authorization, InboundSettings};
use crate::limits::{Limits, Slot};
use crate::telemetry::RequestMetrics;
use crate::verifier::{CorsPreflight, Gate, Permit, Refusal};

/// The service of one inbound listener.
pub struct Inbound {
    name: String,
    gate: Arc<Gate>,
    upstream: Arc<Upstream>,
    own: Option<OwnEndpoints>,
    identity: IdentityHeaders,
    removed: ClientHeaders,
    settings: InboundSettings,
    ordinary: Ordinary,
    trusted_proxies: Vec<IpNet>,
    max_body: Option<u64>,
    limits: Option<Arc<Limits>>,
    mark: Arc<LoopMark>,
    /// Whether pages of other sites may read error responses.
    for_pages: bool,
    metrics: Arc<RequestMetrics>,
}

/// The state of a request between the phases.
pub struct Context {
    access: Access,
    connection: Option<Arc<ConnectionState>>,
    origin: Option<RequestOrigin>,
    /// The path in normal form with the original query; set together with the permit.
    target: String,
    permit: Option<Permit>,
    /// Whether one of the sidecar's own endpoints answers the request.
    is_own: bool,
    /// Held until the request ends.
    slot: Option<Slot>,
    /// The fault behind an error that a phase raised.
    failure: Option<Fault>,
    tries: Tries,
    /// Whether the head of a response has arrived.
    is_answered: bool,
    body_bytes: u64,
}

impl Inbound {
    #[must_use]
    pub fn new(
        config: &Config,
        gate: Arc<Gate>,
        upstream: Arc<Upstream>,
        own: Option<OwnEndpoints>,
        limits: Option<Arc<Limits>>,
        (metrics, mark): (Arc<RequestMetrics>, Arc<LoopMark>),
    ) -> Self {
        Self {
            mark,
            name: config.name.clone(),
            gate,
            upstream,
            own,
            identity: IdentityHeaders::new(config.identity_headers.clone()),
            removed: ClientHeaders::new(&config.identity_headers, &config.removed_headers),
            settings: config.settings,
            ordinary: config.ordinary,
            trusted_proxies: config.trusted_proxies.clone(),
            max_body: config.max_body,
            limits,
            for_pages: config.verifier.cors_preflight == CorsPreflight::Pass,
            metrics,
        }
    }

    /// Writes the upstream request. It requires a permit.
    fn forward(&self, request: &mut RequestHeader, ctx: &Context) -> Result<(), Reason> {
        let (Some(permit), Some(origin)) = (&ctx.permit, &ctx.origin) else {
            return Err(Reason::Internal);
        };
        let broken = |_| Reason::Internal;
        request
            .set_raw_path(ctx.target.as_bytes())
            .map_err(broken)?;
        let mark = self.mark.next(&request.headers, ctx.tries.current());
        self.removed.strip(request, origin.is_trusted());
        LoopMark::write(request, mark).map_err(broken)?;
        if let Some(id) = ctx.access.request_id() {
            request
                .insert_header(REQUEST_ID, id.clone())
                .map_err(broken)?;
        }
        origin.write(request).map_err(broken)?;
        if self.settings.authorization == Authorization::Strip {
            request.remove_header(&header::AUTHORIZATION);
        }
        // An HTTP/1.0 client may omit `Host`.
        if !self.settings.preserve_host || !request.headers.contains_key(header::HOST) {
            request
                .insert_header(header::HOST, self.upstream.host_value())
                .map_err(broken)?;
        }
        match permit.token() {
            Some(token) => self.identity.attach(request, token),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl ProxyHttp for Inbound {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            access: Access::begin(),
            connection: None,
            origin: None,
            target: String::new(),
            permit: None,
            is_own: false,
            slot: None,
            failure: None,
            tries: Tries::default(),
            is_answered: false,
            body_bytes: 0,
        }
    }

    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<bool> {
        ctx.access.identify(&session.req_header().headers);
        match self.decide(session, ctx).await {
            Ok(None) => Ok(false),
            Ok(Some(path)) => {
                let (Some(own), Some(connection)) = (&self.own, &ctx.connection) else {
                    return Err(Error::new(ErrorType::InternalError));
                };
                ctx.is_own = true;
                let peer = ctx
                    .origin
                    .as_ref()
                    .map_or(connection.peer, |it| it.client_address(connection.peer));
                local::answer(session, &own.router, &path, peer, &mut ctx.access).await?;
                Ok(true)
            }
            Err(refusal) => {
                ctx.access.deny(refusal.reason);
                ctx.access.note_refused_token(&session.req_header().headers);
                ctx.access.client_id = refusal.client_id;
                ctx.access.jti = refusal.jti.or(ctx.access.jti.take());
                let description = fault::describe(refusal.reason, refusal.detail.as_deref());
                ctx.access.detail = refusal.detail;
                let mut answer = Answer::new(refusal.reason, &self.name)
                    .needing(refusal.needed.as_ref())
                    .describing(description)
                    .for_pages(self.for_pages);
                if let Some(wait) = refusal.retry_after {
                    answer = answer.retry_after(
                        wait.as_millis()
                            .div_ceil(1000)
                            .max(1)
                            .try_into()
                            .unwrap_or(u64::MAX),
                    );
                }
                answer.write(session).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<Box<HttpPeer>> {
        // A second attempt sends the body again from its beginning.
        (ctx.body_bytes, ctx.is_answered) = (0, false);
        ctx.access.upstream_begins();
        let read = ctx.permit.as_ref().and_then(Permit::timeout);
        let peer = self.upstream.peer(&mut ctx.tries, read).await;
        let mut peer = peer.map_err(|reason| fail(ctx, reason))?;
        if let Some(connection) = &ctx.connection {
            head::await_answer(session, connection, &mut peer);
        }
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let another = self.upstream.connect_failed(&mut ctx.tries, &error);
        error.set_retry(another);
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        self.upstream.check(peer, reused, digest, &mut ctx.tries)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let state = (reused, ctx.is_answered);
        upstream::decide_repeat(session, error, state, Repeat::Idempotent, &mut ctx.tries)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        head::settle_request(session, request)?;
        self.forward(request, ctx)
            .map_err(|reason| fail(ctx, reason))
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        ctx.body_bytes += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        match self.max_body {
            Some(max) if ctx.body_bytes > max => self
                .over_limit(Refusal::new(Reason::BodyTooLarge), ctx)
                .map_err(|refusal| {
                    ctx.access.client_id = refusal.client_id;
                    fail(ctx, refusal.reason)
                }),
            _ => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        ctx.is_answered = true;
        self.upstream.answered(response);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        head::settle_answer(session, response)?;
        ctx.access.upstream_answered();
        // Removes the upstream's own reason header: here it would name the sidecar's check.
        response.remove_header(&REASON_HEADER);
        Ok(())
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let alert = self
            .upstream
            .broke(&ctx.tries, error, ctx.is_answered)
            .await;
        let asked = failure::Asked {
            realm: &self.name,
            for_pages: self.for_pages,
        };
        failure::answer(
            session,
            error,
            ctx.failure.take().or(alert),
            &mut ctx.access,
            asked,
        )
        .await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        let own = self.own.as_ref().filter(|_| ctx.is_own);
        ctx.access
            .end_session(own.map_or(&self.metrics, |own| &own.metrics), session);
        // The request has ended; only the connection's end remains.
        ctx.slot = None;
        failure::close(session, error).await;
    }
}

/// An error of ours; the context passes its fault to [`failure::answer`].
fn fail(ctx: &mut Context, fault: impl Into<Fault>) -> Box<Error> {
    ctx.failure = Some(fault.into());
    Error::new(ErrorType::InternalError)
}
