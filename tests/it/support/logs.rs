//! Captures the log of the process, and searches it for secrets.
//! There is one capture per process, because `tracing` has one global subscriber. The fake world
//! registers each secret that it makes; each sidecar checks the log when it stops.

use std::io;
use std::panic;
use std::sync::{Mutex, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use m2m_sidecar::for_tests::telemetry;
use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;

use super::leaks::Secrets;
use super::{WAIT_LIMIT, lock};

struct Capture {
    text: Mutex<Vec<u8>>,
    secrets: Mutex<Secrets>,
    panics: Mutex<Vec<String>>,
    written: watch::Sender<usize>,
}

fn capture() -> &'static Capture {
    static CAPTURE: OnceLock<Capture> = OnceLock::new();
    CAPTURE.get_or_init(|| {
        install();
        Capture {
            text: Mutex::default(),
            secrets: Mutex::default(),
            panics: Mutex::default(),
            written: watch::Sender::new(0),
        }
    })
}

/// Starts the capture; further calls do nothing.
pub fn start() {
    capture();
}

fn install() {
    // The sidecar's own filter at its lowest level: no configuration can log more.
    let targets = telemetry::targets(tracing::Level::TRACE);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_span_events(FmtSpan::NEW)
        .with_writer(|| LineWriter);
    let subscriber = tracing_subscriber::registry().with(targets).with(lines);
    tracing::subscriber::set_global_default(subscriber)
        .expect("nothing else in the tests subscribes");
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let file = info.location().map_or("", |location| location.file());
        // A test reports its own failed assertion; a panic in the sidecar may end only one task.
        if !file.starts_with("tests/") {
            lock(&capture().panics).push(info.to_string());
        }
        report(info);
    }));
}

struct LineWriter;

impl io::Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LineWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

fn append(bytes: &[u8]) {
    let capture = capture();
    let length = {
        let mut text = lock(&capture.text);
        text.extend_from_slice(bytes);
        text.len()
    };
    capture.written.send_replace(length);
}

/// Adds text that users see elsewhere: error answers, output of commands.
pub fn note(text: &str) {
    append(format!("{text}\n").as_bytes());
}

/// Registers a secret. Secrets under 8 bytes are ignored: they would occur by chance.
pub fn remember_secret(secret: &str) {
    lock(&capture().secrets).remember(secret);
}

/// Registers a client secret, also in its Basic form.
pub fn remember_client_secret(client_id: &str, secret: &str) {
    remember_secret(secret);
    remember_secret(&STANDARD.encode(format!("{client_id}:{secret}")));
}

/// Registers a private key in PEM. Its first full line holds the beginning of the key and nothing
/// public.
pub fn remember_private_key(pem: &str) {
    if let Some(line) = pem.lines().find(|line| !line.starts_with("-----")) {
        remember_secret(line);
    }
}

/// Fails when a secret was logged since `mark`, or when the sidecar panicked. Earlier lines belong
/// to other sidecars, which search them.
pub fn assert_no_leaks(mark: usize) {
    // A copy: logging does not wait for the search.
    let text = lock(&capture().text)[mark..].to_vec();
    let leaks = lock(&capture().secrets).find_in(&text);
    assert!(
        leaks.is_empty(),
        "secrets were logged:\n{}",
        leaks.join("\n")
    );
    let panics = lock(&capture().panics);
    assert!(
        panics.is_empty(),
        "the sidecar panicked:\n{}",
        panics.join("\n")
    );
}

/// The present end of the capture. Tests share the capture, and look only at later lines.
pub fn mark() -> usize {
    lock(&capture().text).len()
}

/// The lines since `mark` that contain all of these texts.
pub fn lines_since(mark: usize, texts: &[&str]) -> Vec<String> {
    let since = lock(&capture().text)[mark..].to_vec();
    String::from_utf8_lossy(&since)
        .lines()
        .filter(|line| texts.iter().all(|text| line.contains(text)))
        .map(str::to_owned)
        .collect()
}

/// Waits for such a line.
pub async fn wait_for_line(mark: usize, texts: &[&str]) -> String {
    let mut written = capture().written.subscribe();
    let search = async {
        loop {
            written.borrow_and_update();
            if let Some(line) = lines_since(mark, texts).pop() {
                return line;
            }
            written.changed().await.expect("the capture never ends");
        }
    };
    tokio::time::timeout(WAIT_LIMIT, search)
        .await
        .unwrap_or_else(|_| panic!("no line with {texts:?} was logged"))
}
