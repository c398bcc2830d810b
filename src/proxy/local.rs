//! The bridge from a client connection to an axum router, for any kind of listener.
//!
//! Every endpoint of the sidecar is an ordinary axum handler. The bridge limits the body in size
//! and time, sends `100 Continue`, passes the client's address on, and streams the response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};
use tower::ServiceExt;

use super::access::Access;
use super::answer::Answer;
use super::client::Client;
use super::connection::{ClientError, Framing};
use super::fault::Fault;
use super::forwarded::RequestOrigin;
use super::head;
use super::relay::{Decision, OwnAnswers, Policy};
use crate::domain::path::{AmbiguousPath, NormalPath};
use crate::domain::reason::Reason;
use crate::endpoints::{FromSocketFile, PeerAddress, PeerCertificate};
use crate::telemetry::RequestMetrics;

/// Largest request body of the sidecar's endpoints.
const MAX_BODY: usize = 64 * 1024;
const NO_WEBSOCKET: &str = "an endpoint of the sidecar itself serves no WebSockets";
/// How long the body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a handler may take.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers a request with `router`. `path` is the request's path in normal form.
///
/// # Errors
/// When the client is gone. Faults of the request are answered.
pub async fn answer(
    client: &mut Client<'_>,
    head: &RequestHeader,
    router: &Router,
    path: &str,
    origin: &RequestOrigin,
    access: &mut Access,
) -> Result<(), ClientError> {
    if client.is_connect() {
        // A successful response would open a WebSocket.
        let fault = Fault::because(Reason::WebSocket, NO_WEBSOCKET);
        return refuse(client, head, access, fault).await;
    }
    let body = match tokio::time::timeout(BODY_TIMEOUT, read_body(client, head)).await {
        Ok(Ok(body)) => body,
        Ok(Err(BodyError::TooLarge(length))) => {
            return refuse(client, head, access, too_large(length)).await;
        }
        Ok(Err(BodyError::Broken(error))) => return Err(error),
        Err(_) => return refuse(client, head, access, Reason::BodyTimeout.into()).await,
    };
    let peer = origin.client_address(client.peer());
    let Some(mut request) = request(head, path, peer, body) else {
        let fault = Fault::malformed("the target is no URI");
        return refuse(client, head, access, fault).await;
    };
    // A proxy's certificate says nothing about its clients, which must not act as the proxy.
    let tls = client.tls().filter(|_| !origin.reports_client());
    if let Some(certificate) = tls.and_then(|tls| tls.certificate.clone()) {
        request
            .extensions_mut()
            .insert(PeerCertificate(certificate));
    }
    if client.process().is_some() {
        request.extensions_mut().insert(FromSocketFile);
    }
    // A router is infallible: its error type has no value.
    let Ok(answered) = tokio::time::timeout(HANDLER_TIMEOUT, router.clone().oneshot(request)).await
    else {
        return refuse(client, head, access, Reason::Internal.into()).await;
    };
    let Ok(response) = answered;
    access.answered();
    write_response(client, response).await
}

async fn refuse(
    client: &mut Client<'_>,
    head: &RequestHeader,
    access: &mut Access,
    fault: Fault,
) -> Result<(), ClientError> {
    access.refuse(&fault);
    Answer::to_fault(&fault, "").write(client, head).await
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
    Broken(ClientError),
}

impl From<ClientError> for BodyError {
    fn from(error: ClientError) -> Self {
        Self::Broken(error)
    }
}

async fn read_body(client: &mut Client<'_>, head: &RequestHeader) -> Result<Bytes, BodyError> {
    let declared = head.headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_BODY) {
        return Err(BodyError::TooLarge(declared));
    }
    // RFC 9110 §10.1.1: the client waits for this before it sends the body.
    if client.expects_continue() && !client.is_body_done() {
        let interim = ResponseHeader::build(StatusCode::CONTINUE, Some(0));
        client.write_interim(&interim.map_err(|_| ClientError::Gone)?);
        client.flush().await?;
    }
    let mut body = BytesMut::new();
    while let Some(part) = client.read_body().await? {
        if body.len() + part.len() > MAX_BODY {
            return Err(BodyError::TooLarge(None));
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

fn request(
    head: &RequestHeader,
    path: &str,
    peer: SocketAddr,
    body: Bytes,
) -> Option<Request<Body>> {
    let uri = match head::target(head).ok()?.1 {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut request = Request::builder()
        .method(head.method.clone())
        .uri(uri)
        .body(Body::from(body))
        .ok()?;
    *request.headers_mut() = head.headers.clone();
    request.extensions_mut().insert(PeerAddress(peer));
    Some(request)
}

async fn write_response(
    client: &mut Client<'_>,
    response: http::Response<Body>,
) -> Result<(), ClientError> {
    let (parts, mut body) = response.into_parts();
    let without_body = *client.method() == Method::HEAD || body.is_end_stream();
    let (mut head, framing) =
        response_head(client, &parts, body.size_hint().exact()).map_err(|_| ClientError::Gone)?;
    if without_body {
        client.write_head(&mut head, Framing::None);
        return client.flush().await;
    }
    client.write_head(&mut head, framing);
    // Each frame becomes a chunk and is flushed before the next one: plgd's clients require that.
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The missing length or last chunk tells the client that the response is incomplete.
            client.end_after_response();
            return client.flush().await;
        };
        if let Ok(data) = frame.into_data() {
            client.write_body(data);
            client.flush().await?;
        }
    }
    client.end_body(None);
    client.flush().await
}

/// The head of a handler's response, whose body has this length if it is known.
fn response_head(
    client: &mut Client<'_>,
    parts: &http::response::Parts,
    length: Option<u64>,
) -> pingora::Result<(ResponseHeader, Framing)> {
    let mut head = ResponseHeader::build(parts.status, Some(parts.headers.len() + 2))?;
    for (name, value) in &parts.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    let is_1_0 = client.version() == Version::HTTP_10;
    let framing = match length {
        _ if parts.headers.contains_key(header::CONTENT_LENGTH) => Framing::Length,
        Some(length) => {
            head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(length))?;
            Framing::Length
        }
        // HTTP/1.0 has no chunks (RFC 9112 §6.1): the end of the connection ends the response.
        None if is_1_0 => {
            client.end_after_response();
            Framing::UntilClose
        }
        None => {
            let chunked = HeaderValue::from_static("chunked");
            head.insert_header(header::TRANSFER_ENCODING, chunked)?;
            Framing::Chunked
        }
    };
    Ok((head, framing))
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
}

impl Policy for LocalService {
    type State = ();

    fn begin(&self) {}

    async fn decide(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        (): &mut (),
        access: &mut Access,
    ) -> Decision {
        let peer = client.peer();
        let origin = RequestOrigin::read(&request.headers, peer.ip(), &self.trusted_proxies);
        access.client = origin.client_behind_proxy();
        let path = head::target(request).and_then(|(path, _)| self.paths.read(path));
        let answered = match path {
            Ok(path) => {
                answer(client, request, &self.router, &path, &origin, access)
                    .boxed()
                    .await
            }
            Err(fault) => refuse(client, request, access, fault).await,
        };
        answered.into()
    }

    fn own_answers(&self, (): &()) -> OwnAnswers<'_> {
        OwnAnswers {
            realm: "",
            for_pages: false,
            metrics: &self.metrics,
        }
    }
}
