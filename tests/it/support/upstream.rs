//! A recording upstream: it keeps every request unchanged, and answers as scripted.

mod answer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

pub use answer::Answer;

use super::behave::After;
use super::http1::{self, Head, Wire};
use super::net::{Server, Stream};
use super::tls::TestTls;
use super::{WAIT_LIMIT, lock, logs};
use answer::write_answer;

/// A request that the upstream received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The head, byte by byte.
    pub head: Vec<u8>,
    pub method: String,
    /// The request target.
    pub target: String,
    /// Header fields in order and as spelled.
    pub headers: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
    /// Whether the whole body came.
    pub complete: bool,
    /// The number of the connection it came on, from 0.
    pub connection: usize,
}

impl Received {
    /// Every value of a header field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        http1::all(&self.headers, name)
    }

    /// A header field's only value; `None` when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is repeated: {all:?}");
        all.first().copied()
    }

    /// The bearer token it carries.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }
}

type Respond = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

struct Script {
    next: VecDeque<Answer>,
    standing: Respond,
    idle_close: Option<Duration>,
}

struct Shared {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    changed: watch::Sender<()>,
}

/// The recording upstream. A drop ends its connections.
pub struct Upstream {
    server: Server,
    shared: Arc<Shared>,
    ca_pem: Option<String>,
}

impl Upstream {
    /// A plain one.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// One with TLS, under the names `localhost` and `127.0.0.1`.
    pub fn start_tls() -> Self {
        Self::start_tls_as(&["localhost", "127.0.0.1"])
    }

    /// One with TLS, whose certificate has these names.
    pub fn start_tls_as(names: &[&str]) -> Self {
        Self::start_with(Some(TestTls::for_names(names)))
    }

    /// One with this TLS side.
    pub fn start_with(tls: Option<TestTls>) -> Self {
        logs::start();
        let script = Script {
            next: VecDeque::new(),
            standing: Arc::new(|_| Answer::Echo),
            idle_close: None,
        };
        let (script, received) = (Mutex::new(script), Mutex::default());
        let shared = Arc::new(Shared {
            script,
            received,
            changed: watch::Sender::new(()),
        });
        let serving = shared.clone();
        let (ca_pem, acceptor) = tls.map(|tls| (tls.ca_pem, tls.acceptor)).unzip();
        let server = Server::start(acceptor, move |stream, number| {
            serve(stream, number, serving.clone())
        });
        Self {
            server,
            shared,
            ca_pem,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn url(&self) -> String {
        match self.ca_pem {
            Some(_) => format!("https://localhost:{}", self.address().port()),
            None => format!("http://{}", self.address()),
        }
    }

    /// The certificate to trust for it, when it was started with TLS.
    pub fn ca_pem(&self) -> &str {
        self.ca_pem.as_deref().expect("started with TLS")
    }

    /// Sets its answers, for requests after those of [`next`](Self::next).
    pub fn answer(&self, respond: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        lock(&self.shared.script).standing = Arc::new(respond);
    }

    /// Sets the answer to the next request without a scripted one.
    pub fn next(&self, answer: Answer) {
        lock(&self.shared.script).next.push_back(answer);
    }

    /// Closes connections that are idle for so long.
    pub fn close_idle_after(&self, idle: Duration) {
        lock(&self.shared.script).idle_close = Some(idle);
    }

    /// Every request up to now.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// Waits for so many requests, and returns all.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut changed = self.shared.changed.subscribe();
        let reached = async {
            while lock(&self.shared.received).len() < count {
                changed.changed().await.expect("the sender is ours");
            }
        };
        let waited = tokio::time::timeout(WAIT_LIMIT, reached).await;
        waited.unwrap_or_else(|_| panic!("{} of {count} requests came", self.received().len()));
        self.received()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Stops listening; connections are refused.
    pub async fn down(&self) {
        self.server.down().await;
    }

    /// Listens again, on the same port.
    pub fn up(&self) {
        self.server.up();
    }
}

async fn serve(stream: Stream, connection: usize, shared: Arc<Shared>) {
    let mut wire = Wire::new(stream);
    loop {
        let idle = lock(&shared.script).idle_close.unwrap_or(Duration::MAX);
        let Ok(Ok(Some(head))) = tokio::time::timeout(idle, wire.head()).await else {
            return;
        };
        let mut request = received(&head, connection);
        let scripted = lock(&shared.script).next.pop_front();
        let early = matches!(scripted, Some(Answer::Early(_) | Answer::Silent));
        if !early {
            request.complete = read_body(&mut wire, &head, &mut request.body).await.is_ok();
        }
        lock(&shared.received).push(request.clone());
        shared.changed.send_replace(());
        if !request.complete && !early {
            return;
        }
        let mut answer = scripted.unwrap_or_else(|| shared.usual_answer(&request));
        loop {
            match answer {
                Answer::Delay(delay, then) => {
                    tokio::time::sleep(delay).await;
                    answer = *then;
                }
                Answer::Hold(gate, then) => {
                    gate.passed().await;
                    answer = *then;
                }
                _ => break,
            }
        }
        match write_answer(&mut wire.stream, &request, answer).await {
            Ok(After::Continue) => {}
            Ok(After::Reset) => return wire.stream.reset(),
            Ok(After::Close) => {
                // Without a close_notify a client would report an attack instead of this end.
                let _ = wire.stream.shutdown().await;
                return;
            }
            Err(_) => return,
        }
    }
}

impl Shared {
    fn usual_answer(&self, request: &Received) -> Answer {
        let respond = lock(&self.script).standing.clone();
        respond(request)
    }
}

fn received(head: &Head, connection: usize) -> Received {
    let mut words = head.start_line.split(' ').map(str::to_owned);
    Received {
        head: head.raw.clone(),
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        headers: head.headers.clone(),
        body: Vec::new(),
        complete: false,
        connection,
    }
}

async fn read_body(
    wire: &mut Wire<Stream>,
    head: &Head,
    body: &mut Vec<u8>,
) -> std::io::Result<()> {
    if head
        .all("expect")
        .iter()
        .any(|value| value.eq_ignore_ascii_case("100-continue"))
    {
        wire.stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await?;
        wire.stream.flush().await?;
    }
    wire.request_body(head, body).await
}
