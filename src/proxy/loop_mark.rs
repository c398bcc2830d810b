//! Marks requests to loopback and private addresses, so that a listener detects a request that
//! returns to it.
//!
//! Two sidecars that point at each other would pass one request back and forth until no descriptors
//! are left, and neither configuration shows the loop. So each listener adds its own id to the
//! requests that it forwards (as RFC 8586 does for CDNs), and refuses a request with this id. The
//! id is random and changes at each start, so it reveals nothing and no client can guess it. A
//! client that learned the id from its service can only end its own requests.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use uuid::Uuid;

use super::headers::Added;
use crate::domain::public_address::is_public;
use crate::domain::reason::Reason;

/// The header: ids separated by commas, newest last. Its name differs from the prefix of the
/// identity headers.
pub const LOOP: HeaderName = HeaderName::from_static("m2m-loop");
const ID: usize = 32;
/// A request passes at most this many listeners, which also limits the header's length.
const MOST_LISTENERS: usize = 16;

/// The mark of one listener.
#[derive(Debug)]
pub struct LoopMark {
    id: String,
    /// The header for a request without other marks.
    alone: Option<HeaderValue>,
}

impl Default for LoopMark {
    fn default() -> Self {
        let id = Uuid::new_v4().simple().to_string();
        Self {
            alone: HeaderValue::from_str(&id).ok(),
            id,
        }
    }
}

impl LoopMark {
    /// Checks a received request.
    ///
    /// # Errors
    /// [`Reason::Loop`] when this listener has already sent it, or when it has passed too many
    /// listeners.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Reason> {
        let mut listeners = 0;
        for id in ids(headers) {
            listeners += 1;
            if id == self.id.as_bytes() || listeners >= MOST_LISTENERS {
                return Err(Reason::Loop);
            }
        }
        Ok(())
    }

    /// The header's value for a request to this address; `None` for a public address.
    pub fn next(&self, headers: &HeaderMap, to: Option<SocketAddr>) -> Option<HeaderValue> {
        if to.is_none_or(|to| is_public(to.ip())) {
            return None;
        }
        if !headers.contains_key(LOOP) {
            return self.alone.clone();
        }
        let mut list: Vec<&[u8]> = ids(headers).collect();
        list.push(self.id.as_bytes());
        HeaderValue::from_bytes(&list.join(&b',')).ok()
    }

    /// Replaces the received header.
    pub fn write(request: &mut RequestHeader, added: &mut Added, value: Option<HeaderValue>) {
        match value {
            Some(value) => added.replace(request, LOOP, value),
            None => drop(request.remove_header(&LOOP)),
        }
    }
}

/// The ids of a request. Values of another form do not come from a sidecar and are dropped.
fn ids(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let parts = headers
        .get_all(LOOP)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_id = |id: &&[u8]| {
        id.len() == ID
            && id
                .iter()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
    };
    parts.map(<[u8]>::trim_ascii).filter(is_id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: &str = "127.0.0.1:80";

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values
            .iter()
            .map(|value| (LOOP, HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    fn to(address: &str) -> Option<SocketAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn a_listener_detects_its_own_mark_among_others() {
        let (a, b) = (LoopMark::default(), LoopMark::default());
        assert_ne!(a.id, b.id);
        let mut request = headers(&[]);
        a.check(&request).unwrap();
        for mark in [&a, &b] {
            mark.check(&request).unwrap();
            let next = mark.next(&request, to(HERE)).unwrap();
            request.insert(LOOP, next);
        }
        assert_eq!(a.check(&request), Err(Reason::Loop));
        assert_eq!(b.check(&request), Err(Reason::Loop));
        LoopMark::default().check(&request).unwrap();
        let split = headers(&[b.id.as_bytes(), a.id.as_bytes()]);
        assert_eq!(a.check(&split), Err(Reason::Loop));
    }

    #[test]
    fn only_loopback_and_private_addresses_get_a_mark() {
        let mark = LoopMark::default();
        for address in [
            "127.0.0.1:1",
            "[::1]:1",
            "10.0.0.1:1",
            "192.168.1.1:1",
            "172.16.0.1:1",
            "[fd00::1]:1",
        ] {
            assert!(mark.next(&headers(&[]), to(address)).is_some(), "{address}");
        }
        for address in ["1.1.1.1:443", "[2606:4700::1]:443"] {
            assert_eq!(
                mark.next(&headers(&[mark.id.as_bytes()]), to(address)),
                None,
                "{address}"
            );
        }
    }

    #[test]
    fn a_malformed_mark_is_ignored_and_dropped() {
        let mark = LoopMark::default();
        for odd in [
            &b"x"[..],
            b"",
            b",,,",
            b"\xff\xff",
            b"0123456789ABCDEF0123456789ABCDEF",
            b"a,b,c",
        ] {
            let request = headers(&[odd]);
            mark.check(&request).unwrap();
            assert_eq!(mark.next(&request, to(HERE)).unwrap(), mark.id.as_str());
        }
        let many = ["0".repeat(ID).as_str(); MOST_LISTENERS].join(", ");
        assert_eq!(mark.check(&headers(&[many.as_bytes()])), Err(Reason::Loop));
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_a_panic(value in proptest::collection::vec(0x20_u8..0x7f, 0..200)) {
            let (mark, request) = (LoopMark::default(), headers(&[&value]));
            let _ = mark.check(&request);
            prop_assert!(mark.next(&request, to(HERE)).is_some());
        }
    }
}
