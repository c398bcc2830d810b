//! A fake HTTP proxy: it tunnels, forwards and misbehaves on command, and records what it is asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::net::{Server, Stream};
use super::tls::TestTls;
use super::{lock, logs};

/// The answer to a request.
#[derive(Clone, Copy)]
pub enum Act {
    /// Does what a proxy does.
    Serve,
    /// Sends these bytes, and closes.
    Answer(&'static [u8]),
    /// Closes without an answer.
    Close,
    /// Never answers.
    Hang,
}

/// A request to the proxy.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

struct Shared {
    act: Mutex<Act>,
    asked: Mutex<Vec<Asked>>,
    routes: HashMap<String, SocketAddr>,
    /// `user:password`.
    password: Mutex<Option<String>>,
}

/// The proxy. A drop ends it.
pub struct EgressProxy {
    server: Server,
    shared: Arc<Shared>,
}

impl EgressProxy {
    /// A proxy that finds these hosts at these addresses.
    pub fn start(routes: &[(&str, SocketAddr)]) -> Self {
        Self::start_with(None, routes)
    }

    /// The same behind TLS.
    pub fn start_with(tls: Option<TestTls>, routes: &[(&str, SocketAddr)]) -> Self {
        logs::start();
        let routes = routes.iter().map(|(host, at)| ((*host).to_owned(), *at));
        let shared = Arc::new(Shared {
            act: Mutex::new(Act::Serve),
            asked: Mutex::default(),
            routes: routes.collect(),
            password: Mutex::default(),
        });
        let serving = shared.clone();
        let acceptor = tls.map(|tls| tls.acceptor);
        let server = Server::start(acceptor, move |stream, _| serve(stream, serving.clone()));
        Self { server, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Demands this user and password from now on.
    pub fn demand(&self, user: &str, password: &str) {
        logs::remember_secret(password);
        *lock(&self.shared.password) = Some(format!("{user}:{password}"));
    }

    pub fn act(&self, act: Act) {
        *lock(&self.shared.act) = act;
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// Whether it was asked with this request line.
    pub fn was_asked(&self, line: &str) -> bool {
        self.asked().iter().any(|asked| asked.line == line)
    }
}

async fn serve(mut stream: Stream, shared: Arc<Shared>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    let authorization = head.lines().find_map(|line| {
        let value = line.strip_prefix("Proxy-Authorization: ");
        value
            .or_else(|| line.strip_prefix("proxy-authorization: "))
            .map(str::to_owned)
    });
    lock(&shared.asked).push(Asked {
        line: line.clone(),
        authorization: authorization.clone(),
    });
    let act = *lock(&shared.act);
    match act {
        Act::Serve => {}
        Act::Close => return,
        Act::Hang => return std::future::pending().await,
        Act::Answer(answer) => {
            let _ = stream.write_all(answer).await;
            return;
        }
    }
    let expected = lock(&shared.password).clone();
    let expected = expected.map(|both| format!("Basic {}", STANDARD.encode(both)));
    if expected.is_some() && expected != authorization {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\
                        Proxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(refusal).await;
        return;
    }
    relay(stream, &head, &line, &shared).await;
}

async fn relay(mut stream: Stream, head: &str, line: &str, shared: &Shared) {
    let target = line.split(' ').nth(1).unwrap_or_default();
    let absolute = target.strip_prefix("http://");
    let authority = absolute.unwrap_or(target);
    let (authority, path) = authority.split_once('/').unwrap_or((authority, ""));
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let found = shared.routes.get(host);
    let Some(mut to) = (match found {
        Some(address) => TcpStream::connect(address).await.ok(),
        None => None,
    }) else {
        let _ = stream
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            .await;
        return;
    };
    let begun = match absolute {
        None => {
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await
        }
        Some(_) => {
            let origin = head.replacen(target, &format!("/{path}"), 1);
            to.write_all(origin.as_bytes()).await
        }
    };
    if begun.is_ok() {
        let _ = copy_bidirectional(&mut stream, &mut to).await;
    }
}
