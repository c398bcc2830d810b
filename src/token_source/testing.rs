//! A scripted authority over real sockets: one script per request, with a record of the requests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Authentication, Config, TokenEndpoint};
use crate::domain::oauth::BasicEncoding;
use crate::http_client::FetchTimeouts;

#[derive(Clone)]
pub(super) struct Authority {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    scripts: VecDeque<String>,
    requests: Vec<String>,
}

impl Authority {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = Self {
            address: listener.local_addr().unwrap(),
            world: Arc::default(),
        };
        let served = authority.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        authority
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The answers to the next requests. A request beyond the script gets 500.
    pub fn script(&self, answers: impl IntoIterator<Item = String>) {
        self.world.lock().unwrap().scripts.extend(answers);
    }

    pub fn requests(&self) -> Vec<String> {
        self.world.lock().unwrap().requests.clone()
    }

    pub fn requested_paths(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| request.split(' ').nth(1).unwrap_or_default().to_owned())
            .collect()
    }

    async fn serve(self, mut stream: TcpStream) {
        while let Some(request) = read_request(&mut stream).await {
            let answer = {
                let mut world = self.world.lock().unwrap();
                world.requests.push(request);
                world.scripts.pop_front().unwrap_or_else(|| answer(500, ""))
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// One request, head and body; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
        }
    }
}

pub(super) fn answer(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn token(token: &str, expires_in: u64) -> String {
    answer(
        200,
        &format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#),
    )
}

pub(super) fn config(authority: &Authority) -> Config {
    let endpoint = TokenEndpoint::Url(authority.url("/token").parse().unwrap());
    let timeouts = FetchTimeouts {
        connect: Duration::from_secs(3),
        total: Duration::from_secs(15),
    };
    Config {
        client_id: "legacy".into(),
        authentication: secret_basic(secret_file("hunter2")),
        ..Config::without_client("hub", endpoint, timeouts)
    }
}

pub(super) fn secret_basic(secret_file: std::path::PathBuf) -> Authentication {
    Authentication::SecretBasic {
        secret_file,
        encoding: BasicEncoding::Form,
    }
}

/// A file with a secret, in the temporary directory.
pub(super) fn secret_file(secret: &str) -> std::path::PathBuf {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret).unwrap();
    file.into_temp_path().keep().unwrap()
}
