//! The sockets that a configuration names.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{ADMIN, ISSUER, LOCAL_API, PROBES, StartError, unusable};
use crate::config::Config;
use crate::domain::listen::Listen;
use crate::proxy::listener::{BindError, BoundSocket};

/// Every socket of a configuration, bound before anything else happens.
pub(super) struct Sockets(HashMap<Socket, BoundSocket>);

/// Whose socket: the proxy listeners' names are the operator's, and one may well be `issuer`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Socket {
    Own(&'static str),
    Proxy(String),
}

impl Socket {
    fn name(&self) -> &str {
        match self {
            Self::Own(name) => name,
            Self::Proxy(name) => name,
        }
    }
}

impl Sockets {
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let issuer = config
            .issuer
            .as_ref()
            .and_then(|role| role.listen)
            .map(|listen| (Socket::Own(ISSUER), listen));
        let probes = config
            .probes
            .map(|probes| (Socket::Own(PROBES), probes.listen));
        let admin = config
            .admin
            .as_ref()
            .map(|role| (Socket::Own(ADMIN), role.listen));
        let local_api = config
            .local_api
            .map(|api| (Socket::Own(LOCAL_API), api.listen));
        let inbound = config
            .inbound
            .iter()
            .map(|listener| (Socket::Proxy(listener.name.clone()), listener.listen));
        let outbound = config
            .outbound
            .iter()
            .map(|listener| (Socket::Proxy(listener.name.clone()), listener.listen));
        let wanted = issuer
            .into_iter()
            .chain(probes)
            .chain(admin)
            .chain(local_api)
            .chain(inbound)
            .chain(outbound);
        let bind = |(whose, listen): (Socket, Listen)| match BoundSocket::bind(listen) {
            Ok(socket) => Ok((whose, socket)),
            Err(BindError { address, error }) => Err(StartError::Bind {
                listener: whose.name().to_owned(),
                address,
                error,
            }),
        };
        Ok(Self(wanted.map(bind).collect::<Result<_, _>>()?))
    }

    /// Every socket's name and address; a name comes twice when its socket has two addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.0
            .iter()
            .flat_map(|(whose, socket)| socket.addresses().map(|address| (whose.name(), address)))
    }

    pub(super) fn get(&self, whose: &Socket) -> Result<&BoundSocket, StartError> {
        self.0
            .get(whose)
            .ok_or_else(|| unusable(whose.name())("has no socket".to_owned()))
    }
}
