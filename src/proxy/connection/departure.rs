//! Tells a disconnected client from one that has only stopped sending.
//!
//! A client may close its sending side after its request (`shutdown(SHUT_WR)`, `nc -N`) and wait
//! for the response. Only a reset means that it will not read the response.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Resolves when a connection is reset.
pub(super) type Reset = Pin<Box<dyn Future<Output = io::Error> + Send + Sync>>;

/// Watches a connection for a reset without reading from it.
///
/// Watches a duplicate descriptor of the socket, because a future cannot borrow the connection that
/// holds it. When the system provides no descriptor, the next write detects the reset.
pub(super) fn reset_of(stream: &TcpStream) -> Reset {
    let second = stream
        .as_fd()
        .try_clone_to_owned()
        .map(std::net::TcpStream::from);
    let second = second.and_then(TcpStream::from_std);
    Box::pin(async move {
        let Ok(second) = second else {
            return std::future::pending().await;
        };
        match second.ready(Interest::ERROR).await {
            Ok(_) => second
                .take_error()
                .ok()
                .flatten()
                .unwrap_or(io::ErrorKind::ConnectionReset.into()),
            Err(error) => error,
        }
    })
}
