//! The original destination of a redirected connection.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The address that the client connected to, if iptables or nftables redirected the connection to
/// `local`.
pub(super) fn destination(stream: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    let found = asked(stream, local).ok()?;
    let found = SocketAddr::new(found.ip().to_canonical(), found.port());
    // A connection that is known to the system but not redirected has its own destination.
    (found.ip() != local.ip().to_canonical() || found.port() != local.port()).then_some(found)
}

#[cfg(target_os = "linux")]
fn asked(stream: &TcpStream, local: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let found = if local.ip().to_canonical().is_ipv4() {
        socket.original_dst_v4()?
    } else {
        socket.original_dst_v6()?
    };
    found
        .as_socket()
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(not(target_os = "linux"))]
fn asked(_: &TcpStream, _: SocketAddr) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_connection_that_nothing_redirects_has_no_original_destination() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address).await else {
                continue;
            };
            let local = listener.local_addr().unwrap();
            let client = TcpStream::connect(local).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            assert_eq!(destination(&stream, local), None);
            drop(client);
        }
    }
}
