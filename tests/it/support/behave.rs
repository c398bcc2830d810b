//! How an authority's endpoint behaves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::http1;

/// How an endpoint answers.
#[derive(Clone, Debug, Default)]
pub enum Behave {
    /// Correctly.
    #[default]
    Normal,
    /// With this status and an OAuth error as body.
    Status(u16),
    /// It does not answer; the connection stays open.
    Hang,
    /// Correctly, after this time.
    Delay(Duration),
    /// Correctly, when the gate opens.
    Hold(Gate),
    /// Correctly, but in single bytes with this time between them.
    Slow(Duration),
    /// With a TCP reset.
    Reset,
    /// With a 200 and a body of so many bytes, the beginning of valid JSON.
    HugeBody(usize),
    /// With a body that is no JSON.
    InvalidJson,
    /// With a 200 without body.
    EmptyBody,
    /// With a key set that holds no key.
    EmptyKeys,
    /// With metadata of another issuer; the other endpoints answer correctly.
    WrongIssuer,
    /// With half of the announced body, then the end of the connection.
    Truncated,
    /// Correctly, with these header fields too.
    WithHeaders(Vec<(String, String)>),
    /// With a 200 and this JSON text.
    Body(String),
    /// With these bytes, then the end of the connection.
    Raw(Vec<u8>),
}

/// Holds answers back until a test opens it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everything through.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        let mut opened = self.0.subscribe();
        // `self` holds the sender.
        let _ = opened.wait_for(|open| *open).await;
    }
}

/// A correct answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// Header fields beside `Content-Length`.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::text(status, body.to_string())
    }

    fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self {
            status,
            headers,
            body: body.into(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        http1::answer(self.status, &self.headers, Some(&self.body))
    }
}

/// The connection's state after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next request may follow.
    Continue,
    /// It ends in order.
    Close,
    /// It is reset.
    Reset,
}

/// Writes the reply, changed as this behaviour says.
pub async fn write_reply<S>(stream: &mut S, behave: &Behave, mut reply: Reply) -> io::Result<After>
where
    S: AsyncWrite + Unpin,
{
    match behave {
        // `WrongIssuer` has already changed the metadata.
        Behave::Normal | Behave::WrongIssuer => {}
        Behave::Status(status) => {
            let error =
                serde_json::json!({"error": "server_error", "error_description": "on purpose"});
            reply = Reply::json(*status, &error);
        }
        Behave::Hang => std::future::pending().await,
        Behave::Delay(delay) => tokio::time::sleep(*delay).await,
        Behave::Hold(gate) => gate.passed().await,
        Behave::Slow(pause) => {
            for byte in reply.bytes() {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(*pause).await;
            }
            return Ok(After::Continue);
        }
        Behave::Reset => return Ok(After::Reset),
        Behave::HugeBody(size) => {
            write_huge(stream, *size).await?;
            return Ok(After::Continue);
        }
        Behave::InvalidJson => {
            reply = Reply::text(200, r#"{"keys": [{"kty": "EC", "access_token": "#)
        }
        Behave::EmptyBody => reply = Reply::text(200, ""),
        Behave::EmptyKeys => reply = Reply::text(200, r#"{"keys": []}"#),
        Behave::Truncated => {
            let bytes = reply.bytes();
            stream
                .write_all(&bytes[..bytes.len() - reply.body.len() / 2 - 1])
                .await?;
            stream.flush().await?;
            return Ok(After::Close);
        }
        Behave::WithHeaders(headers) => reply.headers.extend_from_slice(headers),
        Behave::Body(text) => reply = Reply::text(200, text.as_bytes()),
        Behave::Raw(bytes) => {
            stream.write_all(bytes).await?;
            stream.flush().await?;
            return Ok(After::Close);
        }
    }
    stream.write_all(&reply.bytes()).await?;
    stream.flush().await?;
    Ok(After::Continue)
}

async fn write_huge<S: AsyncWrite + Unpin>(stream: &mut S, size: usize) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    // White space is valid before a JSON text, so no parser stops early.
    let piece = vec![b' '; 64 * 1024];
    let mut left = size;
    while left > 0 {
        let now = left.min(piece.len());
        stream.write_all(&piece[..now]).await?;
        left -= now;
    }
    stream.flush().await
}
