//! Scripted answers of the upstream.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::Received;
use crate::support::behave::{After, Gate};
use crate::support::http1;
use crate::support::net::Stream;

/// One scripted answer.
#[derive(Debug, Default)]
pub enum Answer {
    /// 200 with method and target as JSON.
    #[default]
    Echo,
    /// This status, these header fields, this body.
    Reply(u16, Vec<(String, String)>, Vec<u8>),
    /// The same, then the connection ends without a `Connection: close`.
    ReplyAndClose(u16, Vec<(String, String)>, Vec<u8>),
    /// This status before the request's body is read; the connection ends. Only as a
    /// [`Upstream::next`] answer.
    Early(u16),
    /// The other answer, after this time.
    Delay(Duration, Box<Answer>),
    /// The other answer, when the gate opens.
    Hold(Gate, Box<Answer>),
    /// The connection ends without answer.
    Close,
    /// The connection is reset without answer.
    Reset,
    /// A 200 that announces so many bytes, and ends after these.
    Partial(usize, Vec<u8>),
    /// No answer, and the connection stays open.
    Hang,
    /// No answer and no `100 Continue`: the body is not read. Only as a [`Upstream::next`] answer.
    Silent,
    /// A chunked 200, piece by piece from an [`AnswerStream`].
    Stream(mpsc::UnboundedReceiver<Piece>),
    /// These bytes, then the end.
    Raw(Vec<u8>),
}

impl Answer {
    /// A reply without header fields of its own.
    pub fn status(status: u16, body: &str) -> Self {
        Self::Reply(status, Vec::new(), body.as_bytes().to_vec())
    }

    /// A 200 with these header fields.
    pub fn with_headers(headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self::Reply(200, headers, body.as_bytes().to_vec())
    }

    /// A chunked answer, and the handle that sends it.
    pub fn stream() -> (Self, AnswerStream) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self::Stream(receiver), AnswerStream(sender))
    }
}

/// A part of a chunked answer.
#[derive(Debug)]
pub enum Piece {
    /// One chunk.
    Chunk(Vec<u8>),
    /// The last chunk.
    End,
}

/// Sends a chunked answer piece by piece. A drop before [`finish`](Self::finish) breaks the answer
/// off.
pub struct AnswerStream(mpsc::UnboundedSender<Piece>);

impl AnswerStream {
    /// Sends a chunk.
    pub fn send(&self, chunk: impl AsRef<[u8]>) {
        let _ = self.0.send(Piece::Chunk(chunk.as_ref().to_vec()));
    }

    /// Ends the answer in order.
    pub fn finish(self) {
        let _ = self.0.send(Piece::End);
    }
}

/// Writes an answer that needs no wait.
pub(super) async fn write_answer(
    stream: &mut Stream,
    request: &Received,
    answer: Answer,
) -> std::io::Result<After> {
    let (bytes, after) = match answer {
        Answer::Echo => {
            let echo = json!({
                "method": request.method, "target": request.target,
                "bodyBytes": request.body.len(),
            });
            (
                whole(
                    request,
                    200,
                    &[("Content-Type".to_owned(), "application/json".to_owned())],
                    &json_bytes(&echo),
                ),
                After::Continue,
            )
        }
        Answer::Reply(status, headers, body) => {
            (whole(request, status, &headers, &body), After::Continue)
        }
        Answer::ReplyAndClose(status, headers, body) => {
            (whole(request, status, &headers, &body), After::Close)
        }
        Answer::Early(status) => (http1::answer(status, &[], Some(b"")), After::Close),
        Answer::Partial(length, part) => {
            let mut bytes =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
            bytes.extend_from_slice(&part);
            (bytes, After::Close)
        }
        Answer::Raw(bytes) => (bytes, After::Close),
        Answer::Close => return Ok(After::Close),
        Answer::Reset => return Ok(After::Reset),
        Answer::Stream(pieces) => return write_pieces(stream, pieces).await,
        Answer::Hang | Answer::Silent => std::future::pending().await,
        Answer::Delay(..) | Answer::Hold(..) => unreachable!("waited for by the caller"),
    };
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(after)
}

/// Removes the body for HEAD and for statuses that allow none.
fn whole(request: &Received, status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    if matches!(status, 204 | 304) {
        return http1::answer(status, headers, None);
    }
    let mut bytes = http1::answer(status, headers, Some(body));
    if request.method == "HEAD" {
        bytes.truncate(bytes.len() - body.len());
    }
    bytes
}

async fn write_pieces(
    stream: &mut Stream,
    mut pieces: mpsc::UnboundedReceiver<Piece>,
) -> std::io::Result<After> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
    stream.flush().await?;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Chunk(chunk) => {
                stream
                    .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
                    .await?;
                stream.write_all(&chunk).await?;
                stream.write_all(b"\r\n").await?;
                stream.flush().await?;
            }
            Piece::End => {
                stream.write_all(b"0\r\n\r\n").await?;
                stream.flush().await?;
                return Ok(After::Continue);
            }
        }
    }
    Ok(After::Close)
}

fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
