//! Reads the original request from a proxy's question.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora::http::RequestHeader;
use url::form_urlencoded;

use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;
use crate::domain::settings::OriginalRequest;
use crate::proxy::forwarded::{X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP};
use crate::proxy::framing::{check_method, is_host, normal_target};
use crate::proxy::{head, inbound};
use crate::verifier::Refusal;

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// The original request.
#[derive(Debug)]
pub(super) struct Original {
    pub method: Method,
    /// Path and query.
    target: String,
    /// The end of the path in `target`.
    path_end: usize,
    /// The fields of the question, with the original host.
    pub headers: HeaderMap,
    /// The scopes that the question asks for beside those of the rule.
    pub scopes: Option<ScopeSet>,
}

impl Original {
    /// Reads the original request in this form. Headers of other forms have no meaning.
    pub fn read(
        question: &RequestHeader,
        from: OriginalRequest,
        prefix: &str,
    ) -> Result<Self, Refusal> {
        let headers = &question.headers;
        let (method, target, called) = match from {
            OriginalRequest::Forwarded => forwarded(headers)?,
            OriginalRequest::Original => original(headers)?,
            OriginalRequest::Request => {
                let target = behind_prefix(question, prefix)?;
                (question.method.clone(), target, None)
            }
        };
        let scopes = match from {
            // The query is that of the original request.
            OriginalRequest::Request => None,
            OriginalRequest::Forwarded | OriginalRequest::Original => needed_scopes(question)?,
        };
        let path_end = target.find('?').unwrap_or(target.len());
        Ok(Self {
            method,
            target,
            path_end,
            headers: original_headers(headers, called),
            scopes,
        })
    }

    pub fn path(&self) -> &str {
        self.target.get(..self.path_end).unwrap_or_default()
    }

    pub fn query(&self) -> Option<&str> {
        self.target.get(self.path_end + 1..)
    }
}

/// Method and target, and the scheme and host that the client called, unless the question's own
/// fields name them.
type Read = (Method, String, Option<Called>);

struct Called {
    scheme: HeaderValue,
    host: HeaderValue,
}

fn forwarded(headers: &HeaderMap) -> Result<Read, Refusal> {
    let method = method(headers, &X_FORWARDED_METHOD)?;
    let uri = required(headers, &X_FORWARDED_URI)?;
    if !uri.as_bytes().starts_with(b"/") {
        return Err(wrong(&X_FORWARDED_URI, "does not begin with a slash"));
    }
    // Traefik names the schemes of WebSockets too.
    let scheme = match required(headers, &X_FORWARDED_PROTO)?.as_bytes() {
        b"http" | b"ws" => HTTP,
        b"https" | b"wss" => HTTPS,
        _ => return Err(wrong(&X_FORWARDED_PROTO, "is neither http nor https")),
    };
    let host = required(headers, &X_FORWARDED_HOST)?.clone();
    if !is_host(host.as_bytes()) {
        return Err(wrong(&X_FORWARDED_HOST, "is no host name or address"));
    }
    Ok((
        method,
        normal(&X_FORWARDED_URI, uri)?,
        Some(Called { scheme, host }),
    ))
}

fn original(headers: &HeaderMap) -> Result<Read, Refusal> {
    let method = method(headers, &X_ORIGINAL_METHOD)?;
    let url = normal(&X_ORIGINAL_URL, required(headers, &X_ORIGINAL_URL)?)?;
    let no_url = || wrong(&X_ORIGINAL_URL, "is no URL with scheme, host and path");
    let (scheme, rest) = url.split_once("://").ok_or_else(no_url)?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => HTTP,
        _ if scheme.eq_ignore_ascii_case("https") => HTTPS,
        _ => return Err(no_url()),
    };
    let end = rest.find(['/', '?']).ok_or_else(no_url)?;
    let (host, target) = rest.split_at_checked(end).ok_or_else(no_url)?;
    if !target.starts_with('/') {
        return Err(no_url());
    }
    let host = HeaderValue::from_str(host).map_err(|_| no_url())?;
    Ok((method, target.to_owned(), Some(Called { scheme, host })))
}

/// The fields of the original request, of those that the proxy passes on.
///
/// The proxy's connection is not the client's, so its upgrade has no meaning. Of the fields that
/// describe the client, only those of the form and `X-Forwarded-For` are certain to be the proxy's.
fn original_headers(question: &HeaderMap, called: Option<Called>) -> HeaderMap {
    let mut headers = question.clone();
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::FORWARDED,
        X_REAL_IP,
        X_FORWARDED_HOST,
    ] {
        headers.remove(name);
    }
    if let Some(Called { scheme, host }) = called {
        headers.insert(X_FORWARDED_PROTO, scheme);
        headers.insert(X_FORWARDED_HOST, host.clone());
        headers.insert(header::HOST, host);
    }
    headers
}

/// The one value of a header.
fn required<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(wrong(name, "is missing")),
        (Some(_), Some(_)) => Err(wrong(name, "occurs twice")),
    }
}

fn method(headers: &HeaderMap, name: &HeaderName) -> Result<Method, Refusal> {
    let value = required(headers, name)?.as_bytes();
    let no_method = |_| wrong(name, "is no method");
    check_method(value).map_err(|_| wrong(name, "is no method in upper case"))?;
    Method::from_bytes(value).map_err(no_method)
}

/// The target in a header, as a listener reads it.
fn normal(name: &HeaderName, value: &HeaderValue) -> Result<String, Refusal> {
    let target = normal_target(value.as_bytes()).map_err(|fault| match fault.reason {
        Reason::AmbiguousPath => inbound::refusal(&fault),
        _ => wrong(
            name,
            &format!("is not valid: {}", fault.detail().unwrap_or_default()),
        ),
    })?;
    String::from_utf8(target).map_err(|_| wrong(name, "is not valid"))
}

/// The target of a question without the prefix that the proxy adds.
fn behind_prefix(question: &RequestHeader, prefix: &str) -> Result<String, Refusal> {
    let (path, query) = head::target(question).map_err(|fault| inbound::refusal(&fault))?;
    let path = path.strip_prefix(prefix);
    let path = path.filter(|path| path.starts_with('/'));
    let path =
        path.ok_or_else(|| question_is("has a path that does not begin with `pathPrefix`"))?;
    Ok(match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    })
}

/// The scopes in the query of a question, which has no other parameter.
fn needed_scopes(question: &RequestHeader) -> Result<Option<ScopeSet>, Refusal> {
    let (path, query) = head::target(question).map_err(|fault| inbound::refusal(&fault))?;
    if path != "/" {
        return Err(question_is(
            "has a path other than `/`: let it ask for `/`, or check `decisions[].from`",
        ));
    }
    let query = query.unwrap_or_default();
    let mut scopes = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "scope" {
            return Err(question_is("has a parameter other than `scope`"));
        }
        let parsed = ScopeSet::parse(&value).ok();
        let Some(parsed) = parsed.filter(|scopes| !scopes.is_empty()) else {
            return Err(question_is(
                "has a `scope` that is empty or no list of scopes",
            ));
        };
        if scopes.replace(parsed).is_some() {
            return Err(question_is("has two `scope`; write `scope=a+b`"));
        }
    }
    Ok(scopes)
}

fn wrong(name: &HeaderName, why: &str) -> Refusal {
    because(format!("the header `{name}` {why}"))
}

fn question_is(why: &'static str) -> Refusal {
    because(format!("the request of the proxy {why}"))
}

fn because(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal {
        detail: Some(detail.into()),
        ..Refusal::new(Reason::OriginalRequest)
    }
}

#[cfg(test)]
mod tests;
