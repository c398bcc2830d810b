//! The token in a parameter of the query, for services that take it nowhere else.

use http::{HeaderMap, HeaderValue, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::{Credential, Outbound, State};
use crate::domain::cookies;
use crate::domain::query;
use crate::domain::reason::Reason;
use crate::domain::secret::ExposeSecret;
use crate::proxy::fault::Fault;
use crate::proxy::head;
use crate::token_source::AccessToken;

impl Outbound {
    /// Whether the request has a token of its own where the sidecar's would be.
    pub(super) fn has_own_token(&self, request: &RequestHeader, state: &State) -> bool {
        let headers: &HeaderMap = &request.headers;
        if let Some(cookie) = self.cookie(state) {
            return cookies::values(headers, cookie).any(|own| !own.is_empty());
        }
        if let Some(name) = &self.attach.query {
            let (_, query) = head::target(request).unwrap_or_default();
            return query.is_some_and(|query| query::has(query, name));
        }
        let own = headers.get(&self.attach.header).map(HeaderValue::as_bytes);
        own.is_some_and(|own| !own.is_empty())
    }

    /// Writes the token into the query of the upstream request.
    pub(super) fn write_query(
        request: &mut RequestHeader,
        name: &str,
        token: &AccessToken,
    ) -> Result<(), Fault> {
        let (path, query) = head::target(request)?;
        let query = query::with(query, name, token.secret().expose_secret());
        let target = [path, "?", &query].concat();
        let written = request.set_raw_path(target.as_bytes());
        written.map_err(|_| Fault::from(Reason::Internal))
    }

    /// Removes the parameter from the URLs of a response: a service may repeat the requested one.
    pub(super) fn hide_query(&self, response: &mut ResponseHeader, state: &State) {
        let (Some(name), Some(Credential::Attached(..))) = (&self.attach.query, &state.credential)
        else {
            return;
        };
        for header in [header::LOCATION, header::CONTENT_LOCATION] {
            let url = response.headers.get(&header);
            let hidden = url.and_then(|url| hidden(url.as_bytes(), name));
            let Some(hidden) = hidden else {
                continue;
            };
            // A part of a valid value is valid.
            if let Ok(value) = HeaderValue::from_bytes(&hidden) {
                let _ = response.insert_header(header, value);
            }
        }
    }
}

/// A URL without this parameter, if it has it.
fn hidden(url: &[u8], name: &str) -> Option<Vec<u8>> {
    let url = std::str::from_utf8(url).ok()?;
    let (url, fragment) = url.find('#').map_or((url, ""), |at| url.split_at(at));
    let (path, query) = url.split_once('?')?;
    if !query::has(query, name) {
        return None;
    }
    let query = query::without(query, name).map_or(String::new(), |query| format!("?{query}"));
    Some([path, &query, fragment].concat().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_only_the_parameter() {
        for (url, expected) in [
            ("/a?key=t", Some("/a")),
            (
                "https://a.example/a?x=1&key=t&y=2#f",
                Some("https://a.example/a?x=1&y=2#f"),
            ),
            ("/a?x=1", None),
            ("/a", None),
            ("/a#?key=t", None),
        ] {
            let found = hidden(url.as_bytes(), "key");
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{url}");
        }
    }
}
