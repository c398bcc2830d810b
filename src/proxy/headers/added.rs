//! The fields that the sidecar adds to a request.

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;

/// How many fields a request usually gets at most.
const USUAL: usize = 12;

/// The fields that follow those of the client's request, none of which has the same name.
///
/// Inserting a field into the request itself costs two look-ups by hash and a parse of its name.
pub struct Added(Vec<(HeaderName, HeaderValue)>);

impl Default for Added {
    fn default() -> Self {
        Self(Vec::with_capacity(USUAL))
    }
}

impl Added {
    /// Adds a field of which the request has none: [`ClientHeaders`](super::ClientHeaders) has
    /// removed it.
    pub fn push(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// Adds a field in place of the request's own.
    pub fn replace(&mut self, request: &mut RequestHeader, name: HeaderName, value: HeaderValue) {
        request.remove_header(&name);
        self.push(name, value);
    }

    /// The fields, in the order in which they are sent.
    #[must_use]
    pub fn fields(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0
    }
}
