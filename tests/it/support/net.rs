//! A server that can stop and start again on its port, plain or with TLS.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::lock;

/// Serves one connection; the number counts the connections from 0.
type Serve = Arc<dyn Fn(Stream, usize) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A listening server. A drop ends it and its connections.
pub struct Server {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    serve: Serve,
    running: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
    connections: Arc<Mutex<usize>>,
    /// Whether handshakes get garbage as an answer.
    tls_broken: Arc<AtomicBool>,
    /// Bound but never listening: it keeps the port while the server is down.
    _reserved: Option<Socket>,
}

impl Server {
    /// Serves on a free port of 127.0.0.1.
    pub fn start<F>(
        tls: Option<TlsAcceptor>,
        serve: impl Fn(Stream, usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let first = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = first
            .local_addr()
            .ok()
            .and_then(|a| a.as_socket())
            .expect("a bound socket has an address");
        // On Linux a second socket may share a port as long as only one of them listens.
        let (reserved, listening) = match bind(address) {
            Ok(second) => (Some(first), second),
            Err(_) => (None, first),
        };
        let server = Self {
            address,
            tls,
            serve: Arc::new(move |stream, number| Box::pin(serve(stream, number))),
            running: Mutex::new(None),
            connections: Arc::default(),
            tls_broken: Arc::default(),
            _reserved: reserved,
        };
        server.listen(listening);
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        *lock(&self.connections)
    }

    /// Answers TLS handshakes with garbage, or correctly again.
    pub fn break_tls(&self, broken: bool) {
        self.tls_broken.store(broken, Ordering::Relaxed);
    }

    /// Stops listening and breaks every connection; until [`up`](Self::up), connections are
    /// refused.
    pub async fn down(&self) {
        let running = lock(&self.running).take();
        if let Some((stop, task)) = running {
            stop.cancel();
            task.await.expect("the accept loop does not panic");
        }
    }

    /// Listens again, on the same port.
    pub fn up(&self) {
        if lock(&self.running).is_none() {
            self.listen(bind(self.address).expect("the port is reserved"));
        }
    }

    fn listen(&self, socket: Socket) {
        socket.listen(4096).expect("a bound socket can listen");
        socket
            .set_nonblocking(true)
            .expect("a socket can be nonblocking");
        let listener = TcpListener::from_std(socket.into()).expect("inside a runtime");
        let stop = CancellationToken::new();
        let (tls, serve, count) = (
            self.tls.clone(),
            self.serve.clone(),
            self.connections.clone(),
        );
        let task = tokio::spawn(accept(
            listener,
            stop.clone(),
            (tls, self.tls_broken.clone()),
            serve,
            count,
        ));
        *lock(&self.running) = Some((stop, task));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((stop, _)) = lock(&self.running).take() {
            stop.cancel();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

async fn accept(
    listener: TcpListener,
    stop: CancellationToken,
    (tls, tls_broken): (Option<TlsAcceptor>, Arc<AtomicBool>),
    serve: Serve,
    count: Arc<Mutex<usize>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, _)) = accepted else { continue };
        let number = {
            let mut count = lock(&count);
            *count += 1;
            *count - 1
        };
        let (tls, serve) = (tls.clone(), serve.clone());
        let is_broken = tls_broken.load(Ordering::Relaxed);
        connections.spawn(async move {
            // The fake world writes small pieces, and each must be seen.
            let _ = tcp.set_nodelay(true);
            match tls {
                Some(_) if is_broken => {
                    let mut tcp = tcp;
                    let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                }
                None => serve(Stream::Plain(tcp), number).await,
                // The peer reports a failed handshake.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(tcp).await {
                        serve(Stream::Tls(Box::new(stream)), number).await;
                    }
                }
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}

/// An accepted connection.
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Breaks the connection with a TCP reset instead of an orderly end.
    pub fn reset(self) {
        let tcp = match &self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        };
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
