//! The byte stream under a client connection.

use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

use crate::proxy::tls::TlsClient;

/// A byte stream from a client.
pub trait ClientStream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// The socket, to look at it without reading; `None` for a stream in memory.
    fn socket(&self) -> Option<&TcpStream>;

    /// Whether bytes wait to be read.
    fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = self
            .socket()
            .and_then(|socket| SockRef::from(socket).peek(&mut byte).ok());
        peeked.is_some_and(|bytes| bytes > 0)
    }

    /// How many bytes have left a buffer of the stream itself, which shows progress while a flush
    /// waits.
    fn flushed(&self) -> u64 {
        0
    }
}

impl ClientStream for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl ClientStream for TlsClient {
    fn socket(&self) -> Option<&TcpStream> {
        Some(Self::socket(self))
    }

    fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(Self::socket(self)).peek(&mut byte);
        self.has_decrypted() || peeked.is_ok_and(|bytes| bytes > 0)
    }

    fn flushed(&self) -> u64 {
        self.sent()
    }
}

impl ClientStream for DuplexStream {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}
