//! The bridge from a Pingora session to an axum router, for any kind of listener.
//!
//! Every endpoint of the sidecar is an ordinary axum handler. The bridge limits the body in size
//! and time, sends `100 Continue`, passes the client's address on, and streams the response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use ipnet::IpNet;
use pingora::http::ResponseHeader;
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use tower::ServiceExt;

use super::access::Access;
use super::answer::Answer;
use super::fault::Fault;
use super::forwarded::RequestOrigin;
use super::{failure, head};
use crate::domain::path::{AmbiguousPath, NormalPath};
use crate::domain::reason::Reason;
use crate::endpoints::PeerAddress;
use crate::telemetry::RequestMetrics;

/// Largest request body of the sidecar's endpoints.
const MAX_BODY: usize = 64 * 1024;
/// How long the body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a handler may take.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers a request with `router`. `path` is the request's path in normal form.
///
/// # Errors
/// When the client is gone. Faults of the request are answered.
pub async fn answer(
    session: &mut Session,
    router: &Router,
    path: &str,
    peer: SocketAddr,
    access: &mut Access,
) -> pingora::Result<()> {
    let body = match tokio::time::timeout(BODY_TIMEOUT, read_body(session)).await {
        Ok(Ok(body)) => body,
        Ok(Err(BodyError::TooLarge(length))) => {
            return refuse(session, access, too_large(length)).await;
        }
        Ok(Err(BodyError::Broken(error))) => return Err(error),
        Err(_) => return refuse(session, access, Reason::BodyTimeout.into()).await,
    };
    let Some(request) = request(session, path, peer, body) else {
        return refuse(session, access, Fault::malformed("the target is no URI")).await;
    };
    // A router is infallible: its error type has no value.
    let Ok(answered) = tokio::time::timeout(HANDLER_TIMEOUT, router.clone().oneshot(request)).await
    else {
        return refuse(session, access, Reason::Internal.into()).await;
    };
    let Ok(response) = answered;
    access.answered();
    write_response(session, response).await
}

async fn refuse(session: &mut Session, access: &mut Access, fault: Fault) -> pingora::Result<()> {
    access.refuse(&fault);
    Answer::to_fault(&fault, "").write(session).await
}

/// The fault for a body larger than [`MAX_BODY`]; `length` is the announced length.
fn too_large(length: Option<usize>) -> Fault {
    let rule = match length {
        Some(length) => format!("the body has {length} bytes, the limit is {MAX_BODY}"),
        None => format!("the body has more than {MAX_BODY} bytes, the limit"),
    };
    Fault::because(Reason::BodyTooLarge, rule)
}

enum BodyError {
    /// With the announced length.
    TooLarge(Option<usize>),
    Broken(Box<pingora::Error>),
}

async fn read_body(session: &mut Session) -> Result<Bytes, BodyError> {
    let declared = session
        .get_header(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_BODY) {
        return Err(BodyError::TooLarge(declared));
    }
    // RFC 9110 §10.1.1: the client waits for this before it sends the body.
    if head::expects_continue(session) && !session.as_mut().is_body_done() {
        session
            .write_continue_response()
            .await
            .map_err(BodyError::Broken)?;
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = session
        .as_downstream_mut()
        .read_request_body()
        .await
        .map_err(|error| BodyError::Broken(error.into_down()))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(BodyError::TooLarge(None));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn request(session: &Session, path: &str, peer: SocketAddr, body: Bytes) -> Option<Request<Body>> {
    let request_head = session.req_header();
    let uri = match head::target(request_head).ok()?.1 {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut request = Request::builder()
        .method(request_head.method.clone())
        .uri(uri)
        .body(Body::from(body))
        .ok()?;
    *request.headers_mut() = request_head.headers.clone();
    request.extensions_mut().insert(PeerAddress(peer));
    Some(request)
}

async fn write_response(
    session: &mut Session,
    response: http::Response<Body>,
) -> pingora::Result<()> {
    let (parts, mut body) = response.into_parts();
    let without_body = session.req_header().method == Method::HEAD || body.is_end_stream();
    let mut answer = ResponseHeader::build(parts.status, Some(parts.headers.len() + 2))?;
    for (name, value) in &parts.headers {
        answer.append_header(name.clone(), value.clone())?;
    }
    if !parts.headers.contains_key(header::CONTENT_LENGTH) {
        match body.size_hint().exact() {
            Some(length) => {
                answer.insert_header(header::CONTENT_LENGTH, HeaderValue::from(length))?
            }
            // HTTP/1.0 has no chunks (RFC 9112 §6.1): the end of the connection ends the response.
            None if session.req_header().version == Version::HTTP_10 => session.set_keepalive(None),
            None => answer.insert_header(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            )?,
        }
    }
    head::announce_keep_alive(session, &mut answer)?;
    session
        .write_response_header(Box::new(answer), without_body)
        .await?;
    if without_body {
        return Ok(());
    }
    // Each frame becomes a chunk and is flushed before the next one: plgd's clients require that.
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The missing length or last chunk tells the client that the response is incomplete.
            session.set_keepalive(None);
            return Ok(());
        };
        if let Ok(data) = frame.into_data() {
            session.write_response_body(Some(data), false).await?;
        }
    }
    session.write_response_body(None, true).await
}

fn ambiguous(why: AmbiguousPath) -> Fault {
    Fault::because(Reason::AmbiguousPath, why.text())
}

/// A listener that serves only the sidecar's endpoints.
pub struct LocalService {
    router: Router,
    metrics: Arc<RequestMetrics>,
    paths: Paths,
    trusted_proxies: Vec<IpNet>,
}

/// The paths that a listener accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// Only paths that every server parses identically.
    Normal,
    /// Also paths with escapes such as `%2F` in their segments: the router decodes those segments
    /// as ids.
    WithIds,
}

impl Paths {
    /// The path for the router.
    fn read(self, raw: &str) -> Result<String, Fault> {
        match NormalPath::parse(raw) {
            Ok(path) => Ok(path.as_str().to_owned()),
            Err(_) if self == Self::WithIds && is_escaped_well(raw) => Ok(raw.to_owned()),
            Err(why) => Err(ambiguous(why)),
        }
    }
}

/// Whether a path consists of valid path characters (RFC 3986 §3.3) and escapes, and decodes to
/// UTF-8.
fn is_escaped_well(raw: &str) -> bool {
    let is_plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(byte);
    let escapes = raw.split('%').skip(1);
    raw.starts_with('/')
        && raw.as_bytes().iter().all(is_plain)
        && escapes.into_iter().all(|rest| {
            rest.as_bytes()
                .iter()
                .take(2)
                .filter(|b| b.is_ascii_hexdigit())
                .count()
                == 2
        })
        && percent_encoding::percent_decode_str(raw)
            .decode_utf8()
            .is_ok()
}

impl LocalService {
    /// A service that answers every request with `router`.
    #[must_use]
    pub fn new(router: Router, metrics: Arc<RequestMetrics>, paths: Paths) -> Self {
        Self {
            router,
            metrics,
            paths,
            trusted_proxies: Vec::new(),
        }
    }

    /// Trusts these proxies to report their clients.
    #[must_use]
    pub fn behind(self, trusted_proxies: &[IpNet]) -> Self {
        Self {
            trusted_proxies: trusted_proxies.to_vec(),
            ..self
        }
    }

    async fn respond(&self, session: &mut Session, access: &mut Access) -> pingora::Result<()> {
        let state = match head::accept(session) {
            Ok(state) => state,
            Err(reason) => return refuse(session, access, reason.into()).await,
        };
        let origin = RequestOrigin::read(
            &session.req_header().headers,
            state.peer.ip(),
            &self.trusted_proxies,
        );
        access.client = origin.client_behind_proxy();
        let path = head::target(session.req_header()).and_then(|(path, _)| self.paths.read(path));
        match path {
            Ok(path) => {
                answer(
                    session,
                    &self.router,
                    &path,
                    origin.client_address(state.peer),
                    access,
                )
                .await
            }
            Err(fault) => refuse(session, access, fault).await,
        }
    }
}

#[async_trait]
impl ProxyHttp for LocalService {
    type CTX = Access;

    fn new_ctx(&self) -> Access {
        Access::begin()
    }

    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        access: &mut Access,
    ) -> pingora::Result<bool> {
        access.identify(&session.req_header().headers);
        self.respond(session, access).await.map(|()| true)
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        _: &mut Access,
    ) -> pingora::Result<Box<HttpPeer>> {
        // `request_filter` answers every request.
        Err(pingora::Error::new(pingora::ErrorType::InternalError))
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &pingora::Error,
        access: &mut Access,
    ) -> pingora::proxy::FailToProxy {
        failure::answer(session, error, None, access, failure::Asked::default()).await
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&pingora::Error>,
        access: &mut Access,
    ) {
        access.end_session(&self.metrics, session);
        failure::close(session, error).await;
    }
}
