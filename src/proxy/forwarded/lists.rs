//! Parses and writes `X-Forwarded-*` lists and `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use super::Called;

/// Stands for a node with an unknown address (RFC 7239 §6.2).
pub(super) const UNKNOWN: &str = "unknown";

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) node: Option<IpAddr>,
    pub(super) called: Called,
}

/// All lines of a list joined; `None` if there are none. Bytes that are not printable ASCII become
/// `?`, so that a client cannot invalidate what its proxy appends to the same line.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let printable = |byte: &u8| {
        if matches!(byte, b' '..=b'~' | b'\t') {
            char::from(*byte)
        } else {
            '?'
        }
    };
    let lines: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes().iter().map(printable).collect())
        .collect();
    let list = lines.join(", ");
    (!list.trim().is_empty()).then_some(list)
}

/// The value of a header that occurs once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    value.and_then(|value| value.to_str().ok())
}

pub(super) fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

pub(super) fn first_scheme(value: &str) -> Option<String> {
    let scheme = items(value).next()?.to_ascii_lowercase();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.len() <= 16
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

pub(super) fn first_host(value: &str) -> Option<String> {
    let host = items(value).next()?;
    crate::proxy::framing::is_host(host.as_bytes()).then(|| host.to_owned())
}

/// The address of a node (RFC 7239 §6), with or without port; `None` for `unknown` and obfuscated
/// names.
pub(super) fn parse_node(node: &str) -> Option<IpAddr> {
    let address = match node.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0.parse().ok(),
        None => node
            .parse()
            .ok()
            .or_else(|| node.parse::<SocketAddr>().ok().map(|node| node.ip())),
    };
    address.map(|address: IpAddr| address.to_canonical())
}

/// The elements of a `Forwarded` list (RFC 7239 §4); `None` if it is malformed.
pub(super) fn parse_forwarded(list: &str) -> Option<Vec<Element>> {
    let mut elements = vec![Element::default()];
    let mut rest = list.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim();
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return None;
        }
        let (value, after) = parse_value(after)?;
        let element = elements.last_mut()?;
        match name.to_ascii_lowercase().as_str() {
            "for" => element.node = parse_node(&value),
            "proto" => element.called.proto = Some(first_scheme(&value)?),
            "host" => element.called.host = Some(first_host(&value)?),
            _ => {}
        }
        rest = after.trim_start();
        rest = match rest.as_bytes().first() {
            Some(b';') => rest.get(1..)?.trim_start(),
            Some(b',') => {
                elements.push(Element::default());
                rest.get(1..)?.trim_start()
            }
            Some(_) => return None,
            None => break,
        };
        if rest.is_empty() {
            return None;
        }
    }
    Some(elements)
}

/// Parses a token or a quoted string; returns it and the rest.
pub(super) fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (!value.contains('"')).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}

pub(super) fn plain(node: Option<IpAddr>) -> String {
    node.map_or_else(|| UNKNOWN.to_owned(), |address| address.to_string())
}

pub(super) fn element(node: Option<IpAddr>, host: Option<&str>, proto: Option<&str>) -> String {
    let mut text = match node {
        Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
        node => format!("for={}", plain(node)),
    };
    for (name, value) in [
        ("host", host.map(|host| format!("\"{host}\""))),
        ("proto", proto.map(str::to_owned)),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(";{name}={value}"));
        }
    }
    text
}

/// Appends the element of a peer that speaks http, as [`element`] writes it. Gives the place of the
/// address.
pub(super) fn push_element(
    list: &mut Vec<u8>,
    peer: IpAddr,
    host: Option<&[u8]>,
    scheme: &str,
) -> std::ops::Range<usize> {
    let (before, after): (&[u8], &[u8]) = match peer {
        IpAddr::V4(_) => (b"for=", b""),
        IpAddr::V6(_) => (b"for=\"[", b"]\""),
    };
    list.extend_from_slice(before);
    let begin = list.len();
    push_address(list, peer);
    let end = list.len();
    list.extend_from_slice(after);
    if let Some(host) = host {
        list.extend_from_slice(b";host=\"");
        list.extend_from_slice(host);
        list.push(b'"');
    }
    list.extend_from_slice(b";proto=");
    list.extend_from_slice(scheme.as_bytes());
    begin..end
}

fn push_address(list: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        return list.extend_from_slice(address.to_string().as_bytes());
    };
    // Faster than the standard formatting, and this is done for each request.
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            list.push(b'.');
        }
        if octet >= 100 {
            list.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            list.push(b'0' + octet / 10 % 10);
        }
        list.push(b'0' + octet % 10);
    }
}

/// Appends an item to a list.
pub(super) fn extended(list: &str, item: &str) -> String {
    if list.is_empty() {
        item.to_owned()
    } else {
        format!("{list}, {item}")
    }
}
