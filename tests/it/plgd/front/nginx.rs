//! An nginx before the issuer, with what plgd's bundle sets and nothing more: TLS for clients,
//! HTTP/1.0 without keep-alive towards the server, its own limits and buffers.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::eventually;

const CONFIGURATION: &str = r#"
daemon off;
master_process off;
pid "@DIR@/nginx.pid";
error_log "@DIR@/error.log" warn;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path "@DIR@/body";
  proxy_temp_path "@DIR@/proxy";
  fastcgi_temp_path "@DIR@/fastcgi";
  uwsgi_temp_path "@DIR@/uwsgi";
  scgi_temp_path "@DIR@/scgi";
  server {
    listen @LISTEN@ ssl http2;
    add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always;
    ssl_certificate "@DIR@/certificate.pem";
    ssl_certificate_key "@DIR@/key.pem";
    location / {
      set $issuer http://@ISSUER@;
      proxy_pass $issuer;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host;
    }
  }
}
"#;

/// A running nginx. Ends when it is dropped.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    connector: TlsConnector,
    _dir: TempDir,
}

impl Nginx {
    /// Starts it before this listener.
    pub async fn before(program: &OsStr, issuer: SocketAddr) -> Self {
        let dir = TempDir::new().expect("a directory");
        let key = KeyPair::generate().expect("a key");
        let names = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = names.self_signed(&key).expect("a certificate");
        std::fs::write(dir.path().join("certificate.pem"), certificate.pem()).expect("a file");
        std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).expect("a file");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider's versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(client));
        loop {
            // nginx takes no port 0. When something else has taken the port meanwhile, it ends, and
            // another one is tried.
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
            let address = free.expect("a free port");
            let mut child = start(program, &dir, address, issuer);
            let is_listening = eventually("nginx listens or ends", async || {
                let has_ended = child.try_wait().expect("a child").is_some();
                let is_listening = TcpStream::connect(address).await.is_ok();
                (has_ended || is_listening).then_some(!has_ended)
            });
            if is_listening.await {
                return Self {
                    child,
                    address,
                    connector,
                    _dir: dir,
                };
            }
            let log = std::fs::read_to_string(dir.path().join("error.log")).unwrap_or_default();
            assert!(
                log.contains("Address already in use"),
                "nginx does not start: {log}"
            );
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handshake of a client that trusts its certificate.
    pub async fn encrypt(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("localhost").expect("a name");
        self.connector
            .connect(name, stream)
            .await
            .expect("a handshake with nginx")
    }
}

fn start(program: &OsStr, dir: &TempDir, address: SocketAddr, issuer: SocketAddr) -> Child {
    let configuration = CONFIGURATION
        .replace("@DIR@", &dir.path().display().to_string())
        .replace("@LISTEN@", &address.to_string())
        .replace("@ISSUER@", &issuer.to_string());
    let file = dir.path().join("nginx.conf");
    std::fs::write(&file, configuration).expect("a writable directory");
    let mut command = Command::new(program);
    command
        .arg("-c")
        .arg(&file)
        .arg("-p")
        .arg(dir.path())
        .arg("-e")
        .arg(dir.path().join("error.log"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", program.display()))
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // One process, without workers.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
