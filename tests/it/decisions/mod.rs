//! The decision endpoint: every form of a proxy's question × every decision, attacks, peers.

mod answers;
mod attacks;
mod forms;
mod peers;

use std::net::SocketAddr;

use crate::support::AUDIENCE;
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, request, request_bytes};
use crate::support::sidecar::{Sidecar, SidecarBuilder};

/// The values of `decisions[].from`, which are the names of the listeners too.
const FORMS: [&str; 3] = ["forwarded", "original", "request"];

const RULES: &str = r#"
      - { paths: ["/public/**"], access: public }
      - { paths: ["/optional"], access: optional }
      - { paths: ["/devices/**"], methods: [GET], scopes: ["devices:read"] }
      - { paths: ["/devices/**"], methods: [PUT], scopes: ["devices:write"] }
      - { paths: ["/own/{id}/**"], equals: { id: sub } }
      - { paths: ["/host"], hosts: [api.example] }
      - { paths: ["/net"], networks: [203.0.113.0/24] }
      - { paths: ["/header"], equals: { header.x-owner: sub } }
      - { paths: ["/any", "/a.Service/Call"] }
"#;

struct World {
    authority: Authority,
    sidecar: Sidecar,
}

/// A request as a proxy received it.
#[derive(Clone, Copy)]
struct Original<'o> {
    method: &'o str,
    uri: &'o str,
    host: &'o str,
    /// Further fields of the client, which the proxy passes on.
    headers: &'o [(&'o str, &'o str)],
}

impl<'o> Original<'o> {
    fn get(uri: &'o str) -> Self {
        Self {
            method: "GET",
            uri,
            host: "api.example",
            headers: &[],
        }
    }
}

fn yaml(issuer: &str, form: &str, more: &str) -> String {
    let prefix = if form == "request" {
        "    pathPrefix: /ask\n"
    } else {
        ""
    };
    format!(
        r#"
authorities: {{ users: {{ issuer: "{issuer}" }} }}
stateDir: "@DIR@"
probes: {{ listen: 127.0.0.1:0 }}
decisions:
  - name: {form}
    listen: 127.0.0.1:0
    from: {form}
{prefix}    authorities: [users]
    audiences: [{AUDIENCE}]
    rules:
{RULES}
{more}
"#
    )
}

impl World {
    async fn new(form: &str, more: &str) -> Self {
        Self::with(Sidecar::builder(), form, more).await
    }

    async fn with(builder: SidecarBuilder, form: &str, more: &str) -> Self {
        let authority = Authority::start();
        let sidecar = builder.start(&yaml(&authority.issuer(), form, more)).await;
        authority.wait_for_fetches(Endpoint::Jwks, 1).await;
        Self { authority, sidecar }
    }

    fn address(&self, form: &str) -> SocketAddr {
        self.sidecar.address(form)
    }

    fn bearer(&self, scope: &str) -> String {
        let token = self.authority.token().claim("scope", scope);
        format!("Bearer {}", token.claim("sub", "device-7").sign())
    }

    /// Asks about a request with this token, as a proxy of this form does.
    async fn ask(&self, form: &str, original: Original<'_>, bearer: Option<&str>) -> RawAnswer {
        self.ask_for(form, "", original, bearer).await
    }

    /// With this query of the question.
    async fn ask_for(
        &self,
        form: &str,
        query: &str,
        original: Original<'_>,
        bearer: Option<&str>,
    ) -> RawAnswer {
        let (method, target, headers) = question(form, query, original, bearer);
        let headers: Vec<_> = (headers.iter())
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        request(&method, self.address(form), &target, &headers, b"").await
    }

    /// The decision about a GET: status and reason.
    async fn get(&self, form: &str, uri: &str, bearer: Option<&str>) -> (u16, String) {
        outcome(&self.ask(form, Original::get(uri), bearer).await)
    }
}

fn outcome(answer: &RawAnswer) -> (u16, String) {
    let reason = answer.header("x-m2m-reason").unwrap_or("-");
    (answer.status, reason.to_owned())
}

/// An expected decision.
fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

type Fields = Vec<(String, String)>;

/// Method, target and fields of a proxy's question.
fn question(
    form: &str,
    query: &str,
    original: Original<'_>,
    bearer: Option<&str>,
) -> (String, String, Fields) {
    let Original {
        method, uri, host, ..
    } = original;
    let url = format!("https://{host}{uri}");
    let (asked, target, own) = match form {
        "forwarded" => (
            "GET",
            format!("/{query}"),
            vec![
                ("X-Forwarded-Method", method),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", host),
                ("X-Forwarded-Uri", uri),
            ],
        ),
        "original" => (
            "GET",
            format!("/{query}"),
            vec![("X-Original-Method", method), ("X-Original-URL", &url)],
        ),
        _ => (method, format!("/ask{uri}"), vec![("Host", host)]),
    };
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut headers: Fields = own.iter().chain(original.headers).map(owned).collect();
    headers.extend(bearer.map(|bearer| ("Authorization".to_owned(), bearer.to_owned())));
    (asked.to_owned(), target, headers)
}

/// The bytes of a question with a method and a body of its own.
fn question_bytes(
    method: &str,
    address: SocketAddr,
    original: Original<'_>,
    body: &[u8],
) -> Vec<u8> {
    let (_, target, headers) = question("original", "", original, None);
    let headers: Vec<_> = (headers.iter())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    request_bytes(method, address, &target, &headers, body)
}
