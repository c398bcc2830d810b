//! Reuse of connections: how long they are kept, and which requests are repeated when one breaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderName;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};

use super::Tries;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// The upstream has not announced how long it keeps an idle connection.
const UNSAID: u64 = u64::MAX;
/// Odd, so that its multiples differ from the keys of other pools.
const PER_SECOND: u64 = 0x9e37_79b9_7f4a_7c15;
const PER_CONNECTION: u64 = 0xd1b5_4a32_d192_ed03;
/// Counts the single-use connections.
static SINGLE: AtomicU64 = AtomicU64::new(1);

/// How long idle connections to one upstream are kept.
pub(super) struct Idle {
    configured: Duration,
    /// The shortest time in seconds that the upstream has announced (`Keep-Alive: timeout=N`, RFC
    /// 2068 §19.7.1.1).
    announced: AtomicU64,
}

impl Idle {
    pub fn new(configured: Duration) -> Self {
        Self {
            configured,
            announced: AtomicU64::new(UNSAID),
        }
    }

    /// Records the time that a response announces.
    pub fn note(&self, answer: &ResponseHeader) {
        let values = answer
            .headers
            .get_all(KEEP_ALIVE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        if let Some(seconds) = values.filter_map(announced).min() {
            self.announced.fetch_min(seconds, Ordering::Relaxed);
        }
    }

    /// Discards the announcement: another server may be at the address now.
    pub fn forget(&self) {
        self.announced.store(UNSAID, Ordering::Relaxed);
    }

    /// Sets the idle time of the peer's connection slightly below the upstream's. Pingora's pool
    /// needs the time before the response, so connections from another announcement are not reused.
    pub fn apply(&self, peer: &mut HttpPeer) {
        let announced = self.announced.load(Ordering::Relaxed);
        let kept = self.kept(announced);
        if kept.is_zero() {
            return connect_fresh(peer);
        }
        if kept < self.configured {
            peer.group_key = peer
                .group_key
                .wrapping_add(PER_SECOND.wrapping_mul(announced.wrapping_add(1)));
        }
        peer.options.idle_timeout = Some(kept);
    }

    fn kept(&self, announced: u64) -> Duration {
        let theirs = match announced {
            0 => Duration::ZERO,
            1 => Duration::from_millis(500),
            seconds => Duration::from_secs(seconds - 1),
        };
        theirs.min(self.configured)
    }
}

/// The seconds of `timeout=N`.
fn announced(value: &str) -> Option<u64> {
    value.split([',', ';']).find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"').parse().ok()?;
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then_some(seconds)
    })
}

/// Requires a new, single-use connection for this peer. Pingora's pool keeps even connections
/// without idle time for a moment, so the connection gets its own key.
pub(in crate::proxy) fn connect_fresh(peer: &mut HttpPeer) {
    let number = SINGLE.fetch_add(1, Ordering::Relaxed);
    peer.group_key ^= PER_CONNECTION.wrapping_mul(number);
    peer.options.idle_timeout = Some(Duration::ZERO);
}

/// The requests that are repeated when a reused connection breaks before the first byte of the
/// response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Those with an idempotent method (RFC 9110 §9.2.2) whose body, if any, is still available.
    Idempotent,
    /// Idempotent requests without a body.
    IdempotentWithoutBody,
}

/// Decides whether a request is repeated, and records in `tries` that it uses a new connection.
/// `is_answered`: the response head has arrived. `reused`: its connection had been idle. A
/// request is repeated with any method if the certificate needs the other verification.
pub fn decide_repeat(
    session: &mut Session,
    mut error: Box<Error>,
    (reused, is_answered): (bool, bool),
    repeat: Repeat,
    tries: &mut Tries,
) -> Box<Error> {
    if std::mem::take(&mut tries.verifies_otherwise) {
        // Nothing has been sent.
        error.set_retry(true);
        return error;
    }
    let may_be_sent_twice = session.req_header().method.is_idempotent()
        && !session.as_ref().retry_buffer_truncated()
        && (repeat == Repeat::Idempotent || session.is_body_empty());
    let repeats = reused && !is_answered && may_be_sent_twice && has_swallowed(&error);
    tries.fresh |= repeats;
    error.set_retry(repeats);
    error
}

/// Whether the upstream ended the connection without a byte of a response.
fn has_swallowed(error: &Error) -> bool {
    let ended = matches!(
        error.etype(),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
    );
    // Pingora's error text counts the bytes of an incomplete head.
    const READ: &str = "bytes already read: ";
    let text = error.to_string();
    let has_begun = text
        .split_once(READ)
        .is_some_and(|(_, count)| !count.starts_with('0'));
    *error.esource() == ErrorSource::Upstream && ended && !has_begun
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_kept_a_little_less_than_the_upstream_announces() {
        let kept = |values: &[&str]| {
            let idle = Idle::new(Duration::from_secs(25));
            let mut answer = ResponseHeader::build(200, None).unwrap();
            for value in values {
                answer.append_header("Keep-Alive", *value).unwrap();
            }
            idle.note(&answer);
            idle.kept(idle.announced.load(Ordering::Relaxed))
                .as_millis()
        };
        assert_eq!(kept(&[]), 25_000);
        assert_eq!(kept(&["timeout=5"]), 4_000);
        assert_eq!(kept(&["timeout=5, max=100"]), 4_000);
        assert_eq!(kept(&["max=100,Timeout = \"2\""]), 1_000);
        assert_eq!(kept(&["timeout=60", "timeout=15"]), 14_000);
        assert_eq!(kept(&["timeout=1"]), 500);
        assert_eq!(kept(&["timeout=0"]), 0);
        for nothing in [
            "timeout=",
            "timeout=x",
            "timeout=-1",
            "timeout=99999999999999999999",
            "5",
            "max=1",
        ] {
            assert_eq!(kept(&[nothing]), 25_000, "{nothing}");
        }
        assert_eq!(kept(&["timeout=18446744073709551615"]), 25_000);
    }

    #[test]
    fn only_an_end_without_a_byte_of_an_answer_is_a_swallowed_request() {
        let error = |kind: ErrorType, text: &'static str| *Error::explain(kind, text).into_up();
        for text in ["", "while reading response headers, bytes already read: 0"] {
            assert!(
                has_swallowed(&error(ErrorType::ConnectionClosed, text)),
                "{text}"
            );
            assert!(has_swallowed(&error(ErrorType::ReadError, text)), "{text}");
        }
        let begun = "while reading response headers, bytes already read: 10";
        assert!(!has_swallowed(&error(ErrorType::ConnectionClosed, begun)));
        assert!(!has_swallowed(&error(ErrorType::ReadTimedout, "")));
        assert!(!has_swallowed(&error(ErrorType::InvalidHTTPHeader, "")));
        assert!(!has_swallowed(
            &Error::explain(ErrorType::ConnectionClosed, "").into_down()
        ));
    }
}
