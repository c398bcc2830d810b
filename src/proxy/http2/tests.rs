//! Tests of the connection's deadlines and ends.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Connection, Next};
use crate::proxy::connection::{Accepted, Clients};

const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// A GET of `/` from `a` on stream 1.
const ASK: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";
const PING_KIND: u8 = 6;

async fn accepted(ending: &CancellationToken) -> (Accepted, DuplexStream) {
    let (stream, client) = tokio::io::duplex(256 * 1024);
    let clients = Arc::new(Clients::default());
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let seat = clients.admit(peer.ip(), || ()).await.unwrap();
    let accepted = Accepted {
        stream: Box::new(stream),
        ahead: Bytes::new(),
        peer,
        local: peer,
        tls: None,
        process: None,
        way: crate::proxy::connection::Way::Direct,
        settings: clients.settings(),
        clients,
        seat,
        ending: ending.clone(),
    };
    (accepted, client)
}

/// Serves a connection until its end, with streams that stay open.
async fn hold(accepted: Accepted) {
    let Some(mut connection) = Connection::begin(accepted).await else {
        return;
    };
    let mut open = Vec::new();
    while let Next::Request(stream, _) = poll_fn(|cx| connection.poll_next(cx)).await {
        open.push(stream);
    }
}

/// The kind, flags and payload of the next frame; `None` at the end.
async fn frame(client: &mut DuplexStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    client.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    client.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], payload))
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked_each_minute_and_ends_without_a_reply() {
    let (accepted, mut client) = accepted(&CancellationToken::new()).await;
    let began = Instant::now();
    let served = tokio::spawn(hold(accepted));
    client.write_all(&[BEGIN, ASK].concat()).await.unwrap();
    let mut asked = Vec::new();
    while let Some((kind, flags, payload)) = frame(&mut client).await {
        if kind == PING_KIND && flags == 0 {
            asked.push(began.elapsed().as_secs());
            if asked.len() < 3 {
                let reply = [&PING[..4], &[1], &PING[5..9], &payload].concat();
                client.write_all(&reply).await.unwrap();
            }
        }
    }
    served.await.unwrap();
    assert_eq!(asked, [60, 120, 180]);
    assert_eq!(began.elapsed().as_secs(), 200);
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_not_asked() {
    let (accepted, mut client) = accepted(&CancellationToken::new()).await;
    let began = Instant::now();
    let served = tokio::spawn(hold(accepted));
    client.write_all(BEGIN).await.unwrap();
    while frame(&mut client).await.is_some() {}
    served.await.unwrap();
    // The idle time, and two seconds for the client to end its side.
    assert_eq!(began.elapsed().as_secs(), 77);
}

/// Frames that are no longer read must not keep the task busy.
#[tokio::test(start_paused = true)]
async fn a_flood_ends_a_connection_that_is_being_ended() {
    let ending = CancellationToken::new();
    let (accepted, mut client) = accepted(&ending).await;
    let served = tokio::spawn(hold(accepted));
    client.write_all(&[BEGIN, ASK].concat()).await.unwrap();
    frame(&mut client).await.unwrap();
    ending.cancel();
    let flood = PING.repeat(6000);
    let (mut reads, mut writes) = tokio::io::split(client);
    let read = async { while matches!(reads.read(&mut [0; 4096]).await, Ok(1..)) {} };
    let write = async {
        let _ = writes.write_all(&flood).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_preface_has_ten_seconds_its_seat_and_one_second_after_the_listener() {
    let (waiting, client) = accepted(&CancellationToken::new()).await;
    let began = Instant::now();
    hold(waiting).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    drop(client);
    let (dismissed, _client) = accepted(&CancellationToken::new()).await;
    assert!(dismissed.seat.dismiss());
    hold(dismissed).await;
    let ending = CancellationToken::new();
    ending.cancel();
    let (ended, _client) = accepted(&ending).await;
    hold(ended).await;
    assert_eq!(began.elapsed().as_secs(), 11);
}
