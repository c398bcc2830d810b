//! The checks of both sides of a recording whose client speaks HTTP/2.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Recording;
use super::super::sides::{check_request, request_body, take_upgrade};
use super::super::strict::message;
use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, all,
};

/// A stream as the client has sent it.
#[derive(Debug, Default)]
struct Sent {
    body: Vec<u8>,
    is_whole: bool,
}

/// Everything that the client has sent on its whole connection.
#[derive(Debug, Default)]
struct Client {
    streams: BTreeMap<u32, Sent>,
    /// The streams of all its frames.
    named: BTreeSet<u32>,
    pings: usize,
    settings: usize,
    /// The largest values of the settings, and 0 for the connection's window.
    initial_window: u64,
    largest_frame: usize,
    windows: BTreeMap<u32, u64>,
}

/// Checks every byte that the upstream and the client have received. Panics at a fault.
pub fn check(recording: &Recording) {
    let client = client(&recording.sent);
    for upstream in &recording.upstreams {
        check_upstream(upstream, &client);
    }
    check_client(recording, &client);
}

fn client(sent: &[u8]) -> Client {
    let mut client = Client {
        initial_window: 65_535,
        largest_frame: 16_384,
        ..Client::default()
    };
    let (frames, _) = all(sent.strip_prefix(PREFACE).unwrap_or_default());
    for frame in &frames {
        client.note(frame);
    }
    client
}

impl Client {
    fn note(&mut self, frame: &Frame<'_>) {
        self.named.insert(frame.stream);
        match frame.kind {
            HEADERS => {
                let stream = self.streams.entry(frame.stream).or_default();
                stream.is_whole |= frame.has(END_STREAM);
            }
            DATA => {
                // Frames behind the end of a stream are no part of it.
                let open = |stream: &&mut Sent| !stream.is_whole;
                if let Some(stream) = self.streams.get_mut(&frame.stream).filter(open) {
                    stream.body.extend(frame.unpadded().unwrap_or_default());
                    stream.is_whole |= frame.has(END_STREAM);
                }
            }
            PING if !frame.has(ACK) => self.pings += 1,
            SETTINGS if !frame.has(ACK) => {
                self.settings += 1;
                for setting in frame.payload.chunks_exact(6) {
                    self.set(setting[1], &setting[2..]);
                }
            }
            WINDOW_UPDATE => {
                let by = u64::from(frame.number() & 0x7FFF_FFFF);
                *self.windows.entry(frame.stream).or_default() += by;
            }
            _ => {}
        }
    }

    fn set(&mut self, setting: u8, value: &[u8]) {
        let value = value
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte));
        match setting {
            4 => self.initial_window = self.initial_window.max(value),
            5 => {
                let largest = usize::try_from(value).unwrap_or(usize::MAX);
                self.largest_frame = self.largest_frame.max(largest);
            }
            _ => {}
        }
    }

    /// The bytes of DATA that a stream, or the connection (0), may receive in all.
    fn window(&self, stream: u32) -> u64 {
        let initial = match stream {
            0 => 65_535,
            _ => self.initial_window,
        };
        initial + self.windows.get(&stream).copied().unwrap_or_default()
    }
}

/// Checks that each request is permitted, and that its body is that of a stream.
fn check_upstream(mut bytes: &[u8], client: &Client) {
    while !bytes.is_empty() {
        let Some((mut request, length)) = message(bytes, request_body, |_| true) else {
            // The connection broke inside a head.
            break;
        };
        if take_upgrade(&mut request) {
            // An extended CONNECT (RFC 8441). Its frames may follow.
            check_request(&request);
            break;
        }
        check_request(&request);
        let is_chunked = request.all("content-length").is_empty();
        let is_of = |sent: &Sent| {
            let ends_there = sent.is_whole && sent.body.len() == request.body.len();
            let may_end = !request.is_whole || !is_chunked || ends_there;
            may_end && sent.body.starts_with(&request.body)
        };
        let found = client.streams.values().any(is_of);
        assert!(found, "no stream has {request:?}");
        bytes = &bytes[length..];
    }
}

/// A stream as the client has received it.
#[derive(Default)]
struct Received {
    has_head: bool,
    is_ended: bool,
    is_reset: bool,
    data: u64,
}

/// Checks the frames that the client has received.
fn check_client(recording: &Recording, client: &Client) {
    let (frames, rest) = all(&recording.received);
    assert!(
        rest.is_empty() || recording.is_reset,
        "half a frame: {rest:?}"
    );
    let mut streams = BTreeMap::<u32, Received>::new();
    let (mut pings, mut settings, mut data) = (0, 0, 0);
    let mut block = None;
    for (at, frame) in frames.iter().enumerate() {
        let is_first = at == 0 && frame.kind == SETTINGS && !frame.has(ACK);
        assert!(at > 0 || is_first, "the first frame: {frame:?}");
        assert!(
            frame.payload.len() <= client.largest_frame,
            "{}",
            frame.payload.len()
        );
        match block.take() {
            Some(stream) => assert_eq!((frame.kind, frame.stream), (CONTINUATION, stream)),
            None => assert_ne!(frame.kind, CONTINUATION, "{frame:?}"),
        }
        match frame.kind {
            PING if frame.has(ACK) => pings += 1,
            SETTINGS if frame.has(ACK) => settings += 1,
            PING | SETTINGS | GOAWAY => assert_eq!(frame.stream, 0, "{frame:?}"),
            WINDOW_UPDATE if frame.stream == 0 => {}
            // The answer to a broken frame, also of a stream that the client has not opened.
            RST_STREAM if client.named.contains(&frame.stream) => {
                streams.entry(frame.stream).or_default().is_reset = true;
            }
            DATA | HEADERS | CONTINUATION | WINDOW_UPDATE => {
                let is_own = frame.stream % 2 == 1 && client.streams.contains_key(&frame.stream);
                assert!(is_own, "no stream of the client: {frame:?}");
                check_frame(frame, streams.entry(frame.stream).or_default());
            }
            _ => panic!("no frame of a server: {frame:?}"),
        }
        if frame.kind == DATA {
            data += u64::try_from(frame.payload.len()).expect("a length");
        }
        let is_block = matches!(frame.kind, HEADERS | CONTINUATION);
        if is_block && !frame.has(END_HEADERS) {
            block = Some(frame.stream);
        }
    }
    assert!(
        pings <= client.pings && settings <= client.settings,
        "{pings} {settings}"
    );
    assert!(
        data <= client.window(0),
        "{data} bytes beyond the connection's window"
    );
    for (id, stream) in &streams {
        assert!(
            stream.data <= client.window(*id),
            "beyond the window of stream {id}"
        );
    }
}

fn check_frame(frame: &Frame<'_>, stream: &mut Received) {
    match frame.kind {
        WINDOW_UPDATE => {}
        CONTINUATION => assert!(stream.has_head, "{frame:?}"),
        _ => {
            assert!(
                !stream.is_ended && !stream.is_reset,
                "behind the end: {frame:?}"
            );
            assert!(
                stream.has_head || frame.kind == HEADERS,
                "DATA before a head"
            );
            stream.has_head = true;
            stream.is_ended = frame.has(END_STREAM);
            if frame.kind == DATA {
                stream.data += u64::try_from(frame.payload.len()).expect("a length");
            }
        }
    }
}
