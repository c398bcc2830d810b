//! The boundaries of gRPC messages: a flag, a length of four bytes, and the message.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::domain::reason::Reason;
use crate::proxy::{answer, grpc};

const HEADER: usize = 5;
const UNAUTHENTICATED: HeaderValue = HeaderValue::from_static("16");
const DEADLINE_EXCEEDED: HeaderValue = HeaderValue::from_static("4");
const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");

/// Follows the messages of a response.
#[derive(Default)]
pub(super) struct Messages {
    header: [u8; HEADER],
    held: usize,
    /// The bytes of the current message that are missing.
    missing: usize,
}

impl Messages {
    /// Follows these bytes.
    pub fn pass(&mut self, bytes: &Bytes) {
        let mut bytes: &[u8] = bytes;
        while !bytes.is_empty() {
            let skipped = self.missing.min(bytes.len());
            self.missing -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            if let Some(place) = self.header.get_mut(self.held) {
                *place = *byte;
            }
            self.held += 1;
            if self.held == HEADER {
                let [_, a, b, c, d] = self.header;
                self.held = 0;
                self.missing =
                    usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            }
        }
    }

    /// Whether the next byte begins a message.
    pub fn is_between(&self) -> bool {
        self.held == 0 && self.missing == 0
    }
}

/// The trailers that end a stream for this reason.
pub(super) fn trailers(reason: Reason) -> HeaderMap {
    let status = answer::table(reason).map_or(500, |row| row.status);
    let status = match status {
        ..500 => UNAUTHENTICATED,
        504 => DEADLINE_EXCEEDED,
        _ => UNAVAILABLE,
    };
    let text = grpc::message(reason.meaning());
    HeaderMap::from_iter([(grpc::STATUS, status), (grpc::MESSAGE, text)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn boundaries_are_found_at_every_cut(
            lengths in prop::collection::vec(0..40_usize, 1..6),
            cut in 1..12_usize,
        ) {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for length in lengths {
                bytes.push(0);
                bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
                bytes.extend(vec![0; length]);
                ends.push(bytes.len());
            }
            let (mut messages, mut at) = (Messages::default(), 0);
            for part in bytes.chunks(cut) {
                messages.pass(&Bytes::copy_from_slice(part));
                at += part.len();
                prop_assert_eq!(messages.is_between(), ends.contains(&at), "{}", at);
            }
        }
    }

    #[test]
    fn trailers_say_whether_another_token_helps() {
        for (reason, status) in [
            (Reason::Expired, "16"),
            (Reason::Revoked, "16"),
            (Reason::UnknownKid, "16"),
            (Reason::KeysUnavailable, "14"),
            (Reason::UpstreamTimeout, "4"),
        ] {
            assert_eq!(trailers(reason)["grpc-status"], status);
        }
    }
}
