//! A request that is judged without a connection: for `explain`.
//!
//! The steps are those of a listener, made by the same code in the same order: framing, target,
//! then [`inbound::judge`], then the limits.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use zeroize::Zeroizing;

use super::fault::Fault;
use super::framing::Framing;
use super::head;
use super::inbound::{self, Judged};
use crate::domain::reason::Reason;
use crate::limits::Limits;
use crate::verifier::{Check, Gate, Mode, Permit};

/// Where the request comes from.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A request as a client sends it in HTTP/1.1.
pub struct Request<'r> {
    /// Its method.
    pub method: &'r str,
    /// Its target: path and query.
    pub target: &'r str,
    /// Its fields. `Host` is added where it is missing.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// What a listener would do with a request.
pub struct Outcome {
    /// The reason of the decision, and whether the request passes.
    pub decision: Decision,
    /// The checks of the token that were made, in their order.
    pub checks: Vec<Check>,
    /// The one of them that refused.
    pub refused_by: Option<Check>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// One of the sidecar's own endpoints answers it.
    Own,
    /// It passes.
    Passes(Reason),
    /// It passes only because the listener is in shadow mode.
    PassesInShadow(Reason),
    /// It is refused.
    Refused(Reason),
}

impl Request<'_> {
    /// The path of the target, as a listener reads it before it brings it to its normal form.
    ///
    /// # Errors
    /// Why a listener does not come to the path.
    pub fn path(&self, max_head: usize) -> Result<String, Fault> {
        // A line end in an argument would make other fields of it.
        if self.target.contains(['\r', '\n']) {
            return Err(Fault::malformed(
                "the target has a line end; send it percent-encoded",
            ));
        }
        let progress = Framing::with_heads_up_to(max_head).read(&self.head())?;
        // A head that came in another form than its normal one is replaced before anyone else reads
        // it.
        let settled = progress.head.map(Zeroizing::new);
        let written = settled
            .as_ref()
            .and_then(|head| head.split(|byte| *byte == b' ').nth(1));
        head::read_target(written.unwrap_or(self.target.as_bytes()))
            .map(|(path, _)| path.to_owned())
    }

    /// The head's bytes. They hold a token.
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

    /// Judges the request as a listener with this configuration does. `own` are the paths that the
    /// listener answers itself.
    pub async fn judge(
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
        let path = match self.path(config.max_head) {
            Ok(path) => path,
            Err(fault) => return refused(fault.reason),
        };
        // The framing lets no other methods through.
        let Ok(method) = Method::from_bytes(self.method.as_bytes()) else {
            return refused(Reason::MalformedRequest);
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.fields {
            headers.append(name.clone(), value.clone());
        }
        let (mut checks, path) = (Vec::new(), (path.as_str(), config.ordinary));
        let judged = inbound::judge(gate, Some(own), &method, path, &headers, &mut checks).await;
        let (decision, by_check) = match judged {
            Ok(Judged::Own(_)) => (Decision::Own, false),
            Ok(Judged::Permitted(_, permit)) if permit.would_be_refused() => {
                (Decision::PassesInShadow(permit.reason()), true)
            }
            Ok(Judged::Permitted(_, permit)) => (within_limits(config, &headers, &permit), false),
            Err(refusal) => (Decision::Refused(refusal.reason), true),
        };
        let refused_by = checks.last().copied().filter(|_| by_check);
        Outcome {
            decision,
            checks,
            refused_by,
        }
    }
}

/// Judges what comes behind the token: size and number of the requests that would pass.
fn within_limits(config: &inbound::Config, headers: &HeaderMap, permit: &Permit) -> Decision {
    let limited =
        inbound::check_length(config.max_body, headers).and_then(|()| match config.limits {
            // Of other requests nothing is known: this is the first one.
            Some(limits) => inbound::admit(
                &Limits::new(limits),
                permit.token().map(|token| &**token),
                PEER,
            )
            .map(drop),
            None => Ok(()),
        });
    match limited {
        Ok(()) => Decision::Passes(permit.reason()),
        Err(refusal) if config.verifier.mode == Mode::Shadow => {
            Decision::PassesInShadow(refusal.reason)
        }
        Err(refusal) => Decision::Refused(refusal.reason),
    }
}
