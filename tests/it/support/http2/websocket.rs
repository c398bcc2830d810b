//! A client of a WebSocket over HTTP/2 (RFC 8441), frame by frame.

use std::net::SocketAddr;

use super::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, RawClient, Response, data, headers,
};

/// The code of RFC 9113 §7.
pub const CANCEL: u32 = 8;

/// The fields of an extended CONNECT.
pub fn extended<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "127.0.0.1"),
        (":path", path),
        ("sec-websocket-version", "13"),
    ];
    fields.extend(more);
    fields
}

/// The end of the bytes that a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Stream,
    Reset(u32),
    Connection,
}

/// A stream that is to carry a WebSocket.
pub struct Socket {
    pub client: RawClient,
    stream: u32,
    received: Vec<u8>,
    end: Option<End>,
}

impl Socket {
    /// Asks for a WebSocket on a connection of its own.
    pub async fn ask(address: SocketAddr, path: &str, more: &[(&str, &str)]) -> Self {
        Self::ask_with(RawClient::open(address).await, path, more).await
    }

    /// Asks on the first stream of a connection.
    pub async fn ask_with(mut client: RawClient, path: &str, more: &[(&str, &str)]) -> Self {
        let asked = headers(END_HEADERS, 1, &extended(path, more));
        client.send(asked).await;
        Self {
            client,
            stream: 1,
            received: Vec::new(),
            end: None,
        }
    }

    /// The whole response to a refused handshake.
    pub async fn refused(&mut self) -> Response {
        let response = self.client.response(self.stream).await;
        assert_ne!(response.status / 100, 2, "{response:?}");
        response
    }

    /// The head of the response.
    pub async fn answered(&mut self) -> Response {
        let mut response = Response::default();
        loop {
            let frame = self.client.frame().await.expect("a response");
            match frame.kind {
                HEADERS if frame.stream == self.stream => {
                    response.take(frame.fields, frame.flags);
                    return response;
                }
                RST_STREAM => panic!("a reset: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Sends bytes in DATA frames.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        for part in bytes.as_ref().chunks(16_000) {
            self.client.send(data(0, self.stream, part)).await;
        }
    }

    pub async fn finish_sending(&mut self) {
        self.client.send(data(END_STREAM, self.stream, b"")).await;
    }

    pub async fn reset(&mut self, code: u32) {
        self.client.send(super::reset(self.stream, code)).await;
    }

    async fn fill(&mut self) {
        let Some(frame) = self.client.frame().await else {
            self.end = Some(End::Connection);
            return;
        };
        if frame.stream != self.stream {
            return;
        }
        match frame.kind {
            RST_STREAM => self.end = Some(End::Reset(frame.number(0))),
            DATA => self.received.extend_from_slice(&frame.payload),
            _ => {}
        }
        if frame.flags & END_STREAM != 0 && matches!(frame.kind, DATA | HEADERS) {
            self.end = Some(End::Stream);
        }
    }

    /// Reads these bytes.
    pub async fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        while self.received.len() < bytes.len() && self.end.is_none() {
            self.fill().await;
        }
        let taken: Vec<u8> = self.received.drain(..bytes.len()).collect();
        assert!(taken == bytes, "{} bytes differ", bytes.len());
    }

    /// Everything until the end.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Some(end) = self.end {
                return (std::mem::take(&mut self.received), end);
            }
            self.fill().await;
        }
    }
}
