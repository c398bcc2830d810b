//! The address of a listener.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    At(SocketAddr),
    /// `localhost` with this port: 127.0.0.1 and ::1 (RFC 6761 §6.3), because some programs try
    /// only one of the two.
    Localhost(u16),
}

impl Listen {
    /// One address for URLs and messages.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        match self {
            Self::At(address) => address,
            Self::Localhost(port) => (Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    /// All addresses to bind.
    pub fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        let second = match self {
            Self::At(_) => None,
            Self::Localhost(port) => Some((Ipv6Addr::LOCALHOST, port).into()),
        };
        [self.address()].into_iter().chain(second)
    }

    /// Whether only programs on this machine can connect.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.address().ip().is_loopback()
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
        }
    }
}
