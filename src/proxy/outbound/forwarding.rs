//! Writes the upstream request.

use std::net::SocketAddr;

use http::{HeaderValue, header};
use pingora::http::RequestHeader;

use super::reverse::Reverse;
use super::{Credential, Mode, Outbound, Route, State};
use crate::domain::cookies;
use crate::domain::reason::Reason;
use crate::domain::secret::ExposeSecret;
use crate::proxy::access::Access;
use crate::proxy::fault::Fault;
use crate::proxy::forwarded::{X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::proxy::head;
use crate::proxy::headers::{Added, strip_overrides};
use crate::proxy::loop_mark::LoopMark;
use crate::proxy::request_id::REQUEST_ID;
use crate::token_source::AccessToken;

const NO_COOKIE: &str = "the token has a character that a cookie cannot have";

impl Outbound {
    /// Writes the upstream request to this address. It requires a decision.
    pub(super) fn write_request(
        &self,
        request: &mut RequestHeader,
        added: &mut Added,
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
            let scheme = state.scheme();
            let list = ["host=\"", called, "\";proto=", scheme].concat();
            let invalid = |_| Fault::from(Reason::Internal);
            let host = HeaderValue::from_str(called).map_err(invalid)?;
            let list = HeaderValue::try_from(list).map_err(invalid)?;
            for (name, value) in [
                (X_FORWARDED_HOST, host),
                (X_FORWARDED_PROTO, HeaderValue::from_static(scheme)),
                (header::FORWARDED, list),
            ] {
                added.replace(request, name, value);
            }
        }
        // An HTTP/1.0 client may omit `Host`.
        let keeps_host = preserve_host && request.headers.contains_key(header::HOST);
        if let (Route::To(index, _), false) = (route, keeps_host) {
            let host = self.destination(*index)?.upstream.host_value();
            request.insert_header(header::HOST, host).map_err(broken)?;
        }
        if let Some(id) = access.request_id() {
            added.replace(request, REQUEST_ID, id.clone());
        }
        let mark = self.mark.next(&request.headers, Some(to));
        LoopMark::write(request, added, mark);
        let header = &self.attach.header;
        match credential {
            Credential::Attached(token, value) => {
                if let Some(cookie) = self.cookie(state) {
                    return self.write_cookie(request, added, (cookie, token));
                }
                if let Some(name) = &self.attach.query {
                    return Self::write_query(request, name, token);
                }
                added.replace(request, header.clone(), value.clone());
                self.write_proof(request, added, state, token)
            }
            // A `Connection` header may have named this header, which then is already removed.
            Credential::Own if self.has_own_token(request, state) => Ok(()),
            Credential::Own => Err(Fault::malformed(
                "the Connection header names the header that carries the token",
            )),
            Credential::Withheld => Ok(()),
        }
    }
}

impl Outbound {
    /// Attaches the token of a WebSocket as a cookie, in place of the request's own token.
    fn write_cookie(
        &self,
        request: &mut RequestHeader,
        added: &mut Added,
        (name, token): (&str, &AccessToken),
    ) -> Result<(), Fault> {
        let token = token.secret().expose_secret().as_bytes();
        let cookie = cookies::pair(name, token);
        let cookie = cookie.ok_or_else(|| Fault::because(Reason::TokenUnavailable, NO_COOKIE))?;
        let all = cookies::replaced(&request.headers, name, Some(&cookie));
        request.remove_header(&self.attach.header);
        added.replace(request, header::COOKIE, all.ok_or(Reason::Internal)?);
        Ok(())
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
