//! `demo`: the three roles on this machine, beside an echo service, one real exchange of each
//! shown.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::extract::Request;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use url::Url;

use super::run::Signals;
use crate::domain::secret::{self, ExposeSecret, SecretString};
use crate::files::private;
use crate::http_client::{Egress, HttpAnswer, HttpClient, HttpOptions};
use crate::proxy::connection::Clients;
use crate::proxy::listener::{BoundSocket, Workers};
use crate::proxy::local::{LocalService, Paths};
use crate::proxy::switch::Switch;
use crate::telemetry::{Metrics, Role};
use crate::{app, config, telemetry};

const FILE: &str = "conf/quickstart.yaml";
const CONFIGURATION: &str = include_str!("../../conf/quickstart.yaml");

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Runs conf/quickstart.yaml, which this binary holds. Without --port-base its ports are 8080
(issuer), 8081 (the protected API), 9000 (for the program without OAuth support), 9090 (the API
itself) and 9900 (probes).

Examples:
  m2m-sidecar demo
  m2m-sidecar demo --once --port-base 20000";

/// How to show it.
#[derive(Args)]
pub struct Options {
    /// End after the tour instead of serving on until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Take the five ports from this one on
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65531))]
    port_base: Option<u16>,
}

/// The ports of the demo, all on 127.0.0.1.
#[derive(Clone, Copy)]
struct Ports {
    issuer: u16,
    inbound: u16,
    outbound: u16,
    echo: u16,
    probes: u16,
}

impl Ports {
    /// Those of the configuration as it is written.
    const WRITTEN: Self = Self {
        issuer: 8080,
        inbound: 8081,
        outbound: 9000,
        echo: 9090,
        probes: 9900,
    };

    /// The five from `first` on.
    fn from(first: u16) -> Self {
        Self {
            issuer: first,
            inbound: first + 1,
            outbound: first + 2,
            echo: first + 3,
            probes: first + 4,
        }
    }

    fn each(self) -> [(&'static str, u16); 5] {
        [
            ("issuer", self.issuer),
            ("inbound", self.inbound),
            ("outbound", self.outbound),
            ("API", self.echo),
            ("probes", self.probes),
        ]
    }

    /// The configuration with these ports.
    fn configuration(self) -> String {
        // By way of names: a new port may be another one's old port.
        let written = Self::WRITTEN.each();
        let named = written
            .iter()
            .fold(CONFIGURATION.to_owned(), |text, (name, port)| {
                text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:<{name}>"))
            });
        self.each().iter().fold(named, |text, (name, port)| {
            text.replace(&format!("<{name}>"), &port.to_string())
        })
    }

    /// An error that names every port that another program has.
    fn check(self) -> anyhow::Result<()> {
        let is_taken = |port: &u16| {
            let bound = BoundSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)));
            bound.is_err_and(|failed| failed.error.kind() == std::io::ErrorKind::AddrInUse)
        };
        let taken = self.each().into_iter().filter(|(_, port)| is_taken(port));
        let taken: Vec<_> = taken
            .map(|(name, port)| format!("127.0.0.1:{port} ({name})"))
            .collect();
        ensure!(
            taken.is_empty(),
            "another program listens on {}: end it, or take other ports with `--port-base`, for \
             instance `m2m-sidecar demo \
             --port-base 20000`",
            taken.join(", ")
        );
        Ok(())
    }
}

fn url_of(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Shows the three roles.
pub fn demo(options: &Options) -> anyhow::Result<()> {
    let ports = options.port_base.map_or(Ports::WRITTEN, Ports::from);
    ports.check()?;
    let dir = DemoDir::make()?;
    let environment = |name: &str| (name == "DATA_DIR").then(|| dir.0.display().to_string());
    let loaded = config::parse(&ports.configuration(), FILE, &environment)?;
    let listed: Vec<_> = ports
        .each()
        .iter()
        .map(|(name, port)| format!("{name} {port}"))
        .collect();
    super::print(&format!(
        "Runs {FILE} with DATA_DIR={}; ports on 127.0.0.1: {}.\n",
        dir.0.display(),
        listed.join(", ")
    ))?;
    let workers = Workers::start(1)?;
    let echo = serve_echo(&workers, ports.echo)?;
    let log = loaded.config.log;
    let done = super::runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let running = app::start(loaded.config).await?;
        tokio::select! {
            toured = tour(&dir, ports) => toured?,
            () = signals.next() => return Ok(()),
        }
        if !options.once {
            super::print("\nThe demo keeps running until Ctrl-C. The access log follows.\n")?;
            let _log = telemetry::start_logging(log);
            signals.next().await;
        }
        tokio::select! {
            () = running.shutdown() => {}
            () = signals.next() => {}
        }
        anyhow::Ok(())
    });
    drop(echo);
    workers.stop();
    done
}

/// A private directory that goes with the demo.
struct DemoDir(PathBuf);

impl DemoDir {
    fn make() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("m2m-sidecar-demo-{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make {}", dir.display()))?;
        let made = Self(dir);
        let secret = secret::generate("");
        private::create(&made.secret_file(), secret.expose_secret().as_bytes())?;
        Ok(made)
    }

    fn secret_file(&self) -> PathBuf {
        self.0.join("legacy-secret")
    }
}

impl Drop for DemoDir {
    fn drop(&mut self) {
        // Failing leaves a private directory in the temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The service that the demo protects: it answers with what it was sent.
fn serve_echo(workers: &Workers, port: u16) -> anyhow::Result<crate::proxy::listener::Listener> {
    let socket = BoundSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .context("the demo's API")?;
    let metrics = Arc::new(Arc::new(Metrics::new()).requests(Role::Local, "echo"));
    let router = Router::new().fallback(echo);
    let service = LocalService::new(router, metrics.clone(), Paths::Normal);
    let service = Switch::new(service, Arc::new(()));
    Ok(workers.listen(&socket, &metrics, Clients::default(), &service)?)
}

async fn echo(request: Request) -> Json<Value> {
    let shown = |name: &str| name.starts_with("x-m2m-") || name == "x-forwarded-for";
    let headers: serde_json::Map<_, _> = request
        .headers()
        .iter()
        .filter(|(name, _)| shown(name.as_str()))
        .map(|(name, value)| {
            (
                name.to_string(),
                json!(String::from_utf8_lossy(value.as_bytes())),
            )
        })
        .collect();
    let has_token = request.headers().contains_key(header::AUTHORIZATION);
    Json(json!({
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "identity": headers,
        "authorization": if has_token { "Bearer …" } else { "none" },
    }))
}

async fn tour(dir: &DemoDir, ports: Ports) -> anyhow::Result<()> {
    let second = Duration::from_secs(1);
    let client = HttpClient::new(HttpOptions {
        connect_timeout: second,
        total_timeout: second * 10,
        ca_pem: None,
        identity_pem: None,
        max_body: 64 * 1024,
        egress: Egress::default(),
    })?;
    let secret = SecretString::from(fs::read_to_string(dir.secret_file())?);
    let token = issue(&client, &secret, &dir.secret_file(), &url_of(ports.issuer)).await?;
    protect(&client, &token, &url_of(ports.inbound)).await?;
    inject(&client, &url_of(ports.outbound)).await
}

async fn issue(
    client: &HttpClient,
    secret: &SecretString,
    file: &Path,
    issuer: &str,
) -> anyhow::Result<SecretString> {
    super::print("1. ISSUE  A client shows its secret and gets an access token.\n")?;
    let command = format!(
        "echo \"user = legacy:$(cat {})\" | curl -s -K - -d grant_type=client_credentials -d \
         scope=devices:read {issuer}/oauth/token",
        file.display()
    );
    let mut headers = HeaderMap::new();
    let pair = STANDARD.encode(["legacy", secret.expose_secret()].join(":"));
    headers.insert(header::AUTHORIZATION, sensitive("Basic ", &pair)?);
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "devices:read"),
    ];
    let answer = client
        .post_form(
            &Url::parse(&format!("{issuer}/oauth/token"))?,
            headers,
            &form,
        )
        .await?;
    let body: Value = serde_json::from_slice(&answer.body)?;
    let token = body["access_token"]
        .as_str()
        .context("the issuer gave no token")?;
    show(
        &command,
        answer.status.as_u16(),
        &text(&answer).replace(token, "eyJ…"),
    )?;
    let token = SecretString::from(token);
    super::print(&format!(
        "   For the next lines:\n   $ TOKEN=$({command} | sed \
         's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
    ))?;
    Ok(token)
}

async fn protect(client: &HttpClient, token: &SecretString, inbound: &str) -> anyhow::Result<()> {
    super::print("\n2. PROTECT  The API behind the sidecar needs a token.\n")?;
    let url = Url::parse(&format!("{inbound}/api/v1/devices"))?;
    let refused = client.get(&url, HeaderMap::new()).await?;
    ensure!(
        refused.status == 401,
        "a request without a token was answered with {}",
        refused.status
    );
    show(&format!("curl -s {url}"), 401, &text(&refused))?;
    let mut headers = HeaderMap::new();
    headers.insert(
        header::AUTHORIZATION,
        sensitive("Bearer ", token.expose_secret())?,
    );
    let accepted = client.get(&url, headers).await?;
    ensure!(
        accepted.status == 200,
        "a request with a token was answered with {}",
        accepted.status
    );
    show(
        &format!("curl -s -H \"Authorization: Bearer $TOKEN\" {url}"),
        200,
        &text(&accepted),
    )?;
    Ok(())
}

async fn inject(client: &HttpClient, outbound: &str) -> anyhow::Result<()> {
    super::print(
        "\n3. INJECT  A program without OAuth support calls localhost and is authenticated.\n",
    )?;
    let url = Url::parse(&format!("{outbound}/api/v1/devices"))?;
    let answer = client.get(&url, HeaderMap::new()).await?;
    ensure!(
        answer.status == 200,
        "the legacy program's request was answered with {}",
        answer.status
    );
    show(&format!("curl -s {url}"), 200, &text(&answer))?;
    Ok(())
}

fn sensitive(scheme: &str, credentials: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&[scheme, credentials].concat())?;
    value.set_sensitive(true);
    Ok(value)
}

fn text(answer: &HttpAnswer) -> String {
    String::from_utf8_lossy(&answer.body).trim_end().to_owned()
}

fn show(command: &str, status: u16, body: &str) -> anyhow::Result<()> {
    super::print(&format!("   $ {command}\n   {status} {body}"))
}
