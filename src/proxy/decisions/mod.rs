//! Decides about requests that a proxy forwards itself: nginx `auth_request`, Traefik ForwardAuth,
//! Caddy `forward_auth`, Envoy's HTTP ext_authz.
//!
//! The proxy asks with a request of its own. The original request is read from that question in
//! the one form that the configuration names, and then evaluated by the code of inbound listeners.

mod answer;
mod config;
mod original;

use futures_util::FutureExt;
use http::{HeaderMap, Version};
use ipnet::IpNet;
use pingora::http::RequestHeader;

pub use self::config::{Config, Peers};
use self::original::Original;
use super::access::Access;
use super::client::Client;
use super::fault::Fault;
use super::forwarded::{RequestOrigin, X_FORWARDED_FOR};
use super::inbound::{Evaluated, Inbound, Received, State};
use super::relay::{Decision, OwnAnswers, Policy};
use crate::domain::reason::Reason;
use crate::domain::settings::OriginalRequest;
use crate::verifier::{Permit, Refusal};

const NOT_TRUSTED: &str = "this address is not in `trustedProxies`";
const NO_WEBSOCKET: &str = "a proxy asks with an ordinary request";
/// The proxy would forward such a header, which an inbound listener removes.
const OTHER_SPELLING: &str = "services could read a header as an identity header, a token or an \
                              override, such as `x_m2m_subject` or \
                              `grpc-metadata-authorization`; remove it";
/// The parser of HTTP/2 cuts off a fragment, with which the proxy could forward the request.
const HTTP_2: &str = "with `from: request` the proxy must ask over HTTP/1.1";

/// The service of a listener that decides for a proxy.
pub struct Decisions {
    /// The checks. It has no service.
    inbound: Inbound,
    from: OriginalRequest,
    path_prefix: String,
    peers: Peers,
}

impl Decisions {
    /// `inbound` is made of [`Config::listener`].
    #[must_use]
    pub fn new(config: &Config, inbound: Inbound) -> Self {
        Self {
            inbound,
            from: config.from,
            path_prefix: config.path_prefix.clone(),
            peers: config.peers.clone(),
        }
    }

    async fn evaluate(
        &self,
        client: &Client<'_>,
        question: &RequestHeader,
        state: &mut State,
        access: &mut Access,
    ) -> Result<Permit, Refusal> {
        if !self.peers.admit(client) {
            return Err(Refusal {
                detail: Some(NOT_TRUSTED.into()),
                ..Refusal::new(Reason::AskingPeer)
            });
        }
        if self.from == OriginalRequest::Request && client.version() == Version::HTTP_2 {
            return Err(Refusal {
                detail: Some(HTTP_2.into()),
                ..Refusal::new(Reason::OriginalRequest)
            });
        }
        let original = Original::read(question, self.from, &self.path_prefix)?;
        let mut names = original.headers.keys();
        if names.any(|name| self.inbound.removed().is_other_spelling(name.as_str())) {
            return Err(Refusal {
                detail: Some(OTHER_SPELLING.into()),
                ..Refusal::new(Reason::OriginalRequest)
            });
        }
        access.original = Some((original.method.clone(), original.path().to_owned()));
        let origin = self.origin(client, &original.headers);
        access.client = origin.client_behind_proxy();
        let called = origin.called();
        let is_reported = original.headers.contains_key(X_FORWARDED_FOR);
        let received = Received {
            method: &original.method,
            path: original.path(),
            query: original.query(),
            headers: &original.headers,
            client: origin.known_client().filter(|_| is_reported),
            scopes: original.scopes.as_ref(),
            // The certificate of the connection is the proxy's.
            sender: called.sender(&original.headers, original.path(), None),
        };
        // Limits by address count the client, because all questions come from one proxy.
        let counted = origin.client();
        let evaluated = self
            .inbound
            .evaluate_within_limits(None, received, counted, state)
            .await?;
        let Evaluated::Permitted(_, permit) = evaluated else {
            return Err(Refusal::new(Reason::Internal));
        };
        self.inbound
            .admit(&original.headers, &permit, counted, state, access)?;
        Ok(permit)
    }

    /// The client that the proxy reports. A peer that may ask may report.
    fn origin(&self, client: &Client<'_>, headers: &HeaderMap) -> RequestOrigin {
        let peer = client.peer().ip().to_canonical();
        let mut trusted = self.peers.networks.clone();
        trusted.push(IpNet::from(peer));
        RequestOrigin::read(headers, peer, &trusted)
    }
}

impl Policy for Decisions {
    type State = State;

    fn begin(&self) -> State {
        State::default()
    }

    async fn decide(
        &self,
        client: &mut Client<'_>,
        question: &RequestHeader,
        state: &mut State,
        access: &mut Access,
    ) -> Decision {
        if client.is_connect() {
            // A permit, which is a success, would open a WebSocket.
            return Decision::Failed(Fault::because(Reason::WebSocket, NO_WEBSOCKET));
        }
        let evaluated = self.evaluate(client, question, state, access);
        let answered = match evaluated.boxed().await {
            Ok(permit) => {
                let identity = self.inbound.identity();
                answer::permit(client, self.from, identity, &permit).await
            }
            Err(refusal) => {
                let refused = self.inbound.refuse(client, question, refusal, access);
                refused.boxed().await
            }
        };
        answered.into()
    }

    fn own_answers(&self, state: &State) -> OwnAnswers<'_> {
        self.inbound.own_answers(state)
    }
}
