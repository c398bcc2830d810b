//! The address of a listener.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    At(SocketAddr),
    /// `localhost` with this port: 127.0.0.1 and ::1 (RFC 6761 §6.3), because some programs try
    /// only one of the two.
    Localhost(u16),
    /// A socket in the file system.
    Unix(UnixSocket),
}

/// A socket in the file system, with its permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    pub path: PathBuf,
    /// The permission bits; `None`: the default of the listener.
    pub mode: Option<u32>,
    /// A name or number; `None`: the user of the process.
    pub user: Option<String>,
    /// A name or number; `None`: the group of the process.
    pub group: Option<String>,
    /// The names or numbers of the users whose processes may connect; empty: all that the
    /// permission bits admit.
    pub allowed_users: Vec<String>,
}

impl Listen {
    /// One address for URLs and messages; `None` for a socket in the file system.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::At(address) => Some(*address),
            Self::Localhost(port) => Some((Ipv4Addr::LOCALHOST, *port).into()),
            Self::Unix(_) => None,
        }
    }

    /// All internet addresses to bind.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let second = match self {
            Self::Localhost(port) => Some((Ipv6Addr::LOCALHOST, *port).into()),
            Self::At(_) | Self::Unix(_) => None,
        };
        self.address().into_iter().chain(second)
    }

    /// Whether only programs on this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address()
            .is_none_or(|address| address.ip().is_loopback())
    }

    /// The socket in the file system, if it is one.
    #[must_use]
    pub fn unix(&self) -> Option<&UnixSocket> {
        match self {
            Self::Unix(socket) => Some(socket),
            Self::At(_) | Self::Localhost(_) => None,
        }
    }

    /// The same, but a socket in the file system without a mode is for the user of the process
    /// only.
    #[must_use]
    pub fn private(mut self) -> Self {
        if let Self::Unix(socket) = &mut self {
            socket.mode.get_or_insert(0o600);
        }
        self
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::At(address)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Unix(socket) => write!(f, "unix:{}", socket.path.display()),
        }
    }
}

/// The address of a bound socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl BoundAddress {
    /// The internet address, if it is one.
    #[must_use]
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
