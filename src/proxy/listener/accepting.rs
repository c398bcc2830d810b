//! Accepts connections of internet sockets and of sockets in the file system.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::proxy::bound_socket::Bound;
use crate::proxy::connection::LocalPeer;

/// A listening socket of one worker.
pub(super) enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The ends of a connection.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    /// The client. A client of a socket in the file system counts as 127.0.0.1.
    pub peer: SocketAddr,
    /// The listener.
    pub local: SocketAddr,
    /// The process at the other end of a socket in the file system.
    pub process: Option<LocalPeer>,
}

impl Accepting {
    /// A duplicate of a bound socket, for the current runtime.
    ///
    /// # Errors
    /// When the system gives no further descriptor.
    pub fn new(socket: &Bound) -> io::Result<Self> {
        Ok(match socket {
            Bound::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket.try_clone()?)?),
            Bound::Unix(socket, _) => Self::Unix(UnixListener::from_std(socket.try_clone()?)?),
        })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn accept(&self) -> io::Result<(TcpStream, Ends)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                let aborted = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
                stream.set_nodelay(true).map_err(aborted)?;
                let ends = Ends {
                    peer,
                    local: stream.local_addr().map_err(aborted)?,
                    process: None,
                };
                Ok((stream, ends))
            }
            Self::Unix(socket) => of_unix(socket.accept().await?.0),
        }
    }
}

/// The stream of a socket in the file system. Reading, writing, peeking and closing are the same
/// calls as for TCP, so the type of TCP serves for both.
fn of_unix(stream: UnixStream) -> io::Result<(TcpStream, Ends)> {
    let process = stream.peer_cred()?;
    let descriptor = OwnedFd::from(stream.into_std()?);
    let stream = TcpStream::from_std(std::net::TcpStream::from(descriptor))?;
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let ends = Ends {
        peer: here,
        local: here,
        process: Some(LocalPeer {
            user: process.uid(),
            process: process.pid(),
        }),
    };
    Ok((stream, ends))
}
