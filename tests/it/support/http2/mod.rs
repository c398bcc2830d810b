//! An HTTP/2 client that sends exactly the frames it is given (RFC 9113).

pub mod hpack;
pub mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::hpack::{Decoder, Field};
use super::{WAIT_LIMIT, logs};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITIZED: u8 = 0x20;
/// The whole head of a request without a body.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A field block of literals.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let literals = fields
        .iter()
        .map(|(name, value)| hpack::literal(name.as_bytes(), value.as_bytes()));
    literals.collect::<Vec<_>>().concat()
}

pub fn headers(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(fields))
}

/// The pseudo-header fields of a request.
pub fn pseudo<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ]
}

/// The head of a GET without a body.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(WHOLE, stream, &pseudo("GET", path))
}

pub fn data(flags: u8, stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in values {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

pub fn ping(payload: u8) -> Vec<u8> {
    frame(PING, 0, 0, &[payload; 8])
}

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
    /// The fields of a HEADERS frame.
    pub fields: Vec<Field>,
}

impl Frame {
    pub fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).expect("a whole frame");
        u32::from_be_bytes(bytes.try_into().expect("four bytes"))
    }
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    /// Statuses of the interim responses.
    pub interim: Vec<u16>,
    /// Whether the head ended the stream.
    pub is_head_only: bool,
}

impl Response {
    /// The only value of a field; `None` when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.fields.iter().filter(|(it, _)| it == name);
        let first = all.next().map(|(_, value)| value.as_str());
        assert!(all.next().is_none(), "{name} is repeated: {self:?}");
        first
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Response(Response),
    Reset(u32),
    /// The connection ended, with this code if there was a GOAWAY frame.
    Closed(Option<u32>),
}

/// A connection of raw frames. It acknowledges SETTINGS and PING frames itself.
pub struct RawClient {
    stream: TcpStream,
    received: Vec<u8>,
    decoder: Decoder,
    /// Whether it returns the window of received DATA frames.
    pub returns_window: bool,
    /// The codes of received GOAWAY frames.
    pub goaways: Vec<u32>,
}

impl RawClient {
    /// A connection without a byte.
    pub async fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a connected socket");
        Self {
            stream,
            received: Vec::new(),
            decoder: Decoder::default(),
            returns_window: true,
            goaways: Vec::new(),
        }
    }

    /// A connection with the preface and these settings.
    pub async fn with_settings(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address).await;
        client.send([PREFACE, &settings(values)].concat()).await;
        client
    }

    pub async fn open(address: SocketAddr) -> Self {
        Self::with_settings(address, &[]).await
    }

    /// Sends bytes. Errors are ignored: the answer, or its absence, shows more.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = timeout(WAIT_LIMIT, self.stream.write_all(bytes.as_ref())).await;
        let _ = sent.expect("the peer reads");
    }

    /// Sends bytes while the frames of the peer are read and dropped. Returns the code of a GOAWAY
    /// frame, or `Some(None)` if the connection ended without.
    pub async fn flood(&mut self, bytes: &[u8], times: usize) -> Option<Option<u32>> {
        for _ in 0..times {
            if self.stream.write_all(bytes).await.is_err() {
                let end = self.end().await;
                return Some(end);
            }
            while let Ok(Some(frame)) = timeout(Duration::ZERO, self.frame()).await {
                if frame.kind == GOAWAY && frame.number(4) != 0 {
                    return Some(Some(frame.number(4)));
                }
            }
        }
        None
    }

    pub async fn finish_sending(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Resets the connection.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take_frame() {
                self.reply(&frame).await;
                return Some(frame);
            }
            // `read_buf` keeps its bytes if this future is dropped.
            let read = self.stream.read_buf(&mut self.received);
            let read = timeout(WAIT_LIMIT, read)
                .await
                .expect("a frame, or the end");
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let [a, b, c, kind, flags, s0, s1, s2, s3, ..] = self.received[..] else {
            return None;
        };
        let end = 9 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
        if self.received.len() < end {
            return None;
        }
        let taken: Vec<u8> = self.received.drain(..end).collect();
        let fields = if kind == HEADERS {
            assert!(flags & END_HEADERS != 0, "a short head");
            self.decoder.decode(&taken[9..])
        } else {
            Vec::new()
        };
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            payload: taken[9..].to_vec(),
            fields,
        })
    }

    async fn reply(&mut self, received: &Frame) {
        let is_ack = received.flags & ACK != 0;
        let reply = match received.kind {
            SETTINGS if !is_ack => frame(SETTINGS, ACK, 0, &[]),
            PING if !is_ack => frame(PING, ACK, 0, &received.payload),
            DATA if self.returns_window && !received.payload.is_empty() => {
                let length = u32::try_from(received.payload.len()).expect("a short frame");
                let of_stream = window_update(received.stream, length);
                let is_last = received.flags & END_STREAM != 0;
                let of_stream = if is_last { Vec::new() } else { of_stream };
                [window_update(0, length), of_stream].concat()
            }
            GOAWAY => {
                self.goaways.push(received.number(4));
                return;
            }
            _ => return,
        };
        let _ = self.stream.write_all(&reply).await;
    }

    /// Waits for the end of a stream. Drops the frames of others.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let mut response = Response::default();
        loop {
            let Some(frame) = self.frame().await else {
                return Outcome::Closed(self.goaways.last().copied());
            };
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                RST_STREAM => return Outcome::Reset(frame.number(0)),
                DATA => response.body.extend_from_slice(&frame.payload),
                HEADERS => response.take(frame.fields, frame.flags),
                _ => continue,
            }
            if frame.flags & END_STREAM != 0 {
                logs::note(&format!("{response:?}"));
                return Outcome::Response(response);
            }
        }
    }

    /// The response on a stream.
    pub async fn response(&mut self, stream: u32) -> Response {
        match self.outcome(stream).await {
            Outcome::Response(response) => response,
            other => panic!("no response on stream {stream} but {other:?}"),
        }
    }

    /// Asks with a PING frame, and returns what precedes the reply; `None` if the connection ends.
    pub async fn until_pong(&mut self, payload: u8) -> Option<Vec<Frame>> {
        self.send(ping(payload)).await;
        let mut before = Vec::new();
        loop {
            let frame = self.frame().await?;
            if frame.kind == PING && frame.flags & ACK != 0 && frame.payload == [payload; 8] {
                return Some(before);
            }
            before.push(frame);
        }
    }

    /// Waits for the end of the connection. Returns the code of the last GOAWAY frame.
    pub async fn end(&mut self) -> Option<u32> {
        while self.frame().await.is_some() {}
        self.goaways.last().copied()
    }
}

impl Response {
    fn take(&mut self, mut fields: Vec<Field>, flags: u8) {
        if self.status != 0 {
            self.trailers = fields;
            return;
        }
        let (name, status) = fields.remove(0);
        assert_eq!(name, ":status");
        let status: u16 = status.parse().expect("a status");
        if status < 200 {
            self.interim.push(status);
            return;
        }
        self.status = status;
        self.fields = fields;
        self.is_head_only = flags & END_STREAM != 0;
    }
}
