//! The client in front of the listeners.

use h2::ext::Protocol;
use http::{Method, Request};
use tokio::net::{TcpStream, UnixStream};

use super::exchange::{Exchange, Framing, Http1, Http2, Stream};
use super::transports::Place;
use crate::support::certificates::TlsClient;

/// A client of one listener.
pub struct Caller {
    pub place: Place,
    pub http2: bool,
    pub tls: Option<TlsClient>,
    /// Its token, unless the listener attaches one.
    pub token: Option<String>,
    /// The client id that the service gets.
    pub name: &'static str,
}

/// The request of a client.
pub struct Asking<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub fields: &'a [(&'a str, &'a str)],
    /// The length of its body.
    pub length: Option<u64>,
    /// Whether it has a body without a length.
    pub is_open: bool,
    pub is_websocket: bool,
}

impl Default for Asking<'_> {
    fn default() -> Self {
        Self {
            method: "GET",
            path: "/",
            fields: &[],
            length: None,
            is_open: false,
            is_websocket: false,
        }
    }
}

impl Caller {
    async fn connect(&self) -> Stream {
        let address = match &self.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path).await.expect("it listens");
                return Box::new(stream);
            }
            Place::Port(address) => *address,
        };
        match &self.tls {
            Some(tls) => Box::new(tls.open(address, "localhost").await.into_stream()),
            None => {
                let stream = TcpStream::connect(address).await.expect("it listens");
                stream.set_nodelay(true).expect("a connected socket");
                Box::new(stream)
            }
        }
    }

    /// Begins a request on a connection of its own.
    pub async fn ask(&self, asking: &Asking<'_>) -> Exchange {
        let stream = self.connect().await;
        if self.http2 {
            self.ask_http2(stream, asking).await
        } else {
            self.ask_http1(stream, asking).await
        }
    }

    async fn ask_http1(&self, stream: Stream, asking: &Asking<'_>) -> Exchange {
        let mut lines = vec![
            format!("{} {} HTTP/1.1", asking.method, asking.path),
            "host: localhost".to_owned(),
        ];
        let fields = asking.fields.iter();
        lines.extend(fields.map(|(name, value)| format!("{name}: {value}")));
        lines.extend(
            self.token
                .iter()
                .map(|it| format!("authorization: Bearer {it}")),
        );
        let mut http1 = Http1::new(stream);
        if let Some(length) = asking.length {
            lines.push(format!("content-length: {length}"));
            http1.sends = Framing::Length(length);
        }
        if asking.is_open {
            lines.push("transfer-encoding: chunked".to_owned());
            http1.sends = Framing::Chunked;
        }
        if asking.is_websocket {
            lines.push("connection: Upgrade\r\nupgrade: websocket".to_owned());
        }
        let head = lines.join("\r\n") + "\r\n\r\n";
        http1.write(head.as_bytes()).await;
        Exchange::Http1(http1)
    }

    async fn ask_http2(&self, stream: Stream, asking: &Asking<'_>) -> Exchange {
        let begun = h2::client::handshake(stream).await;
        let (client, connection) = begun.expect("HTTP/2");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("an open connection");
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let method = if asking.is_websocket {
            Method::CONNECT
        } else {
            asking.method.parse().expect("a method")
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{scheme}://localhost{}", asking.path));
        for (name, value) in asking
            .fields
            .iter()
            .filter(|(name, _)| *name != "sec-websocket-key")
        {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(length) = asking.length {
            request = request.header("content-length", length);
        }
        if asking.is_websocket {
            // The settings of the listener, which precede its first response, permit it.
            request = request.extension(Protocol::from_static("websocket"));
        }
        let is_whole = asking.length.is_none() && !asking.is_open && !asking.is_websocket;
        let request = request.body(()).expect("a request");
        let sent = client.send_request(request, is_whole);
        let (answer, out) = sent.expect("an open connection");
        Exchange::Http2(Http2 {
            out: (!is_whole).then_some(out),
            answer: Some(answer),
            ..Http2::default()
        })
    }
}
