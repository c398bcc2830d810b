//! A request after which the connections carry another protocol.

use std::sync::Arc;

use pingora::http::ResponseHeader;

use super::super::frames::Frames;
use super::super::tunnel::{self, End, Why};
use super::super::upgrade::{self, Asked};
use super::super::{Broken, Policy, response};
use super::{Exchange, Outcome};
use crate::domain::reason::Reason;
use crate::proxy::client::Client;
use crate::proxy::connection::ClientError;
use crate::proxy::upstream::{Pool, UpstreamConnection};

const IDLE_TUNNEL: &str = "the tunnel carried no byte for too long";
const LISTENER_ENDED: &str = "the listener ended, so the tunnel was closed";

impl<P: Policy> Exchange<'_, P> {
    /// Puts the head of a `101` response into the client's send buffer.
    pub(super) fn switch(
        &mut self,
        client: &mut Client<'_>,
        mut response: ResponseHeader,
    ) -> Result<Outcome, Broken> {
        response::settle(&mut response, client, false)?;
        self.access.upstream_answered();
        self.policy.respond(&mut response, &self.state)?;
        let asked = self.upgrade.clone().ok_or(Reason::Internal)?;
        upgrade::announce(&mut response, asked).map_err(|_| Reason::Internal)?;
        client.write_switch(response);
        Ok(Outcome::Switched)
    }

    /// Connects to the upstream, answers with this head, and passes on bytes until the end.
    pub(super) async fn open_tunnel(
        &mut self,
        client: &mut Client<'_>,
        pool: &Arc<Pool>,
        response: ResponseHeader,
    ) -> Result<(), Broken> {
        self.access.upstream_begins();
        // A kept connection may have carried requests.
        self.tries.require_new_connection();
        let upstream = tokio::select! {
            biased;
            connected = self.policy.connect(pool, &mut self.tries, &mut self.state) => connected?,
            () = client.departed() => return Err(ClientError::Gone.into()),
        };
        self.access.upstream_answered();
        client.write_switch(response);
        self.tunnel(client, upstream).await
    }

    /// Passes on the bytes of the other protocol until its end.
    pub(super) async fn tunnel(
        &mut self,
        client: &mut Client<'_>,
        upstream: UpstreamConnection,
    ) -> Result<(), Broken> {
        client.deadlines().stop_all();
        client.flush().await?;
        let limits = tunnel::Limits {
            idle: self.policy.tunnel_idle(&self.state),
            write: self.policy.waits(&self.state).write,
        };
        let request = client.received_head()?;
        let listener_ends = client.ending();
        let is_websocket = self.upgrade.as_ref().is_some_and(Asked::is_websocket);
        // A tunnel that CONNECT opened ends once it is idle; other protocols end by themselves.
        let ends_with_listener = is_websocket || self.upgrade.is_none();
        let end = async {
            tokio::select! {
                reason = self.policy.stream_ends(&self.state, request) => End::Stream(reason),
                () = listener_ends.cancelled(), if ends_with_listener => End::Listener,
            }
        };
        let frames = is_websocket.then(Frames::default);
        let ended = tunnel::run(client, upstream, limits, frames, end).await;
        client.count_sent(ended.to_client);
        let (to_client, to_upstream) = (ended.to_client, ended.to_upstream);
        tracing::debug!(to_client, to_upstream, "a tunnel has ended");
        match ended.why {
            Why::Closed => Ok(()),
            Why::Listener => {
                self.access.detail = Some(LISTENER_ENDED.into());
                Ok(())
            }
            Why::Idle => {
                self.access.detail = Some(IDLE_TUNNEL.into());
                Ok(())
            }
            Why::Policy(reason) => Err(reason.into()),
            Why::Broken(broken) => Err(broken),
        }
    }
}
