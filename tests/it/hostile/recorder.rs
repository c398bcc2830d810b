//! An upstream that records every byte, and parses requests strictly.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::support::net::{Server, Stream};
use crate::support::{WAIT_LIMIT, lock};

/// One recorded request.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Request line and fields, as text.
    pub head: String,
    /// Path and query.
    pub target: String,
    /// Names, as spelled, and values.
    pub fields: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl Recorded {
    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }
}

/// Every byte of one connection.
#[derive(Default)]
struct Tape {
    bytes: Vec<u8>,
    /// Requests that were answered.
    requests: Vec<Recorded>,
    /// The length of these requests in `bytes`.
    read: usize,
    ended: bool,
}

type Scripts = Mutex<HashMap<String, Vec<Vec<u8>>>>;

/// The recorder. It answers each request with its target, or with scripted bytes.
pub struct Recorder {
    server: Server,
    tapes: Arc<Mutex<Vec<Tape>>>,
    scripts: Arc<Scripts>,
    changed: watch::Sender<()>,
}

impl Recorder {
    pub fn start() -> Self {
        let (tapes, scripts) = (
            Arc::<Mutex<Vec<Tape>>>::default(),
            Arc::<Scripts>::default(),
        );
        let changed = watch::Sender::new(());
        let (tape, script, change) = (tapes.clone(), scripts.clone(), changed.clone());
        let server = Server::start(None, move |stream, _| {
            serve(stream, tape.clone(), script.clone(), change.clone())
        });
        Self {
            server,
            tapes,
            scripts,
            changed,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Answers the path with these bytes as soon as the head is there; the further pieces follow
    /// later. The connection stays open.
    pub fn script(&self, path: &str, pieces: Vec<Vec<u8>>) {
        lock(&self.scripts).insert(path.to_owned(), pieces);
    }

    /// Every complete request.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.tapes)
            .iter()
            .flat_map(|tape| tape.requests.clone())
            .collect()
    }

    /// Parses everything again, with the heads of broken requests, so that the test itself panics
    /// where the form is not canonical.
    pub fn read_again(&self) {
        for tape in lock(&self.tapes).iter() {
            let mut rest = tape.bytes.as_slice();
            while let Some((_, length)) = parse(rest) {
                rest = &rest[length..];
            }
            if let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                canonical_fields(&rest[..end + 4]);
            }
        }
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        lock(&self.tapes).len()
    }

    /// Waits until the sidecar has ended so many connections.
    pub async fn wait_for_ended(&self, count: usize) {
        let mut changed = self.changed.subscribe();
        let reached = async {
            while lock(&self.tapes).iter().filter(|tape| tape.ended).count() < count {
                changed.changed().await.expect("the sender is ours");
            }
        };
        tokio::time::timeout(WAIT_LIMIT, reached)
            .await
            .expect("the connection is ended");
    }
}

async fn serve(
    mut stream: Stream,
    tapes: Arc<Mutex<Vec<Tape>>>,
    scripts: Arc<Scripts>,
    changed: watch::Sender<()>,
) {
    let number = {
        let mut tapes = lock(&tapes);
        tapes.push(Tape::default());
        tapes.len() - 1
    };
    let mut buffer = vec![0; 16 * 1024];
    let mut early: Option<String> = None;
    loop {
        let answer = {
            let mut tapes = lock(&tapes);
            let tape = &mut tapes[number];
            let rest = &tape.bytes[tape.read..];
            let scripted = early_target(rest).filter(|target| lock(&scripts).contains_key(target));
            match parse(rest) {
                Some((request, length)) => {
                    tape.read += length;
                    let answered = early.take();
                    let target = request.target.clone();
                    tape.requests.push(request);
                    if answered.is_some() {
                        Some(Vec::new())
                    } else {
                        Some(answer_to(&target, &scripts))
                    }
                }
                None => match scripted {
                    Some(target) if early.is_none() => {
                        let answer = answer_to(&target, &scripts);
                        early = Some(target);
                        Some(answer)
                    }
                    _ => None,
                },
            }
        };
        if let Some(pieces) = answer {
            changed.send_replace(());
            for (at, piece) in pieces.into_iter().enumerate() {
                if at > 0 {
                    // The next piece must find the connection idle.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if stream.write_all(&piece).await.is_err() || stream.flush().await.is_err() {
                    lock(&tapes)[number].ended = true;
                    changed.send_replace(());
                    return;
                }
            }
            continue;
        }
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        let mut tapes = lock(&tapes);
        tapes[number].bytes.extend_from_slice(&buffer[..read]);
        if read == 0 {
            tapes[number].ended = true;
            changed.send_replace(());
            return;
        }
    }
}

fn early_target(bytes: &[u8]) -> Option<String> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    head.split(' ').nth(1).map(str::to_owned)
}

fn answer_to(target: &str, scripts: &Scripts) -> Vec<Vec<u8>> {
    if let Some(pieces) = lock(scripts).get(target) {
        return pieces.clone();
    }
    vec![
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}",
            target.len()
        )
        .into_bytes(),
    ]
}

/// The request at the start of these bytes, and its length. Panics if it is not in canonical form.
fn parse(bytes: &[u8]) -> Option<(Recorded, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap_or("").to_owned();
    let fields = canonical_fields(&bytes[..end]);
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = Recorded {
        head,
        target,
        fields,
        body: Vec::new(),
    };
    let length = request
        .all("content-length")
        .first()
        .map(|length| length.parse::<usize>().expect("digits"));
    let taken = match length {
        Some(length) => {
            request.body = bytes.get(end..end + length)?.to_vec();
            length
        }
        None if request.all("transfer-encoding").is_empty() => 0,
        None => chunks(&bytes[end..], &mut request.body)?,
    };
    Some((request, end + taken))
}

fn chunks(bytes: &[u8], body: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..]
            .windows(2)
            .position(|window| window == b"\r\n")?;
        let digits = std::str::from_utf8(&bytes[at..at + line]).expect("a chunk size");
        let size = usize::from_str_radix(digits, 16).expect("a chunk size and no more");
        at += line + 2;
        let chunk = bytes.get(at..at + size + 2)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends in CR LF");
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Some(at);
        }
    }
}

/// The fields of a head in canonical form.
fn canonical_fields(head: &[u8]) -> Vec<(String, String)> {
    let shown = String::from_utf8_lossy(head).into_owned();
    let mut lines = head
        .strip_suffix(b"\r\n\r\n")
        .expect("a whole head")
        .split(|byte| *byte == b'\n');
    let mut line = || {
        let line = lines.next()?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(
            !line.contains(&b'\r') && !line.contains(&0),
            "a control character: {shown}"
        );
        Some(String::from_utf8_lossy(line).into_owned())
    };
    let request_line = line().expect("a request line");
    let words: Vec<_> = request_line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        panic!("no request line: {shown}")
    };
    assert!(
        !method.is_empty() && method.bytes().all(|b| !b.is_ascii_lowercase()),
        "{shown}"
    );
    let path = target.split('?').next().unwrap_or_default();
    assert!(
        path.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic()),
        "{shown}"
    );
    assert!(
        !path.contains("//") && !path.contains(['\\', '#']),
        "{shown}"
    );
    assert!(
        path.split('/')
            .all(|segment| segment != "." && segment != ".."),
        "{shown}"
    );
    let mut fields = Vec::new();
    while let Some(line) = line() {
        let (name, value) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("no field {line:?}: {shown}"));
        assert!(
            name.bytes().all(|b| b.is_ascii_graphic()) && !value.starts_with(' '),
            "{shown}"
        );
        fields.push((name.to_owned(), value.to_owned()));
    }
    let count = |name: &str| {
        fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .count()
    };
    assert_eq!(count("host"), 1, "{shown}");
    assert!(
        count("content-length") + count("transfer-encoding") <= 1,
        "{shown}"
    );
    for name in [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
    ] {
        assert_eq!(count(name), 0, "{name}: {shown}");
    }
    for (name, value) in &fields {
        let (lower, folded) = (
            name.to_lowercase(),
            name.to_lowercase().replace(['_', '.'], "-"),
        );
        let is_ours = [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
        ]
        .contains(&folded.as_str());
        assert!(!(is_ours && lower != folded), "an imitation: {shown}");
        // The sidecar's own, after a body that some servers do not read.
        assert!(lower != "connection" || value == "close", "{shown}");
    }
    // Every case uses these words for smuggled parts.
    assert!(
        !shown.contains("smuggled") && !shown.contains("forged"),
        "it got through: {shown}"
    );
    fields
}
