//! The way to the issuer that a client of plgd takes: straight to the listener, or through an nginx
//! as plgd's bundle has it.

mod nginx;

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::RawAnswer;
use crate::support::http1::Wire;
use crate::support::{WAIT_LIMIT, logs};
use nginx::Nginx;

/// Names the program `nginx`; then it stands before the issuer.
const NGINX: &str = "M2M_PLGD_NGINX";

/// A connection's two directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A request, without `Host`, `Content-Length` and `Connection`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Option<&'a [u8]>,
}

/// Where requests go.
pub struct Front {
    address: SocketAddr,
    nginx: Option<Nginx>,
}

impl Front {
    /// The way to this listener.
    pub async fn to(issuer: SocketAddr) -> Self {
        match std::env::var_os(NGINX) {
            None => Self {
                address: issuer,
                nginx: None,
            },
            Some(program) => {
                let nginx = Nginx::before(&program, issuer).await;
                Self {
                    address: nginx.address(),
                    nginx: Some(nginx),
                }
            }
        }
    }

    /// Whether it leads through nginx.
    pub fn is_nginx(&self) -> bool {
        self.nginx.is_some()
    }

    /// A connection.
    pub async fn open(&self) -> Box<dyn Stream> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.unwrap_or_else(|e| panic!("connect to {}: {e}", self.address));
        stream.set_nodelay(true).expect("a connected socket");
        match &self.nginx {
            None => Box::new(stream),
            Some(nginx) => Box::new(nginx.encrypt(stream).await),
        }
    }

    /// One request on a connection of its own, as the exchanges were recorded.
    pub async fn ask(&self, request: &Request<'_>) -> RawAnswer {
        let (reader, mut writer) = tokio::io::split(self.open().await);
        let bytes = bytes(request);
        let write = async {
            // The answer tells more than an error here: a server may answer before it has read a
            // body that is too large.
            let _ = writer.write_all(&bytes).await;
            std::future::pending::<()>().await;
        };
        let read = async {
            tokio::select! {
                answer = read_answer(reader, request.method) => answer,
                () = write => unreachable!("pending"),
            }
        };
        let answer = timeout(WAIT_LIMIT, read).await;
        let answer =
            answer.unwrap_or_else(|_| panic!("no answer: {} {}", request.method, request.target));
        if answer.status >= 400 {
            logs::note(&format!(
                "{} {:?} {}",
                answer.status,
                answer.headers,
                answer.text()
            ));
        }
        answer
    }

    /// A GET.
    pub async fn get(&self, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
        self.ask(&Request {
            method: "GET",
            target,
            headers,
            body: None,
        })
        .await
    }
}

/// The request's bytes.
pub fn bytes(request: &Request<'_>) -> Vec<u8> {
    let Request {
        method,
        target,
        headers,
        body,
    } = request;
    let mut out =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost:20013\r\nConnection: close\r\n");
    for (name, value) in *headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    if body.is_some() || matches!(*method, "POST" | "PUT" | "PATCH") {
        out.push_str(&format!(
            "Content-Length: {}\r\n",
            body.map_or(0, <[u8]>::len)
        ));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body.unwrap_or_default());
    out
}

async fn read_answer(reader: impl AsyncRead + Unpin, method: &str) -> RawAnswer {
    let mut wire = Wire::new(reader);
    let mut interim = Vec::new();
    loop {
        let head = wire
            .head()
            .await
            .expect("an answer")
            .expect("an answer before the connection ends");
        let status = head
            .start_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok());
        let status: u16 =
            status.unwrap_or_else(|| panic!("not a status line: {}", head.start_line));
        if (100..200).contains(&status) {
            interim.push(status);
            continue;
        }
        let mut body = Vec::new();
        if method != "HEAD" && !matches!(status, 204 | 304) {
            wire.answer_body(&head, &mut body)
                .await
                .expect("a whole body");
        }
        return RawAnswer {
            status,
            headers: head.headers,
            body,
            interim,
        };
    }
}
