//! An upstream that speaks HTTP/2, over TCP, TLS or a Unix socket, and answers as scripted.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::behave::Gate;
use super::net::{Server, Stream};
use super::tls::TestTls;
use super::{lock, logs};

/// A request that the upstream received.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: Arc<request::Parts>,
    /// The number of its connection, from 0.
    pub connection: usize,
    /// The number of the request on the upstream, from 0.
    pub number: usize,
}

/// The way in which the upstream handles a request.
#[derive(Clone)]
pub enum Act {
    /// It answers with the request's body and trailers.
    Echo,
    /// The same when the gate opens.
    Hold(Gate),
    /// It answers with these parts, with so much time between them.
    Parts(Vec<&'static str>, Duration),
    /// It answers with so many zeros.
    Zeros(usize),
    /// It sends so many interim answers, then the final one.
    Interim(usize),
    /// It answers with a head only, which has this field.
    HeadOnly(&'static str, &'static str),
    /// It answers with this status and nothing else.
    Status(u16),
    /// It accepts a WebSocket, and returns its bytes.
    WebSocket,
    /// It resets the stream.
    Reset(Reason),
    /// It resets the stream behind a part of the body.
    ResetAmid(Reason),
    /// It does not answer.
    Nothing,
}

type Respond = Arc<dyn Fn(&Received) -> Act + Send + Sync>;

struct Shared {
    respond: Respond,
    settings: fn(&mut Builder),
    received: Mutex<Vec<Received>>,
}

enum Listening {
    Tcp(Server),
    Unix(JoinHandle<()>),
}

/// The upstream. A drop ends it and its connections.
pub struct Http2Upstream {
    listening: Listening,
    shared: Arc<Shared>,
    ca_pem: Option<String>,
}

impl Http2Upstream {
    /// One that speaks h2c.
    pub fn start(respond: impl Fn(&Received) -> Act + Send + Sync + 'static) -> Self {
        Self::start_with(None, |_| {}, respond)
    }

    /// One with these settings, and with TLS if there is any.
    pub fn start_with(
        tls: Option<TestTls>,
        settings: fn(&mut Builder),
        respond: impl Fn(&Received) -> Act + Send + Sync + 'static,
    ) -> Self {
        let shared = shared(settings, respond);
        let serving = shared.clone();
        let (ca_pem, acceptor) = tls.map(|tls| (tls.ca_pem, tls.acceptor)).unzip();
        let server = Server::start(acceptor, move |stream: Stream, number| {
            serve(stream, number, serving.clone())
        });
        Self {
            listening: Listening::Tcp(server),
            shared,
            ca_pem,
        }
    }

    /// One at a Unix socket.
    pub fn start_unix(
        path: &Path,
        respond: impl Fn(&Received) -> Act + Send + Sync + 'static,
    ) -> Self {
        let shared = shared(|_| {}, respond);
        let serving = shared.clone();
        let listener = UnixListener::bind(path).expect("a free path");
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                tokio::spawn(serve(stream, number, serving.clone()));
            }
        });
        Self {
            listening: Listening::Unix(task),
            shared,
            ca_pem: None,
        }
    }

    fn server(&self) -> &Server {
        match &self.listening {
            Listening::Tcp(server) => server,
            Listening::Unix(_) => panic!("it has no port"),
        }
    }

    /// `h2c://` or `https://`, and its address.
    pub fn url(&self) -> String {
        let scheme = if self.ca_pem.is_some() {
            "https"
        } else {
            "h2c"
        };
        format!("{scheme}://{}", self.server().address())
    }

    /// For a `caFile`.
    pub fn ca_pem(&self) -> &str {
        self.ca_pem.as_deref().expect("an upstream with TLS")
    }

    pub fn connections(&self) -> usize {
        self.server().connections()
    }

    /// Every request so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        if let Listening::Unix(task) = &self.listening {
            task.abort();
        }
    }
}

fn shared(
    settings: fn(&mut Builder),
    respond: impl Fn(&Received) -> Act + Send + Sync + 'static,
) -> Arc<Shared> {
    logs::start();
    Arc::new(Shared {
        respond: Arc::new(respond),
        settings,
        received: Mutex::default(),
    })
}

async fn serve<S>(stream: S, connection: usize, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    (shared.settings)(&mut builder);
    let Ok(mut server) = builder.handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = server.accept().await {
        let (head, body) = request.into_parts();
        let act = {
            let mut received = lock(&shared.received);
            let new = Received {
                head: Arc::new(head),
                connection,
                number: received.len(),
            };
            received.push(new.clone());
            drop(received);
            (shared.respond)(&new)
        };
        tokio::spawn(answer(act, body, respond));
    }
}

/// Errors are ignored: the sidecar's answer shows more.
async fn answer(act: Act, body: RecvStream, mut respond: SendResponse<Bytes>) {
    match act {
        Act::Echo => drop(echo(body, &mut respond).await),
        Act::Hold(gate) => {
            gate.passed().await;
            drop(echo(body, &mut respond).await);
        }
        Act::Parts(parts, pause) => drop(send_parts(&mut respond, &parts, pause).await),
        Act::Zeros(count) => {
            if let Ok(mut out) = respond.send_response(Response::new(()), false) {
                drop(send_whole(&mut out, vec![0; count].into(), true).await);
            }
        }
        Act::Interim(count) => {
            for _ in 0..count {
                let mut interim = Response::new(());
                *interim.status_mut() = StatusCode::EARLY_HINTS;
                let _ = respond.send_informational(interim);
            }
            let _ = respond.send_response(Response::new(()), true);
        }
        Act::HeadOnly(name, value) => {
            let mut response = Response::new(());
            let name = HeaderName::from_static(name);
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
            let _ = respond.send_response(response, true);
        }
        Act::Status(status) => {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            let _ = respond.send_response(response, true);
        }
        Act::WebSocket => drop(return_bytes(body, &mut respond).await),
        Act::Reset(code) => respond.send_reset(code),
        Act::ResetAmid(code) => {
            if let Ok(mut out) = respond.send_response(Response::new(()), false) {
                let _ = out.send_data(Bytes::from_static(b"a part"), false);
                tokio::time::sleep(Duration::from_millis(100)).await;
                out.send_reset(code);
            }
        }
        Act::Nothing => {
            let _held = (body, respond);
            std::future::pending::<()>().await;
        }
    }
}

async fn echo(mut body: RecvStream, respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut whole = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        whole.extend_from_slice(&part);
    }
    let trailers = body.trailers().await?;
    let mut out = respond.send_response(Response::new(()), false)?;
    send_whole(&mut out, whole.into(), false).await?;
    let mut back = HeaderMap::new();
    back.insert("x-echo", HeaderValue::from_static("whole"));
    back.extend(trailers.unwrap_or_default());
    out.send_trailers(back)
}

async fn return_bytes(
    mut body: RecvStream,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    let protocol = HeaderValue::from_static("json");
    response
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let mut out = respond.send_response(response, false)?;
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        send_whole(&mut out, part, false).await?;
    }
    out.send_data(Bytes::new(), true)
}

async fn send_parts(
    respond: &mut SendResponse<Bytes>,
    parts: &[&'static str],
    pause: Duration,
) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert("content-type", kind);
    let mut out = respond.send_response(response, false)?;
    for part in parts {
        out.send_data(Bytes::from_static(part.as_bytes()), false)?;
        tokio::time::sleep(pause).await;
    }
    out.send_data(Bytes::new(), true)
}

async fn send_whole(
    out: &mut SendStream<Bytes>,
    mut data: Bytes,
    is_end: bool,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        out.reserve_capacity(data.len());
        let taken = std::future::poll_fn(|cx| out.poll_capacity(cx)).await;
        let taken = taken.unwrap_or(Ok(0))?;
        if taken == 0 {
            return Ok(());
        }
        out.send_data(data.split_to(taken.min(data.len())), false)?;
    }
    if is_end {
        out.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

/// The head of a request, for short assertions.
pub fn field<'r>(received: &'r Received, name: &str) -> Option<&'r str> {
    received.head.headers.get(name)?.to_str().ok()
}
