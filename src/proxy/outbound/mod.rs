//! The outbound role: checks the destination, then attaches a token.
//!
//! A request is forwarded with a token or not at all. Only a forward proxy's pass-through sends
//! requests without one, and never to a host that would get one. The listener serves programs on
//! this machine, not pages in a browser on it.

mod answers;
mod config;
mod decide;
mod forward;
mod forwarding;
mod links;
mod pages;
mod refused;
mod replay;
mod reverse;

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

pub use self::config::{
    Attach, Config, ForwardConfig, ForwardTarget, Kind, ReverseConfig, Target, TokenRefusal,
};
use self::forward::Urls;
pub use self::pages::{Pages, RequiredHeader};
use self::refused::Refused;
use self::reverse::Reverse;
use super::access::Access;
use super::answer::Answer;
use super::anywhere::Anywhere;
use super::fault::Fault;
use super::loop_mark::LoopMark;
use super::upstream::{self, Repeat, Tries, Upstream};
use super::{failure, head};
use crate::domain::reason::Reason;
use crate::domain::settings::OutboundSettings;
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
    settings: OutboundSettings,
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
    /// The use of the token header; set when the request may be forwarded.
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
            settings: config.settings,
            mark,
            metrics,
        }
    }

    /// The upstream of a request; `None` for pass-through.
    fn upstream_of<'a>(&'a self, ctx: &Context) -> Option<&'a Upstream> {
        match &ctx.route {
            Some(Route::To(index, _)) => self.destinations.get(*index).map(|to| &*to.upstream),
            _ => None,
        }
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

/// An error of ours; the context passes its fault to [`failure::answer`].
fn fail(ctx: &mut Context, fault: impl Into<Fault>) -> Box<Error> {
    ctx.failure = Some(fault.into());
    Error::new(ErrorType::InternalError)
}
