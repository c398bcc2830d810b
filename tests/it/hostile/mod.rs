//! Hostile HTTP/1.1: the upstream receives only allowed requests in canonical form, and each client
//! receives only its own answers.
//! Every case is a row of a table: a name, the bytes, and the expected answers in order. Around
//! each case other clients send requests with their own markers over the same upstream connections.
//! A request that must not pass has `smuggled` in its target, a field `forged` in its value. The
//! recording upstream panics at both, and at every request that is not in canonical form.

mod answers;
pub mod fields;
mod framing;
mod heads;
mod keys;
pub mod recorder;
mod sequences;
mod slow;
pub mod targets;
mod words;

use std::net::SocketAddr;

use recorder::Recorder;

use crate::support::authority::{Authority, Endpoint};
use crate::support::client::Connection;
use crate::support::sidecar::Sidecar;
use crate::support::{AUDIENCE, logs, until};

/// A status and the sidecar's reason; no reason: the upstream's answer.
pub type Expected = (u16, &'static str);

/// A name, the bytes, the answers. In the bytes `{m}` stands for the case's own marker, `{h}` for a
/// valid `Host` line, `{t}` for a valid token. `{s}` is a request of 41 bytes that must not pass,
/// `{NN}` a byte in hexadecimal.
pub type Case<'a> = (&'a str, &'a str, &'a [Expected]);

/// It passes.
pub const OK: Expected = (200, "");
/// It is no strict HTTP.
pub const BAD: Expected = (400, "malformed_request");
/// Its path has two readings.
pub const PATH: Expected = (400, "ambiguous_path");
/// Its real target was checked, and needs a token.
pub const NO_TOKEN: Expected = (401, "no_token");
/// Its head is too large.
pub const TOO_LARGE: Expected = (431, "head_too_large");

const SMUGGLED: &str = "GET /admin/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// How the bytes are split into packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pieces {
    Whole,
    /// Between CR and LF, and after a digit, where a reader without state across reads fails.
    Awkward,
    Bytes,
}

/// A sidecar with one worker, so that all requests share the upstream's connections.
pub struct World {
    _authority: Authority,
    pub recorder: Recorder,
    sidecar: Sidecar,
    pub token: String,
    pub name: String,
    pub canaries: usize,
    pub mark: usize,
}

impl World {
    pub async fn new(listener: &str) -> Self {
        let (authority, recorder) = (Authority::start(), Recorder::start());
        // Its name is unique, because the tests share the log.
        let name = format!("h{}", recorder.address().port());
        let yaml = format!(
            r#"
threads: 1
authorities: {{ users: {{ issuer: "{}" }} }}
stateDir: "@DIR@"
inbound:
  - name: "{}"
    listen: 127.0.0.1:0
    upstream: "http://{}"
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules:
      - {{ paths: ["/public/**"], access: public }}
      - {{ paths: ["/devices/**"], scopes: ["devices:read"] }}
      - {{ paths: ["/admin/**"], scopes: ["admin"] }}
{listener}
"#,
            authority.issuer(),
            name,
            recorder.address()
        );
        let mark = logs::mark();
        let sidecar = Sidecar::start(&yaml).await;
        authority.wait_for_fetches(Endpoint::Jwks, 1).await;
        let token = authority.token().sign();
        Self {
            _authority: authority,
            recorder,
            sidecar,
            token,
            name,
            canaries: 0,
            mark,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.sidecar.address(&self.name)
    }

    /// Another client's request, on its open connection; the answer must be its own.
    pub async fn canary(&mut self, kept: &mut Connection, after: &str) {
        self.canaries += 1;
        let target = format!("/public/canary/{}", self.canaries);
        kept.send(format!("GET {target} HTTP/1.1\r\nHost: canary\r\n\r\n"))
            .await;
        let answer = kept.answer().await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, target),
            "a canary around {after}"
        );
    }

    /// Runs a table, with each way to split the bytes.
    async fn run(&mut self, cases: &[Case<'_>]) {
        for pieces in [Pieces::Whole, Pieces::Awkward, Pieces::Bytes] {
            for (name, wire, expected) in cases {
                let marker = format!("c{}", self.canaries);
                let wire = self.bytes(wire, &marker);
                self.run_case(
                    &format!("{name} ({pieces:?})"),
                    &marker,
                    &wire,
                    expected,
                    pieces,
                )
                .await;
            }
        }
        self.check_recorded().await;
    }

    async fn run_case(
        &mut self,
        name: &str,
        marker: &str,
        wire: &[u8],
        expected: &[Expected],
        pieces: Pieces,
    ) {
        let mut kept = Connection::open(self.address()).await;
        self.canary(&mut kept, name).await;
        let mut hostile = Connection::open(self.address()).await;
        send(&mut hostile, wire, pieces).await;
        self.canary(&mut kept, name).await;
        for (number, expected) in expected.iter().enumerate() {
            let method = if number == 0 && wire.starts_with(b"HEAD ") {
                "HEAD"
            } else {
                "GET"
            };
            let answer = hostile.try_answer(method).await;
            let answer =
                answer.unwrap_or_else(|error| panic!("{name}: no answer {number}: {error:?}"));
            let reason = answer.header("x-m2m-reason").unwrap_or_default();
            assert_eq!(
                (answer.status, reason),
                *expected,
                "{name}: answer {number}: {answer:?}"
            );
            if [BAD, PATH].contains(expected) {
                let text = answer.json()["error_description"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                assert!(text.contains(": "), "{name}: the rule is named: {text}");
            }
            if reason.is_empty() && method != "HEAD" {
                assert!(
                    answer.text().contains(marker),
                    "{name}: a foreign answer: {answer:?}"
                );
            }
        }
        hostile.finish_sending().await;
        assert!(hostile.is_ended().await, "{name}: one answer too many");
        let passed = expected.iter().filter(|(status, _)| *status == 200).count();
        let whole = |request: &&recorder::Recorded| request.target.contains(&format!("{marker}x"));
        let recorded = self.recorder.requests().iter().filter(whole).count();
        assert_eq!(recorded, passed, "{name}: requests at the upstream");
        self.canary(&mut kept, name).await;
        self.canary(&mut Connection::open(self.address()).await, name)
            .await;
    }

    /// The bytes of a row.
    pub fn bytes(&self, wire: &str, marker: &str) -> Vec<u8> {
        // The `x` ends the marker: `c1` is part of `c10`.
        let wire = wire
            .replace("{m}", &format!("{marker}x"))
            .replace("{h}", "Host: a\r\n");
        let wire = wire.replace("{s}", SMUGGLED).replace("{t}", &self.token);
        let mut bytes = Vec::new();
        let mut rest = wire.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            bytes.extend_from_slice(before.as_bytes());
            let byte = after
                .get(..2)
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            match byte.filter(|_| after.get(2..3) == Some("}")) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &after[3..];
                }
                None => {
                    bytes.push(b'{');
                    rest = after;
                }
            }
        }
        bytes.extend_from_slice(rest.as_bytes());
        bytes
    }

    /// Checks that each whole request at the upstream has a line in the log, and that all requests
    /// are in canonical form.
    ///
    /// A client whose bytes break HTTP after its request is whole may have a line that says so,
    /// although the request was allowed.
    pub async fn check_recorded(&self) {
        let recorded = self.recorder.requests();
        let listener = format!("listener=\"{}\"", self.name);
        let lines = |of: &str| logs::lines_since(self.mark, &["access", &listener, of]);
        let is_noted = |request: &recorder::Recorded| {
            let path = request.target.split('?').next().unwrap_or_default();
            !lines(&format!("path=\"{path}\"")).is_empty()
        };
        // The line of a request is written after its answer.
        until("each request has a line", async || {
            lines("decision=\"allow\"").len() >= recorded.len() || recorded.iter().all(is_noted)
        })
        .await;
        self.recorder.read_again();
    }
}

async fn send(connection: &mut Connection, wire: &[u8], pieces: Pieces) {
    let mut from = 0;
    for at in 1..=wire.len() {
        let awkward = wire[at - 1] == b'\r' || wire[at - 1].is_ascii_digit();
        let cut = at == wire.len()
            || match pieces {
                Pieces::Whole => false,
                Pieces::Awkward => awkward,
                Pieces::Bytes => true,
            };
        if cut {
            connection.send(&wire[from..at]).await;
            from = at;
            if pieces != Pieces::Whole {
                // In most cases the sidecar's thread reads this piece alone.
                tokio::task::yield_now().await;
            }
        }
    }
}
