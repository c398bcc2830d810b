//! A complete response of another server.

use std::fmt;
use std::time::UNIX_EPOCH;

use bytes::{Bytes, BytesMut};
use http::header::{AGE, DATE};
use http::{HeaderMap, HeaderName, StatusCode};
use reqwest::Response;
use url::Url;

use crate::domain::clock::UnixTime;

/// A complete response with any status.
#[derive(Clone)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, at most `max_body` bytes.
    pub body: Bytes,
}

impl HttpAnswer {
    /// The lead of the server's clock in seconds, negative if it lags. Computed from `Date` (RFC
    /// 9110 §6.6.1) and, from a cache, `Age`. The server created the response between `asked` and
    /// `answered`, so a time within that span counts as no difference.
    #[must_use]
    pub fn clock_skew(&self, asked: UnixTime, answered: UnixTime) -> Option<i64> {
        let text = |name: HeaderName| self.headers.get(name).and_then(|value| value.to_str().ok());
        let date = httpdate::parse_http_date(text(DATE)?)
            .ok()?
            .duration_since(UNIX_EPOCH)
            .ok()?;
        let age = text(AGE)
            .and_then(|age| age.trim().parse().ok())
            .unwrap_or(0_u32);
        let theirs = i64::try_from(date.as_secs())
            .ok()?
            .saturating_add(i64::from(age));
        Some(if theirs > answered.0 {
            theirs - answered.0
        } else {
            (theirs - asked.0).min(0)
        })
    }

    /// A hint about the URL in an error response.
    #[must_use]
    pub fn hint(&self, url: &Url) -> Option<&'static str> {
        // The response of nginx, Apache, Go and others to plain HTTP on a TLS port.
        let is_about_https = self.body.windows(5).any(|part| part == b"HTTPS");
        (url.scheme() == "http" && self.status == StatusCode::BAD_REQUEST && is_about_https)
            .then_some("it speaks TLS on this port, so the URL must begin with `https://`")
    }
}

impl fmt::Debug for HttpAnswer {
    /// Omits body and headers, because a token endpoint's response is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &self.status)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why a body was not read to its end.
pub(super) enum Unread {
    TooLarge,
    Broken(reqwest::Error),
}

/// Reads a body, and stops as soon as it exceeds the limit.
pub(super) async fn read_body(response: &mut Response, max_body: usize) -> Result<Bytes, Unread> {
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).map_or(true, |length| length > max_body) {
        return Err(Unread::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broken)? {
        if chunk.len() > max_body - body.len() {
            return Err(Unread::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
