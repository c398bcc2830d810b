//! A client and an upstream of the relay that send any bytes, cut anywhere, and a recorder that
//! checks every byte on both sides. The fuzz target `relay` and a property test run it.
//!
//! It shares no code with the sidecar: its parsers are slow, simple and strict.

pub mod http2;
mod reading;
mod script;
mod sides;
mod strict;
mod wire;

pub use script::{Step, encoded, steps};
pub use sides::check;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use m2m_sidecar::for_tests::config;
use m2m_sidecar::for_tests::proxy::relay::{Relay, Wire};

use wire::Handle;

/// Polls of the relay for one step. More of them are a loop that waits for nothing.
const MOST_POLLS: usize = 5_000;
/// How long both sides may be silent until everything has ended.
const MOST_SILENCE: Duration = Duration::from_mins(20);
const TICK: Duration = Duration::from_secs(5);

/// Only `/public` passes without a token, and no token is valid.
const YAML: &str = r#"
authorities: { a: { issuer: "http://issuer.test" } }
inbound:
  - name: relay
    listen: 127.0.0.1:8080
    upstream: "http://192.0.2.1"
    authorities: [a]
    audiences: any
    pathCase: sensitive
    rules: [{ paths: ["/public/**"], access: public }, { paths: ["/**"] }]
"#;

static RELAY: LazyLock<Relay> = LazyLock::new(|| {
    let loaded = config::parse(YAML, "relay.yaml", &|_: &str| None);
    let config = loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    Relay::inbound(&config.inbound[0]).expect("a usable listener")
});

/// The bytes that one run has produced.
pub struct Recording {
    /// The bytes that the client has sent.
    pub sent: Vec<u8>,
    /// The bytes that the client has received.
    pub received: Vec<u8>,
    /// Whether the client has reset its connection.
    pub is_reset: bool,
    /// The bytes that each connection to the upstream has received.
    pub upstreams: Vec<Vec<u8>>,
}

/// The side of the upstream.
#[derive(Default)]
struct Upstreams {
    connections: Vec<Handle>,
    /// Bytes for the next connection, which it sends before it has read a request.
    early: Vec<u8>,
    refuses: bool,
}

/// Runs the script that these bytes encode and checks both sides. Panics at a fault.
pub fn run(data: &[u8]) {
    check(&record(&steps(data)));
}

/// Runs a script, and records both sides. Panics if the relay hangs or loops.
pub fn record(script: &[Step]) -> Recording {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(play(script))
}

async fn play(script: &[Step]) -> Recording {
    let upstreams = Arc::<Mutex<Upstreams>>::default();
    let connecting = upstreams.clone();
    let connect = Arc::new(move || {
        let mut upstreams = lock(&connecting);
        if std::mem::take(&mut upstreams.refuses) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let connection = Handle::default();
        connection.send(&std::mem::take(&mut upstreams.early));
        upstreams.connections.push(connection.clone());
        Ok(Box::new(connection.stream()) as Box<dyn Wire>)
    });
    let client = Handle::default();
    let serving = pin!(tokio::task::unconstrained(
        RELAY.serve(Box::new(client.stream()), connect)
    ));
    let mut serving = Serving {
        future: serving,
        is_over: false,
    };
    let mut sent = Vec::new();
    serving.settle().await;
    for step in script {
        apply(step, &client, &upstreams, &mut sent).await;
        serving.settle().await;
    }
    // Both sides take everything from now on, and send nothing more.
    client.stall(false);
    for upstream in &lock(&upstreams).connections {
        upstream.stall(false);
    }
    let ends_now = !script.contains(&Step::Silence);
    if ends_now {
        client.end();
    }
    let mut waited = Duration::ZERO;
    while !serving.is_over {
        if ends_now {
            for upstream in &lock(&upstreams).connections {
                upstream.end();
            }
        }
        serving.settle().await;
        assert!(waited < MOST_SILENCE, "the relay waits without end");
        tokio::time::advance(TICK).await;
        waited += TICK;
        serving.settle().await;
    }
    let received = lock(&upstreams);
    Recording {
        sent,
        received: client.received(),
        // A client that takes nothing for too long is cut off.
        is_reset: client.is_reset() || script.contains(&Step::ClientStalls(true)),
        upstreams: received.connections.iter().map(Handle::received).collect(),
    }
}

async fn apply(step: &Step, client: &Handle, upstreams: &Mutex<Upstreams>, sent: &mut Vec<u8>) {
    let newest = || lock(upstreams).connections.last().cloned();
    match step {
        Step::Client(bytes) => {
            if client.send(bytes) {
                sent.extend_from_slice(bytes);
            }
        }
        Step::Upstream(bytes) => {
            if !newest().is_some_and(|upstream| upstream.send(bytes)) {
                lock(upstreams).early.extend_from_slice(bytes);
            }
        }
        Step::ClientEnds => client.end(),
        Step::ClientResets => client.reset(),
        Step::ClientStalls(stalls) => client.stall(*stalls),
        Step::UpstreamEnds => newest().iter().for_each(Handle::end),
        Step::UpstreamResets => newest().iter().for_each(Handle::reset),
        Step::UpstreamStalls(stalls) => newest().iter().for_each(|it| it.stall(*stalls)),
        Step::Refuse => lock(upstreams).refuses = true,
        Step::Time(time) => tokio::time::advance(*time).await,
        Step::Silence => {}
    }
}

/// The relay of one client's connection.
struct Serving<'a, F> {
    future: Pin<&'a mut F>,
    is_over: bool,
}

/// Whether the relay has been woken since the last poll.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<F: Future<Output = ()>> Serving<'_, F> {
    /// Polls the relay until it waits for bytes or time.
    async fn settle(&mut self) {
        // The runtime's timers see the new time.
        tokio::task::yield_now().await;
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        for _ in 0..MOST_POLLS {
            if self.is_over {
                return;
            }
            woken.0.store(false, Ordering::Relaxed);
            let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
            self.is_over = matches!(polled, Poll::Ready(()));
            if !woken.0.load(Ordering::Relaxed) {
                return;
            }
        }
        panic!("the relay wakes itself again and again");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
