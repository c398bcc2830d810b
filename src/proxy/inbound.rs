//! The inbound role: verifies the token, authorizes the request, forwards the identity.

use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, header};
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::access::Access;
use super::connection::{ClientTimeouts, ConnectionState, MaxConnections};
use super::fault::{self, Fault};
use super::forwarded::RequestOrigin;
use super::headers::{IdentityHeaders, RemovedHeaders};
use super::loop_mark::LoopMark;
use super::request_id::REQUEST_ID;
use super::respond::{Answer, REASON_HEADER};
use super::upstream::{self, Repeat, Tries, Upstream};
use super::{failure, head, local};
use crate::domain::error_form::ErrorForms;
use crate::domain::listen::Listen;
use crate::domain::path::{AmbiguousPath, NormalPath, Ordinary};
use crate::domain::reason::Reason;
use crate::limits::{self, Exceeded, Key, Limits, Per, Slot};
use crate::telemetry::{Decision, RequestMetrics};
use crate::verifier::{
    self, Check, CheckObserver, CorsPreflight, Gate, Mode, Permit, Refusal, TokenFacts,
};

/// When one of many requests in progress may have ended.
const AFTER_ONE_OF_MANY: Duration = Duration::from_secs(1);

/// The configuration of an inbound listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `realm` of challenges and a metrics label.
    pub name: String,
    /// The listening address; port 0 takes a free port.
    pub listen: Listen,
    pub client_timeouts: ClientTimeouts,
    pub max_connections: MaxConnections,
    /// Whether it serves the issuer's endpoints too.
    pub issuer: bool,
    pub upstream: upstream::Config,
    /// Whether the upstream receives the token itself.
    pub keep_authorization: bool,
    /// The identity headers, in the order of the verifier's forwarded claims.
    pub identity_headers: Vec<HeaderName>,
    /// Whether the upstream receives the client's `Host`.
    pub preserve_host: bool,
    /// Characters that are ordinary in a path.
    pub ordinary: Ordinary,
    /// Proxies that are trusted to report their clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Headers that only trusted proxies may send: names, or prefixes that end with `*`.
    pub removed_headers: Vec<String>,
    /// Largest forwarded body, in bytes; `None`: no limit.
    pub max_body: Option<u64>,
    /// Rate and concurrency limits; `None`: no limit.
    pub limits: Option<limits::Config>,
    pub verifier: verifier::Config,
    /// Largest request head, in bytes.
    pub max_head: usize,
}

/// Endpoints of the sidecar on a listener, at exactly these paths.
#[derive(Clone)]
pub struct OwnEndpoints {
    /// The paths, in normal form.
    pub paths: HashSet<String>,
    pub router: Router,
    /// Counts their requests apart from those for the upstream.
    pub metrics: Arc<RequestMetrics>,
    /// The error forms at and near these paths.
    pub error_forms: ErrorForms,
}

/// The service of one inbound listener.
pub struct Inbound {
    name: String,
    gate: Arc<Gate>,
    upstream: Arc<Upstream>,
    own: Option<OwnEndpoints>,
    identity: IdentityHeaders,
    removed: RemovedHeaders,
    keep_authorization: bool,
    preserve_host: bool,
    ordinary: Ordinary,
    trusted_proxies: Vec<IpNet>,
    max_body: Option<u64>,
    limits: Option<Arc<Limits>>,
    mark: Arc<LoopMark>,
    /// Whether pages of other sites may read error responses.
    for_pages: bool,
    metrics: Arc<RequestMetrics>,
}

/// The result for a request's path, method and headers.
pub enum Evaluated<'r> {
    /// One of the sidecar's own endpoints answers the request.
    Own(NormalPath<'r>),
    /// The request may be forwarded, with this path.
    Permitted(NormalPath<'r>, Permit),
}

/// Evaluates a request by its path, method and headers. `ordinary` lists the permitted special
/// characters of the path, and `own` the paths that the listener answers itself. `observer` receives
/// each token check that was made.
///
/// # Errors
/// [`Refusal`] names the check that refused. A request without one unambiguous form is refused in
/// shadow mode too.
pub async fn evaluate<'r>(
    gate: &Gate,
    own: Option<&HashSet<String>>,
    method: &Method,
    (path, ordinary): (&'r str, Ordinary),
    headers: &HeaderMap,
    observer: &mut impl CheckObserver,
) -> Result<Evaluated<'r>, Refusal> {
    check_method(method)?;
    let path = NormalPath::parse_with(path, ordinary).map_err(ambiguous)?;
    if own.is_some_and(|own| own.contains(path.as_str())) {
        return Ok(Evaluated::Own(path));
    }
    let permit = gate
        .decide_observed(&path, method.as_str(), headers, observer)
        .await?;
    if head::asks_for_websocket(headers) {
        observer.checking(Check::Upgrade);
        let client_id = permit
            .token()
            .and_then(|token| token.client_id())
            .map(str::to_owned);
        return Err(Refusal {
            client_id,
            ..Refusal::new(Reason::WebSocket)
        });
    }
    Ok(Evaluated::Permitted(path, permit))
}

fn ambiguous(why: AmbiguousPath) -> Refusal {
    let text = match why.allowed_by() {
        Some(key) => format!("{}; `{key}: keep` allows it", why.text()).into(),
        None => why.text().into(),
    };
    Refusal {
        detail: Some(text),
        ..Refusal::new(Reason::AmbiguousPath)
    }
}

fn refusal(fault: &Fault) -> Refusal {
    Refusal {
        detail: fault.detail(),
        ..Refusal::new(fault.reason)
    }
}

fn check_method(method: &Method) -> Result<(), Refusal> {
    match *method {
        Method::CONNECT | Method::TRACE => Err(Refusal::new(Reason::Method)),
        _ => Ok(()),
    }
}

/// Checks the length that a request announces.
///
/// # Errors
/// [`Reason::BodyTooLarge`].
pub fn check_length(max_body: Option<u64>, headers: &HeaderMap) -> Result<(), Refusal> {
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match (declared, max_body) {
        (Some(length), Some(max)) if length > max => {
            let detail = Some(format!("the body has {length} bytes, the limit is {max}").into());
            Err(Refusal {
                detail,
                ..Refusal::new(Reason::BodyTooLarge)
            })
        }
        _ => Ok(()),
    }
}

/// Counts a request before its authority is queried about the token, because a query is more
/// expensive than a request.
struct Counting<'l> {
    limits: Option<&'l Limits>,
    peer: IpAddr,
    slot: Option<Slot>,
    refusal: Option<Refusal>,
}

impl CheckObserver for Counting<'_> {
    fn checking(&mut self, _: Check) {}

    fn before_query(&mut self, token: &TokenFacts) -> Result<(), Reason> {
        let Some(limits) = self.limits else {
            return Ok(());
        };
        match admit(limits, Some(token), self.peer) {
            Ok(slot) => {
                self.slot = Some(slot);
                Ok(())
            }
            Err(refusal) => {
                let reason = refusal.reason;
                let client_id = token.client_id().map(str::to_owned);
                self.refusal = Some(Refusal {
                    client_id,
                    ..refusal
                });
                Err(reason)
            }
        }
    }
}

/// Counts a request, by its verified token if it has one. Dropping the slot ends the request.
///
/// # Errors
/// [`Reason::RateLimited`] or [`Reason::TooManyAtOnce`], and when a retry is reasonable.
pub fn admit(limits: &Limits, token: Option<&TokenFacts>, peer: IpAddr) -> Result<Slot, Refusal> {
    limits
        .admit(limit_key(limits.per(), token, peer))
        .map_err(|exceeded| match exceeded {
            Exceeded::Rate(wait) => Refusal {
                retry_after: Some(wait),
                ..Refusal::new(Reason::RateLimited)
            },
            Exceeded::Concurrency => Refusal {
                retry_after: Some(AFTER_ONE_OF_MANY),
                ..Refusal::new(Reason::TooManyAtOnce)
            },
        })
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
            removed: RemovedHeaders::new(&config.removed_headers),
            keep_authorization: config.keep_authorization,
            preserve_host: config.preserve_host,
            ordinary: config.ordinary,
            trusted_proxies: config.trusted_proxies.clone(),
            max_body: config.max_body,
            limits,
            for_pages: config.verifier.cors_preflight == CorsPreflight::Pass,
            metrics,
        }
    }

    /// Decides about a request: `Ok(Some(path))` goes to an endpoint of the sidecar, `Ok(None)` to
    /// the upstream.
    async fn decide(
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
    fn limit(
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
    fn over_limit(&self, refusal: Refusal, ctx: &mut Context) -> Result<(), Refusal> {
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
        self.identity.strip(request);
        self.removed.strip(request, origin.is_trusted());
        LoopMark::write(request, mark).map_err(broken)?;
        if let Some(id) = ctx.access.request_id() {
            request
                .insert_header(REQUEST_ID, id.clone())
                .map_err(broken)?;
        }
        origin.write(request).map_err(broken)?;
        if !self.keep_authorization {
            request.remove_header(&header::AUTHORIZATION);
        }
        // An HTTP/1.0 client may omit `Host`.
        if !self.preserve_host || !request.headers.contains_key(header::HOST) {
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

/// The counter of a request. A request without a client or user counts by its address.
fn limit_key(per: Per, token: Option<&TokenFacts>, peer: IpAddr) -> Key {
    let named = token.and_then(|token| match per {
        Per::Client => Some(Key::Client(token.authority(), token.client_id()?.into())),
        Per::Subject => Some(Key::Subject(token.authority(), token.subject()?.into())),
        Per::Address | Per::Listener => None,
    });
    match (per, named) {
        (Per::Listener, _) => Key::Everyone,
        (_, Some(key)) => key,
        (_, None) => Key::address(peer),
    }
}

/// An error of ours; the context passes its fault to [`failure::answer`].
fn fail(ctx: &mut Context, fault: impl Into<Fault>) -> Box<Error> {
    ctx.failure = Some(fault.into());
    Error::new(ErrorType::InternalError)
}
