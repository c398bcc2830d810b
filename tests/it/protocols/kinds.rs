//! The kinds of requests: each is made, and its response checked, in either version of HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::Semaphore;

use super::caller::{Asking, Caller};
use super::exchange::Exchange;
use super::service::{Digest, message, next_message};
use crate::support::websocket::{KEY, masked};

/// The number of events, each of which is sent after the previous one has arrived.
pub const EVENTS: usize = 5;
const MESSAGES: u32 = 20;
const MIB: usize = 1024 * 1024;
const LARGE: usize = 64;
const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rest,
    Upload,
    Events,
    GrpcUnary,
    GrpcStreams,
    WebSocket,
}

pub const KINDS: [Kind; 6] = [
    Kind::Rest,
    Kind::Upload,
    Kind::Events,
    Kind::GrpcUnary,
    Kind::GrpcStreams,
    Kind::WebSocket,
];

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The response is whole and right.
    Works,
    /// The service refuses it with this status.
    Refused(u16),
}

impl Kind {
    /// Makes a request of this kind.
    pub async fn run(self, caller: &Caller, events: &Semaphore) -> Outcome {
        let run = async {
            match self {
                Self::Rest => rest(caller).await,
                Self::Upload => upload(caller).await,
                Self::Events => event_stream(caller, events).await,
                Self::GrpcUnary => grpc_unary(caller).await,
                Self::GrpcStreams => grpc_streams(caller).await,
                Self::WebSocket => websocket(caller).await,
            }
        };
        let done = tokio::time::timeout(Duration::from_mins(1), run).await;
        done.unwrap_or_else(|_| panic!("{self:?} does not end"))
    }
}

/// The body of a response, as a text.
async fn text(exchange: &mut Exchange) -> String {
    let mut body = Vec::new();
    while let Some(part) = exchange.receive().await {
        body.extend(part);
    }
    String::from_utf8(body).expect("a text")
}

/// Checks that the response is the digest of the request's body, and that the service gets the name
/// of the client.
async fn check_digest(exchange: &mut Exchange, caller: &Caller, digest: &str) -> Outcome {
    let (status, fields) = exchange.answer().await;
    assert_eq!(status, 200, "{fields:?}");
    assert_eq!(fields["x-caller"], caller.name);
    assert_eq!(text(exchange).await, digest);
    Outcome::Works
}

async fn rest(caller: &Caller) -> Outcome {
    for (method, body) in [("GET", &b""[..]), ("DELETE", b""), ("PUT", &[b'x'; 2000])] {
        let asking = Asking {
            method,
            path: "/devices/7?a=b",
            length: (!body.is_empty()).then_some(body.len() as u64),
            ..Asking::default()
        };
        let mut exchange = caller.ask(&asking).await;
        if !body.is_empty() {
            exchange.send(body).await;
            exchange.end(None).await;
        }
        check_digest(&mut exchange, caller, &Digest::of(body)).await;
    }
    Outcome::Works
}

async fn upload(caller: &Caller) -> Outcome {
    let asking = Asking {
        method: "POST",
        path: "/upload",
        length: Some((LARGE * MIB) as u64),
        ..Asking::default()
    };
    let mut exchange = caller.ask(&asking).await;
    let mut digest = Digest::new();
    let mut part: Vec<u8> = (0..=250).cycle().take(MIB).collect();
    for number in 0..LARGE {
        part[..8].copy_from_slice(&(number as u64).to_be_bytes());
        digest.add(&part);
        exchange.send(Bytes::copy_from_slice(&part)).await;
    }
    exchange.end(None).await;
    check_digest(&mut exchange, caller, &digest.text()).await
}

async fn event_stream(caller: &Caller, events: &Semaphore) -> Outcome {
    let asking = Asking {
        path: "/events",
        ..Asking::default()
    };
    let mut exchange = caller.ask(&asking).await;
    let (status, fields) = exchange.answer().await;
    assert_eq!(
        (status, &fields["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let mut held = Vec::new();
    for number in 0..EVENTS {
        events.add_permits(1);
        let event = format!("data: {number}\n\n");
        let found = exchange.take(&mut held, event.len()).await;
        assert_eq!(found.as_deref(), Some(event.as_bytes()));
    }
    assert_eq!(exchange.receive().await, None);
    Outcome::Works
}

/// The trailers of a call that succeeded.
async fn check_status(exchange: &mut Exchange) -> Outcome {
    assert_eq!(exchange.receive().await, None);
    let trailers: HeaderMap = exchange.trailers().await;
    assert_eq!(trailers["grpc-status"], "0");
    Outcome::Works
}

async fn grpc_unary(caller: &Caller) -> Outcome {
    let asking = Asking {
        method: "POST",
        path: "/echo.Echo/Unary",
        fields: GRPC,
        is_open: true,
        ..Asking::default()
    };
    let mut exchange = caller.ask(&asking).await;
    let asked = vec![7; 100_000];
    exchange.send(message(&asked)).await;
    exchange.end(None).await;
    let (status, _) = exchange.answer().await;
    if status != 200 {
        return Outcome::Refused(status);
    }
    let answer = next_message(&mut exchange, &mut Vec::new()).await;
    assert_eq!(answer, Some(Digest::of(&asked).into_bytes()));
    check_status(&mut exchange).await
}

async fn grpc_streams(caller: &Caller) -> Outcome {
    let asking = Asking {
        method: "POST",
        path: "/echo.Echo/Streams",
        fields: GRPC,
        is_open: true,
        ..Asking::default()
    };
    let mut exchange = caller.ask(&asking).await;
    if matches!(exchange, Exchange::Http1(_)) {
        exchange.end(None).await;
        return Outcome::Refused(exchange.answer().await.0);
    }
    let (status, _) = exchange.answer().await;
    assert_eq!(status, 200);
    let mut held = Vec::new();
    for number in 0..MESSAGES {
        // The response to each message comes before the next message.
        let asked = vec![1; 1 + 3000 * usize::try_from(number).expect("a small number")];
        exchange.send(message(&asked)).await;
        let answer = next_message(&mut exchange, &mut held).await;
        assert_eq!(answer, Some(Digest::of(&asked).into_bytes()));
    }
    exchange.end(None).await;
    check_status(&mut exchange).await
}

async fn websocket(caller: &Caller) -> Outcome {
    let fields = [("sec-websocket-version", "13"), ("sec-websocket-key", KEY)];
    let asking = Asking {
        path: "/ws",
        fields: &fields,
        is_websocket: true,
        ..Asking::default()
    };
    let mut exchange = caller.ask(&asking).await;
    let (status, fields) = exchange.answer().await;
    let expected = if matches!(exchange, Exchange::Http1(_)) {
        101
    } else {
        200
    };
    assert_eq!(status, expected, "{fields:?}");
    let mut held = Vec::new();
    let sizes = (0..20).map(|number| 50 * number).chain([60_000]);
    for size in sizes {
        let frame = masked(0x82, &vec![3; size]);
        exchange.send(frame.clone()).await;
        assert!(exchange.take(&mut held, frame.len()).await == Some(frame));
    }
    let close = masked(0x88, &[3, 232]);
    exchange.send(close.clone()).await;
    exchange.end(None).await;
    assert_eq!(exchange.take(&mut held, close.len()).await, Some(close));
    assert_eq!(exchange.receive().await, None);
    Outcome::Works
}
