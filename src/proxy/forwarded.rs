//! The origin of a request: what a trusted proxy reports in `X-Forwarded-*` or `Forwarded` (RFC
//! 7239), extended by what the sidecar observed, and written to the upstream in both header
//! families.

mod lists;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use pingora::http::RequestHeader;

use self::lists::{
    Element, element, extended, first_host, first_scheme, items, joined, parse_forwarded,
    parse_node, plain, single,
};
use super::headers::{as_metadata, folds_to, is_usual};

const X_FORWARDED_FOR: &str = "x-forwarded-for";

const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

const X_FORWARDED_HOST: &str = "x-forwarded-host";

const X_REAL_IP: &str = "x-real-ip";

const FORWARDED: &str = "forwarded";

/// Prefix of the headers in which a proxy reports its client. An inbound listener never passes a
/// client's own on.
const X_FORWARDED: &str = "x-forwarded-";

/// The origin of a request.
#[derive(Debug)]
pub struct RequestOrigin {
    /// The peer address of the connection.
    peer: IpAddr,
    /// Whether the peer is a trusted proxy and reports its clients.
    is_trusted: bool,
    /// The reported nodes, nearest last; `None` for an unknown address.
    nodes: Vec<Option<IpAddr>>,
    /// Index of the client in `nodes`; `None` means the peer.
    client: Option<usize>,
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
            is_trusted: trusts(peer),
            nodes: Vec::new(),
            client: None,
            called: Called::default(),
            lists: Lists::default(),
        };
        if !origin.is_trusted {
            return origin;
        }
        let x_list = joined(headers, X_FORWARDED_FOR);
        let list = joined(headers, FORWARDED);
        let elements = list.as_deref().and_then(parse_forwarded);
        let x_called = Called {
            proto: single(headers, X_FORWARDED_PROTO).and_then(first_scheme),
            host: single(headers, X_FORWARDED_HOST).and_then(first_host),
        };
        let real_ip = single(headers, X_REAL_IP).and_then(parse_node);
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

    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// The client: the last reported address that is not a trusted proxy.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.client
            .and_then(|index| self.nodes.get(index).copied().flatten())
            .unwrap_or(self.peer)
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

    /// Replaces the request's origin headers by this origin, extended by the sidecar's own
    /// observation.
    ///
    /// # Errors
    /// When the request cannot hold another header.
    pub fn write(&self, request: &mut RequestHeader) -> pingora::Result<()> {
        // Only the usual spelling of a trusted proxy's headers is kept: an upstream that folds
        // other spellings would read a client's.
        let is_kept =
            |name: &str| self.is_trusted && name.starts_with(X_FORWARDED) && is_usual(name);
        let is_forged =
            |name: &HeaderName| tells_of_origin(name.as_str()) && !is_kept(name.as_str());
        let forged: Vec<HeaderName> = request
            .headers
            .keys()
            .filter(|name| is_forged(name))
            .cloned()
            .collect();
        for name in forged {
            request.remove_header(&name);
        }
        let host = request
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .map(str::to_owned);
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
        request.insert_header(X_FORWARDED_FOR, extended(&x_list, &self.peer.to_string()))?;
        let list = match &self.lists.forwarded {
            Some(list) => Cow::from(list),
            None => self.elements().into(),
        };
        request.insert_header(
            FORWARDED,
            extended(
                &list,
                &element(Some(self.peer), host.as_deref(), Some("http")),
            ),
        )?;
        request.insert_header(X_REAL_IP, self.client().to_string())?;
        request.insert_header(
            X_FORWARDED_PROTO,
            self.called.proto.as_deref().unwrap_or("http"),
        )?;
        if let Some(host) = self.called.host.as_deref().or(host.as_deref()) {
            request.insert_header(X_FORWARDED_HOST, host)?;
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

/// Whether a header reports the origin of a request, in any spelling.
fn tells_of_origin(name: &str) -> bool {
    let name = as_metadata(name);
    match name.as_bytes().first() {
        Some(b'x') => {
            folds_to(name, X_REAL_IP)
                || name
                    .get(..X_FORWARDED.len())
                    .is_some_and(|beginning| folds_to(beginning, X_FORWARDED))
        }
        Some(b'f') => folds_to(name, FORWARDED),
        _ => false,
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRUSTED: &[&str] = &["127.0.0.0/8", "10.0.0.0/8"];

    /// The headers that the upstream receives for a request from 127.0.0.1, and the client address.
    fn forwarded(claimed: &[(&'static str, &str)]) -> (String, [String; 5]) {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.insert_header("host", "in:80").unwrap();
        for (name, value) in claimed {
            request.append_header(*name, *value).unwrap();
        }
        let trusted: Vec<IpNet> = TRUSTED
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let origin = RequestOrigin::read(
            &request.headers,
            "::ffff:127.0.0.1".parse().unwrap(),
            &trusted,
        );
        origin.write(&mut request).unwrap();
        let seen = [
            X_FORWARDED_FOR,
            X_FORWARDED_PROTO,
            X_FORWARDED_HOST,
            X_REAL_IP,
            FORWARDED,
        ]
        .map(|name| {
            let values: Vec<_> = request
                .headers
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect();
            values.join(" | ")
        });
        (origin.client().to_string(), seen)
    }

    fn expect(claimed: &[(&'static str, &str)], client: &str, seen: [&str; 5]) {
        assert_eq!(
            forwarded(claimed),
            (client.to_owned(), seen.map(str::to_owned)),
            "{claimed:?}"
        );
    }

    const OURS: &str = "for=127.0.0.1;host=\"in:80\";proto=http";

    #[test]
    fn a_missing_family_is_written_from_the_other() {
        expect(
            &[
                ("x-forwarded-for", "203.0.113.7"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "out"),
            ],
            "203.0.113.7",
            [
                "203.0.113.7, 127.0.0.1",
                "https",
                "out",
                "203.0.113.7",
                &format!("for=203.0.113.7;host=\"out\";proto=https, {OURS}"),
            ],
        );
        expect(
            &[(
                "forwarded",
                "for=\"[2001:db8::7]:4711\";proto=HTTPS;host=out, For=10.0.0.2",
            )],
            "2001:db8::7",
            [
                "2001:db8::7, 10.0.0.2, 127.0.0.1",
                "https",
                "out",
                "2001:db8::7",
                &format!("for=\"[2001:db8::7]:4711\";proto=HTTPS;host=out, For=10.0.0.2, {OURS}"),
            ],
        );
        expect(
            &[("x-real-ip", "203.0.113.7")],
            "203.0.113.7",
            [
                "203.0.113.7, 127.0.0.1",
                "http",
                "in:80",
                "203.0.113.7",
                &format!("for=203.0.113.7, {OURS}"),
            ],
        );
        expect(
            &[],
            "127.0.0.1",
            ["127.0.0.1", "http", "in:80", "127.0.0.1", OURS],
        );
    }

    #[test]
    fn the_client_is_the_last_untrusted_address() {
        for (list, client) in [
            ("203.0.113.7, 10.0.0.1", "203.0.113.7"),
            ("1.2.3.4, 203.0.113.7, 10.0.0.1", "203.0.113.7"),
            ("1.2.3.4,203.0.113.7", "203.0.113.7"),
            ("10.0.0.3, 10.0.0.1", "10.0.0.3"),
            ("203.0.113.7:5678", "203.0.113.7"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("203.0.113.7, unknown, 10.0.0.1", "10.0.0.1"),
            ("_hidden", "127.0.0.1"),
            ("203.0.113.7, <x>", "127.0.0.1"),
        ] {
            assert_eq!(forwarded(&[("x-forwarded-for", list)]).0, client, "{list}");
        }
    }

    #[test]
    fn x_forwarded_counts_when_the_families_differ() {
        let (client, seen) = forwarded(&[
            ("x-forwarded-for", "203.0.113.7"),
            ("x-real-ip", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6;proto=https;host=evil"),
        ]);
        assert_eq!(client, "203.0.113.7");
        assert_eq!(
            seen[3..],
            ["203.0.113.7".to_owned(), format!("for=203.0.113.7, {OURS}")]
        );
        assert!(
            !seen.join(" ").contains("6.6.6.6") && !seen.join(" ").contains("evil"),
            "{seen:?}"
        );
        for broken in [
            "for=203.0.113.7;proto=\"https",
            "for",
            "for=203.0.113.7 proto=https",
            "=x",
        ] {
            let (_, seen) = forwarded(&[("x-forwarded-for", "203.0.113.7"), ("forwarded", broken)]);
            assert_eq!(seen[4], format!("for=203.0.113.7, {OURS}"), "{broken}");
        }
    }

    /// A proxy appends its client's address to the line that the client sent.
    #[test]
    fn a_clients_list_cannot_invalidate_its_proxys_entry() {
        for sent in ["\u{e4}", "\u{80}, 6.6.6.6", "\"", "6.6.6.6;", "for=\""] {
            let (x_list, list) = (
                format!("{sent}, 203.0.113.7"),
                format!("{sent}, for=203.0.113.7"),
            );
            let (client, seen) = forwarded(&[
                ("x-forwarded-for", &x_list),
                ("forwarded", "for=6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
            ]);
            assert_eq!(
                (client.as_str(), seen[3].as_str()),
                ("203.0.113.7", "203.0.113.7"),
                "{x_list}"
            );
            let (client, _) = forwarded(&[("forwarded", &list), ("x-real-ip", "6.6.6.6")]);
            assert_ne!(client, "6.6.6.6", "{list}");
        }
    }

    #[test]
    fn agreeing_families_are_extended_unchanged() {
        let (_, seen) = forwarded(&[
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=203.0.113.7;by=_x;proto=https"),
            ("forwarded", "for=\"10.0.0.1:80\""),
        ]);
        assert_eq!(
            seen[4],
            format!("for=203.0.113.7;by=_x;proto=https, for=\"10.0.0.1:80\", {OURS}")
        );
    }

    proptest! {
        /// For any headers of a trusted proxy, both forwarded lists name the same nodes.
        #[test]
        fn both_lists_name_the_same_nodes(
            x_list in proptest::option::of("([0-9.:a-f]{1,6}|10\\.0\\.0\\.[1-3]|, |,|unknown|\\[::1\\]|\"){0,6}"),
            list in proptest::option::of("(for=|proto=https|host=a|10\\.0\\.0\\.[1-3]|\"|\\[::1\\]|;|, |\\\\){0,8}"),
        ) {
            let claimed: Vec<_> = [("x-forwarded-for", &x_list), ("forwarded", &list)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                .collect();
            let (_, seen) = forwarded(&claimed);
            let x_nodes: Vec<_> = items(&seen[0]).map(parse_node).collect();
            let nodes: Vec<_> = parse_forwarded(&seen[4]).unwrap().into_iter().map(|element| element.node).collect();
            prop_assert_eq!(x_nodes, nodes);
        }
    }
}
