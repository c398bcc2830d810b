//! An inbound listener between streams in memory, for tests of the relay: no socket, no thread, and
//! no time but tokio's.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::SystemClock;
use crate::proxy::access::Access;
use crate::proxy::client::Client;
use crate::proxy::connection::{ClientStream, Clients, Connection};
use crate::proxy::fault::Fault;
use crate::proxy::headers::Added;
use crate::proxy::inbound::{self, Inbound};
use crate::proxy::loop_mark::LoopMark;
use crate::proxy::own::OwnAddresses;
use crate::proxy::relay::{self, Answered, Decision, OwnAnswers, Policy, Repeat, Waits};
use crate::proxy::switch::Switch;
use crate::proxy::upstream::pool::PoolKey;
use crate::proxy::upstream::{
    PLAIN, Pool, Tries, Unconnected, Upstream, UpstreamConnection, UpstreamError,
};
use crate::telemetry::{Metrics, RequestMetrics, Role};
use crate::verifier::Gate;

/// Any stream of a test.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {}

impl<W: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static> Wire for W {}

/// Opens the stream of a new connection to the upstream.
pub type Connect = Arc<dyn Fn() -> io::Result<Box<dyn Wire>> + Send + Sync>;

/// An inbound listener without sockets, whose authorities have no keys.
pub struct Relay {
    inbound: Arc<Inbound>,
    clients: Arc<Clients>,
    metrics: Arc<RequestMetrics>,
}

impl Relay {
    /// The listener of this configuration; `None` if it is unusable.
    #[must_use]
    pub fn inbound(config: &inbound::Config) -> Option<Self> {
        let gate = Gate::new(
            &config.verifier,
            Vec::new(),
            Arc::new(SystemClock),
            Arc::new(|_| {}),
        );
        let own = Arc::<OwnAddresses>::default();
        let upstream = Upstream::new(config.upstreams.first()?.clone(), own);
        let metrics = Arc::new(Arc::new(Metrics::new()).requests(Role::Inbound, &config.name));
        let observed = (metrics.clone(), Arc::<LoopMark>::default());
        let inbound = Inbound::new(
            config,
            Arc::new(gate.ok()?),
            vec![upstream.ok()?],
            None,
            None,
            observed,
        );
        Some(Self {
            inbound: Arc::new(inbound),
            clients: Arc::default(),
            metrics,
        })
    }

    /// Serves a client's connection until its end. Connections to the upstream are kept as long.
    pub async fn serve(&self, client: Box<dyn Wire>, connect: Connect) {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let Ok(seat) = self
            .clients
            .admit(IpAddr::from(Ipv4Addr::LOCALHOST), || {})
            .await
        else {
            return;
        };
        let policy = InMemory {
            inbound: self.inbound.clone(),
            connect,
        };
        let connection = Connection::new(
            Box::new(Memory::new(client)),
            (peer, local),
            self.clients.clone(),
            seat,
            CancellationToken::new(),
        );
        let switch = Switch::new(policy, Arc::new(()));
        let pool = Arc::new(Pool::new(8));
        relay::serve(&switch, connection, &pool, &self.metrics).await;
    }
}

/// The listener's policy, with connections in memory.
struct InMemory {
    inbound: Arc<Inbound>,
    connect: Connect,
}

impl Policy for InMemory {
    type State = <Inbound as Policy>::State;

    fn begin(&self) -> Self::State {
        self.inbound.begin()
    }

    async fn decide(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        state: &mut Self::State,
        access: &mut Access,
    ) -> Decision {
        self.inbound.decide(client, request, state, access).await
    }

    fn own_answers(&self, state: &Self::State) -> OwnAnswers<'_> {
        self.inbound.own_answers(state)
    }

    async fn connect(
        &self,
        pool: &Arc<Pool>,
        tries: &mut Tries,
        _: &mut Self::State,
    ) -> Result<UpstreamConnection, Unconnected> {
        let address = SocketAddr::from(([192, 0, 2, 1], 80));
        let key = PoolKey {
            address,
            settings: PLAIN,
        };
        let kept = if tries.needs_new_connection() {
            None
        } else {
            pool.take(&key)
        };
        tries.begin(address);
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let refused = |error| {
            let refused = pingora::ErrorType::ConnectRefused;
            let error = pingora::Error::because(refused, "in memory", error);
            Unconnected::Failed(UpstreamError::Connect(error.into_up()))
        };
        let stream = (self.connect)().map_err(refused)?;
        let idle = std::time::Duration::from_mins(1);
        Ok(UpstreamConnection::http1(
            Box::new(Memory::new(stream)),
            key,
            idle,
        ))
    }

    fn forward(
        &self,
        request: &mut RequestHeader,
        added: &mut Added,
        state: &mut Self::State,
        to: SocketAddr,
        access: &Access,
    ) -> Result<(), Fault> {
        self.inbound.forward(request, added, state, to, access)
    }

    fn waits(&self, state: &Self::State) -> Waits {
        self.inbound.waits(state)
    }

    fn check_body(
        &self,
        bytes: u64,
        state: &Self::State,
        access: &mut Access,
    ) -> Result<(), Fault> {
        self.inbound.check_body(bytes, state, access)
    }

    fn repeats(&self) -> Repeat {
        self.inbound.repeats()
    }

    async fn answered(
        &self,
        client: &mut Client<'_>,
        response: &ResponseHeader,
        again: bool,
        state: &mut Self::State,
        access: &mut Access,
    ) -> Result<Answered, crate::domain::reason::Reason> {
        self.inbound
            .answered(client, response, again, state, access)
            .await
    }

    fn respond(&self, response: &mut ResponseHeader, state: &Self::State) -> Result<(), Fault> {
        self.inbound.respond(response, state)
    }

    fn upgrades(&self, protocol: &[u8], state: &Self::State) -> bool {
        self.inbound.upgrades(protocol, state)
    }

    async fn broke(
        &self,
        error: &UpstreamError,
        is_answered: bool,
        tries: &Tries,
        state: &Self::State,
    ) -> Option<Fault> {
        self.inbound.broke(error, is_answered, tries, state).await
    }
}

/// A stream in memory, in the place of a socket.
struct Memory {
    wire: Box<dyn Wire>,
    id: UniqueIDType,
}

impl Memory {
    fn new(wire: Box<dyn Wire>) -> Self {
        static NEXT: AtomicI32 = AtomicI32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { wire, id }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.wire).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire).poll_shutdown(cx)
    }
}

impl ClientStream for Memory {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

#[async_trait]
impl Shutdown for Memory {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Memory {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl Ssl for Memory {}

#[async_trait]
impl Peek for Memory {}

impl GetTimingDigest for Memory {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Memory {
    fn get_proxy_digest(&self) -> Option<Arc<pingora::protocols::raw_connect::ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Memory {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
