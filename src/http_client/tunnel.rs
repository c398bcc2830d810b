//! Asks a proxy for a tunnel (`CONNECT`, RFC 9110 §9.3.6).

use std::io;
use std::path::PathBuf;

use bytes::BytesMut;
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::HttpError;

/// The largest head of an answer to `CONNECT`.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;

/// Why there is no way through a proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyFault {
    #[error("its name cannot be resolved: {0}")]
    Unresolved(String),
    #[error("nothing listens there: the connection was refused")]
    Refused,
    #[error("the connection failed: {0}")]
    Unreachable(String),
    /// Connecting took longer than the limit.
    #[error("no tunnel within {0}")]
    Late(String),
    /// The proxy's own TLS.
    #[error("{0}")]
    Tls(String),
    #[error("the file `{}` of `passwordFile` {}", .0.display(), .1)]
    Password(PathBuf, String),
    #[error("its user or password cannot be sent")]
    Unsendable,
    #[error("{}", answered(*.status, *.authorized))]
    Answered {
        status: u16,
        /// Whether it got a password.
        authorized: bool,
    },
    #[error("it closed the connection without an answer")]
    Closed,
    #[error("its answer is not valid HTTP/1.1")]
    NotHttp,
}

fn answered(status: u16, authorized: bool) -> String {
    let hint = match status {
        // tinyproxy answers 401 to a wrong password.
        401 | 407 if authorized => ": it refuses the user or the password of `passwordFile`",
        407 => {
            ": it demands a password: name the user in the URL (`http://USER@HOST`), and set \
             `passwordFile`"
        }
        403 | 405 => ": it does not permit this destination",
        502..=504 => ": it cannot reach the destination",
        _ => "",
    };
    format!("it answered {status}{hint}")
}

impl ProxyFault {
    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> HttpError {
        match self {
            Self::Answered { status, .. } if *status < 500 => HttpError::ProxyRefused,
            Self::Password(..) | Self::Unsendable => HttpError::ProxyRefused,
            _ => HttpError::Proxy,
        }
    }

    /// The fault of a failed connect.
    #[must_use]
    pub fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Unreachable(error.to_string().escape_debug().to_string()),
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Asks for a tunnel to `authority` over a connection to the proxy. Afterwards the stream belongs
/// to the tunnel. Has no timer.
///
/// # Errors
/// [`ProxyFault`].
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    authority: &str,
    authorization: Option<&HeaderValue>,
) -> Result<(), ProxyFault> {
    let mut head = Zeroizing::new(Vec::with_capacity(1024));
    for part in [
        "CONNECT ",
        authority,
        " HTTP/1.1\r\nHost: ",
        authority,
        "\r\nUser-Agent: ",
        super::USER_AGENT,
    ] {
        head.extend_from_slice(part.as_bytes());
    }
    if let Some(value) = authorization {
        head.extend_from_slice(b"\r\nProxy-Authorization: ");
        head.extend_from_slice(value.as_bytes());
    }
    head.extend_from_slice(b"\r\n\r\n");
    let sent = async {
        stream.write_all(&head).await?;
        stream.flush().await
    };
    sent.await.map_err(|_| ProxyFault::Closed)?;
    let status = answer(stream).await?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let authorized = authorization.is_some();
    Err(ProxyFault::Answered { status, authorized })
}

/// The status of an answer. A server behind a tunnel never begins, so nothing may follow a success.
async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<u16, ProxyFault> {
    let mut read = BytesMut::with_capacity(1024);
    loop {
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) if read.is_empty() => return Err(ProxyFault::Closed),
            Ok(0) | Err(_) => return Err(ProxyFault::NotHttp),
            Ok(_) => {}
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&read) {
            Ok(httparse::Status::Complete(length)) => {
                let status = response.code.ok_or(ProxyFault::NotHttp)?;
                let is_clean = !(200..300).contains(&status) || length == read.len();
                return is_clean.then_some(status).ok_or(ProxyFault::NotHttp);
            }
            Ok(httparse::Status::Partial) if read.len() < MAX_HEAD => {}
            _ => return Err(ProxyFault::NotHttp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome of a proxy that answers with these bytes, and then closes.
    async fn outcome(answer: &[u8]) -> Result<(), ProxyFault> {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        let value = HeaderValue::from_static("Basic YTpi");
        let outcome = ask(&mut ours, "idp.example:443", Some(&value)).await;
        drop(ours);
        let mut asked = String::new();
        theirs.read_to_string(&mut asked).await.unwrap();
        assert!(asked.starts_with("CONNECT idp.example:443 HTTP/1.1\r\nHost: idp.example:443\r\n"));
        assert!(
            asked.ends_with("\r\nProxy-Authorization: Basic YTpi\r\n\r\n"),
            "{asked}"
        );
        outcome
    }

    #[tokio::test]
    async fn only_a_clean_success_opens_a_tunnel() {
        for good in [
            &b"HTTP/1.1 200 Connection established\r\n\r\n"[..],
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 204 \r\n\r\n",
        ] {
            assert_eq!(outcome(good).await, Ok(()));
        }
        let answered = |status| ProxyFault::Answered {
            status,
            authorized: true,
        };
        for (bad, fault) in [
            (&b""[..], ProxyFault::Closed),
            (b"garbage\r\n\r\n", ProxyFault::NotHttp),
            (b"HTTP/1.1 200 OK\r\n", ProxyFault::NotHttp),
            (b"HTTP/1.1 200 OK\r\n\r\n\x16\x03", ProxyFault::NotHttp),
            (b"\x16\x03\x01\x00\x05hello", ProxyFault::NotHttp),
            (
                b"HTTP/1.1 407 Denied\r\nContent-Length: 3\r\n\r\nabc",
                answered(407),
            ),
            (b"HTTP/1.1 502 Bad\r\n\r\n", answered(502)),
            (b"HTTP/1.1 101 Switching\r\n\r\n", answered(101)),
        ] {
            assert_eq!(outcome(bad).await, Err(fault), "{}", bad.escape_ascii());
        }
        let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 20_000]].concat();
        assert_eq!(outcome(&endless).await, Err(ProxyFault::NotHttp));
    }

    #[test]
    fn a_fault_says_what_to_do() {
        let text = |status, authorized| ProxyFault::Answered { status, authorized }.to_string();
        assert!(text(407, false).contains("set `passwordFile`"));
        for status in [401, 407] {
            assert!(text(status, true).contains("refuses the user or the password"));
        }
        assert!(text(502, true).contains("cannot reach the destination"));
        let kind = |status| {
            ProxyFault::Answered {
                status,
                authorized: true,
            }
            .kind()
        };
        assert_eq!(kind(407), HttpError::ProxyRefused);
        assert_eq!(kind(502), HttpError::Proxy);
        assert_eq!(authority("::1", 443), "[::1]:443");
    }
}
