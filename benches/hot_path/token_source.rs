//! Getting a token that is there already, and the header it is attached by.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use m2m_sidecar::for_tests::domain::clock::SystemClock;
use m2m_sidecar::for_tests::domain::oauth::BasicEncoding;
use m2m_sidecar::for_tests::domain::scope::ScopeSet;
use m2m_sidecar::for_tests::http_client::FetchTimeouts;
use m2m_sidecar::for_tests::token_source::{
    AudienceParameter, Authentication, Config, CredentialGrant, TokenEndpoint, TokenSource,
};
use url::Url;

/// A token endpoint on loopback that answers one request.
fn token_endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&request).contains("client_credentials") {
            let read = stream.read(&mut chunk).expect("a request");
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&chunk[..read]);
        }
        let body = r#"{"access_token":"eyJ0.eyJ1.c2ln","token_type":"Bearer","expires_in":86400}"#;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("an answer");
    });
    address
}

pub fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let endpoint = Url::parse(&format!("http://{}/oauth/token", token_endpoint())).expect("a URL");
    let secret_file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret_file.path(), "bench-secret").expect("written");
    let config = Config {
        name: "bench".to_owned(),
        endpoint: TokenEndpoint::Url(endpoint),
        grant: CredentialGrant::ClientCredentials,
        client_id: "bench".to_owned(),
        authentication: Authentication::SecretBasic {
            secret_file: secret_file.path().to_owned(),
            encoding: BasicEncoding::Form,
        },
        ca_file: None,
        egress: m2m_sidecar::for_tests::http_client::Egress::default(),
        timeouts: FetchTimeouts {
            connect: Duration::from_secs(3),
            total: Duration::from_secs(15),
        },
        scopes: ScopeSet::default(),
        audiences: Vec::new(),
        audience_parameter: AudienceParameter::default(),
        resources: Vec::new(),
        extra_parameters: Vec::new(),
        dpop: None,
        refresh_at: 0.8,
        prefetch: true,
        kept_at: None,
        local_api: false,
        rotation: None,
        sink: None,
        throttle: None,
    };
    let source = TokenSource::new(config, Arc::new(SystemClock), Arc::new(|_| {}));
    let task = runtime.spawn(source.clone().run(std::future::pending()));
    assert!(runtime.block_on(source.token()).is_ok());
    let mut group = criterion.benchmark_group("token_source");
    group.bench_function("warm", |b| {
        b.iter(|| {
            source
                .current()
                .and_then(|token| token.header_value("Bearer ").ok())
        });
    });
    group.finish();
    task.abort();
}
