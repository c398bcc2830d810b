//! A client that sends exactly the bytes it is given.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http1::{self, Wire};
use super::{WAIT_LIMIT, logs};

/// One HTTP/1.1 answer, unchanged.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
    /// Statuses of the interim answers before it.
    pub interim: Vec<u16>,
}

impl RawAnswer {
    /// A header field's only value; `None` when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.header_all(name);
        assert!(all.len() < 2, "{name} is repeated: {all:?}");
        all.first().copied()
    }

    /// Every value of a header field.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        http1::all(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }
}

/// A missing or incomplete answer.
#[derive(Debug)]
pub struct NoAnswer {
    pub error: io::Error,
    /// The part of the body that came, if the head did.
    pub partial: Option<RawAnswer>,
}

/// A connection for one or many requests.
pub struct Connection<S = TcpStream> {
    wire: Wire<S>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .unwrap_or_else(|e| panic!("connect to {address}: {e}"));
        // Tests send heads in pieces on purpose.
        stream.set_nodelay(true).expect("a connected socket");
        Self::over(stream)
    }

    /// Resets the connection.
    pub fn reset(self) {
        let _ =
            socket2::SockRef::from(&self.wire.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection over any stream.
    pub fn over(stream: S) -> Self {
        Self {
            wire: Wire::new(stream),
        }
    }

    /// The stream, of which nothing has been read.
    pub fn into_stream(self) -> S {
        self.wire.stream
    }

    /// The stream itself.
    pub fn stream(&mut self) -> &mut S {
        &mut self.wire.stream
    }

    /// Sends bytes. Errors are ignored: the answer, or its absence, shows more.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.wire.stream.write_all(bytes.as_ref()).await?;
            self.wire.stream.flush().await
        };
        let _ = timeout(WAIT_LIMIT, sent).await.expect("the peer reads");
    }

    /// Closes the sending side.
    pub async fn finish_sending(&mut self) {
        let _ = self.wire.stream.shutdown().await;
    }

    /// The answer to any request but HEAD.
    pub async fn answer(&mut self) -> RawAnswer {
        self.try_answer("GET")
            .await
            .unwrap_or_else(|e| panic!("no answer: {e:?}"))
    }

    /// The answer to a request of this method, or the reason why there is none.
    pub async fn try_answer(&mut self, method: &str) -> Result<RawAnswer, NoAnswer> {
        let answer = timeout(WAIT_LIMIT, self.read_answer(method)).await;
        let answer = answer.unwrap_or_else(|_| panic!("no answer within {WAIT_LIMIT:?}"));
        if let Ok(refusal) = &answer
            && refusal.status >= 400
        {
            // An error that a caller sees must hold no secret either.
            logs::note(&format!(
                "{} {:?} {}",
                refusal.status,
                refusal.headers,
                refusal.text()
            ));
        }
        answer
    }

    /// Waits for these bytes anywhere in an answer; `false` if the peer ends before.
    pub async fn wait_for_bytes(&mut self, bytes: &[u8]) -> bool {
        let came = timeout(WAIT_LIMIT, self.wire.skip_to(bytes)).await;
        came.expect("the bytes come in time").unwrap_or(false)
    }

    /// Whether the peer ends the connection, in order or by reset, without sending anything more.
    pub async fn is_ended(&mut self) -> bool {
        let mut rest = Vec::new();
        let end = timeout(WAIT_LIMIT, self.wire.rest(&mut rest))
            .await
            .expect("the peer ends the connection");
        end.is_err() || rest.is_empty()
    }

    async fn read_answer(&mut self, method: &str) -> Result<RawAnswer, NoAnswer> {
        let fail = |error| NoAnswer {
            error,
            partial: None,
        };
        let mut interim = Vec::new();
        loop {
            let head = self.wire.head().await.map_err(fail)?;
            let head = head.ok_or_else(|| fail(io::ErrorKind::UnexpectedEof.into()))?;
            let status = head
                .start_line
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok());
            let status: u16 = status
                .filter(|_| head.start_line.starts_with("HTTP/1.1 "))
                .ok_or_else(|| {
                    fail(io::Error::other(format!(
                        "not a status line: {}",
                        head.start_line
                    )))
                })?;
            // 101 is final: the following bytes are no HTTP.
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let mut body = Vec::new();
            let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let read = if bodiless {
                Ok(())
            } else {
                self.wire.answer_body(&head, &mut body).await
            };
            let answer = RawAnswer {
                status,
                headers: head.headers,
                body,
                interim,
            };
            return match read {
                Ok(()) => Ok(answer),
                Err(error) => Err(NoAnswer {
                    error,
                    partial: Some(answer),
                }),
            };
        }
    }
}

/// Sends bytes on a connection of their own and reads one answer.
pub async fn send_raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> RawAnswer {
    try_send_raw(address, bytes)
        .await
        .unwrap_or_else(|e| panic!("no answer: {e:?}"))
}

/// Like [`send_raw`]; a missing or incomplete answer is a result too.
pub async fn try_send_raw(
    address: SocketAddr,
    bytes: impl AsRef<[u8]>,
) -> Result<RawAnswer, NoAnswer> {
    let method = if bytes.as_ref().starts_with(b"HEAD ") {
        "HEAD"
    } else {
        "GET"
    };
    let mut connection = Connection::open(address).await;
    connection.send(bytes).await;
    connection.try_answer(method).await
}

/// A request with these header fields, after a `Host` unless they have one, on a connection of its
/// own.
pub async fn request(
    method: &str,
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> RawAnswer {
    send_raw(
        address,
        request_bytes(method, address, target, headers, body),
    )
    .await
}

/// The bytes of such a request, for a [`Connection`].
pub fn request_bytes(
    method: &str,
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\n");
    let has = |wanted: &str| {
        headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    };
    if !has("host") {
        out.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() && !has("content-length") && !has("transfer-encoding") {
        out.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

/// A GET.
pub async fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
    request("GET", address, target, headers, b"").await
}

/// A POST of a form.
pub async fn post_form(
    address: SocketAddr,
    target: &str,
    fields: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> RawAnswer {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
    all.extend_from_slice(headers);
    request("POST", address, target, &all, form.as_bytes()).await
}
