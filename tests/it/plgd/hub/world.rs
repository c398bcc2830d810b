//! The services of a hub, each with a certificate of its own, behind a sidecar with the shipped
//! configuration.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::request;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::*;
use crate::support::authority::Authority;
use crate::support::certificates::{CertificateAuthority, TlsClient};
use crate::support::client::{RawAnswer, request_bytes};
use crate::support::http2_upstream::{Act, Http2Upstream};
use crate::support::sidecar::Sidecar;
use crate::support::tls::{ClientCertificate, TestTls};
use crate::support::tokens::TokenBuilder;
use crate::support::until;
use crate::support::upstream::{Answer, Received, Upstream};

const FILE: &str = include_str!("../../../../conf/plgd-hub.yaml");

/// The services with REST, and their ports in the file.
const REST_PORTS: [(&str, u16); 8] = [
    ("gateway", 9086),
    ("m2m", 9080),
    ("ca", 9090),
    ("snippets", 9092),
    ("provisioning", 9093),
    ("cloudGateway", 9085),
    ("cloudConnector", 9089),
    ("oauth", 9088),
];
/// The services with gRPC, and their ports in the file.
const GRPC_PORTS: [(&str, u16); 5] = [
    ("grpc", 9084),
    ("reflection", 9078),
    ("m2mGrpc", 9079),
    ("caGrpc", 9087),
    ("snippetsGrpc", 9091),
];

/// The token that the M2M server calls revoked.
pub const REVOKED: &str = "6f2f4b1e-9a55-4e6e-8a55-7a6f0f3a0d01";

pub struct Hub {
    users: Authority,
    m2m: Authority,
    rest: BTreeMap<&'static str, Upstream>,
    grpc: BTreeMap<&'static str, Http2Upstream>,
    /// The authority of the front door's certificate.
    authority: CertificateAuthority,
    pub sidecar: Sidecar,
    _port: Socket,
}

/// The response to a request, of either protocol.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// The only value of a field; `None` when it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.get_all(name).iter();
        let first = all.next().map(|value| value.to_str().expect("a text"));
        assert!(all.next().is_none(), "{name} is repeated: {self:?}");
        first
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }
}

impl From<RawAnswer> for Reply {
    fn from(answer: RawAnswer) -> Self {
        let fields = answer.headers.iter().map(|(name, value)| {
            let name = name.parse::<http::HeaderName>().expect("a name");
            (name, value.parse::<http::HeaderValue>().expect("a value"))
        });
        Self {
            status: answer.status,
            headers: fields.collect(),
            body: answer.body,
        }
    }
}

impl Hub {
    pub async fn start() -> Self {
        let (users, m2m) = (Authority::start(), Authority::start());
        let client = ClientCertificate::generate();
        let tls = || TestTls::with_clients(&["localhost"], Some(&client));
        let mut services = String::new();
        let mut yaml = FILE.to_owned();
        let mut rest = BTreeMap::new();
        for (name, port) in REST_PORTS {
            let service = Upstream::start_with(Some(tls()));
            services.push_str(service.ca_pem());
            point(&mut yaml, port, service.address());
            rest.insert(name, service);
        }
        let mut grpc = BTreeMap::new();
        for (name, port) in GRPC_PORTS {
            let tls = tls().speaking(&["h2"]);
            let act = move |_: &_| Act::HeadOnly("x-service", name);
            let service = Http2Upstream::start_with(Some(tls), |_| {}, act);
            services.push_str(service.ca_pem());
            let address = service.url().replace("https://", "");
            point(&mut yaml, port, address.parse().expect("an address"));
            grpc.insert(name, service);
        }
        answer(&rest, &users, &m2m);
        let (port, issuers) = reserved();
        for (from, to) in [
            ("/var/lib/m2m-sidecar", "@DIR@"),
            ("127.0.0.1:9180", issuers.as_str()),
            ("0.0.0.0:443", "127.0.0.1:0"),
            ("0.0.0.0:8444", "127.0.0.1:0"),
            ("127.0.0.1:9900", "127.0.0.1:0"),
            ("/data/certs/external/endpoint.crt", "@DIR@/front.crt"),
            ("/data/certs/external/endpoint.key", "@DIR@/front.key"),
            ("/data/certs/internal/endpoint.crt", "@DIR@/client.crt"),
            ("/data/certs/internal/endpoint.key", "@DIR@/client.key"),
            ("/data/certs/root_ca.crt", "@DIR@/services.crt"),
        ] {
            assert!(yaml.contains(from), "{from}");
            yaml = yaml.replace(from, to);
        }
        assert!(!yaml.contains("/data/certs"), "{yaml}");
        let authority = CertificateAuthority::new("the front door's authority");
        let front = authority.server(&["hub.example"]);
        let builder = Sidecar::builder()
            .file("front.crt", &front.cert_pem)
            .key_file("front.key", &front.key_pem)
            .file("client.crt", &client.cert_pem)
            .key_file("client.key", &client.key_pem)
            .file("services.crt", &services);
        let sidecar = builder.start(&yaml).await;
        let hub = Self {
            users,
            m2m,
            rest,
            grpc,
            authority,
            sidecar,
            _port: port,
        };
        hub.wait_for_keys().await;
        hub
    }

    async fn wait_for_keys(&self) {
        for service in ["oauth", "m2m"] {
            until("the keys are fetched", async || {
                let seen = self.rest[service].received();
                seen.iter().any(|it| it.target.ends_with("/jwks.json"))
            })
            .await;
        }
        until("the keys are used", async || {
            let token = self.user().claim("scope", "none").sign();
            self.rest("GET", "/api/v1/devices", Some(token), &[])
                .await
                .status
                == 403
        })
        .await;
    }

    /// A token of the hub's identity provider.
    pub fn user(&self) -> TokenBuilder {
        self.users.token().claim("iss", "https://hub.example/")
    }

    /// A token of the M2M server.
    pub fn program(&self) -> TokenBuilder {
        let issuer = "https://hub.example/m2m-oauth-server";
        self.m2m.token().claim("iss", issuer).header("typ", "JWT")
    }

    /// The last request of a service with REST.
    pub fn last(&self, service: &str) -> Received {
        let received = self.rest[service].received();
        received.into_iter().next_back().expect("a request")
    }

    /// How many requests a service has received.
    pub fn count(&self, service: &str) -> usize {
        self.rest[service].received().len()
    }

    pub fn last_call(&self, service: &str) -> Arc<request::Parts> {
        let received = self.grpc[service].received();
        received.last().expect("a call").head.clone()
    }

    pub fn calls(&self, service: &str) -> usize {
        self.grpc[service].received().len()
    }

    /// A request in HTTP/1.1.
    pub async fn rest(
        &self,
        method: &str,
        target: &str,
        token: Option<String>,
        fields: &[(&str, &str)],
    ) -> Reply {
        self.over_tls("hub", method, target, token, fields).await
    }

    /// A request to the listener for devices.
    pub async fn to_devices(&self, method: &str, target: &str, token: Option<String>) -> Reply {
        self.over_tls("devices", method, target, token, &[]).await
    }

    async fn over_tls(
        &self,
        listener: &str,
        method: &str,
        target: &str,
        token: Option<String>,
        fields: &[(&str, &str)],
    ) -> Reply {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let bearer = bearer.iter().map(|it| ("Authorization", it.as_str()));
        let host = ("Host", "hub.example");
        let all: Vec<_> = [host]
            .into_iter()
            .chain(bearer)
            .chain(fields.iter().copied())
            .collect();
        let address = self.sidecar.address(listener);
        let bytes = request_bytes(method, address, target, &all, b"");
        self.send(address, method, &bytes).await
    }

    /// These bytes to the front door, in HTTP/1.1.
    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        self.send(self.sidecar.address("hub"), "GET", bytes).await
    }

    async fn send(&self, address: SocketAddr, method: &str, bytes: &[u8]) -> Reply {
        let client = TlsClient::trusting(&self.authority.pem);
        let mut connection = client.open(address, "hub.example").await;
        connection.send(bytes).await;
        let answer = connection.try_answer(method).await;
        answer.unwrap_or_else(|e| panic!("no answer: {e:?}")).into()
    }

    /// A call of gRPC.
    pub async fn grpc(&self, path: &str, token: Option<String>) -> Reply {
        let fields = [("content-type", "application/grpc"), ("te", "trailers")];
        self.http2("POST", path, token, &fields).await
    }

    /// A request in HTTP/2.
    pub async fn http2(
        &self,
        method: &str,
        target: &str,
        token: Option<String>,
        fields: &[(&str, &str)],
    ) -> Reply {
        let client = TlsClient::with(&self.authority.pem, None, rustls::ALL_VERSIONS, &["h2"]);
        let address = self.sidecar.address("hub");
        let mut connection = client.open(address, "hub.example").await;
        let handshake = h2::client::handshake(connection.stream()).await;
        let (mut client, connection) = handshake.expect("HTTP/2");
        let mut request = request::Builder::new()
            .method(method)
            .uri(format!("https://hub.example{target}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let exchange = async {
            let (response, _) = client.send_request(request, true).expect("it is open");
            let (head, mut content) = response.await.expect("a response").into_parts();
            let mut body = Vec::new();
            while let Some(part) = content.data().await {
                body.extend_from_slice(&part.expect("a part"));
            }
            Reply {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            }
        };
        tokio::select! {
            reply = exchange => reply,
            end = connection => panic!("{end:?}"),
        }
    }

    /// Whether a service ends a connection without a client certificate.
    pub async fn is_refused_without_a_certificate(&self, service: &str) -> bool {
        let service = &self.rest[service];
        let client = TlsClient::trusting(service.ca_pem());
        match client.try_open(service.address(), "localhost").await {
            Err(_) => true,
            Ok(mut connection) => {
                connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                connection.try_answer("GET").await.is_err()
            }
        }
    }
}

/// Replaces the port of a service in the file by its address.
fn point(yaml: &mut String, port: u16, to: SocketAddr) {
    let from = format!("https://127.0.0.1:{port}");
    assert!(yaml.contains(&from), "{from}");
    *yaml = yaml.replace(&from, &format!("https://{to}"));
}

/// A port that the test keeps free for the listener `issuers`, whose address the file repeats.
fn reserved() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).expect("a free port");
    let address = socket.local_addr().expect("bound").as_socket();
    (socket, address.expect("an address").to_string())
}

/// Every service answers with its name and the target that it has seen.
fn answer(rest: &BTreeMap<&'static str, Upstream>, users: &Authority, m2m: &Authority) {
    for (name, service) in rest {
        let keys = if *name == "oauth" {
            users.jwks()
        } else {
            m2m.jwks()
        };
        let name = *name;
        service.answer(move |received| {
            let target = received.target.as_str();
            if target.starts_with("/api/v1/ws") {
                return Answer::Raw(switched(""));
            }
            let id = target.split_once("tokens?idFilter=").map(|(_, id)| id);
            let id = id.and_then(|id| id.split('&').next());
            let body = match id {
                Some(id) => {
                    let entry = json!({ "id": id, "blacklisted": { "flag": id == REVOKED } });
                    json!({ "result": entry }).to_string()
                }
                None if target.ends_with("/jwks.json") => keys.to_string(),
                None => String::new(),
            };
            let fields = [
                ("Content-Type", "application/json"),
                ("x-service", name),
                ("x-target", target),
                (
                    "Access-Control-Allow-Origin",
                    "https://of-the-service.example",
                ),
            ];
            Answer::with_headers(&fields, &body)
        });
    }
}
