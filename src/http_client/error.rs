//! Why a request got no response: a kind for programs, and the cause as text for people.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use url::Url;

use super::trust;
use crate::domain::duration;

/// Longest shown URL or foreign text.
const SHOWN: usize = 200;

/// The kind of a failure. The texts are constants without parts of the URL or the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HttpError {
    /// No response in time.
    #[error("no answer in time")]
    Timeout,
    /// The host name cannot be resolved, or has no permitted address.
    #[error("the host's name cannot be resolved")]
    Dns,
    /// The port is closed.
    #[error("connection refused")]
    Refused,
    /// The connection failed for another reason, or in time.
    #[error("connection failed")]
    Connect,
    /// The server's certificate or its TLS was rejected.
    #[error("TLS failed")]
    Tls,
    /// The body exceeds the limit.
    #[error("answer too large")]
    TooLarge,
    /// The connection broke, or the response is not HTTP.
    #[error("connection broke or answer is not valid HTTP")]
    Broken,
    /// The egress proxy cannot be reached, or it cannot reach the server.
    #[error("no way through the egress proxy")]
    Proxy,
    /// The egress proxy refuses us or the server.
    #[error("the egress proxy refused")]
    ProxyRefused,
}

impl HttpError {
    /// A stable code for metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
            Self::Proxy => "proxy",
            Self::ProxyRefused => "proxy_refused",
        }
    }
}

/// A request without a complete response. Its text names the cause, and the URL without query and
/// user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Failed {
    kind: HttpError,
    place: String,
    why: String,
}

impl Failed {
    /// A failure without further detail.
    #[must_use]
    pub fn of(kind: HttpError, url: &Url) -> Self {
        Self::because(kind, url, kind.to_string())
    }

    pub(super) fn because(kind: HttpError, url: &Url, why: String) -> Self {
        Self {
            kind,
            place: place(url),
            why,
        }
    }

    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> HttpError {
        self.kind
    }

    /// The cause without the URL.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// A URL for the log, without query, fragment, user and password, which may be secret.
#[must_use]
pub fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // URLs that cannot have user and password return an error.
    let _ = (url.set_username(""), url.set_password(None));
    let text = url.as_str();
    // A URL is ASCII.
    text.get(..SHOWN)
        .map_or_else(|| text.to_owned(), |beginning| format!("{beginning}…"))
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Unresolved {
    /// The system's error.
    #[error("its name cannot be resolved: {0}")]
    System(#[from] io::Error),
    /// The name has addresses, but none is permitted.
    #[error("its name has no public address")]
    NoPublicAddress,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub connect: Duration,
    pub total: Duration,
}

/// The kind of a failure and its cause. A timeout while connecting counts as a failed connection.
pub(super) fn classify(error: &reqwest::Error, https: bool, limits: Limits) -> (HttpError, String) {
    if let Some(tls) = find::<rustls::Error>(error) {
        return (HttpError::Tls, trust::explain(&tls.to_string()));
    }
    if let Some(unresolved) = find::<Unresolved>(error) {
        return (HttpError::Dns, shown(&unresolved.to_string()));
    }
    let system = find::<io::Error>(error).map(io::Error::kind);
    if error.is_connect() {
        return match system {
            _ if error.is_timeout() => (
                HttpError::Connect,
                format!("no connection within {}", duration::written(limits.connect)),
            ),
            Some(io::ErrorKind::ConnectionRefused) => (
                HttpError::Refused,
                "nothing listens there: the connection was refused".to_owned(),
            ),
            Some(
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe,
            ) if https => (HttpError::Tls, trust::explain("eof")),
            _ => (
                HttpError::Connect,
                format!("the connection failed: {}", root(error)),
            ),
        };
    }
    if error.is_timeout() {
        return (
            HttpError::Timeout,
            format!(
                "no complete answer within {}",
                duration::written(limits.total)
            ),
        );
    }
    (HttpError::Broken, why_broken(error, https))
}

/// The same for a request on a connection that is open.
pub(super) fn classify_exchange(error: &hyper::Error, https: bool) -> (HttpError, String) {
    match find::<rustls::Error>(error) {
        Some(tls) => (HttpError::Tls, trust::explain(&tls.to_string())),
        None => (HttpError::Broken, why_broken(error, https)),
    }
}

fn why_broken(error: Cause<'_>, https: bool) -> String {
    match find::<hyper::Error>(error) {
        Some(http) if http.is_parse() && https => "its answer is not valid HTTP/1.1".to_owned(),
        Some(http) if http.is_parse() => {
            "its answer is not valid HTTP/1.1; if it speaks TLS on this port the URL must begin \
             with `https://`"
                .to_owned()
        }
        Some(http) if http.is_incomplete_message() => {
            "it closed the connection before its answer was complete".to_owned()
        }
        _ => format!("the connection broke: {}", root(error)),
    }
}

/// Whether the connection ended without a response, as opposed to an invalid one.
pub(super) fn has_ended(error: &reqwest::Error) -> bool {
    let http = find::<hyper::Error>(error);
    let ended = http
        .is_some_and(|http| http.is_incomplete_message() || http.is_canceled() || http.is_closed());
    let system = find::<io::Error>(error).is_some_and(|system| {
        matches!(
            system.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::NotConnected
        )
    });
    !error.is_timeout() && !error.is_connect() && (ended || system)
}

/// The first error of this type in a chain. `io::Error::source` skips the wrapped error, so it is
/// unwrapped here.
fn find<E: StdError + 'static>(error: Cause<'_>) -> Option<&E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

type Cause<'e> = &'e (dyn StdError + 'static);

fn chain(error: Cause<'_>) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(Some(error), |error| cause_of(*error))
}

fn cause_of(error: Cause<'_>) -> Option<Cause<'_>> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The innermost error of a chain, which comes from the system or a library.
fn root(error: Cause<'_>) -> String {
    shown(
        &chain(error)
            .last()
            .map(ToString::to_string)
            .unwrap_or_default(),
    )
}

fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(SHOWN).collect();
    beginning.escape_debug().to_string()
}

impl From<Failed> for HttpError {
    fn from(failed: Failed) -> Self {
        failed.kind
    }
}
