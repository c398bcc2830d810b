//! The replaceable service of a listener: pingora's proxies hold a pointer to it.
//!
//! A request takes the current service once, when its head is read, and finishes on it. Every phase
//! that a service of this crate implements is delegated here; the others keep pingora's defaults.

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;

/// A pointer to the current service of a listener. Clones share it.
pub struct Switch<S>(Arc<ArcSwap<Current<S>>>);

struct Current<S> {
    service: S,
    /// The parts that the service needs while a request uses it.
    _keeps: Arc<dyn Any + Send + Sync>,
}

impl<S> Clone for Switch<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Switch<S> {
    /// A switch that points to `service`. `keeps` is dropped after its last request.
    #[must_use]
    pub fn new(service: S, keeps: Arc<dyn Any + Send + Sync>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Current {
            service,
            _keeps: keeps,
        })))
    }

    /// Points to the service of `next` from now on.
    pub fn replace(&self, next: &Self) {
        self.0.store(next.0.load_full());
    }
}

/// The context of one request.
pub struct Context<S: ProxyHttp> {
    current: Arc<Current<S>>,
    inner: S::CTX,
}

#[async_trait]
impl<S> ProxyHttp for Switch<S>
where
    S: ProxyHttp + Send + Sync,
    S::CTX: Send + Sync,
{
    type CTX = Context<S>;

    fn new_ctx(&self) -> Self::CTX {
        let current = self.0.load_full();
        Context {
            inner: current.service.new_ctx(),
            current,
        }
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        Context { current, inner }: &mut Self::CTX,
    ) -> pingora::Result<bool> {
        current.service.request_filter(session, inner).await
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        Context { current, inner }: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        current.service.upstream_peer(session, inner).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        Context { current, inner }: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        let service = &current.service;
        service.fail_to_connect(session, peer, inner, error)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        fd: RawFd,
        digest: Option<&Digest>,
        Context { current, inner }: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let service = &current.service;
        service
            .connected_to_upstream(session, reused, peer, fd, digest, inner)
            .await
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        Context { current, inner }: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        let service = &current.service;
        service.error_while_proxy(peer, session, error, inner, reused)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        Context { current, inner }: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let service = &current.service;
        service
            .upstream_request_filter(session, request, inner)
            .await
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        is_end: bool,
        Context { current, inner }: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let service = &current.service;
        service
            .request_body_filter(session, body, is_end, inner)
            .await
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        Context { current, inner }: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let service = &current.service;
        service
            .upstream_response_filter(session, response, inner)
            .await
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        Context { current, inner }: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let service = &current.service;
        service.response_filter(session, response, inner).await
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        Context { current, inner }: &mut Self::CTX,
    ) -> FailToProxy {
        current.service.fail_to_proxy(session, error, inner).await
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&Error>,
        Context { current, inner }: &mut Self::CTX,
    ) {
        current.service.logging(session, error, inner).await;
    }
}
