//! Listening sockets. All are bound before any is served, so that one error reports every conflict.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use super::unix_socket::{self, SocketFile};
use crate::domain::listen::{BoundAddress, Listen, UnixSocket};

/// Length of the queue of connections that wait for `accept`.
const BACKLOG: i32 = 1024;
/// How many free ports are tried when a port is free on only one of the two loopback addresses.
const FREE_PORTS: usize = 16;

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    pub address: BoundAddress,
    /// The system's error, for example that the address is in use.
    pub error: io::Error,
}

/// The sockets of a listener: one, or one for each address of `localhost`.
pub struct BoundSocket(Vec<(BoundAddress, Bound)>);

/// A listening socket.
pub(super) enum Bound {
    Tcp(TcpListener),
    /// With its file, which the last duplicate removes.
    Unix(UnixListener, Arc<SocketFile>),
}

impl Bound {
    fn duplicate(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket, file) => Self::Unix(socket.try_clone()?, file.clone()),
        })
    }
}

impl BoundSocket {
    /// Binds and listens.
    ///
    /// # Errors
    /// [`BindError`]. A missing loopback address (IPv4 or IPv6) is not an error if the other one
    /// exists.
    pub fn bind(listen: impl Into<Listen>) -> Result<Self, BindError> {
        let bound = match listen.into() {
            Listen::Unix(socket) => return bind_unix(&socket),
            Listen::At(address) => bind(address)
                .map(|bound| vec![bound])
                .map_err(|failed| failed.at(address)),
            Listen::Localhost(0) => on_free_port(bind),
            listen => on_each(&listen, bind),
        };
        let named = |(address, socket)| (BoundAddress::Inet(address), Bound::Tcp(socket));
        bound.map(|bound| Self(bound.into_iter().map(named).collect()))
    }

    /// The same sockets for another listener, which may have other permissions.
    ///
    /// # Errors
    /// [`BindError`] when the system has no further descriptor, or refuses the permissions.
    pub fn duplicate(&self, listen: &Listen) -> Result<Self, BindError> {
        let duplicate = |(address, socket): &(BoundAddress, Bound)| {
            let failed = |error| BindError {
                address: address.clone(),
                error,
            };
            if let Some(socket) = listen.unix() {
                unix_socket::permit(&socket.path, socket).map_err(failed)?;
            }
            Ok((address.clone(), socket.duplicate().map_err(failed)?))
        };
        self.0
            .iter()
            .map(duplicate)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The bound addresses, with the assigned port where port 0 was requested.
    pub fn addresses(&self) -> impl Iterator<Item = &BoundAddress> {
        self.0.iter().map(|(address, _)| address)
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = &Bound> {
        self.0.iter().map(|(_, socket)| socket)
    }
}

fn bind_unix(socket: &UnixSocket) -> Result<BoundSocket, BindError> {
    let address = BoundAddress::Unix(socket.path.clone());
    match unix_socket::listen(socket) {
        Ok((file, listener)) => {
            let bound = Bound::Unix(listener, Arc::new(file));
            Ok(BoundSocket(vec![(address, bound)]))
        }
        Err(error) => Err(BindError { address, error }),
    }
}

#[derive(Debug)]
enum Failed {
    /// The machine lacks this address, for example because IPv6 is disabled.
    Absent(io::Error),
    Other(io::Error),
}

impl Failed {
    fn at(self, address: SocketAddr) -> BindError {
        let (Self::Absent(error) | Self::Other(error)) = self;
        BindError {
            address: BoundAddress::Inet(address),
            error,
        }
    }

    fn is_taken(&self) -> bool {
        matches!(self, Self::Other(error) if error.kind() == io::ErrorKind::AddrInUse)
    }
}

fn bind(address: SocketAddr) -> Result<(SocketAddr, TcpListener), Failed> {
    let domain = socket2::Domain::for_address(address);
    // A kernel without IPv6 creates no IPv6 socket.
    let socket =
        socket2::Socket::new(domain, socket2::Type::STREAM, None).map_err(Failed::Absent)?;
    let listening = || {
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)
    };
    listening().map_err(|error| match error.kind() {
        io::ErrorKind::AddrNotAvailable => Failed::Absent(error),
        _ => Failed::Other(error),
    })?;
    let socket = TcpListener::from(socket);
    let address = socket.local_addr().map_err(Failed::Other)?;
    Ok((address, socket))
}

/// Binds every address that this machine has.
fn on_each<S>(
    listen: &Listen,
    bind: impl Fn(SocketAddr) -> Result<S, Failed>,
) -> Result<Vec<S>, BindError> {
    let mut bound = Vec::new();
    let mut absent = None;
    for address in listen.addresses() {
        match bind(address) {
            Ok(socket) => bound.push(socket),
            Err(Failed::Absent(error)) => {
                absent = absent.or_else(|| Some(Failed::Absent(error).at(address)));
            }
            Err(failed) => return Err(failed.at(address)),
        }
    }
    match absent {
        Some(absent) if bound.is_empty() => Err(absent),
        _ => Ok(bound),
    }
}

/// Finds one port that is free on both addresses of `localhost`.
fn on_free_port<S>(
    bind: impl Fn(SocketAddr) -> Result<(SocketAddr, S), Failed>,
) -> Result<Vec<(SocketAddr, S)>, BindError> {
    let [first, second] = [
        SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0)),
    ];
    let mut tries = 0;
    loop {
        tries += 1;
        let v4 = match bind(first) {
            Ok(v4) => v4,
            Err(Failed::Absent(_)) => {
                return bind(second)
                    .map(|v6| vec![v6])
                    .map_err(|failed| failed.at(second));
            }
            Err(failed) => return Err(failed.at(first)),
        };
        let same_port = SocketAddr::new(second.ip(), v4.0.port());
        match bind(same_port) {
            Ok(v6) => return Ok(vec![v4, v6]),
            Err(Failed::Absent(_)) => return Ok(vec![v4]),
            Err(failed) if failed.is_taken() && tries < FREE_PORTS => {}
            Err(failed) => return Err(failed.at(same_port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn absent() -> Failed {
        Failed::Absent(io::ErrorKind::AddrNotAvailable.into())
    }

    fn taken() -> Failed {
        Failed::Other(io::ErrorKind::AddrInUse.into())
    }

    #[test]
    fn localhost_is_both_loopback_addresses_with_one_port() {
        let socket = BoundSocket::bind(Listen::Localhost(0)).unwrap();
        let addresses: Vec<_> = socket.addresses().filter_map(BoundAddress::inet).collect();
        assert_eq!(addresses[0].ip().to_string(), "127.0.0.1");
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            assert_eq!(
                addresses[1].to_string(),
                format!("[::1]:{}", addresses[0].port())
            );
        }
    }

    #[test]
    fn localhost_is_what_there_is_of_it() {
        let without = |absent_is_v6: bool| {
            move |address: SocketAddr| match address.is_ipv6() == absent_is_v6 {
                true => Err(absent()),
                false => Ok((SocketAddr::new(address.ip(), 7), ())),
            }
        };
        for (absent_is_v6, there) in [(true, "127.0.0.1:7"), (false, "[::1]:7")] {
            let there = vec![(there.parse().unwrap(), ())];
            assert_eq!(on_free_port(without(absent_is_v6)).unwrap(), there);
            assert_eq!(
                on_each(&Listen::Localhost(7), without(absent_is_v6)).unwrap(),
                there
            );
        }
        assert!(on_each(&Listen::Localhost(7), |_| Err::<(), _>(absent())).is_err());
        assert!(on_free_port(|_| Err::<(SocketAddr, ()), _>(absent())).is_err());
    }

    #[test]
    fn a_port_in_use_on_one_address_is_an_error_that_names_it() {
        let v6_is_taken = |address: SocketAddr| {
            if address.is_ipv6() {
                Err(taken())
            } else {
                Ok((address, ()))
            }
        };
        let error = on_each(&Listen::Localhost(7), v6_is_taken).unwrap_err();
        assert_eq!(error.address.to_string(), "[::1]:7");
        assert_eq!(
            on_free_port(v6_is_taken).unwrap_err().error.kind(),
            io::ErrorKind::AddrInUse
        );
    }

    #[test]
    fn a_free_port_is_looked_for_until_it_is_free_on_both() {
        let next = Cell::new(0);
        let bound = on_free_port(|address| match (address.port(), address.is_ipv6()) {
            (0, _) => {
                next.set(next.get() + 1);
                Ok((SocketAddr::new(address.ip(), next.get()), ()))
            }
            (port, true) if port < 3 => Err(taken()),
            _ => Ok((address, ())),
        });
        assert!(
            bound
                .unwrap()
                .iter()
                .all(|(address, ())| address.port() == 3)
        );
    }
}
