//! Evaluates a request before it is forwarded: token, rules, body size and rate limits. `explain`
//! uses the same functions.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, Method, header};

use crate::domain::path::{AmbiguousPath, NormalPath, Ordinary};
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;
use crate::domain::websocket;
use crate::limits::{Exceeded, Key, Limits, Per, Slot};
use crate::proxy::fault::Fault;
use crate::verifier::{
    Check, CheckObserver, Gate, Permit, Refusal, Request, Sender, TokenFacts, VerifiedToken,
};

/// When one of many requests in progress may have ended.
pub(super) const AFTER_ONE_OF_MANY: Duration = Duration::from_secs(1);

/// The result for a request's path, method and headers.
pub enum Evaluated<'r> {
    /// One of the sidecar's own endpoints answers the request.
    Own(NormalPath<'r>),
    /// The request may be forwarded, with this path.
    Permitted(NormalPath<'r>, Permit),
}

/// A request as it was received, before its path has a normal form.
#[derive(Clone, Copy)]
pub struct Received<'r> {
    pub method: &'r Method,
    pub path: &'r str,
    pub query: Option<&'r str>,
    pub headers: &'r HeaderMap,
    /// The client's address; `None` if a trusted proxy reports a client without one.
    pub client: Option<IpAddr>,
    /// Scopes that the token needs beside those of the rule.
    pub scopes: Option<&'r ScopeSet>,
    pub sender: Sender<'r>,
}

impl<'r> Received<'r> {
    /// The request with this normal form of its path.
    #[must_use]
    pub fn with<'p>(&self, path: &'p NormalPath<'p>) -> Request<'p>
    where
        'r: 'p,
    {
        Request {
            method: self.method.as_str(),
            path,
            query: self.query,
            headers: self.headers,
            client: self.client,
            scopes: self.scopes,
            sender: self.sender,
        }
    }
}

/// Evaluates a request. `ordinary` lists the permitted special characters of the path, and `own`
/// the paths that the listener answers itself. `observer` receives each token check that was made.
///
/// # Errors
/// [`Refusal`] names the check that refused. A request without one unambiguous form is refused in
/// shadow mode too.
pub async fn evaluate<'r>(
    gate: &Gate,
    own: Option<&HashSet<String>>,
    received: Received<'r>,
    ordinary: Ordinary,
    observer: &mut impl CheckObserver,
) -> Result<Evaluated<'r>, Refusal> {
    check_method(received.method)?;
    let path = NormalPath::parse_with(received.path, ordinary).map_err(ambiguous)?;
    if own.is_some_and(|own| own.contains(path.as_str())) {
        return Ok(Evaluated::Own(path));
    }
    let request = received.with(&path);
    let permit = gate.decide_observed(&request, observer).await?;
    if websocket::asks(received.headers) {
        observer.checking(Check::Upgrade);
        websocket::check(received.method, received.headers).map_err(|rule| Refusal {
            token: permit.token().cloned(),
            detail: Some(rule.into()),
            ..Refusal::new(Reason::WebSocket)
        })?;
    }
    Ok(Evaluated::Permitted(path, permit))
}

pub(super) fn ambiguous(why: AmbiguousPath) -> Refusal {
    let text = match why.allowed_by() {
        Some(key) => format!("{}; `{key}: keep` allows it", why.text()).into(),
        None => why.text().into(),
    };
    Refusal {
        detail: Some(text),
        ..Refusal::new(Reason::AmbiguousPath)
    }
}

pub(in crate::proxy) fn refusal(fault: &Fault) -> Refusal {
    Refusal {
        detail: fault.detail(),
        ..Refusal::new(fault.reason)
    }
}

pub(super) fn check_method(method: &Method) -> Result<(), Refusal> {
    match *method {
        Method::CONNECT | Method::TRACE => Err(Refusal::new(Reason::Method)),
        _ => Ok(()),
    }
}

/// Checks the length that a request announces.
///
/// # Errors
/// [`Reason::BodyTooLarge`].
pub fn check_length(max_body: Option<u64>, headers: &HeaderMap) -> Result<(), Refusal> {
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match (declared, max_body) {
        (Some(length), Some(max)) if length > max => {
            let detail = Some(format!("the body has {length} bytes, the limit is {max}").into());
            Err(Refusal {
                detail,
                ..Refusal::new(Reason::BodyTooLarge)
            })
        }
        _ => Ok(()),
    }
}

/// Counts a request before its authority is queried about the token, because a query is more
/// expensive than a request.
pub(super) struct Counting<'l> {
    pub(super) limits: Option<&'l Limits>,
    pub(super) peer: IpAddr,
    pub(super) slot: Option<Slot>,
    pub(super) refusal: Option<Refusal>,
}

impl CheckObserver for Counting<'_> {
    fn checking(&mut self, _: Check) {}

    fn before_query(&mut self, token: &VerifiedToken) -> Result<(), Reason> {
        let Some(limits) = self.limits else {
            return Ok(());
        };
        match admit(limits, Some(token), self.peer) {
            Ok(slot) => {
                self.slot = Some(slot);
                Ok(())
            }
            Err(refusal) => {
                let reason = refusal.reason;
                self.refusal = Some(Refusal {
                    token: Some(token.clone()),
                    ..refusal
                });
                Err(reason)
            }
        }
    }
}

/// Counts a request, by its verified token if it has one. Dropping the slot ends the request.
///
/// # Errors
/// [`Reason::RateLimited`] or [`Reason::TooManyAtOnce`], and when a retry is reasonable.
pub fn admit(limits: &Limits, token: Option<&TokenFacts>, peer: IpAddr) -> Result<Slot, Refusal> {
    limits
        .admit(limit_key(limits.per(), token, peer))
        .map_err(|exceeded| match exceeded {
            Exceeded::Rate(wait) => Refusal {
                retry_after: Some(wait),
                ..Refusal::new(Reason::RateLimited)
            },
            Exceeded::Concurrency => Refusal {
                retry_after: Some(AFTER_ONE_OF_MANY),
                ..Refusal::new(Reason::TooManyAtOnce)
            },
        })
}

/// The counter of a request. A request without a client or user counts by its address.
pub(super) fn limit_key(per: Per, token: Option<&TokenFacts>, peer: IpAddr) -> Key {
    let named = token.and_then(|token| match per {
        Per::Client => Some(Key::Client(token.authority(), token.client_id()?.into())),
        Per::Subject => Some(Key::Subject(token.authority(), token.subject()?.into())),
        Per::Address | Per::Listener => None,
    });
    match (per, named) {
        (Per::Listener, _) => Key::Everyone,
        (_, Some(key)) => key,
        (_, None) => Key::address(peer),
    }
}
