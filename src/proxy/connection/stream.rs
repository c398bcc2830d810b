//! The byte stream under a client connection.

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// A byte stream from a client.
pub trait ClientStream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// The socket, to look at it without reading; `None` for a stream in memory.
    fn socket(&self) -> Option<&TcpStream>;
}

impl ClientStream for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl ClientStream for DuplexStream {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}
