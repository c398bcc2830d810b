//! CONNECT on a forward proxy (RFC 9110 §9.3.6), for programs that open a tunnel for every URL, and
//! for programs that also have `https_proxy`.
//!
//! Inside a tunnel to a target the sidecar serves HTTP/1.1 itself, with a token. A tunnel to a
//! listed host is passed on as bytes, without a token. The checked address is the one that is
//! connected to.

use std::net::SocketAddr;

use http::{HeaderValue, Method, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::forward::{Urls, host_and_port};
use super::{Mode, Outbound, Refused, Route, State};
use crate::domain::reason::Reason;
use crate::proxy::access::Access;
use crate::proxy::client::Client;
use crate::proxy::connection::Way;
use crate::proxy::fault::Fault;
use crate::proxy::relay::Decision;

const AUTHORITY: &str = "the target of CONNECT has no valid host and port";
const NESTED: &str = "A tunnel inside a tunnel, or inside a redirected connection, is not served.";
const OTHER_PORT: &str = "No token can be attached inside this tunnel: a target of the forward \
    proxy has this host, but another port. Call it by an http:// URL; the sidecar itself uses \
    https. For a tunnel without a token, add host and port to forwardProxy.tunnels.";
const NOT_LISTED: &str = "Neither a target of the forward proxy nor an entry of \
    forwardProxy.tunnels has this host and port. Add it there, or exclude the host with no_proxy. \
    A program calls a target by its http:// URL.";

/// The permitted end of a tunnel.
enum Opened {
    /// The sidecar itself.
    Inside,
    /// One of these addresses.
    To(Vec<SocketAddr>),
}

impl Outbound {
    /// Decides about a CONNECT.
    pub(super) async fn decide_tunnel(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        state: &mut State,
        access: &mut Access,
    ) -> Result<Decision, Refused> {
        // Bytes that a program sent ahead belong to the tunnel, so no request follows a refusal.
        client.end_after_response();
        let authority = request.headers.get(header::HOST);
        let authority = authority.map(HeaderValue::to_str).and_then(Result::ok);
        let authority = authority.ok_or_else(|| Fault::malformed(AUTHORITY))?;
        access.original = Some((Method::CONNECT, authority.to_owned()));
        if *client.way() != Way::Direct {
            return Err(Refused::because(Reason::Tunnel, NESTED));
        }
        let opened = self.end_of_tunnel(request, authority).await?;
        access.allow(Reason::TunnelOpened);
        match opened {
            Opened::Inside => {
                client.open_tunnel(authority);
                Ok(client.flush().await.into())
            }
            Opened::To(addresses) => {
                state.route = Some(Route::Elsewhere(addresses));
                let answer = ResponseHeader::build(200, None);
                let mut answer = answer.map_err(|_| Reason::Internal)?;
                let named = answer.set_reason_phrase(Some("Connection established"));
                named.map_err(|_| Reason::Internal)?;
                Ok(Decision::Tunnel(answer.into()))
            }
        }
    }

    async fn end_of_tunnel(
        &self,
        request: &RequestHeader,
        authority: &str,
    ) -> Result<Opened, Refused> {
        let Mode::Forward(forward) = &self.mode else {
            return Err(Reason::Tunnel.into());
        };
        self.pages.check(&request.headers)?;
        self.mark.check(&request.headers)?;
        let (host, port) =
            host_and_port(authority, 443).ok_or_else(|| Fault::malformed(AUTHORITY))?;
        let mut of_host = forward.targets.iter().filter(|urls| urls.host == host);
        let is_known = of_host.clone().next().is_some();
        if of_host.any(|urls| urls.port == port) {
            return Ok(Opened::Inside);
        }
        let listed = forward.tunnels.iter();
        let reach = listed.filter_map(|it| it.reach(&host, port)).max();
        let (Some(reach), Some(anywhere)) = (reach, &forward.anywhere) else {
            let text = if is_known { OTHER_PORT } else { NOT_LISTED };
            return Err(Refused::because(Reason::Tunnel, text));
        };
        let protected: Vec<_> = forward.targets.iter().filter_map(Urls::address).collect();
        let addresses = anywhere.resolve(&host, port, reach, &protected).await?;
        Ok(Opened::To(addresses))
    }
}
