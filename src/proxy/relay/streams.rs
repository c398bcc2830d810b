//! Serves the streams of an HTTP/2 connection, in the task of the connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pingora::http::RequestHeader;

use super::{Policy, exchange};
use crate::proxy::access;
use crate::proxy::answer::Answer;
use crate::proxy::client::Client;
use crate::proxy::connection::Accepted;
use crate::proxy::fault::Fault;
use crate::proxy::http2::{Connection, Next, Stream};
use crate::proxy::switch::Switch;
use crate::proxy::upstream::Pool;
use crate::telemetry::RequestMetrics;

/// Serves an HTTP/2 connection until its end. Each request is served by the service that is current
/// when its head is complete.
pub(super) async fn serve<P: Policy>(
    switch: &Switch<P>,
    accepted: Accepted,
    pool: &Arc<Pool>,
    metrics: &RequestMetrics,
) {
    let Some(mut connection) = Connection::begin(accepted).await else {
        return;
    };
    let peer = connection.peer();
    let mut open = FuturesUnordered::new();
    loop {
        // The connection moves the frames of the open streams, and each of them moves its request.
        let next = poll_fn(|cx| {
            while let Poll::Ready(Some(())) = open.poll_next_unpin(cx) {}
            connection.poll_next(cx)
        });
        let (stream, head, fault) = match next.await {
            Next::Request(stream, head) => (stream, head, None),
            Next::Refused(stream, head, fault) => {
                access::refused_head(metrics, peer, &fault);
                (stream, head, Some(fault))
            }
            Next::End => break,
        };
        open.push(async move {
            match fault {
                None => request(switch, stream, head, pool).await,
                Some(fault) => refuse(stream, &head, &fault).await,
            }
        });
    }
    // The end of the connection ends its streams, each of which writes its log line.
    drop(connection);
    while open.next().await.is_some() {}
}

async fn request<P: Policy>(
    switch: &Switch<P>,
    mut stream: Box<Stream>,
    head: RequestHeader,
    pool: &Arc<Pool>,
) {
    let current = switch.current();
    let client = &mut Client::Http2(&mut stream);
    exchange::serve(&current.service, client, head, pool).await;
    if stream.is_cut_short() {
        // The connection sends the part that it was given before the stream is reset.
        tokio::task::yield_now().await;
    }
}

/// Answers a request that is refused before it is served.
async fn refuse(mut stream: Box<Stream>, head: &RequestHeader, fault: &Fault) {
    let client = &mut Client::Http2(&mut stream);
    // The write fails when the client has disconnected; nothing is left to do then.
    let _ = Answer::to_fault(fault, "").write(client, head).await;
}
