//! The outbound role: checks the destination, then attaches a token.
//!
//! A request is forwarded with a token or not at all. Only a forward proxy's pass-through sends
//! requests without one, and never to a host that would get one. The listener serves programs on
//! this machine, not pages in a browser on it.

mod config;
mod forward;
mod links;
mod pages;
mod replay;
mod reverse;

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

pub use self::config::{
    Attach, Config, ForwardConfig, ForwardTarget, Kind, ReverseConfig, Target, TokenRefusal,
};
use self::forward::{Routed, Urls};
use self::links::Links;
pub use self::pages::{Pages, RequiredHeader};
use self::reverse::{Called, Reverse};
use super::access::Access;
use super::anywhere::Anywhere;
use super::fault::Fault;
use super::headers::strip_overrides;
use super::listener::MAX_TRIES;
use super::loop_mark::LoopMark;
use super::request_id::REQUEST_ID;
use super::respond::Answer;
use super::upstream::{self, Repeat, Tries, Upstream};
use super::{failure, head};
use crate::domain::reason::Reason;
use crate::telemetry::RequestMetrics;
use crate::token_source::{AccessToken, TokenSource};

/// A running target.
#[derive(Clone)]
pub struct Destination {
    pub upstream: Arc<Upstream>,
    pub credential: TokenSource,
}

/// The service of one outbound listener.
pub struct Outbound {
    name: String,
    /// In the order of the configured targets.
    destinations: Vec<Destination>,
    mode: Mode,
    pages: Pages,
    attach: Attach,
    forwarded_headers: bool,
    mark: Arc<LoopMark>,
    metrics: Arc<RequestMetrics>,
}

enum Mode {
    Reverse(Reverse),
    Forward {
        targets: Vec<Urls>,
        elsewhere: Option<Arc<Anywhere>>,
    },
}

/// The state of a request between the phases.
pub struct Context {
    access: Access,
    /// The destination; set when the request may be forwarded.
    route: Option<Route>,
    /// What happens to the token header; set when the request may be forwarded.
    credential: Option<Credential>,
    /// The current error repeats the request.
    replaying: bool,
    /// The request was repeated.
    replayed: bool,
    /// The number of upstream attempts.
    attempts: usize,
    /// The fault behind an error that a phase raised.
    failure: Option<Fault>,
    /// Seconds until a token may be available again.
    retry_after: Option<u64>,
    tries: Tries,
    /// Whether the head of a response has arrived.
    is_answered: bool,
}

enum Route {
    /// A target, and the checked path.
    To(usize, Option<String>),
    /// One of these addresses, without a token.
    Elsewhere(Vec<SocketAddr>),
}

/// The token header of the upstream request.
enum Credential {
    /// The sidecar's token.
    Attached(AccessToken, HeaderValue),
    /// The request's own header, because the listener does not overwrite it.
    Own,
    /// The request's own header, because the destination gets no token of the sidecar.
    Withheld,
}

/// A request that is not forwarded.
#[derive(Debug)]
pub(super) struct Refused {
    fault: Fault,
    /// Replaces the fault's description in the response.
    text: Option<&'static str>,
}

impl<F: Into<Fault>> From<F> for Refused {
    fn from(fault: F) -> Self {
        Self {
            fault: fault.into(),
            text: None,
        }
    }
}

impl Refused {
    fn because(reason: Reason, text: &'static str) -> Self {
        Self {
            fault: reason.into(),
            text: Some(text),
        }
    }
}

impl Outbound {
    /// The service of a listener. `destinations` are the configured targets, in order.
    #[must_use]
    pub fn new(
        config: &Config,
        destinations: Vec<Destination>,
        elsewhere: Option<Arc<Anywhere>>,
        (metrics, mark): (Arc<RequestMetrics>, Arc<LoopMark>),
    ) -> Self {
        let mode = match &config.kind {
            Kind::Reverse(reverse) => Mode::Reverse(Reverse {
                preserve_host: reverse.preserve_host,
                hosts: reverse.hosts.clone(),
                map_location: reverse.map_location,
            }),
            Kind::Forward(forward) => Mode::Forward {
                targets: forward.targets.iter().map(Urls::of).collect(),
                elsewhere,
            },
        };
        Self {
            name: config.name.clone(),
            destinations,
            mode,
            pages: config.pages.clone(),
            attach: config.attach.clone(),
            forwarded_headers: config.forwarded_headers,
            mark,
            metrics,
        }
    }

    /// Checks the destination, and only then requests the token.
    async fn decide(&self, session: &mut Session, ctx: &mut Context) -> Result<(), Refused> {
        let connection = head::accept(session)?;
        let request = session.req_header();
        // The response to TRACE would contain the token.
        if matches!(request.method, Method::CONNECT | Method::TRACE) {
            return Err(Reason::Method.into());
        }
        head::target(request)?;
        let route = self.route(request, connection.local).await?;
        self.mark.check(&session.req_header().headers)?;
        if head::asks_for_websocket(&session.req_header().headers) {
            return Err(Reason::WebSocket.into());
        }
        let credential = match &route {
            Route::Elsewhere(_) => Credential::Withheld,
            Route::To(index, _) => self.credential(session, *index, ctx).await?,
        };
        ctx.access.allow(match credential {
            Credential::Attached(..) => Reason::TokenAttached,
            Credential::Own => Reason::OwnAuthorization,
            Credential::Withheld => Reason::PassedThrough,
        });
        (ctx.route, ctx.credential) = (Some(route), Some(credential));
        Ok(())
    }

    async fn route(&self, request: &RequestHeader, local: SocketAddr) -> Result<Route, Refused> {
        self.pages.check(&request.headers)?;
        match &self.mode {
            Mode::Reverse(reverse) => {
                let upstream = &self.destination(0)?.upstream;
                let called = Called {
                    host: upstream.host(),
                    authority: upstream.authority(),
                };
                reverse.check(request, &called, local)?;
                Ok(Route::To(0, None))
            }
            Mode::Forward { targets, elsewhere } => {
                match forward::route(targets, elsewhere.is_some(), request)? {
                    Routed::Target(index, path) => Ok(Route::To(index, path)),
                    Routed::Elsewhere(host, port) => match elsewhere {
                        Some(anywhere) => {
                            let protected: Vec<_> =
                                targets.iter().filter_map(Urls::address).collect();
                            Ok(Route::Elsewhere(
                                anywhere.resolve(&host, port, &protected).await?,
                            ))
                        }
                        None => Err(Reason::Destination.into()),
                    },
                }
            }
        }
    }

    async fn credential(
        &self,
        session: &mut Session,
        index: usize,
        ctx: &mut Context,
    ) -> Result<Credential, Reason> {
        let attach = &self.attach;
        let own = session.req_header().headers.get(&attach.header);
        if !attach.overwrite && own.is_some_and(|own| !own.is_empty()) {
            return Ok(Credential::Own);
        }
        let source = &self.destination(index)?.credential;
        if let Some(token) = source.current() {
            return self.attached(token);
        }
        // A caller that disconnects cancels its wait for a token.
        let token = tokio::select! {
            token = source.token() => token,
            () = head::client_gone(session) => return Err(Reason::ClientGone),
        };
        self.attached(token.map_err(|unavailable| {
            ctx.retry_after = Some(unavailable.retry_after_secs());
            Reason::TokenUnavailable
        })?)
    }

    fn attached(&self, token: AccessToken) -> Result<Credential, Reason> {
        let value = token
            .header_value(&self.attach.prefix)
            .map_err(|_| Reason::TokenUnavailable)?;
        Ok(Credential::Attached(token, value))
    }

    fn destination(&self, index: usize) -> Result<&Destination, Reason> {
        self.destinations.get(index).ok_or(Reason::Internal)
    }

    /// The upstream of a request; `None` for pass-through.
    fn upstream_of<'a>(&'a self, ctx: &Context) -> Option<&'a Upstream> {
        match &ctx.route {
            Some(Route::To(index, _)) => self.destinations.get(*index).map(|to| &*to.upstream),
            _ => None,
        }
    }

    /// Writes the upstream request. It requires a decision.
    ///
    /// `called` is the host and port by which the client called the listener.
    fn forward(
        &self,
        request: &mut RequestHeader,
        ctx: &Context,
        called: &str,
    ) -> Result<(), Fault> {
        let broken = |_| Fault::from(Reason::Internal);
        let (Some(route), Some(credential)) = (&ctx.route, &ctx.credential) else {
            return Err(Reason::Internal.into());
        };
        if let Some(target) = rewritten(request, route)? {
            request.set_raw_path(target.as_bytes()).map_err(broken)?;
        }
        if matches!(route, Route::To(_, Some(_))) {
            strip_overrides(request);
        }
        let preserve_host = matches!(
            &self.mode,
            Mode::Reverse(Reverse {
                preserve_host: true,
                ..
            })
        );
        if self.forwarded_headers && matches!(route, Route::To(..)) {
            for (name, value) in [
                ("x-forwarded-host", called),
                ("x-forwarded-proto", "http"),
                ("forwarded", &format!("host=\"{called}\";proto=http")),
            ] {
                request.insert_header(name, value).map_err(broken)?;
            }
        }
        // An HTTP/1.0 client may omit `Host`.
        let keeps_host = preserve_host && request.headers.contains_key(header::HOST);
        if let (Route::To(index, _), false) = (route, keeps_host) {
            let host = self.destination(*index)?.upstream.host_value();
            request.insert_header(header::HOST, host).map_err(broken)?;
        }
        if let Some(id) = ctx.access.request_id() {
            request
                .insert_header(REQUEST_ID, id.clone())
                .map_err(broken)?;
        }
        let mark = self.mark.next(&request.headers, ctx.tries.current());
        LoopMark::write(request, mark).map_err(broken)?;
        let header = &self.attach.header;
        match credential {
            Credential::Attached(_, value) => request
                .insert_header(header.clone(), value.clone())
                .map_err(broken),
            // A `Connection` header may have named this header, which then is already removed.
            Credential::Own if request.headers.contains_key(header) => Ok(()),
            Credential::Own => Err(Fault::malformed(
                "the Connection header names the header that carries the token",
            )),
            Credential::Withheld => Ok(()),
        }
    }

    /// Replaces URLs of the upstream in the response head by URLs of the listener.
    fn map_links(&self, session: &Session, answer: &mut ResponseHeader) -> pingora::Result<()> {
        let Mode::Reverse(Reverse {
            map_location: true,
            preserve_host,
            ..
        }) = &self.mode
        else {
            return Ok(());
        };
        let Some(Destination { upstream, .. }) = self.destinations.first() else {
            return Ok(());
        };
        let (tls, host, port) = upstream.origin();
        Links {
            tls,
            host,
            port,
            preserves_host: *preserve_host,
            here: &called(session),
        }
        .map(answer)
    }

    /// Reports the result of a request to the credential: any response that does not refuse the
    /// token ends an earlier refusal.
    fn note_answer(&self, answer: &ResponseHeader, ctx: &Context) {
        if !answer.status.is_informational()
            && answer.status != StatusCode::UNAUTHORIZED
            && let (Some(Credential::Attached(token, _)), Some(Route::To(index, _))) =
                (&ctx.credential, &ctx.route)
            && let Ok(destination) = self.destination(*index)
        {
            destination.credential.note_accepted(token);
        }
    }

    /// Decides what to do about a response that refuses the token. Returns whether the request is
    /// repeated with another one.
    ///
    /// # Errors
    /// [`Reason::ClientGone`].
    async fn replace_token(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<bool, Reason> {
        let (Some(Credential::Attached(refused, _)), Some(Route::To(index, _))) =
            (&ctx.credential, &ctx.route)
        else {
            return Ok(false);
        };
        let source = &self.destination(*index)?.credential;
        if ctx.replayed {
            return Ok(false);
        }
        // The last attempt that Pingora permits is not used for a repetition.
        if !replay::can_be_sent_again(session) || ctx.attempts >= MAX_TRIES {
            source.note_refusal(refused);
            return Ok(false);
        }
        let token = tokio::select! {
            token = source.replacement(refused) => token,
            () = head::client_gone(session) => return Err(Reason::ClientGone),
        };
        let Some(token) = token else { return Ok(false) };
        ctx.credential = Some(self.attached(token)?);
        (ctx.replaying, ctx.replayed) = (true, true);
        ctx.access.allow(Reason::TokenRenewed);
        Ok(true)
    }
}

#[async_trait]
impl ProxyHttp for Outbound {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            access: Access::begin(),
            route: None,
            credential: None,
            replaying: false,
            replayed: false,
            attempts: 0,
            failure: None,
            retry_after: None,
            tries: Tries::default(),
            is_answered: false,
        }
    }

    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<bool> {
        ctx.access.identify(&session.req_header().headers);
        let Err(Refused { fault, text }) = self.decide(session, ctx).await else {
            return Ok(false);
        };
        if fault.reason == Reason::ClientGone {
            return Err(fail(ctx, fault));
        }
        ctx.access.refuse(&fault);
        let mut answer = Answer::to_fault(&fault, &self.name);
        if let Some(seconds) = ctx.retry_after {
            answer = answer.retry_after(seconds);
        }
        if let Some(text) = text {
            answer = answer.describing(text);
        }
        answer.write(session).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<Box<HttpPeer>> {
        ctx.access.upstream_begins();
        ctx.attempts += 1;
        ctx.is_answered = false;
        let peer = match (&ctx.route, &self.mode) {
            (Some(Route::To(index, _)), _) => match self.destination(*index) {
                Ok(to) => to.upstream.peer(&mut ctx.tries, None).await,
                Err(reason) => Err(reason),
            },
            (
                Some(Route::Elsewhere(addresses)),
                Mode::Forward {
                    elsewhere: Some(anywhere),
                    ..
                },
            ) => anywhere.peer(addresses, &mut ctx.tries),
            _ => Err(Reason::Internal),
        };
        let mut peer = peer.map_err(|reason| fail(ctx, reason))?;
        if let Some(connection) = head::connection(session) {
            head::await_answer(session, &connection, &mut peer);
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
        let another = match &ctx.route {
            Some(Route::To(index, _)) => self
                .destination(*index)
                .is_ok_and(|to| to.upstream.connect_failed(&mut ctx.tries, &error)),
            Some(Route::Elsewhere(addresses)) => ctx.tries.failed(addresses),
            None => false,
        };
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
        match self.upstream_of(ctx) {
            Some(upstream) => upstream.check(peer, reused, digest, &mut ctx.tries),
            None => Ok(()),
        }
    }

    /// Repeats a request because of its token, or because an idle connection swallowed it and
    /// repeating is safe.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        if std::mem::take(&mut ctx.replaying) {
            error.set_retry(true);
            return error;
        }
        let state = (reused, ctx.is_answered);
        upstream::decide_repeat(
            session,
            error,
            state,
            Repeat::IdempotentWithoutBody,
            &mut ctx.tries,
        )
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        head::settle_request(session, request)?;
        if ctx.replayed {
            replay::keep_empty_body(session, request)?;
        }
        let called = called(session);
        self.forward(request, ctx, &called)
            .map_err(|fault| fail(ctx, fault))
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        ctx.is_answered = true;
        if let Some(upstream) = self.upstream_of(ctx) {
            upstream.answered(response);
        }
        if !replay::is_token_refused(response, &self.attach.retry_on) {
            self.note_answer(response, ctx);
            return Ok(());
        }
        match self.replace_token(session, ctx).await {
            Ok(false) => Ok(()),
            // No byte of the response has been sent, so Pingora starts again with the stored body.
            Ok(true) => Err(Error::new(ErrorType::new("TokenReplaced"))),
            Err(reason) => Err(fail(ctx, reason)),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        head::settle_answer(session, response)?;
        // A reason code in this response comes from the other side's sidecar, and the caller needs
        // it.
        ctx.access.upstream_answered();
        self.map_links(session, response)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let alert = match self.upstream_of(ctx) {
            Some(upstream) => upstream.broke(&ctx.tries, error, ctx.is_answered).await,
            None => None,
        };
        let asked = failure::Asked {
            realm: &self.name,
            for_pages: false,
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
        ctx.access.end_session(&self.metrics, session);
        failure::close(session, error).await;
    }
}

/// Host and port by which a client called the listener: its `Host`, or the local address if
/// HTTP/1.0 omits it.
fn called(session: &Session) -> String {
    let host = session
        .req_header()
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let local = || {
        head::connection(session).map_or(String::new(), |connection| connection.local.to_string())
    };
    host.map_or_else(local, str::to_owned)
}

/// The target for the upstream, if it differs: without scheme and host, with the checked path.
fn rewritten(request: &RequestHeader, route: &Route) -> Result<Option<String>, Fault> {
    let checked = match route {
        Route::To(_, Some(checked)) => Some(checked.as_str()),
        _ if request.raw_path().starts_with(b"/") => return Ok(None),
        _ => None,
    };
    let (path, query) = head::target(request)?;
    let path = checked.unwrap_or(path);
    Ok(Some(match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }))
}

/// An error of ours; the context passes its fault to [`failure::answer`].
fn fail(ctx: &mut Context, fault: impl Into<Fault>) -> Box<Error> {
    ctx.failure = Some(fault.into());
    Error::new(ErrorType::InternalError)
}
