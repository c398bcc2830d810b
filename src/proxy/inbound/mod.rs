//! The inbound role: verifies the token, authorizes the request, forwards the identity.

mod config;
mod decide;
mod evaluate;
mod forwarding;
mod preflight;
mod private_cache;
mod route;
mod upstream_credential;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::HeaderName;
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};

pub use self::config::{Config, OwnEndpoints, Route, UpstreamAuthorization};
pub(super) use self::evaluate::refusal;
pub use self::evaluate::{Evaluated, Received, admit, check_length, evaluate};
pub use self::upstream_credential::{CredentialConfig, Scheme, UpstreamCredential};
use self::websocket::Opening;
use super::access::Access;
use super::answer::REASON_HEADER;
use super::client::Client;
use super::fault::Fault;
use super::forwarded::RequestOrigin;
use super::headers::{Added, ClientHeaders, IdentityHeaders};
use super::local;
use super::loop_mark::LoopMark;
use super::relay::{Answered, Decision, OwnAnswers, Policy, Repeat, Waits};
use super::response_fields::ResponseFields;
use super::upstream::{Pool, Tries, Unconnected, Upstream, UpstreamConnection, UpstreamError};
use crate::domain::path::Ordinary;
use crate::domain::reason::Reason;
use crate::domain::settings::{InboundSettings, Streams};
use crate::domain::websocket::PROTOCOL;
use crate::jose::dpop::DPOP_NONCE;
use crate::limits::{Limits, Slot};
use crate::telemetry::RequestMetrics;
use crate::verifier::{CorsPreflight, Gate, Mode, Permit, Refusal};

/// The service of one inbound listener.
pub struct Inbound {
    name: String,
    gate: Arc<Gate>,
    /// The first one is the default.
    upstreams: Vec<Arc<Upstream>>,
    /// The route of each rule.
    routes: Vec<Route>,
    own: Option<OwnEndpoints>,
    identity: IdentityHeaders,
    removed: ClientHeaders,
    settings: InboundSettings,
    upstream_authorization: UpstreamAuthorization,
    /// Set if the upstream gets a credential of the sidecar.
    credential: Option<Arc<UpstreamCredential>>,
    websocket_idle: Option<Duration>,
    ordinary: Ordinary,
    trusted_proxies: Vec<IpNet>,
    max_body: Option<u64>,
    limits: Option<Arc<Limits>>,
    mark: Arc<LoopMark>,
    /// Whether pages of other sites may read error responses.
    for_pages: bool,
    /// Fields that every response gets.
    response_fields: Option<Arc<ResponseFields>>,
    metrics: Arc<RequestMetrics>,
    /// Whether every token needs a proof.
    needs_proof: bool,
    /// The URL of the listener's metadata, for challenges.
    metadata: Option<String>,
}

/// The state of a request.
#[derive(Default)]
pub struct State {
    origin: Option<RequestOrigin>,
    /// The path in normal form with the original query, if the client sent another form.
    target: Option<String>,
    permit: Option<Permit>,
    /// Set if the request asks for a WebSocket.
    websocket: Option<Opening>,
    /// Whether one of the sidecar's own endpoints answers the request.
    is_own: bool,
    /// Held until the request ends.
    slot: Option<Slot>,
}

impl Inbound {
    #[must_use]
    pub fn new(
        config: &Config,
        gate: Arc<Gate>,
        upstreams: Vec<Arc<Upstream>>,
        own: Option<OwnEndpoints>,
        limits: Option<Arc<Limits>>,
        (metrics, mark): (Arc<RequestMetrics>, Arc<LoopMark>),
    ) -> Self {
        let mut replaced = config.upstream_authorization.replaced();
        replaced.extend_from_slice(&config.identity_headers);
        Self {
            mark,
            name: config.name.clone(),
            gate,
            upstreams,
            routes: config.routes.clone(),
            own,
            identity: IdentityHeaders::new(config.identity_headers.clone()),
            removed: ClientHeaders::new(&replaced, &config.removed_headers),
            settings: config.settings,
            upstream_authorization: config.upstream_authorization.clone(),
            credential: None,
            websocket_idle: config.websocket_idle,
            ordinary: config.ordinary,
            trusted_proxies: config.trusted_proxies.clone(),
            max_body: config.max_body,
            limits,
            response_fields: config.response_fields.clone(),
            for_pages: config.verifier.cors_preflight == CorsPreflight::Pass,
            metrics,
            needs_proof: config.verifier.dpop.required,
            metadata: config.metadata_url().map(String::from),
        }
    }
}

impl Inbound {
    /// The headers of clients that a service must not get.
    pub(in crate::proxy) fn removed(&self) -> &ClientHeaders {
        &self.removed
    }

    /// The identity headers of the listener.
    pub(in crate::proxy) fn identity(&self) -> &IdentityHeaders {
        &self.identity
    }

    /// The service whose upstream gets a credential of the sidecar instead of the caller's token.
    #[must_use]
    pub fn with_credential(self, credential: Option<Arc<UpstreamCredential>>) -> Self {
        Self { credential, ..self }
    }

    fn ends_with_token(&self) -> bool {
        self.settings.streams == Streams::EndWithToken
    }
}

impl Policy for Inbound {
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
        if let Some(fields) = &self.response_fields {
            let fields = fields.of_request(&request.headers);
            if let Some(answered) = self.preflight(client, request, &fields, access).await {
                return answered;
            }
            client.set_response_fields(fields);
        }
        // The rarer ends are boxed, so that the future of each connection stays small.
        match self.evaluate(client, request, state, access).await {
            Ok(None) => Decision::Forward,
            Ok(Some(path)) => {
                let (Some(own), Some(origin)) = (&self.own, &state.origin) else {
                    return Decision::Failed(Reason::Internal.into());
                };
                state.is_own = true;
                local::answer(client, request, &own.router, &path, origin, access)
                    .boxed()
                    .await
                    .into()
            }
            Err(refusal) => self
                .refuse(client, request, refusal, access)
                .boxed()
                .await
                .into(),
        }
    }

    fn own_answers(&self, state: &State) -> OwnAnswers<'_> {
        let own = self.own.as_ref().filter(|_| state.is_own);
        OwnAnswers {
            realm: &self.name,
            for_pages: self.for_pages,
            metrics: own.map_or(&self.metrics, |own| &own.metrics),
        }
    }

    async fn connect(
        &self,
        pool: &Arc<Pool>,
        tries: &mut Tries,
        state: &mut State,
    ) -> Result<UpstreamConnection, Unconnected> {
        match self.upstream(state) {
            Some(upstream) => upstream.connect(pool, tries).await,
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
        let Some(upstream) = self.upstream(state) else {
            return Waits::default();
        };
        let timeouts = upstream.timeouts();
        Waits {
            read: state
                .permit
                .as_ref()
                .and_then(Permit::timeout)
                .or(Some(timeouts.read)),
            write: timeouts.write,
        }
    }

    fn check_body(&self, bytes: u64, state: &State, access: &mut Access) -> Result<(), Fault> {
        match self.max_body {
            Some(max) if bytes > max => {
                let mode = state.permit.as_ref().map_or(Mode::Enforce, Permit::mode);
                decide::over_limit(mode, Refusal::new(Reason::BodyTooLarge), access).map_err(
                    |refusal| {
                        access.token = refusal.token;
                        refusal.reason.into()
                    },
                )
            }
            _ => Ok(()),
        }
    }

    fn permits_trailer(&self, name: &HeaderName) -> bool {
        !self.removed.removes(name.as_str(), false)
    }

    fn repeats(&self) -> Repeat {
        Repeat::Idempotent
    }

    async fn answered(
        &self,
        _: &mut Client<'_>,
        _: &ResponseHeader,
        _: bool,
        state: &mut State,
        _: &mut Access,
    ) -> Result<Answered, Reason> {
        if let Some(upstream) = self.upstream(state) {
            upstream.serves();
        }
        Ok(Answered::Send)
    }

    fn respond(&self, response: &mut ResponseHeader, state: &State) -> Result<(), Fault> {
        // Removes the upstream's own reason header: here it would name the sidecar's check.
        response.remove_header(&REASON_HEADER);
        let needs_token = state.permit.as_ref().is_some_and(Permit::needs_token);
        if self.settings.private_cache && needs_token && !response.status.is_informational() {
            private_cache::keep_private(response)?;
        }
        if let Some(nonce) = state.permit.as_ref().and_then(Permit::nonce)
            && !response.status.is_informational()
        {
            let set = response.insert_header(DPOP_NONCE, nonce);
            set.map_err(|_| Reason::Internal)?;
        }
        match state.websocket {
            Some(opening) => opening.respond(response),
            None => Ok(()),
        }
    }

    fn upgrades(&self, protocol: &[u8], state: &State) -> bool {
        state.websocket.is_some() && protocol.eq_ignore_ascii_case(PROTOCOL)
    }

    fn tunnel_idle(&self, _: &State) -> Option<Duration> {
        self.websocket_idle
    }

    fn stream_ends(
        &self,
        state: &State,
        request: RequestHeader,
    ) -> impl Future<Output = Reason> + Send {
        let permit = state.permit.as_ref();
        let is_watched =
            |permit: &&Permit| permit.mode() == Mode::Enforce && self.ends_with_token();
        let token = permit.filter(is_watched).and_then(Permit::token).cloned();
        let watched = token.map(|token| self.gate.watch(token, &request.headers));
        async move {
            match watched {
                Some(watched) => watched.end().await,
                None => std::future::pending().await,
            }
        }
    }

    async fn broke(
        &self,
        error: &UpstreamError,
        is_answered: bool,
        tries: &Tries,
        state: &State,
    ) -> Option<Fault> {
        let upstream = self.upstream(state)?;
        upstream.broke_off(tries, error, is_answered).await
    }
}
