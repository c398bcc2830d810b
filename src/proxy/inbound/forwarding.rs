//! Writes the upstream request.

use std::net::SocketAddr;

use http::{HeaderName, header};
use pingora::http::RequestHeader;

use super::{Inbound, State};
use crate::domain::reason::Reason;
use crate::proxy::access::Access;
use crate::proxy::fault::Fault;
use crate::proxy::headers::Added;
use crate::proxy::loop_mark::LoopMark;
use crate::proxy::request_id::REQUEST_ID;

/// The part of the path that the service does not get, by its usual name.
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

impl Inbound {
    /// Writes the upstream request to this address. It requires a permit.
    pub(super) fn write_request(
        &self,
        request: &mut RequestHeader,
        added: &mut Added,
        state: &State,
        to: SocketAddr,
        access: &Access,
    ) -> Result<(), Fault> {
        let (Some(permit), Some(origin)) = (&state.permit, &state.origin) else {
            return Err(Reason::Internal.into());
        };
        let upstream = self.upstream(state).ok_or(Reason::Internal)?;
        let broken = |_| Fault::from(Reason::Internal);
        if let Some(target) = &state.target {
            request.set_raw_path(target.as_bytes()).map_err(broken)?;
        }
        let mark = self.mark.next(&request.headers, Some(to));
        self.removed.strip(request, origin.is_trusted());
        LoopMark::write(request, added, mark);
        if let Some(id) = access.request_id() {
            added.replace(request, REQUEST_ID, id.clone());
        }
        let written = origin.write(request, added);
        written.map_err(|_| Reason::Internal)?;
        self.place_token(request, state.websocket)?;
        // An HTTP/1.0 client may omit `Host`.
        if !self.settings.preserve_host || !request.headers.contains_key(header::HOST) {
            request
                .insert_header(header::HOST, upstream.host_value())
                .map_err(broken)?;
        }
        if let Some(prefix) = self.route(permit).and_then(|route| route.prefix.clone()) {
            added.replace(request, FORWARDED_PREFIX, prefix);
        }
        match permit.token() {
            Some(token) => {
                if let Some(credential) = &self.credential {
                    credential.attach(added);
                }
                Ok(self.identity.attach(added, token)?)
            }
            None => Ok(()),
        }
    }
}
