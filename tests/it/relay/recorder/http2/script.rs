//! The script of a run, as bytes that a fuzzer can change. Each byte selects an operation, and the
//! following bytes are its parameters; a missing parameter is 0.

use std::time::Duration;

use super::super::Step;
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, written,
};

/// The bytes of all pieces of both sides.
const MOST_BYTES: usize = 1 << 20;

/// Fields of a head. The first ones are those of an ordinary request.
const FIELDS: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/public/a"),
    (":method", "POST"),
    (":method", "HEAD"),
    (":method", "CONNECT"),
    (":method", "get x"),
    (":scheme", "https"),
    (":scheme", "ftp"),
    (":authority", "a@b"),
    (":authority", ""),
    (":path", "/admin"),
    (":path", "/public/../admin"),
    (":path", "/public/%2e%2e/admin"),
    (":path", "/public/a#b"),
    (":path", "public"),
    (":path", "*"),
    (":path", ""),
    (":path", "/public/a HTTP/1.1\r\nx: y"),
    (":protocol", "websocket"),
    (":status", "200"),
    (":other", "x"),
    ("host", "a"),
    ("host", "b"),
    ("content-length", "5"),
    ("content-length", "0"),
    ("content-length", "5, 5"),
    ("content-length", "99999999999999999999"),
    ("transfer-encoding", "chunked"),
    ("connection", "close"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "close"),
    ("upgrade", "websocket"),
    ("http2-settings", "AAMAAABk"),
    ("te", "trailers"),
    ("te", "gzip"),
    ("trailer", "x-sum"),
    ("expect", "100-continue"),
    ("cookie", "a=1"),
    ("cookie", "b=2"),
    ("authorization", "Bearer x"),
    ("x-m2m-subject", "forged"),
    ("x_m2m_subject", "forged"),
    ("x-forwarded-for", "192.0.2.9"),
    ("forwarded", "for=192.0.2.9"),
    ("content-type", "application/grpc"),
    ("grpc-timeout", "1S"),
    ("grpc-timeout", "x"),
    ("accept", "text/event-stream"),
    ("sec-websocket-version", "13"),
    ("x-Upper", "y"),
    ("x space", "y"),
    ("", "y"),
    ("x-line", "a\r\nsmuggled: b"),
    ("x-null", "a\0b"),
    ("x-end", " y "),
];

/// Parts of an upstream's bytes.
const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "2\r\nok\r\n",
    "0\r\n\r\n",
    "0\r\nx-sum: 1\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nrest",
    "HTTP/1.1 200 OK\r\nConnection: close, x\r\nX: y\r\nKeep-Alive: a\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
    "ok",
    "\r\n",
];

/// The script that these bytes encode. The client begins with the preface and its settings.
pub fn steps(data: &[u8]) -> Vec<Step> {
    let mut script = Script {
        data: data.iter().copied(),
        steps: Vec::new(),
        piece: [PREFACE, &written(SETTINGS, 0, 0, &[])].concat(),
        written: 0,
        next: 1,
    };
    while let Some(operation) = script.data.next() {
        if script.written > MOST_BYTES {
            break;
        }
        script.apply(operation);
    }
    script.send();
    script.steps
}

struct Script<I> {
    data: I,
    steps: Vec<Step>,
    /// The client's frames that are not sent yet.
    piece: Vec<u8>,
    written: usize,
    /// The id of the client's next stream.
    next: u32,
}

impl<I: Iterator<Item = u8>> Script<I> {
    fn byte(&mut self) -> u8 {
        self.data.next().unwrap_or_default()
    }

    fn short(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// Any bytes of the script.
    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte());
        self.data.by_ref().take(length).collect()
    }

    /// A stream of the connection: 0 is the last opened one, 1 the one before, and so on. From 200
    /// on, it is the number itself less 200.
    fn stream(&mut self) -> u32 {
        match u32::from(self.byte()) {
            number @ 200.. => number - 200,
            back => self.next.saturating_sub(2).saturating_sub(2 * back),
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let bytes = written(kind, flags, stream, payload);
        self.written += bytes.len();
        self.piece.extend(bytes);
    }

    /// Sends the collected frames as one piece.
    fn send(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if !piece.is_empty() {
            self.steps.push(Step::Client(piece));
        }
    }

    fn step(&mut self, step: Step) {
        self.send();
        self.steps.push(step);
    }

    fn upstream(&mut self, bytes: Vec<u8>) {
        self.written += bytes.len();
        self.step(Step::Upstream(bytes));
    }

    fn apply(&mut self, operation: u8) {
        match operation % 32 {
            0 | 1 => self.request(),
            2 | 3 => {
                let (flags, stream, length) = (self.byte() % 2, self.stream(), self.short());
                self.frame(DATA, flags, stream, &vec![b'd'; length % 20_000]);
            }
            4 => {
                let (kind, flags, stream) = (self.byte() % 11, self.byte(), self.stream());
                let payload = self.bytes();
                self.frame(kind, flags, stream, &payload);
            }
            5 => {
                let (stream, code) = (self.stream(), u32::from(self.byte() % 15));
                self.frame(RST_STREAM, 0, stream, &code.to_be_bytes());
            }
            6 => {
                let setting = u16::from(self.byte() % 9).to_be_bytes();
                let value = self.number().to_be_bytes();
                self.frame(SETTINGS, 0, 0, &[&setting[..], &value].concat());
            }
            7 => self.frame(PING, 0, 0, b"anything"),
            8 => {
                let (last, code) = (self.number(), u32::from(self.byte() % 15));
                let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
                self.frame(GOAWAY, 0, 0, &payload);
            }
            9 | 10 => {
                let (stream, by) = (self.stream(), self.number());
                self.frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
            }
            11 => {
                let by = self.number();
                self.frame(WINDOW_UPDATE, 0, 0, &by.to_be_bytes());
            }
            12 => {
                let (flags, stream, block) = (self.byte(), self.stream(), self.block());
                self.frame(CONTINUATION, flags, stream, &block);
            }
            13 => {
                let (stream, on) = (self.stream(), self.number());
                let payload = [&on.to_be_bytes()[..], &[0]].concat();
                self.frame(PRIORITY, 0, stream, &payload);
            }
            // A further head of an open stream: trailers.
            14 => {
                let (flags, stream, block) = (self.byte(), self.stream(), self.block());
                self.frame(HEADERS, flags, stream, &block);
            }
            15 => {
                let bytes = self.bytes();
                self.piece.extend(bytes);
            }
            16 => self.send(),
            // The rest arrives in two pieces.
            17 => {
                let at = self.short() % (self.piece.len() + 1);
                let rest = self.piece.split_off(at);
                self.send();
                self.piece = rest;
            }
            18..=21 => {
                let at = usize::from(self.byte()) % ANSWERS.len();
                self.upstream(ANSWERS[at].into());
            }
            22 => {
                let bytes = self.bytes();
                self.upstream(bytes);
            }
            23 => {
                let length = self.short() * 4;
                self.upstream(vec![b'u'; length]);
            }
            24 => self.step(Step::ClientStalls(true)),
            25 => self.step(Step::ClientStalls(false)),
            26 => self.step(Step::UpstreamEnds),
            27 => self.step(Step::UpstreamResets),
            28 => {
                let stalls = self.byte().is_multiple_of(2);
                self.step(Step::UpstreamStalls(stalls));
            }
            29 => self.step(Step::Refuse),
            30 => {
                let seconds = u64::from(self.byte() % 61);
                self.step(Step::Time(Duration::from_secs(seconds)));
            }
            _ => match self.byte() % 3 {
                0 => self.step(Step::ClientEnds),
                1 => self.step(Step::ClientResets),
                _ => self.step(Step::Silence),
            },
        }
    }

    /// A head on a new stream: an ordinary one, with the following fields replaced or added.
    fn request(&mut self) {
        let flags = self.byte() & 1 | END_HEADERS;
        let mut fields = vec![0, 1, 2, 3];
        for _ in 0..self.byte() % 8 {
            let (place, field) = (usize::from(self.byte()), usize::from(self.byte()));
            match fields.get_mut(place % 16) {
                Some(replaced) => *replaced = field,
                None => fields.push(field),
            }
        }
        let block: Vec<_> = fields.into_iter().flat_map(literal).collect();
        let stream = self.next;
        self.next += 2;
        self.frame(HEADERS, flags, stream, &block);
    }

    /// A field block of these fields, or of any bytes.
    fn block(&mut self) -> Vec<u8> {
        let count = self.byte();
        if count > 8 {
            return self.bytes();
        }
        let fields: Vec<_> = (0..count).map(|_| usize::from(self.byte())).collect();
        fields.into_iter().flat_map(literal).collect()
    }
}

/// A field as a literal without indexing and without Huffman coding (RFC 7541 §6.2.2).
fn literal(at: usize) -> Vec<u8> {
    let (name, value) = FIELDS[at % FIELDS.len()];
    let text = |text: &str| {
        let length = u8::try_from(text.len()).expect("a short text");
        [&[length], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}
