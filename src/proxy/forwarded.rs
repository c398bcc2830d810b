//! The origin of a request: what a trusted proxy reports in `X-Forwarded-*` or `Forwarded` (RFC
//! 7239), extended by what the sidecar observed, and written to the upstream in both header
//! families.

mod lists;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use pingora::http::RequestHeader;

use self::lists::{
    Element, element, extended, first_host, first_scheme, items, joined, parse_forwarded,
    parse_node, plain, push_element, single,
};
use super::headers::Added;
use super::sender::CalledUrl;

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The origin of a request.
#[derive(Debug)]
pub struct RequestOrigin {
    /// The peer address of the connection.
    peer: IpAddr,
    /// The scheme of the connection.
    scheme: &'static str,
    /// Whether the peer is a trusted proxy and reports its clients.
    is_trusted: bool,
    /// The reported nodes, nearest last; `None` for an unknown address.
    nodes: Vec<Option<IpAddr>>,
    /// Index of the client in `nodes`; `None` means the peer.
    client: Option<usize>,
    /// Whether the client itself is known: no address in front of it is missing or unreadable.
    is_known: bool,
    /// The scheme and host that the client used.
    called: Called,
    /// The original lists, where they agree with this origin.
    lists: Lists,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Called {
    proto: Option<String>,
    host: Option<String>,
}

impl Called {
    fn in_x_forwarded(headers: &HeaderMap) -> Self {
        Self {
            proto: single(headers, &X_FORWARDED_PROTO).and_then(first_scheme),
            host: single(headers, &X_FORWARDED_HOST).and_then(first_host),
        }
    }
}

#[derive(Debug, Default)]
struct Lists {
    x_forwarded_for: Option<String>,
    forwarded: Option<String>,
}

impl RequestOrigin {
    /// Reads the origin that a request reports. Only a trusted peer's report counts.
    ///
    /// If the two families disagree, or only one is present, `X-Forwarded-*` counts: nearly every
    /// proxy writes it, and a proxy that does not write `Forwarded` passes the client's own
    /// `Forwarded` on.
    #[must_use]
    pub fn read(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        let trusts = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        let mut origin = Self {
            peer,
            scheme: "http",
            is_trusted: trusts(peer),
            nodes: Vec::new(),
            client: None,
            is_known: true,
            called: Called::default(),
            lists: Lists::default(),
        };
        if !origin.is_trusted {
            return origin;
        }
        let x_list = joined(headers, &X_FORWARDED_FOR);
        let list = joined(headers, &header::FORWARDED);
        let elements = list.as_deref().and_then(parse_forwarded);
        let x_called = Called::in_x_forwarded(headers);
        let real_ip = single(headers, &X_REAL_IP).and_then(parse_node);
        match (&x_list, &elements, real_ip) {
            (Some(x_list), _, _) => {
                origin.nodes = items(x_list).map(parse_node).collect();
            }
            (None, Some(elements), _) => {
                origin.nodes = elements.iter().map(|element| element.node).collect()
            }
            // An unreadable list may still contain what a proxy appended, so no node of it is
            // trusted.
            (None, None, Some(address)) if list.is_none() => origin.nodes = vec![Some(address)],
            (None, None, _) => {}
        }
        origin.client = client_of(&origin.nodes, trusts);
        origin.is_known = origin.reaches_client(headers, trusts);
        let says = elements
            .as_deref()
            .map(|elements| called_in(elements, origin.client));
        let is_one = says.as_ref().is_some_and(|says| {
            let same_nodes = elements
                .iter()
                .flatten()
                .map(|element| element.node)
                .eq(origin.nodes.iter().copied());
            same_nodes && agree(&says.proto, &x_called.proto) && agree(&says.host, &x_called.host)
        });
        let says = says
            .filter(|_| is_one || x_list.is_none())
            .unwrap_or_default();
        origin.called = Called {
            proto: x_called.proto.or(says.proto),
            host: x_called.host.or(says.host),
        };
        origin.lists = Lists {
            x_forwarded_for: x_list,
            forwarded: list.filter(|_| is_one),
        };
        origin
    }

    /// Whether the list of addresses reaches the client. A list that cannot be read does not.
    fn reaches_client(&self, headers: &HeaderMap, trusts: impl Fn(IpAddr) -> bool) -> bool {
        match self.client {
            // In front of another proxy is the client, if the list has it.
            Some(index) => index == 0 || !trusts(self.client()),
            None => !reports_client(headers),
        }
    }

    /// The same for a connection with or without TLS.
    #[must_use]
    pub fn over_tls(self, is_tls: bool) -> Self {
        let scheme = if is_tls { "https" } else { "http" };
        Self { scheme, ..self }
    }

    /// The scheme and host that the client called.
    #[must_use]
    pub fn called(&self) -> CalledUrl {
        let scheme = self.called.proto.clone().map(Cow::Owned);
        CalledUrl {
            scheme: scheme.unwrap_or(Cow::Borrowed(self.scheme)),
            host: self.called.host.clone(),
        }
    }

    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Whether a trusted proxy reports a client, readable or not.
    #[must_use]
    pub fn reports_client(&self) -> bool {
        self.client.is_some() || !self.is_known
    }

    /// The client: the last reported address that is not a trusted proxy.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.client
            .and_then(|index| self.nodes.get(index).copied().flatten())
            .unwrap_or(self.peer)
    }

    /// The client, unless a trusted proxy reports one without a readable address.
    #[must_use]
    pub fn known_client(&self) -> Option<IpAddr> {
        self.is_known.then(|| self.client())
    }

    /// The client, if it differs from the connection's peer.
    #[must_use]
    pub fn client_behind_proxy(&self) -> Option<IpAddr> {
        self.client.map(|_| self.client())
    }

    /// The address for limits that count per address: the peer, or the client behind a proxy (its
    /// port is unknown).
    #[must_use]
    pub fn client_address(&self, peer: SocketAddr) -> SocketAddr {
        self.client_behind_proxy()
            .map_or(peer, |client| SocketAddr::new(client, 0))
    }

    /// Writes this origin, extended by the sidecar's own observation.
    /// [`ClientHeaders`](super::headers::ClientHeaders) has removed what an untrusted peer reports.
    ///
    /// # Errors
    /// When a value fits no header.
    pub fn write(
        &self,
        request: &mut RequestHeader,
        added: &mut Added,
    ) -> Result<(), InvalidHeaderValue> {
        let host = request.headers.get(header::HOST);
        let host = host.filter(|host| host.to_str().is_ok()).cloned();
        if self.is_trusted {
            return self.write_reports(request, added, host);
        }
        // One allocation has the list and the address in it.
        let mut list = Vec::with_capacity(96);
        let peer = push_element(
            &mut list,
            self.peer,
            host.as_ref().map(HeaderValue::as_bytes),
            self.scheme,
        );
        let list = Bytes::from(list);
        let peer = HeaderValue::from_maybe_shared(list.slice(peer))?;
        added.push(X_FORWARDED_FOR, peer.clone());
        added.push(header::FORWARDED, HeaderValue::from_maybe_shared(list)?);
        added.push(X_REAL_IP, peer);
        added.push(X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
        if let Some(host) = host {
            added.push(X_FORWARDED_HOST, host);
        }
        Ok(())
    }

    /// [`write`](Self::write) for a trusted peer, whose own headers are replaced.
    fn write_reports(
        &self,
        request: &mut RequestHeader,
        added: &mut Added,
        host: Option<HeaderValue>,
    ) -> Result<(), InvalidHeaderValue> {
        let host_text = host.as_ref().and_then(|host| host.to_str().ok());
        let x_list = match &self.lists.x_forwarded_for {
            Some(list) => Cow::from(list),
            None => self
                .nodes
                .iter()
                .map(|node| plain(*node))
                .collect::<Vec<_>>()
                .join(", ")
                .into(),
        };
        let list = match &self.lists.forwarded {
            Some(list) => Cow::from(list),
            None => self.elements().into(),
        };
        let peer = element(Some(self.peer), host_text, Some(self.scheme));
        let proto = self.called.proto.as_deref().unwrap_or(self.scheme);
        for (name, value) in [
            (X_FORWARDED_FOR, extended(&x_list, &self.peer.to_string())),
            (header::FORWARDED, extended(&list, &peer)),
            (X_REAL_IP, self.client().to_string()),
            (X_FORWARDED_PROTO, proto.to_owned()),
        ] {
            added.replace(request, name, HeaderValue::try_from(value)?);
        }
        let host = match &self.called.host {
            Some(host) => Some(HeaderValue::from_str(host)?),
            None => host,
        };
        if let Some(host) = host {
            added.replace(request, X_FORWARDED_HOST, host);
        }
        Ok(())
    }

    /// The nodes as elements of `Forwarded`, with scheme and host at the client's element.
    fn elements(&self) -> String {
        let mut elements = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let called = if self.client == Some(index) {
                self.called.clone()
            } else {
                Called::default()
            };
            elements.push(element(
                *node,
                called.host.as_deref(),
                called.proto.as_deref(),
            ));
        }
        elements.join(", ")
    }
}

/// Whether a proxy reports its client, readably or not.
fn reports_client(headers: &HeaderMap) -> bool {
    let reports = [X_FORWARDED_FOR, header::FORWARDED, X_REAL_IP];
    reports.iter().any(|name| headers.contains_key(name))
}

/// The client is the nearest node that is not a trusted proxy. Nodes beyond an unknown address
/// cannot be trusted.
fn client_of(nodes: &[Option<IpAddr>], trusts: impl Fn(IpAddr) -> bool) -> Option<usize> {
    let mut client = None;
    for (index, node) in nodes.iter().enumerate().rev() {
        let Some(address) = node else { break };
        client = Some(index);
        if !trusts(*address) {
            break;
        }
    }
    client
}

/// The scheme and host from the client's own element, or from the nearest later one that has them.
fn called_in(elements: &[Element], client: Option<usize>) -> Called {
    let behind = || {
        elements
            .iter()
            .skip(client.unwrap_or(0))
            .map(|element| &element.called)
    };
    Called {
        proto: behind().find_map(|called| called.proto.clone()),
        host: behind().find_map(|called| called.host.clone()),
    }
}

fn agree(one: &Option<String>, other: &Option<String>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
