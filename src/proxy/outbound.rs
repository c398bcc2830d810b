//! The outbound role: judge the destination, then attach a token.
//!
//! A request goes on with a token or not at all. The listener is for programs on this machine, not for pages that a
//! browser on it shows: see `guard`.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::access::Access;
use super::respond::Answer;
use super::upstream::{self, Tries, Upstream};
use super::{failure, head};
use crate::domain::host::{host_name, is_beyond_dns, is_cross_site};
use crate::domain::reason::Reason;
use crate::telemetry::RequestMetrics;
use crate::token_source::TokenSource;

/// What one outbound listener is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name, a metrics label.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where requests go.
    pub upstream: upstream::Config,
    /// Name of the credential whose token is attached.
    pub credential: String,
    /// The header that carries the token.
    pub header: HeaderName,
    /// What stands before the token in it.
    pub prefix: String,
    /// Whether a header of the request's own is replaced; else such a request passes as it is.
    pub overwrite: bool,
    /// Whether the upstream sees the client's `Host`.
    pub preserve_host: bool,
    /// `Host` values accepted beside IP literals, `localhost` and the upstream's.
    pub hosts: Vec<String>,
}

/// One outbound listener's service.
pub struct Outbound {
    name: String,
    upstream: Arc<Upstream>,
    credential: TokenSource,
    header: HeaderName,
    prefix: String,
    overwrite: bool,
    preserve_host: bool,
    hosts: Vec<String>,
    metrics: Arc<RequestMetrics>,
}

/// What is kept of a request between the phases.
pub struct Context {
    access: Access,
    /// What becomes of the token header; set when the request may go on.
    credential: Option<Credential>,
    /// The reason for an error that a phase made.
    failure: Option<Reason>,
    /// After how many seconds a token may be had again.
    retry_after: Option<u64>,
    tries: Tries,
}

/// What the upstream gets to see in the token header.
enum Credential {
    /// Our token.
    Attached(HeaderValue),
    /// The request's own header, because the listener does not overwrite.
    Own,
}

impl Outbound {
    /// The service of a listener.
    #[must_use]
    pub fn new(
        config: &Config,
        upstream: Arc<Upstream>,
        credential: TokenSource,
        metrics: Arc<RequestMetrics>,
    ) -> Self {
        Self {
            name: config.name.clone(),
            upstream,
            credential,
            header: config.header.clone(),
            prefix: config.prefix.clone(),
            overwrite: config.overwrite,
            preserve_host: config.preserve_host,
            hosts: config.hosts.clone(),
            metrics,
        }
    }

    /// Judges the request, and only then asks for the token.
    async fn decide(&self, session: &mut Session, ctx: &mut Context) -> Result<(), Reason> {
        let connection = head::accept(session)?;
        let request = session.req_header();
        // TRACE would have the upstream answer with the token.
        if matches!(request.method, Method::CONNECT | Method::TRACE) {
            return Err(Reason::Method);
        }
        head::target(request)?;
        guard(&request.headers, self.upstream.host(), &self.hosts)?;
        if !request.raw_path().starts_with(b"/") {
            self.judge_destination(request, connection.local)?;
        }
        if !self.overwrite && request.headers.get(&self.header).is_some_and(|own| !own.is_empty()) {
            ctx.credential = Some(Credential::Own);
            ctx.access.allow(Reason::OwnAuthorization);
            return Ok(());
        }
        let token = match self.credential.current() {
            Some(token) => token,
            None => self.credential.token().await.map_err(|unavailable| {
                ctx.retry_after = Some(unavailable.retry_after_secs());
                Reason::TokenUnavailable
            })?,
        };
        let value = token.header_value(&self.prefix).map_err(|_| Reason::TokenUnavailable)?;
        ctx.credential = Some(Credential::Attached(value));
        ctx.access.allow(Reason::TokenAttached);
        Ok(())
    }

    /// Judges a target in absolute form (RFC 9112 §3.2.2): what a program sends whose HTTP proxy is this listener. It
    /// sends requests for other servers here too, and none of those may reach this upstream. `Host` is the target's own
    /// authority, Pingora has refused any other.
    fn judge_destination(&self, request: &RequestHeader, local: SocketAddr) -> Result<(), Reason> {
        let is_http = request.raw_path().get(..7).is_some_and(|s| s.eq_ignore_ascii_case(b"http://"));
        let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        match host {
            Some(host) if is_http && is_destination(host, self.upstream.authority(), &self.hosts, local) => {
                Ok(())
            }
            _ => Err(Reason::Host),
        }
    }

    /// Makes the request that the upstream sees. Without a decision there is none.
    fn forward(&self, request: &mut RequestHeader, ctx: &mut Context) -> Result<(), Reason> {
        let broken = |_| Reason::Internal;
        let (path, query) = head::target(request)?;
        let target = match query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        request.set_raw_path(target.as_bytes()).map_err(broken)?;
        if !self.preserve_host {
            let host = HeaderValue::from_str(self.upstream.authority()).map_err(|_| Reason::Internal)?;
            request.insert_header(header::HOST, host).map_err(broken)?;
        }
        match &ctx.credential {
            Some(Credential::Attached(value)) => {
                request.insert_header(self.header.clone(), value.clone()).map_err(broken)
            }
            // A `Connection` header may have named it, and then it is gone by now.
            Some(Credential::Own) if request.headers.contains_key(&self.header) => Ok(()),
            Some(Credential::Own) => Err(Reason::MalformedRequest),
            None => Err(Reason::Internal),
        }
    }
}

/// Refuses what a page in a browser on this machine could send here: requests that say they are of another site, and
/// requests to a name that a stranger's DNS could point at this listener.
fn guard(headers: &HeaderMap, upstream: &str, hosts: &[String]) -> Result<(), Reason> {
    if is_cross_site(headers) {
        return Err(Reason::CrossSite);
    }
    let host =
        headers.get(header::HOST).and_then(|host| host.to_str().ok()).ok_or(Reason::MalformedRequest)?;
    let name = host_name(host);
    let known = is_beyond_dns(name)
        || name.eq_ignore_ascii_case(upstream)
        || hosts.iter().any(|accepted| name.eq_ignore_ascii_case(host_name(accepted)));
    if known { Ok(()) } else { Err(Reason::Host) }
}

/// Whether the authority of an `http` URL names the upstream, an accepted host, or the listener itself.
fn is_destination(authority: &str, upstream: &str, hosts: &[String], local: SocketAddr) -> bool {
    let without_80 =
        |authority: &'_ str| authority.strip_suffix(":80").unwrap_or(authority).to_ascii_lowercase();
    let is = |accepted: &str| without_80(authority) == without_80(accepted);
    is(upstream)
        || hosts.iter().any(|accepted| is(accepted) || host_name(authority).eq_ignore_ascii_case(accepted))
        || is(&local.to_string())
        || is(&format!("localhost:{}", local.port()))
}

#[async_trait]
impl ProxyHttp for Outbound {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            access: Access::begin(),
            credential: None,
            failure: None,
            tries: Tries::default(),
            retry_after: None,
        }
    }

    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<bool> {
        let Err(reason) = self.decide(session, ctx).await else {
            return Ok(false);
        };
        ctx.access.deny(reason);
        let mut answer = Answer::new(reason, &self.name);
        if let Some(seconds) = ctx.retry_after {
            answer = answer.retry_after(seconds);
        }
        if session.req_header().method == Method::CONNECT {
            answer = answer
                .describing("A token cannot be attached inside a CONNECT tunnel; use an http:// URL here.");
        }
        answer.write(session).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        ctx.access.upstream_begins();
        self.upstream.peer(&mut ctx.tries, None).await.map_err(|reason| fail(ctx, reason))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let another = self.upstream.connect_failed(&mut ctx.tries, error.etype().as_str());
        error.set_retry(another);
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        _: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        upstream::decide_retry(session, error, reused)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        head::settle_request(session, request)?;
        self.forward(request, ctx).map_err(|reason| fail(ctx, reason))
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        head::settle_answer(session, response)?;
        // A reason code in the answer is that of the other side's sidecar: the caller wants to see it.
        ctx.access.upstream_answered();
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        failure::answer(session, error, ctx.failure, &mut ctx.access, &self.name).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        ctx.access.end_session(&self.metrics, session);
        failure::close(session, error).await;
    }
}

/// An error of ours, whose reason goes to [`failure::reason_of`] through the context.
fn fail(ctx: &mut Context, reason: Reason) -> Box<Error> {
    ctx.failure = Some(reason);
    Error::new(ErrorType::InternalError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(&'static str, &'static str)]) -> Result<(), Reason> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        guard(&headers, "hub.example", &["alias:8080".to_owned()])
    }

    #[test]
    fn programs_on_this_machine_may_pass() {
        for host in [
            "127.0.0.1:9000",
            "127.0.0.1",
            "[::1]:9000",
            "localhost:9000",
            "LOCALHOST",
            "hub.example",
            "Hub.Example:443",
            "alias",
        ] {
            assert_eq!(judged(&[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(judged(&[("host", "localhost"), ("sec-fetch-site", "none")]), Ok(()));
        assert_eq!(judged(&[("host", "localhost"), ("sec-fetch-site", "same-origin")]), Ok(()));
    }

    #[test]
    fn pages_of_other_sites_and_rebound_names_may_not() {
        for site in ["cross-site", "same-site"] {
            assert_eq!(judged(&[("host", "localhost"), ("sec-fetch-site", site)]), Err(Reason::CrossSite));
        }
        for host in
            ["evil.example", "evil.example:9000", "hub.example.evil", "localhost.evil:1", "1.2.3.4.evil"]
        {
            assert_eq!(judged(&[("host", host)]), Err(Reason::Host), "{host}");
        }
    }

    #[test]
    fn a_url_is_meant_for_the_upstream_or_for_no_one() {
        let local = SocketAddr::from(([127, 0, 0, 1], 9000));
        let hosts = ["alias", "other:8080", "port-80:80"].map(str::to_owned);
        for (authority, upstream, expected) in [
            ("127.0.0.1:8081", "127.0.0.1:8081", true),
            ("127.0.0.1:8082", "127.0.0.1:8081", false),
            ("127.0.0.2:8081", "127.0.0.1:8081", false),
            ("Hub.Example:80", "hub.example", true),
            ("hub.example:8080", "hub.example", false),
            ("hub.example", "hub.example:8443", false),
            ("[::1]:8081", "[::1]:8081", true),
            ("alias:1234", "hub.example", true),
            ("other:8080", "hub.example", true),
            ("other", "hub.example", false),
            ("127.0.0.1:9000", "hub.example", true),
            ("localhost:9000", "hub.example", true),
            ("localhost:9001", "hub.example", false),
            ("hub.example", "hub.example:80", true),
            ("port-80", "hub.example", true),
            ("port-80:80", "hub.example", true),
            ("port-80:81", "hub.example", false),
            ("localhost", "hub.example", false),
        ] {
            assert_eq!(
                is_destination(authority, upstream, &hosts, local),
                expected,
                "{authority} {upstream}"
            );
        }
    }
}
