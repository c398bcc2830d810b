//! The parts of a request that rules and tokens are checked by.

use std::net::IpAddr;

use http::{HeaderMap, header};

use crate::domain::host_pattern::RequestHost;
use crate::domain::path::NormalPath;
use crate::domain::scope::ScopeSet;

/// A request, before it is forwarded.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    pub method: &'r str,
    pub path: &'r NormalPath<'r>,
    /// The query as it is forwarded.
    pub query: Option<&'r str>,
    pub headers: &'r HeaderMap,
    /// The client's address; `None` if a trusted proxy reports a client without one.
    pub client: Option<IpAddr>,
    /// Scopes that the token needs beside those of the rule. With them, a rule that asks for no
    /// token asks for one.
    pub scopes: Option<&'r ScopeSet>,
    pub sender: Sender<'r>,
}

/// The properties of a request that bound tokens are compared with.
#[derive(Clone, Copy, Default)]
pub struct Sender<'r> {
    /// The SHA-256 of the client's certificate in base64url form, if its connection has one.
    pub certificate: Option<&'r str>,
    /// The scheme that the client called.
    pub scheme: &'r str,
    /// The host that the client called, with its port; `None` if that is unknown.
    pub host: Option<&'r str>,
    /// The path as it was received.
    pub path: &'r str,
}

impl<'r> Request<'r> {
    /// The host that the client named; `None` if it is missing or no host.
    pub(super) fn host(&self) -> Option<RequestHost<'r>> {
        let mut values = self.headers.get_all(header::HOST).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        RequestHost::parse(value.to_str().ok()?)
    }
}
