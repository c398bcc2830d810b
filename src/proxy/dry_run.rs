//! Evaluates a request without a connection, for `explain`.
//!
//! The steps and their order are those of a listener, and the code is the same: framing, target,
//! [`inbound::evaluate`], limits.

use std::collections::HashSet;
use std::net::IpAddr;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use zeroize::Zeroizing;

use super::fault::Fault;
use super::forwarded::RequestOrigin;
use super::framing::HeadReader;
use super::head;
use super::inbound::{self, Evaluated, Received};
use super::sender::CalledUrl;
use crate::domain::error_form::ErrorForms;
use crate::domain::reason::Reason;
use crate::limits::Limits;
use crate::verifier::{Check, Gate, Mode, Permit};

/// A request as an HTTP/1.1 client sends it.
pub struct Request<'r> {
    pub method: &'r str,
    /// Path and query.
    pub target: &'r str,
    /// The header fields. `Host` is added if it is missing.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The address that the connection comes from.
    pub peer: IpAddr,
}

/// The head of a request, as a listener has read it.
pub struct ReadHead {
    head: RequestHeader,
    path: String,
    query: Option<String>,
    client: Option<IpAddr>,
    called: CalledUrl,
}

impl ReadHead {
    /// The request before the normalization of its path.
    #[must_use]
    pub fn received(&self) -> Received<'_> {
        Received {
            method: &self.head.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.head.headers,
            client: self.client,
            scopes: None,
            // No connection, so no certificate.
            sender: self.called.sender(&self.head.headers, &self.path, None),
        }
    }
}

/// The result that a listener would produce for a request.
pub struct Outcome {
    pub decision: Decision,
    /// The token checks that were made, in order.
    pub checks: Vec<Check>,
    /// The check that refused the token.
    pub refused_by: Option<Check>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// One of the sidecar's own endpoints answers the request.
    Own,
    /// The request passes.
    Passes(Reason),
    /// The request passes only because the listener is in shadow mode.
    PassesInShadow(Reason),
    /// The request is refused.
    Refused(Reason),
}

impl Request<'_> {
    /// Reads the request's head as the listener does.
    ///
    /// # Errors
    /// The fault that stops a listener before it reaches the path.
    pub fn read(&self, config: &inbound::Config) -> Result<ReadHead, Fault> {
        // A line end in an argument would start another header field.
        if self.target.contains(['\r', '\n']) {
            return Err(Fault::malformed(
                "the target has a line end; send it percent-encoded",
            ));
        }
        let mut bytes = BytesMut::from(self.head().as_slice());
        let head = HeadReader::new(ErrorForms::default(), config.max_head).read(&mut bytes)?;
        let head = head.ok_or_else(|| Fault::malformed("the head is incomplete"))?;
        let head = head.request;
        let (path, query) = head::target(&head)?;
        let (path, query) = (path.to_owned(), query.map(str::to_owned));
        let origin = RequestOrigin::read(&head.headers, self.peer, &config.trusted_proxies);
        Ok(ReadHead {
            client: origin.known_client(),
            called: origin.over_tls(config.tls.is_some()).called(),
            head,
            path,
            query,
        })
    }

    /// The bytes of the head, which contain the token.
    fn head(&self) -> Zeroizing<Vec<u8>> {
        let line = |parts: &[&[u8]]| [parts.concat().as_slice(), b"\r\n"].concat();
        let mut head = Zeroizing::new(line(&[
            self.method.as_bytes(),
            b" ",
            self.target.as_bytes(),
            b" HTTP/1.1",
        ]));
        if !self
            .fields
            .iter()
            .any(|(name, _)| name == http::header::HOST)
        {
            head.extend_from_slice(b"Host: localhost\r\n");
        }
        for (name, value) in &self.fields {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Evaluates the request as a listener with this configuration does. `own` are the paths that
    /// the listener answers itself.
    pub async fn evaluate(
        &self,
        config: &inbound::Config,
        gate: &Gate,
        own: &HashSet<String>,
    ) -> Outcome {
        let refused = |reason| Outcome {
            decision: Decision::Refused(reason),
            checks: Vec::new(),
            refused_by: None,
        };
        let head = match self.read(config) {
            Ok(head) => head,
            Err(fault) => return refused(fault.reason),
        };
        let received = head.received();
        let mut checks = Vec::new();
        let evaluated =
            inbound::evaluate(gate, Some(own), received, config.ordinary, &mut checks).await;
        let (decision, by_check) = match evaluated {
            Ok(Evaluated::Own(_)) => (Decision::Own, false),
            Ok(Evaluated::Permitted(_, permit)) if permit.would_be_refused() => {
                (Decision::PassesInShadow(permit.reason()), true)
            }
            Ok(Evaluated::Permitted(_, permit)) => {
                (self.within_limits(config, received.headers, &permit), false)
            }
            Err(refusal) => (Decision::Refused(refusal.reason), true),
        };
        let refused_by = checks.last().copied().filter(|_| by_check);
        Outcome {
            decision,
            checks,
            refused_by,
        }
    }

    /// Applies the limits that follow the token checks: body size and rates of requests that would
    /// pass.
    fn within_limits(
        &self,
        config: &inbound::Config,
        headers: &HeaderMap,
        permit: &Permit,
    ) -> Decision {
        let limited =
            inbound::check_length(config.max_body, headers).and_then(|()| match config.limits {
                // Each evaluation starts with empty counters.
                Some(limits) => inbound::admit(
                    &Limits::new(limits),
                    permit.token().map(|token| &**token),
                    self.peer,
                )
                .map(drop),
                None => Ok(()),
            });
        match limited {
            Ok(()) => Decision::Passes(permit.reason()),
            Err(refusal) if permit.mode() == Mode::Shadow => {
                Decision::PassesInShadow(refusal.reason)
            }
            Err(refusal) => Decision::Refused(refusal.reason),
        }
    }
}
