//! The service behind the listeners. It answers each kind of request in either version of HTTP.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use http::HeaderMap;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::exchange::{Exchange, Framing, Http1, Http2, Io, Stream};
use crate::support::websocket::accept_of;

/// How the connections of a service are made.
pub enum Listening<'p> {
    Plain,
    Tls(TlsAcceptor),
    Socket(&'p Path),
}

/// A running service. A drop ends it.
pub struct Service {
    pub port: u16,
    /// Each permit lets it send one event of an event stream.
    pub events: Arc<Semaphore>,
    accepting: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A request, as far as the service needs it.
struct Asked {
    path: String,
    fields: HeaderMap,
}

impl Asked {
    fn field(&self, name: &str) -> &str {
        let value = self.fields.get(name).map(|value| value.to_str());
        value.and_then(Result::ok).unwrap_or_default()
    }
}

/// The SHA-256 of bytes, in hexadecimal.
pub struct Digest(Context);

impl Digest {
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn text(self) -> String {
        let bytes = self.0.finish();
        bytes
            .as_ref()
            .iter()
            .map(|it| format!("{it:02x}"))
            .collect()
    }

    pub fn of(bytes: &[u8]) -> String {
        let mut digest = Self::new();
        digest.add(bytes);
        digest.text()
    }
}

/// A message of gRPC.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short message");
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}

/// The next message of gRPC; `None` at the end of the body.
pub async fn next_message(exchange: &mut Exchange, held: &mut Vec<u8>) -> Option<Vec<u8>> {
    let head = exchange.take(held, 5).await?;
    let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
    let length = usize::try_from(length).expect("a short message");
    Some(exchange.take(held, length).await.expect("a whole message"))
}

impl Service {
    pub async fn start(listening: Listening<'_>, http2: bool) -> Self {
        let events = Arc::new(Semaphore::new(0));
        let given = events.clone();
        if let Listening::Socket(path) = listening {
            let listener = UnixListener::bind(path).expect("a free path");
            let accepting = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(Box::new(stream), http2, given.clone()));
                }
            });
            return Self {
                port: 0,
                events,
                accepting,
            };
        }
        let acceptor = match listening {
            Listening::Tls(acceptor) => Some(acceptor),
            _ => None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a connected socket");
                let (acceptor, given) = (acceptor.clone(), given.clone());
                tokio::spawn(async move {
                    let stream: Stream = match acceptor {
                        None => Box::new(stream),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            // The client reports it.
                            Err(_) => return,
                        },
                    };
                    serve(stream, http2, given).await;
                });
            }
        });
        Self {
            port,
            events,
            accepting,
        }
    }
}

async fn serve(stream: Stream, http2: bool, events: Arc<Semaphore>) {
    if http2 {
        serve_http2(stream, events).await;
        return;
    }
    let mut exchange = Exchange::Http1(Http1::new(stream));
    loop {
        let Exchange::Http1(http1) = &mut exchange else {
            return;
        };
        let Some((line, fields)) = http1.head().await else {
            return;
        };
        let path = line.split(' ').nth(1).expect("a target").to_owned();
        answer(&mut exchange, &Asked { path, fields }, &events).await;
        if matches!(&exchange, Exchange::Http1(http1) if http1.receives == Framing::Raw) {
            return;
        }
    }
}

async fn serve_http2(stream: impl Io + 'static, events: Arc<Semaphore>) {
    let mut builder = h2::server::Builder::new();
    let begun = builder.enable_connect_protocol().handshake(stream).await;
    let Ok(mut connection) = begun else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, body) = request.into_parts();
        let asked = Asked {
            path: head.uri.path().to_owned(),
            fields: head.headers,
        };
        let mut exchange = Exchange::Http2(Http2 {
            body: Some(body),
            respond: Some(respond),
            ..Http2::default()
        });
        let events = events.clone();
        tokio::spawn(async move { answer(&mut exchange, &asked, &events).await });
    }
}

async fn answer(exchange: &mut Exchange, asked: &Asked, events: &Semaphore) {
    let is_grpc = asked.field("content-type") == "application/grpc";
    if is_grpc && matches!(exchange, Exchange::Http1(_)) {
        while exchange.receive().await.is_some() {}
        exchange
            .respond(505, &[("x-of-service", "gRPC requires HTTP/2")])
            .await;
        return exchange.end(None).await;
    }
    match asked.path.as_str() {
        "/events" => send_events(exchange, events).await,
        "/ws" => websocket(exchange, asked).await,
        "/echo.Echo/Unary" | "/echo.Echo/Streams" => grpc(exchange).await,
        _ => digest(exchange, asked).await,
    }
}

/// Answers with the digest of the body and the caller's name.
async fn digest(exchange: &mut Exchange, asked: &Asked) {
    let mut digest = Digest::new();
    while let Some(part) = exchange.receive().await {
        digest.add(&part);
    }
    let subject = asked.field("x-m2m-client-id");
    exchange.respond(200, &[("x-caller", subject)]).await;
    exchange.send(digest.text()).await;
    exchange.end(None).await;
}

async fn send_events(exchange: &mut Exchange, events: &Semaphore) {
    while exchange.receive().await.is_some() {}
    exchange
        .respond(200, &[("content-type", "text/event-stream")])
        .await;
    for number in 0..super::kinds::EVENTS {
        events.acquire().await.expect("it is open").forget();
        exchange.send(format!("data: {number}\n\n")).await;
    }
    exchange.end(None).await;
}

/// Answers each message with its digest, as soon as it is whole.
async fn grpc(exchange: &mut Exchange) {
    exchange
        .respond(200, &[("content-type", "application/grpc")])
        .await;
    let mut held = Vec::new();
    while let Some(received) = next_message(exchange, &mut held).await {
        let digest = Digest::of(&received);
        exchange.send(message(digest.as_bytes())).await;
    }
    let status = (
        http::HeaderName::from_static("grpc-status"),
        "0".parse().expect("a value"),
    );
    exchange.end(Some(HeaderMap::from_iter([status]))).await;
}

/// Accepts a WebSocket, and returns its bytes.
async fn websocket(exchange: &mut Exchange, asked: &Asked) {
    let accept = accept_of(asked.field("sec-websocket-key"));
    match exchange {
        Exchange::Http1(_) => {
            let fields = [
                ("upgrade", "websocket"),
                ("connection", "Upgrade"),
                ("sec-websocket-accept", &accept),
            ];
            exchange.respond(101, &fields).await;
        }
        Exchange::Http2(_) => exchange.respond(200, &[]).await,
    }
    while let Some(part) = exchange.receive().await {
        exchange.send(part).await;
    }
    exchange.end(None).await;
}
