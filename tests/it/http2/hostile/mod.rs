//! Hostile HTTP/2, frame by frame: the upstream receives only allowed requests in canonical form,
//! and other connections are undisturbed.
//!
//! Every case is a row of a table: a name, the frames, and the end of stream 1. The words
//! `smuggled` and `forged` mark parts that must not pass: the recording upstream panics at them.

mod fields;
mod floods;
mod frames;
mod heads;
mod lengths;
mod paths;
mod websockets;

use std::net::SocketAddr;

use crate::hostile::{OK, World};
use crate::support::client::Connection;
use crate::support::http2::{Outcome, PREFACE, RawClient, settings};

/// The codes of RFC 9113 §7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The end of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Stream 1 has a response of this status and reason; no reason: that of the upstream.
    Answer(u16, &'static str),
    /// Stream 1 is reset with this code.
    Reset(u32),
    /// The connection ends with this code in its GOAWAY frame.
    Goaway(u32),
    /// The connection ends without an error.
    Closed,
    /// Nothing follows, and the connection stays open.
    Silence,
}

const PASSES: End = End::Answer(OK.0, OK.1);
const MALFORMED: End = End::Reset(PROTOCOL_ERROR);
const BAD: End = End::Answer(400, "malformed_request");

/// The open path of a case, with its marker, and a valid token.
struct Around<'a> {
    path: String,
    token: &'a str,
}

/// A world with a client of HTTP/2 beside the canaries of HTTP/1.1.
struct Arena {
    world: World,
    failures: Vec<String>,
}

impl Arena {
    async fn new() -> Self {
        Self {
            world: World::new("").await,
            failures: Vec::new(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.world.address()
    }

    /// Sends the bytes after an ordinary beginning, whole and in single bytes.
    async fn run(&mut self, name: &str, make: impl Fn(&Around<'_>) -> Vec<u8>, expected: End) {
        self.run_from(
            name,
            |around| [&begin()[..], &make(around)].concat(),
            expected,
        )
        .await;
    }

    /// Sends the bytes from the first one on.
    async fn run_from(&mut self, name: &str, make: impl Fn(&Around<'_>) -> Vec<u8>, expected: End) {
        self.run_for(name, make, &[expected]).await;
    }

    /// Sends the bytes from the first one on. With several ends, the frames decide by their arrival
    /// which one comes, and whether the upstream has the request.
    async fn run_for(&mut self, name: &str, make: impl Fn(&Around<'_>) -> Vec<u8>, ends: &[End]) {
        let token = self.world.token.clone();
        for in_bytes in [false, true] {
            let marker = format!("c{}x", self.world.canaries);
            let around = Around {
                path: format!("/public/{marker}"),
                token: &token,
            };
            let bytes = make(&around);
            if in_bytes && bytes.len() > 1500 {
                break;
            }
            let mut kept = Connection::open(self.address()).await;
            self.world.canary(&mut kept, name).await;
            let mut client = RawClient::silent(self.address()).await;
            if in_bytes {
                for byte in bytes.chunks(1) {
                    client.send(byte).await;
                    tokio::task::yield_now().await;
                }
            } else {
                client.send(&bytes).await;
            }
            self.world.canary(&mut kept, name).await;
            let end = self.end(&mut client, ends[0], &marker).await;
            if !ends.contains(&end) {
                let failure = format!("{name} (bytes: {in_bytes}): {end:?}, not {ends:?}");
                self.failures.push(failure);
            }
            self.check_passed(name, &marker, ends);
        }
    }

    /// The end of stream 1, or of the connection.
    async fn end(&self, client: &mut RawClient, expected: End, marker: &str) -> End {
        if expected == End::Silence {
            let before = client.until_pong(9).await;
            return match before {
                Some(frames) if frames.iter().all(|frame| frame.stream == 0) => End::Silence,
                Some(frames) => panic!("{frames:?}"),
                None => client
                    .goaways
                    .last()
                    .map_or(End::Closed, |it| End::Goaway(*it)),
            };
        }
        match client.outcome(1).await {
            Outcome::Response(response) => {
                let reason = response
                    .header("x-m2m-reason")
                    .unwrap_or_default()
                    .to_owned();
                let is_own = response.text().contains(marker);
                assert!(
                    !reason.is_empty() || response.status != 200 || is_own,
                    "{response:?}"
                );
                End::Answer(response.status, reason.leak())
            }
            Outcome::Reset(code) => End::Reset(code),
            Outcome::Closed(None | Some(0)) => End::Closed,
            Outcome::Closed(Some(code)) => End::Goaway(code),
        }
    }

    /// Whether the upstream has exactly the requests that pass.
    fn check_passed(&mut self, name: &str, marker: &str, ends: &[End]) {
        let passes = |end: &End| usize::from(matches!(end, End::Answer(200, "")));
        let recorded = self.world.recorder.requests();
        let of_case = recorded.iter().filter(|it| it.target.contains(marker));
        let count = of_case.count();
        if !ends.iter().any(|end| passes(end) == count) {
            self.failures
                .push(format!("{name}: {count} requests at the upstream"));
        }
    }

    /// Checks the requests at the upstream, and reports all cases that ended otherwise.
    async fn finish(self) -> World {
        assert!(self.failures.is_empty(), "{:#?}", self.failures);
        self.world.check_recorded().await;
        self.world
    }
}

/// The ordinary beginning of a connection.
fn begin() -> Vec<u8> {
    [PREFACE, &settings(&[])].concat()
}
