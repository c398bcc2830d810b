//! Ten thousand requests between refusals, refreshes, broken connections and bodies of every size,
//! against an upstream that counts: nothing is ever sent twice except for its token, and then
//! once, whole, with another token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::world;
use crate::support::authority::Endpoint;
use crate::support::client::{Connection, request_bytes};
use crate::support::lock;
use crate::support::upstream::{Answer, Received};

const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 16;
/// The largest request that can be replayed.
const REPLAYED: usize = 64 * 1024;

/// A stream of numbers that is the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn body(&mut self) -> Vec<u8> {
        let length = match self.next(20) {
            0 => REPLAYED + usize::try_from(self.next(3)).unwrap() - 1,
            1..=4 => usize::try_from(self.next(8_000)).unwrap(),
            5..=10 => usize::try_from(self.next(100)).unwrap(),
            _ => 0,
        };
        let first = self.next(256);
        (0..length)
            .map(|i| u8::try_from((i as u64 + first) % 256).unwrap())
            .collect()
    }
}

/// The upstream's response to each request, by its number: the status, or 0 for a broken connection.
type Log = Arc<Mutex<HashMap<usize, Vec<u16>>>>;

fn number(seen: &Received) -> usize {
    seen.header("x-number")
        .expect("a number")
        .parse()
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_random_interleavings_send_nothing_twice_without_a_reason() {
    let world = world("", "").await;
    // Replaced again and again while requests are under way, so that refusals often concern a token
    // that is not the newest.
    world
        .authority
        .answer_tokens(|answer| answer.lifetime = Duration::from_secs(1));
    let log = Log::default();
    let random = Mutex::new(Random(0x9e37_79b9_7f4a_7c15));
    let (written, address) = (log.clone(), world.sidecar.address("hub"));
    world.upstream.answer(move |seen| {
        let (what, wait) = {
            let mut random = lock(&random);
            (random.next(100), random.next(10))
        };
        let (status, answer) = match what {
            0..55 => (401, Answer::status(401, "no")),
            55..60 => (403, Answer::status(403, "no")),
            60..63 => (500, Answer::status(500, "no")),
            63..66 => (0, Answer::Reset),
            66..69 => (0, Answer::Close),
            _ => (200, Answer::status(200, "yes")),
        };
        lock(&written).entry(number(seen)).or_default().push(status);
        // Some are held for so long that a refresh comes in between.
        let held = if wait == 0 {
            Duration::from_millis(300)
        } else {
            Duration::from_micros(wait * 100)
        };
        Answer::Delay(held, Box::new(answer))
    });

    let clients = (0..CONNECTIONS).map(|client| async move {
        let mut random = Random(client as u64 + 1);
        let mut connection = Connection::open(address).await;
        let mut got = Vec::new();
        for index in 0..REQUESTS / CONNECTIONS {
            let number = (client * REQUESTS + index).to_string();
            let method = ["GET", "POST", "PUT", "DELETE"][usize::try_from(random.next(4)).unwrap()];
            let (body, chunked) = (random.body(), random.next(4) == 0);
            let mut headers = vec![("X-Number", number.as_str())];
            let mut sent = body.clone();
            if chunked && !body.is_empty() {
                headers.push(("Transfer-Encoding", "chunked"));
                sent = [
                    format!("{:x}\r\n", body.len()).as_bytes(),
                    &body,
                    b"\r\n0\r\n\r\n",
                ]
                .concat();
            }
            connection
                .send(request_bytes(method, address, "/x", &headers, &sent))
                .await;
            match connection.try_answer(method).await {
                Ok(answer) => {
                    let closes = answer.header("connection") == Some("close");
                    got.push((number, method, body, answer.status));
                    if closes {
                        connection = Connection::open(address).await;
                    }
                }
                Err(_) => {
                    got.push((number, method, body, 0));
                    connection = Connection::open(address).await;
                }
            }
        }
        got
    });
    let got = futures_util::future::join_all(clients).await.concat();
    assert_eq!(got.len(), REQUESTS);

    let mut seen: HashMap<usize, Vec<Received>> = HashMap::new();
    for request in world.upstream.received() {
        seen.entry(number(&request)).or_default().push(request);
    }
    let log = lock(&log);
    let (mut replays, mut repeats) = (0, 0);
    for (number, method, body, status) in &got {
        let number: usize = number.parse().unwrap();
        let seen = seen
            .get(&number)
            .unwrap_or_else(|| panic!("{method} {number} ({status}) never came"));
        let answered = &log[&number];
        assert_eq!(
            seen.len(),
            answered.len(),
            "each that came was answered or broken off"
        );
        for request in seen {
            assert_eq!(request.method, *method);
            assert!(
                request.body == *body,
                "{} of {} bytes",
                request.body.len(),
                body.len()
            );
        }
        // The caller has the last word of the upstream; a connection that broke is ours to tell.
        match answered.last().unwrap() {
            0 => assert_eq!(*status, 502),
            last => assert_eq!(status, last),
        }
        let (mut refused, mut swallowed) = (0, 0);
        for (index, pair) in seen.windows(2).enumerate() {
            match answered[index] {
                401 => {
                    refused += 1;
                    assert!(body.len() <= REPLAYED, "{} bytes", body.len());
                    assert_ne!(
                        pair[0].bearer(),
                        pair[1].bearer(),
                        "with the same token nothing changes"
                    );
                }
                0 => {
                    swallowed += 1;
                    assert!(
                        *method != "POST" && body.is_empty(),
                        "{method} with {} bytes",
                        body.len()
                    );
                    assert_ne!(
                        pair[0].connection, pair[1].connection,
                        "on a new connection"
                    );
                }
                other => panic!("request {number} was sent once more after {other}"),
            }
        }
        assert!(
            refused <= 1 && swallowed <= 1,
            "request {number} came {} times",
            seen.len()
        );
        (replays, repeats) = (replays + refused, repeats + swallowed);
    }
    assert!(replays > 100, "only {replays} replays: this proves nothing");
    assert!(repeats > 5, "only {repeats} repeats: this proves nothing");
    let fetches = world.authority.fetches(Endpoint::Token);
    assert!(fetches > 5, "only {fetches} tokens");
}
