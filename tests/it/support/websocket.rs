//! Both ends of a WebSocket, byte by byte.

use std::net::SocketAddr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::http1::{Head, Wire};
use super::net::{Server, Stream};
use super::{WAIT_LIMIT, logs};

/// The key of RFC 6455 §1.3 and its answer.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An upstream whose connections a test serves itself.
pub struct ManualUpstream {
    server: Server,
    asked: Mutex<mpsc::UnboundedReceiver<(Head, Wire<Stream>)>>,
}

impl ManualUpstream {
    pub fn start() -> Self {
        logs::start();
        let (sender, asked) = mpsc::unbounded_channel();
        let server = Server::start(None, move |stream, _| {
            let sender = sender.clone();
            async move {
                let mut wire = Wire::new(stream);
                if let Ok(Some(head)) = wire.head().await {
                    let _ = sender.send((head, wire));
                }
            }
        });
        Self {
            server,
            asked: Mutex::new(asked),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The next request, and its connection.
    pub async fn asked(&self) -> (Head, Wire<Stream>) {
        let next = async { self.asked.lock().await.recv().await };
        let next = timeout(WAIT_LIMIT, next).await.expect("a request comes");
        next.expect("the server runs")
    }

    /// Accepts the next WebSocket.
    pub async fn accept(&self, fields: &str) -> (Head, Wire<Stream>) {
        let (head, mut wire) = self.asked().await;
        let key = head.all("sec-websocket-key").concat();
        send(&mut wire, accepting(&accept_of(&key), fields)).await;
        (head, wire)
    }

    /// Whether no further request has come.
    pub async fn is_unasked(&self) -> bool {
        self.asked.lock().await.try_recv().is_err()
    }
}

/// The value that accepts a key (RFC 6455 §4.2.2).
pub fn accept_of(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// An answer that accepts [`KEY`], with further fields.
pub fn switched(fields: &str) -> Vec<u8> {
    accepting(ACCEPT, fields)
}

/// An answer with this `Sec-WebSocket-Accept` and further fields.
pub fn accepting(accept: &str, fields: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// A handshake with further fields.
pub fn handshake(target: &str, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
    )
}

/// A client that has sent these bytes.
pub async fn connect(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Wire<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a connected socket");
    let mut wire = Wire::new(stream);
    send(&mut wire, bytes).await;
    wire
}

pub async fn send(wire: &mut Wire<impl AsyncWrite + Unpin>, bytes: impl AsRef<[u8]>) {
    let sent = timeout(WAIT_LIMIT, wire.stream.write_all(bytes.as_ref())).await;
    sent.expect("the peer reads").expect("it is connected");
    wire.stream.flush().await.expect("it is connected");
}

/// The status and the head of the answer.
pub async fn answered(wire: &mut Wire<impl AsyncRead + Unpin>) -> (u16, Head) {
    let head = timeout(WAIT_LIMIT, wire.head()).await.expect("it answers");
    let head = head.expect("an answer").expect("an answer");
    let status = head.start_line.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head)
}

pub async fn expect(wire: &mut Wire<impl AsyncRead + Unpin>, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let found = timeout(WAIT_LIMIT, wire.take(bytes.len())).await;
    let found = found.expect("the bytes come").expect("the bytes come");
    assert_eq!(found, bytes);
}

/// Everything until the end of the connection.
pub async fn rest(wire: &mut Wire<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = timeout(WAIT_LIMIT, wire.rest(&mut rest)).await;
    // A reset ends it too.
    let _ = read.expect("the connection ends");
    rest
}

/// A frame of RFC 6455 §5.2 whose first byte has FIN and opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..=125 => frame.push(u8::try_from(length).unwrap()),
        length @ ..=0xffff => {
            frame.push(126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// A frame of a client.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let mut masked = frame(first, payload);
    let header = masked.len() - payload.len();
    masked[1] |= 0x80;
    for (byte, mask) in masked[header..].iter_mut().zip(MASK.iter().cycle()) {
        *byte ^= mask;
    }
    masked.splice(header..header, MASK);
    masked
}

/// The code and the text of a close frame, and whether it ends the bytes.
pub fn closed(bytes: &[u8]) -> Option<(u16, String)> {
    let [0x88, length, payload @ ..] = bytes else {
        return None;
    };
    let [high, low, text @ ..] = payload else {
        return None;
    };
    (payload.len() == usize::from(*length)).then(|| {
        let code = u16::from_be_bytes([*high, *low]);
        (code, String::from_utf8_lossy(text).into_owned())
    })
}
