//! Writes the upstream request.

use std::net::SocketAddr;

use http::header;
use pingora::http::RequestHeader;

use super::reverse::Reverse;
use super::{Credential, Mode, Outbound, Route, State};
use crate::domain::reason::Reason;
use crate::proxy::access::Access;
use crate::proxy::fault::Fault;
use crate::proxy::head;
use crate::proxy::headers::strip_overrides;
use crate::proxy::loop_mark::LoopMark;
use crate::proxy::request_id::REQUEST_ID;

impl Outbound {
    /// Writes the upstream request to this address. It requires a decision.
    pub(super) fn write_request(
        &self,
        request: &mut RequestHeader,
        state: &State,
        to: SocketAddr,
        access: &Access,
    ) -> Result<(), Fault> {
        let called = state.called.as_str();
        let broken = |_| Fault::from(Reason::Internal);
        let (Some(route), Some(credential)) = (&state.route, &state.credential) else {
            return Err(Reason::Internal.into());
        };
        if let Some(target) = rewritten(request, route)? {
            request.set_raw_path(target.as_bytes()).map_err(broken)?;
        }
        if matches!(route, Route::To(_, Some(_))) {
            strip_overrides(request);
        }
        let preserve_host = matches!(
            &self.mode,
            Mode::Reverse(Reverse {
                preserve_host: true,
                ..
            })
        );
        if self.settings.forwarded_headers && matches!(route, Route::To(..)) {
            for (name, value) in [
                ("x-forwarded-host", called),
                ("x-forwarded-proto", "http"),
                ("forwarded", &format!("host=\"{called}\";proto=http")),
            ] {
                request.insert_header(name, value).map_err(broken)?;
            }
        }
        // An HTTP/1.0 client may omit `Host`.
        let keeps_host = preserve_host && request.headers.contains_key(header::HOST);
        if let (Route::To(index, _), false) = (route, keeps_host) {
            let host = self.destination(*index)?.upstream.host_value();
            request.insert_header(header::HOST, host).map_err(broken)?;
        }
        if let Some(id) = access.request_id() {
            request
                .insert_header(REQUEST_ID, id.clone())
                .map_err(broken)?;
        }
        let mark = self.mark.next(&request.headers, Some(to));
        LoopMark::write(request, mark).map_err(broken)?;
        let header = &self.attach.header;
        match credential {
            Credential::Attached(_, value) => request
                .insert_header(header.clone(), value.clone())
                .map_err(broken),
            // A `Connection` header may have named this header, which then is already removed.
            Credential::Own if request.headers.contains_key(header) => Ok(()),
            Credential::Own => Err(Fault::malformed(
                "the Connection header names the header that carries the token",
            )),
            Credential::Withheld => Ok(()),
        }
    }
}

/// The target for the upstream, if it differs: without scheme and host, with the checked path.
pub(super) fn rewritten(request: &RequestHeader, route: &Route) -> Result<Option<String>, Fault> {
    let checked = match route {
        Route::To(_, Some(checked)) => Some(checked.as_str()),
        _ if request.raw_path().starts_with(b"/") => return Ok(None),
        _ => None,
    };
    let (path, query) = head::target(request)?;
    let path = checked.unwrap_or(path);
    Ok(Some(match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }))
}
