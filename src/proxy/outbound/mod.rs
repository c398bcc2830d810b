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
mod proof;
mod query;
mod quotas;
mod redirected;
mod refused;
mod replay;
mod reverse;
mod target_addresses;
mod tunnels;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, header};
use pingora::http::{RequestHeader, ResponseHeader};

pub use self::config::{
    Attach, Config, ForwardConfig, ForwardTarget, Kind, ReverseConfig, Target, TokenRefusal,
};
use self::forward::{Forward, Urls};
pub use self::pages::{Pages, RequiredHeader};
use self::refused::Refused;
use self::reverse::Reverse;
use self::target_addresses::Names;
use super::access::Access;
use super::answer::Answer;
use super::anywhere::Anywhere;
use super::client::Client;
use super::fault::Fault;
use super::headers::Added;
use super::loop_mark::LoopMark;
use super::relay::{Answered, Decision, OwnAnswers, Policy, Repeat, Waits};
use super::upstream::{Pool, Tries, Unconnected, Upstream, UpstreamConnection, UpstreamError};
use crate::domain::reason::Reason;
use crate::domain::settings::OutboundSettings;
use crate::domain::websocket::PROTOCOL;
use crate::limits::throttle::Throttle;
use crate::telemetry::RequestMetrics;
use crate::token_source::{AccessToken, Nonce, Subject, TokenSource};

/// How long a tunnel without a token may carry no byte: as long as common proxies permit.
const TUNNEL_IDLE: Duration = Duration::from_hours(1);

/// A running target.
#[derive(Clone)]
pub struct Destination {
    pub upstream: Arc<Upstream>,
    pub credential: TokenSource,
    /// The upstream's newest nonce for DPoP proofs.
    pub nonce: Arc<Nonce>,
    /// The quota of calls with the token.
    pub throttle: Option<Arc<Throttle>>,
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
    websocket_idle: Option<Duration>,
    /// The quota of the listener's calls.
    throttle: Option<Arc<Throttle>>,
    mark: Arc<LoopMark>,
    metrics: Arc<RequestMetrics>,
}

enum Mode {
    Reverse(Reverse),
    Forward(Forward),
}

/// The state of a request.
#[derive(Default)]
pub struct State {
    /// Host and port by which the client called the listener.
    called: String,
    /// Whether it called over TLS.
    is_tls: bool,
    /// The destination; set when the request may be forwarded.
    route: Option<Route>,
    /// The use of the token header; set when the request may be forwarded.
    credential: Option<Credential>,
    /// The caller's token, if it was exchanged.
    subject: Option<Subject>,
    /// Whether the request asks for a WebSocket.
    is_websocket: bool,
    /// Whether the request was repeated with another token.
    replayed: bool,
    /// Whether the request was repeated with the upstream's nonce.
    has_nonce: bool,
    /// Seconds until a token may be available again.
    retry_after: Option<u64>,
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

impl State {
    /// The scheme by which the client called the listener.
    fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

impl Outbound {
    /// The service of a listener. `destinations` are the configured targets, in order.
    #[must_use]
    pub fn new(
        config: &Config,
        destinations: Vec<Destination>,
        anywhere: Option<Arc<Anywhere>>,
        (metrics, mark): (Arc<RequestMetrics>, Arc<LoopMark>),
    ) -> Self {
        let mode = match &config.kind {
            Kind::Reverse(reverse) => Mode::Reverse(Reverse {
                preserve_host: reverse.preserve_host,
                hosts: reverse.hosts.clone(),
                map_location: reverse.map_location,
            }),
            Kind::Forward(forward) => Mode::Forward(Forward {
                targets: forward.targets.iter().map(Urls::of).collect(),
                tunnels: forward.tunnels.clone(),
                passes: forward.pass_through,
                is_transparent: forward.transparent,
                names: Names::default(),
                anywhere,
            }),
        };
        Self {
            name: config.name.clone(),
            destinations,
            mode,
            pages: config.pages.clone(),
            attach: config.attach.clone(),
            settings: config.settings,
            websocket_idle: config.websocket_idle,
            throttle: None,
            mark,
            metrics,
        }
    }

    /// Limits the calls of the listener to this quota.
    #[must_use]
    pub fn throttled(self, throttle: Option<Arc<Throttle>>) -> Self {
        Self { throttle, ..self }
    }

    /// Connects to destinations without a token; `None` if there are none.
    fn anywhere(&self) -> Option<&Anywhere> {
        match &self.mode {
            Mode::Forward(forward) => forward.anywhere.as_deref(),
            Mode::Reverse(_) => None,
        }
    }

    /// The upstream of a request; `None` for pass-through.
    fn upstream_of<'a>(&'a self, state: &State) -> Option<&'a Upstream> {
        match &state.route {
            Some(Route::To(index, _)) => self.destinations.get(*index).map(|to| &*to.upstream),
            _ => None,
        }
    }
}

impl Policy for Outbound {
    type State = State;

    fn begin(&self) -> State {
        State::default()
    }

    async fn decide(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        state: &mut State,
        access: &mut Access,
    ) -> Decision {
        state.called = called(request, client);
        state.is_tls = client.tls().is_some();
        let decided = if request.method == Method::CONNECT {
            self.decide_tunnel(client, request, state, access)
                .boxed()
                .await
        } else {
            let evaluated = self.evaluate(client, request, state, access).await;
            evaluated.map(|()| Decision::Forward)
        };
        let Refused { fault, text } = match decided {
            Ok(decision) => return decision,
            Err(refused) => refused,
        };
        if fault.reason == Reason::ClientGone {
            return Decision::Failed(fault);
        }
        access.refuse(&fault);
        let mut answer = Answer::to_fault(&fault, &self.name);
        if let Some(seconds) = state.retry_after {
            answer = answer.retry_after(seconds);
        }
        if let Some(text) = text {
            answer = answer.describing(text);
        }
        answer.write(client, request).boxed().await.into()
    }

    fn own_answers(&self, _: &State) -> OwnAnswers<'_> {
        OwnAnswers {
            realm: &self.name,
            for_pages: false,
            metrics: &self.metrics,
        }
    }

    async fn connect(
        &self,
        pool: &Arc<Pool>,
        tries: &mut Tries,
        state: &mut State,
    ) -> Result<UpstreamConnection, Unconnected> {
        match &state.route {
            Some(Route::To(index, _)) => match self.destination(*index) {
                Ok(to) => to.upstream.connect(pool, tries).await,
                Err(reason) => Err(Unconnected::Refused(reason)),
            },
            Some(Route::Elsewhere(addresses)) => match self.anywhere() {
                Some(anywhere) => anywhere.connect(pool, addresses, tries).await,
                None => Err(Unconnected::Refused(Reason::Internal)),
            },
            None => Err(Unconnected::Refused(Reason::Internal)),
        }
    }

    fn forward(
        &self,
        request: &mut RequestHeader,
        added: &mut Added,
        state: &mut State,
        to: SocketAddr,
        access: &Access,
    ) -> Result<(), Fault> {
        self.write_request(request, added, state, to, access)
    }

    fn waits(&self, state: &State) -> Waits {
        let timeouts = match (self.upstream_of(state), self.anywhere()) {
            (Some(upstream), _) => upstream.timeouts(),
            (None, Some(anywhere)) => anywhere.timeouts(),
            (None, None) => return Waits::default(),
        };
        Waits {
            read: Some(timeouts.read),
            write: timeouts.write,
        }
    }

    fn permits_trailer(&self, name: &HeaderName) -> bool {
        *name != self.attach.header
    }

    fn repeats(&self) -> Repeat {
        Repeat::IdempotentWithoutBody
    }

    async fn answered(
        &self,
        client: &mut Client<'_>,
        response: &ResponseHeader,
        can_be_sent_again: bool,
        state: &mut State,
        access: &mut Access,
    ) -> Result<Answered, Reason> {
        if let Some(upstream) = self.upstream_of(state) {
            upstream.serves();
        }
        if self.takes_nonce(response, state) && can_be_sent_again && self.may_call_again(state) {
            state.has_nonce = true;
            return Ok(Answered::Repeat);
        }
        if !replay::is_token_refused(response, &self.attach.retry_on) {
            self.note_answer(response, state);
            return Ok(Answered::Send);
        }
        self.replace_token(client, can_be_sent_again, state, access)
            .boxed()
            .await
    }

    fn respond(&self, response: &mut ResponseHeader, state: &State) -> Result<(), Fault> {
        self.remove_nonce(response, state);
        self.hide_query(response, state);
        // A reason code in this response comes from the other side's sidecar, and the caller needs
        // it.
        self.map_links(response, state)
            .map_err(|_| Reason::Internal.into())
    }

    fn upgrades(&self, protocol: &[u8], state: &State) -> bool {
        state.is_websocket && protocol.eq_ignore_ascii_case(PROTOCOL)
    }

    fn tunnel_idle(&self, state: &State) -> Option<Duration> {
        if state.is_websocket {
            self.websocket_idle
        } else {
            Some(TUNNEL_IDLE)
        }
    }

    async fn broke(
        &self,
        error: &UpstreamError,
        is_answered: bool,
        tries: &Tries,
        state: &State,
    ) -> Option<Fault> {
        self.upstream_of(state)?
            .broke_off(tries, error, is_answered)
            .await
    }
}

/// Host and port by which a client called the listener: its `Host`, or the local address if
/// HTTP/1.0 omits it.
fn called(request: &RequestHeader, client: &Client<'_>) -> String {
    let host = request.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    host.map_or_else(|| client.local().to_string(), str::to_owned)
}
