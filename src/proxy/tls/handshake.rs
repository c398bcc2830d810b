//! Handshakes of clients: one step per turn of a worker, so that a flood of them does not delay the
//! requests under way.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::pki_types::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::failure::Failure;
use super::peer::TlsPeer;
use super::server::ServerTls;
use super::stream::{MOST_HELD, Socket, TlsClient};

/// How long a client may take to read the alert of a failed handshake.
const LINGER: Duration = Duration::from_secs(1);
/// The most bytes that are discarded behind a failed handshake.
const MOST_DISCARDED: u64 = 64 * 1024;

/// The turns of the handshakes of one worker.
///
/// A step of a handshake can take milliseconds. A step holds the turn until the worker has come to
/// its other ready tasks, so at most one step precedes each of them.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    /// Runs a future whose steps each wait for their turn.
    async fn run<F: Future + Unpin>(&self, mut future: F) -> F::Output {
        loop {
            // The semaphore is never closed.
            let turn = self.0.acquire().await;
            if let Poll::Ready(output) = step(&mut future).await {
                tokio::task::yield_now().await;
                return output;
            }
            tokio::task::yield_now().await;
            // The wake-up behind the yield may also be one of the future.
            if let Poll::Ready(output) = step(&mut future).await {
                return output;
            }
            drop(turn);
            wake_up().await;
        }
    }
}

/// Polls a future once.
async fn step<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Waits until the task is woken.
async fn wake_up() {
    let mut has_waited = false;
    poll_fn(|_| match std::mem::replace(&mut has_waited, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// The first byte of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// It can begin a handshake.
    Tls,
    /// It begins a request of plain HTTP.
    PlainHttp,
    /// There is none: the client has disconnected.
    None,
}

/// Waits for the first byte without reading it.
pub async fn first_byte(stream: &TcpStream) -> First {
    let mut bytes = [0];
    let peeked = stream.peek(&mut bytes).await;
    let [byte] = bytes;
    match peeked {
        // A record of TLS begins with a control character.
        Ok(1..) if byte.is_ascii_alphabetic() => First::PlainHttp,
        Ok(1..) => First::Tls,
        _ => First::None,
    }
}

/// Runs the handshake of a connection.
///
/// # Errors
/// [`Failure`]. The client has been told by an alert, and the connection is closed.
pub async fn handshake(
    tls: &ServerTls,
    stream: TcpStream,
    turns: &Turns,
) -> Result<(TlsClient, TlsPeer), Failure> {
    let acceptor = TlsAcceptor::from(tls.current());
    let accept = acceptor.accept_with(Socket::new(stream), |session| {
        session.set_buffer_limit(Some(MOST_HELD));
    });
    match turns.run(accept.into_fallible()).await {
        Ok(stream) => match still_valid(tls, &stream) {
            Ok(()) => {
                let verifier = tls.verifier();
                let peer = TlsPeer::of(stream.get_ref().1, verifier.self_signed());
                Ok((TlsClient::new(stream), peer))
            }
            Err(error) => {
                linger(stream.into_inner().0).await;
                Err(Failure::of_tls(&error))
            }
        },
        Err((error, socket)) => {
            linger(socket).await;
            Err(Failure::of(&error))
        }
    }
}

/// Checks the client certificate of a resumed session again: rustls does not, and it may have
/// expired since.
fn still_valid(tls: &ServerTls, stream: &TlsStream<Socket>) -> Result<(), rustls::Error> {
    let session = stream.get_ref().1;
    let verifier = tls.verifier().get();
    let (Some(verifier), Some(HandshakeKind::Resumed)) = (verifier, session.handshake_kind())
    else {
        return Ok(());
    };
    match session.peer_certificates() {
        Some([leaf, chain @ ..]) => verifier
            .verify_client_cert(leaf, chain, UnixTime::now())
            .map(drop),
        _ if verifier.client_auth_mandatory() => Err(rustls::Error::NoCertificatesPresented),
        _ => Ok(()),
    }
}

/// Closes a connection so that the client can read the alert: unread bytes would reset it.
async fn linger(mut socket: Socket) {
    let discard = async {
        socket.shutdown().await?;
        let mut rest = socket.take(MOST_DISCARDED);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER, discard).await;
}
