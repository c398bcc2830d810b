//! The task of one HTTP/2 connection: it moves the frames of all streams, and notices a dead
//! upstream.
//!
//! A connection whose upstream is gone without a word stays open for the system. So a silent one
//! with open streams gets a PING, and is closed without its answer. Servers count PINGs that come
//! too often (gRPC's permit two within five minutes), so the intervals grow.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::load::Load;
use super::traffic::Counted;

/// How often the connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the upstream may be silent before each PING; the last interval repeats.
const SILENCES: [Duration; 3] = [
    Duration::from_secs(15),
    Duration::from_mins(1),
    Duration::from_secs(310),
];
/// How long the answer to a PING may take.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the connection until its end.
pub(super) async fn drive(mut connection: Connection<Counted, Bytes>, load: Arc<Load>) {
    let mut keepalive = connection
        .ping_pong()
        .map(|ping| Keepalive::new(ping, load));
    let mut look = pin!(sleep(LOOK_EVERY));
    poll_fn(|cx| {
        if let Poll::Ready(ended) = pin!(&mut connection).poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(%error, "an HTTP/2 connection to an upstream has ended");
            }
            return Poll::Ready(());
        }
        let Some(keepalive) = &mut keepalive else {
            return Poll::Pending;
        };
        match keepalive.poll(cx, look.as_mut()) {
            // Dropping the connection ends its streams.
            Poll::Ready(()) => {
                tracing::debug!("an upstream has not answered a PING; its connection is closed");
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

/// Watches an upstream with open streams.
struct Keepalive {
    ping: PingPong,
    load: Arc<Load>,
    /// How many bytes the upstream had sent when it was looked at last.
    seen: u64,
    silent_since: Instant,
    /// The PINGs since the last other sign of life.
    pings: usize,
    /// When the PING was sent whose answer is awaited.
    awaiting: Option<Instant>,
}

impl Keepalive {
    fn new(ping: PingPong, load: Arc<Load>) -> Self {
        Self {
            ping,
            seen: load.read(),
            load,
            silent_since: Instant::now(),
            pings: 0,
            awaiting: None,
        }
    }

    /// Ready when the upstream is dead.
    fn poll(&mut self, cx: &mut Context<'_>, mut look: Pin<&mut Sleep>) -> Poll<()> {
        if self.awaiting.is_some() && self.ping.poll_pong(cx).is_ready() {
            self.awaiting = None;
            self.silent_since = Instant::now();
            // The answer itself is no sign that PINGs are welcome.
            self.seen = self.load.read();
        }
        while look.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.is_dead(now) {
                return Poll::Ready(());
            }
            look.as_mut().reset(now + LOOK_EVERY);
        }
        Poll::Pending
    }

    /// Looks at the upstream, and sends a PING if it is time.
    fn is_dead(&mut self, now: Instant) -> bool {
        let read = self.load.read();
        if read != self.seen || self.load.open() == 0 {
            self.seen = read;
            self.silent_since = now;
            self.pings = 0;
            self.awaiting = None;
            return false;
        }
        if let Some(sent) = self.awaiting {
            return now.duration_since(sent) >= PONG_TIMEOUT;
        }
        let silence = SILENCES.get(self.pings).or(SILENCES.last());
        let is_due = silence.is_some_and(|most| now.duration_since(self.silent_since) >= *most);
        if is_due && self.ping.send_ping(Ping::opaque()).is_ok() {
            self.pings += 1;
            self.awaiting = Some(now);
        }
        false
    }
}
