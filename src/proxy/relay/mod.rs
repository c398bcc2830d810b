//! The way of a request through the process: head → decision → own endpoint, refusal or upstream →
//! response → log.
//!
//! One task serves a connection. It reads and writes both sides itself, so a request costs no
//! channel and no further task, and each side is stopped while the other one is not ready.

mod calls;
mod direction;
mod exchange;
mod frames;
mod lasting;
mod messages;
mod policy;
mod pump;
mod request;
mod response;
mod streams;
mod tunnel;
mod unread;
mod upgrade;
mod upload;

use std::sync::Arc;

use futures_util::FutureExt;

pub use self::policy::{Answered, Broken, Decision, OwnAnswers, Policy, Repeat, Waits};
pub(super) use self::unread::settle_connection;
use super::access;
use super::client::Client;
use super::connection::{Connection, Next};
use super::switch::Switch;
use super::upstream::Pool;
use crate::telemetry::{ClosedConnection, RequestMetrics};

/// Serves a connection until its end. A request is served by the service that is current when its
/// head is complete.
pub async fn serve<P: Policy>(
    switch: &Switch<P>,
    mut connection: Connection,
    pool: &Arc<Pool>,
    metrics: &RequestMetrics,
) {
    loop {
        match connection.next_request().await {
            Next::Request(request) => {
                let current = switch.current();
                let client = &mut Client::Http1(&mut connection);
                exchange::serve(&current.service, client, request, pool).await;
                if !connection.keeps_alive() {
                    break;
                }
            }
            Next::Refused(fault) => {
                access::refused_head(metrics, connection.peer, &fault);
                if !fault.is_foreign() {
                    connection.write_refusal(&fault);
                }
                break;
            }
            Next::Http2 => {
                let accepted = connection.into_accepted();
                return streams::serve(switch, accepted, pool, metrics)
                    .boxed()
                    .await;
            }
            Next::End => {
                if connection.was_silent() {
                    metrics.connection_closed(ClosedConnection::Silent);
                }
                break;
            }
        }
    }
    connection.close().await;
}

#[cfg(test)]
mod tunnel_tests;
