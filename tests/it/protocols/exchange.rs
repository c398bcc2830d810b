//! One request and its response, from either side and in either version of HTTP.

use std::future::poll_fn;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Any connection.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

pub type Stream = Box<dyn Io>;

/// How the bytes of one direction of HTTP/1.1 end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// Another protocol.
    Raw,
    Ended,
}

/// The connection of an exchange in HTTP/1.1.
pub struct Http1 {
    io: BufReader<Stream>,
    pub sends: Framing,
    pub receives: Framing,
}

/// The stream of an exchange in HTTP/2.
#[derive(Default)]
pub struct Http2 {
    pub out: Option<SendStream<Bytes>>,
    pub body: Option<RecvStream>,
    /// Of the client.
    pub answer: Option<ResponseFuture>,
    /// Of the server.
    pub respond: Option<SendResponse<Bytes>>,
}

pub enum Exchange {
    Http1(Http1),
    Http2(Http2),
}

impl Http1 {
    pub fn new(stream: Stream) -> Self {
        Self {
            io: BufReader::with_capacity(64 * 1024, stream),
            sends: Framing::Ended,
            receives: Framing::Ended,
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("the peer reads");
        self.io.flush().await.expect("the peer reads");
    }

    /// The start line and the fields; `None` at the end of the connection.
    pub async fn head(&mut self) -> Option<(String, HeaderMap)> {
        let mut line = String::new();
        if self.io.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let fields = self.fields().await;
        self.receives = framing(&fields);
        Some((line.trim_end().to_owned(), fields))
    }

    async fn fields(&mut self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        loop {
            let mut line = String::new();
            self.io.read_line(&mut line).await.expect("a field");
            let Some((name, value)) = line.trim_end().split_once(':') else {
                return fields;
            };
            let name = HeaderName::try_from(name).expect("a name");
            fields.append(name, HeaderValue::try_from(value.trim()).expect("a value"));
        }
    }

    async fn send(&mut self, data: &[u8]) {
        match &mut self.sends {
            Framing::Length(left) => *left -= data.len() as u64,
            Framing::Chunked => {
                let size = format!("{:x}\r\n", data.len());
                self.io.write_all(size.as_bytes()).await.expect("a peer");
            }
            Framing::Raw => {}
            Framing::Ended => panic!("there is no body"),
        }
        self.io.write_all(data).await.expect("the peer reads");
        if self.sends == Framing::Chunked {
            self.io.write_all(b"\r\n").await.expect("the peer reads");
        }
        self.io.flush().await.expect("the peer reads");
    }

    async fn end(&mut self) {
        match self.sends {
            Framing::Chunked => self.write(b"0\r\n\r\n").await,
            Framing::Raw => self.io.shutdown().await.expect("it is open"),
            Framing::Length(left) => assert_eq!(left, 0, "bytes are missing"),
            Framing::Ended => {}
        }
        self.sends = Framing::Ended;
    }

    async fn receive(&mut self) -> Option<Bytes> {
        let most = match self.receives {
            Framing::Ended | Framing::Length(0) => return None,
            Framing::Length(left) => left,
            Framing::Raw => u64::MAX,
            Framing::Chunked => {
                let mut size = String::new();
                self.io.read_line(&mut size).await.expect("a chunk");
                let size = u64::from_str_radix(size.trim_end(), 16).expect("a size");
                let mut data = vec![0; usize::try_from(size).expect("a small chunk")];
                self.io.read_exact(&mut data).await.expect("a whole chunk");
                let end = self.fields().await;
                assert!(end.is_empty() || size == 0);
                if size == 0 {
                    self.receives = Framing::Ended;
                    return None;
                }
                return Some(data.into());
            }
        };
        let ready = self.io.fill_buf().await.expect("bytes");
        let taken = usize::try_from(most).map_or(ready.len(), |most| most.min(ready.len()));
        let data = Bytes::copy_from_slice(&ready[..taken]);
        self.io.consume(taken);
        if let Framing::Length(left) = &mut self.receives {
            assert!(taken > 0, "the body is cut off");
            *left -= taken as u64;
        }
        (taken > 0).then_some(data)
    }
}

fn framing(fields: &HeaderMap) -> Framing {
    if fields.contains_key("transfer-encoding") {
        return Framing::Chunked;
    }
    let length = fields.get("content-length").map(HeaderValue::to_str);
    length.map_or(Framing::Ended, |length| {
        Framing::Length(length.expect("a text").parse().expect("a length"))
    })
}

impl Exchange {
    /// Sends a part of the body, as far as the peer permits.
    pub async fn send(&mut self, data: impl Into<Bytes>) {
        let mut data = data.into();
        match self {
            Self::Http1(http1) => http1.send(&data).await,
            Self::Http2(http2) => {
                let out = http2.out.as_mut().expect("a body");
                while !data.is_empty() {
                    out.reserve_capacity(data.len());
                    let room = poll_fn(|cx| out.poll_capacity(cx)).await;
                    let room = room.expect("an open stream").expect("an open stream");
                    let part = data.split_to(room.min(data.len()));
                    out.send_data(part, false).expect("an open stream");
                }
            }
        }
    }

    pub async fn end(&mut self, trailers: Option<HeaderMap>) {
        match self {
            Self::Http1(http1) => http1.end().await,
            Self::Http2(http2) => {
                let mut out = http2.out.take().expect("a body");
                // It fails on a stream that is over: a service may respond as soon as it has the
                // announced length. The response says whether the body was whole.
                let _ = match trailers {
                    Some(trailers) => out.send_trailers(trailers),
                    None => out.send_data(Bytes::new(), true),
                };
            }
        }
    }

    /// The next part of the peer's body; `None` at its end.
    pub async fn receive(&mut self) -> Option<Bytes> {
        match self {
            Self::Http1(http1) => http1.receive().await,
            Self::Http2(http2) => {
                let body = http2.body.as_mut()?;
                let mut data = Bytes::new();
                // The last frame may be empty.
                while data.is_empty() {
                    data = body.data().await?.expect("the rest of the body");
                    let released = body.flow_control().release_capacity(data.len());
                    released.expect("an open stream");
                }
                Some(data)
            }
        }
    }

    /// The peer's trailers, behind its body.
    pub async fn trailers(&mut self) -> HeaderMap {
        match self {
            Self::Http1(_) => HeaderMap::new(),
            Self::Http2(http2) => {
                let body = http2.body.as_mut().expect("a body");
                let trailers = body.trailers().await.expect("the end of the stream");
                trailers.unwrap_or_default()
            }
        }
    }

    /// So many bytes of the peer's body. `held` has those that were read ahead.
    pub async fn take(&mut self, held: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
        while held.len() < length {
            held.extend(self.receive().await?);
        }
        Some(held.drain(..length).collect())
    }

    /// The status and the fields of the response.
    pub async fn answer(&mut self) -> (u16, HeaderMap) {
        match self {
            Self::Http1(http1) => {
                let (line, fields) = http1.head().await.expect("a response");
                let status = line.split(' ').nth(1).expect("a status");
                let status = status.parse().expect("a status");
                if status == 101 {
                    (http1.sends, http1.receives) = (Framing::Raw, Framing::Raw);
                }
                (status, fields)
            }
            Self::Http2(http2) => {
                let answer = http2.answer.take().expect("a request");
                let (head, body) = answer.await.expect("a response").into_parts();
                http2.body = Some(body);
                (head.status.as_u16(), head.headers)
            }
        }
    }

    /// Begins the response. A body follows.
    pub async fn respond(&mut self, status: u16, fields: &[(&'static str, &str)]) {
        match self {
            Self::Http1(http1) => {
                let mut head = format!("HTTP/1.1 {status} X\r\n");
                for (name, value) in fields {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                if status == 101 {
                    (http1.sends, http1.receives) = (Framing::Raw, Framing::Raw);
                } else {
                    head.push_str("transfer-encoding: chunked\r\n");
                    http1.sends = Framing::Chunked;
                }
                http1.write(format!("{head}\r\n").as_bytes()).await;
            }
            Self::Http2(http2) => {
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                for (name, value) in fields {
                    let value = HeaderValue::from_str(value).expect("a value");
                    response.headers_mut().insert(*name, value);
                }
                let mut respond = http2.respond.take().expect("a request");
                let out = respond.send_response(response, false);
                http2.out = Some(out.expect("an open stream"));
            }
        }
    }
}
