//! Ways out: keys, tokens and upstreams through a proxy, and proxies that misbehave.

mod upstreams;

use serde_json::Value;

use crate::support::authority::Authority;
use crate::support::client::get;
use crate::support::egress_proxy::{Act, EgressProxy};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::tls::TestTls;
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

const SECRET: &str = "egress-client-secret-1";
const PASSWORD: &str = "egress-proxy-password-1";
const ADMIN: &str = "egress-administrator-token";

/// An authority that only the proxy finds, by the name `idp.example`.
struct World {
    authority: Authority,
    upstream: Upstream,
    proxy: EgressProxy,
}

fn world() -> World {
    let authority = Authority::start_with("", Some(TestTls::for_names(&["idp.example"])));
    authority.register_client("legacy", SECRET);
    let proxy = EgressProxy::start(&[("idp.example", authority.address())]);
    World {
        authority,
        upstream: Upstream::start(),
        proxy,
    }
}

impl World {
    fn yaml(&self, top: &str, credential: &str) -> String {
        format!(
            r#"
stateDir: "@DIR@"
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
{top}
authorities:
  idp:
    issuer: "{}"
    jwksUri: https://idp.example/jwks.json
    caFile: "@DIR@/ca.pem"
credentials:
  hub:
    tokenUrl: https://idp.example/oauth/token
    clientID: legacy
    clientSecretFile: "@DIR@/secret"
    caFile: "@DIR@/ca.pem"
    timeouts: {{ connect: 500ms, total: 2s }}
{credential}
inbound:
  - name: devices
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [idp]
    audiences: any
    rules: [{{ paths: ["/**"] }}]
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{}", credential: hub }}
"#,
            self.authority.issuer(),
            self.upstream.url(),
            self.upstream.url(),
        )
    }

    fn files(&self) -> SidecarBuilder {
        Sidecar::builder()
            .file("ca.pem", self.authority.ca_pem())
            .secret_file("secret", "legacy", SECRET)
            .secret_file("admin", "admin", ADMIN)
            .secret_file("password", "ann", PASSWORD)
    }

    /// Starts it with the proxy of the configuration.
    async fn start(&self) -> Sidecar {
        let url = self.proxy.address();
        let top = format!("egressProxy: {{ url: \"http://{url}\" }}");
        self.files().start(&self.yaml(&top, "")).await
    }
}

async fn status(sidecar: &Sidecar) -> Value {
    let bearer = format!("Bearer {ADMIN}");
    let fields = [("Authorization", bearer.as_str())];
    get(sidecar.address("admin"), "/status", &fields)
        .await
        .json()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tokens_go_through_the_proxy_with_its_password() {
    let world = world();
    world.proxy.demand("ann", PASSWORD);
    let at = world.proxy.address();
    let top =
        format!("egressProxy: {{ url: \"http://ann@{at}\", passwordFile: \"@DIR@/password\" }}");
    let mark = logs::mark();
    let sidecar = world.files().start(&world.yaml(&top, "")).await;
    let shown = format!("http://{at}");
    logs::wait_for_line(
        mark,
        &["requests go through a proxy", "credential hub", &shown],
    )
    .await;
    let token = world.authority.token().sign();
    let bearer = format!("Bearer {token}");
    until("the keys are there", async || {
        let fields = [("Authorization", bearer.as_str())];
        get(sidecar.address("devices"), "/a", &fields).await.status == 200
    })
    .await;
    assert_eq!(get(sidecar.address("hub"), "/b", &[]).await.status, 200);
    let asked = world.proxy.asked();
    assert!(asked.len() >= 2, "{asked:?}");
    for asked in asked {
        assert_eq!(asked.line, "CONNECT idp.example:443 HTTP/1.1");
    }
    let status = status(&sidecar).await;
    assert_eq!(status["authorities"][0]["egress_proxy"], shown.as_str());
    assert_eq!(status["credentials"][0]["egress_proxy"], shown.as_str());
    // A changed password is used for the next connection.
    let changed = "egress-proxy-password-2";
    world.proxy.demand("ann", changed);
    std::fs::write(sidecar.path("password"), changed).unwrap();
    let before = world.proxy.asked().len();
    world.authority.rotate();
    let token = world.authority.token().sign();
    let bearer = format!("Bearer {token}");
    until("the new key is there", async || {
        let fields = [("Authorization", bearer.as_str())];
        get(sidecar.address("devices"), "/a", &fields).await.status == 200
    })
    .await;
    assert!(world.proxy.asked().len() > before);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_the_proxy_unless_the_file_does() {
    let world = world();
    world.proxy.demand("ann", PASSWORD);
    let variable = format!("http://ann:{PASSWORD}@{}", world.proxy.address());
    let shown = format!("http://{}", world.proxy.address());
    for (variables, top, credential, expected) in [
        (&["HTTPS_PROXY"][..], "", "", true),
        (&["https_proxy"], "", "", true),
        (&["HTTPS_PROXY"], "egressProxy: environment", "", true),
        (&["HTTP_PROXY"], "", "", false),
        (&["HTTPS_PROXY"], "egressProxy: none", "", false),
        (&["HTTPS_PROXY"], "", "    egressProxy: none", false),
        (&["HTTPS_PROXY"], "", "    egressProxy: shared", true),
    ] {
        let mut files = world.files();
        for name in variables {
            files = files.env(name, &variable);
        }
        let sidecar = files.start(&world.yaml(top, credential)).await;
        let found = status(&sidecar).await["credentials"][0]["egress_proxy"].clone();
        let found = found.as_str().map(str::to_owned);
        assert_eq!(
            found,
            expected.then(|| shown.clone()),
            "{variables:?} {top} {credential}"
        );
        if expected {
            assert_eq!(get(sidecar.address("hub"), "/b", &[]).await.status, 200);
        }
        sidecar.stop().await;
    }
    let files = world.files().env("HTTPS_PROXY", &variable);
    let sidecar = files
        .env("NO_PROXY", "a.example,.example")
        .start(&world.yaml("", ""))
        .await;
    assert_eq!(
        status(&sidecar).await["credentials"][0]["egress_proxy"],
        Value::Null
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fault_of_a_proxy_is_told_from_one_of_the_authority() {
    let world = world();
    let sidecar = world.start().await;
    let at = format!("the proxy http://{}", world.proxy.address());
    for (act, words) in [
        (
            Act::Answer(b"HTTP/1.1 407 Denied\r\nContent-Length: 0\r\n\r\n"),
            "it answered 407: it demands a password",
        ),
        (
            Act::Answer(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
            "it answered 502: it cannot reach the destination",
        ),
        (
            Act::Answer(b"garbage\r\n\r\n"),
            "its answer is not valid HTTP/1.1",
        ),
        (Act::Close, "it closed the connection without an answer"),
        (Act::Hang, "no tunnel within 500ms"),
    ] {
        world.proxy.act(act);
        let mark = logs::mark();
        let (sidecar, words) = (&sidecar, words);
        until(words, async || {
            assert_eq!(get(sidecar.address("hub"), "/b", &[]).await.status, 503);
            !logs::lines_since(mark, &[&at, words]).is_empty()
        })
        .await;
    }
    world.proxy.act(Act::Serve);
    until("a token", async || {
        get(sidecar.address("hub"), "/b", &[]).await.status == 200
    })
    .await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_proxy_is_verified_by_the_ca_file_and_gets_no_client_certificate() {
    let authority = Authority::start_with("", Some(TestTls::for_names(&["idp.example"])));
    authority.register_client("legacy", SECRET);
    let tls = TestTls::for_names(&["localhost"]);
    let proxy_ca = tls.ca_pem.clone();
    let routes = [("idp.example", authority.address())];
    let world = World {
        proxy: EgressProxy::start_with(Some(tls), &routes),
        upstream: Upstream::start(),
        authority,
    };
    world.proxy.demand("ann", PASSWORD);
    let port = world.proxy.address().port();
    let top = format!(
        "egressProxy: {{ url: \"https://ann@localhost:{port}\", \
         passwordFile: \"@DIR@/password\" }}"
    );
    let yaml = world.yaml(&top, "");
    let mark = logs::mark();
    let sidecar = world.files().start(&yaml).await;
    assert_eq!(get(sidecar.address("hub"), "/b", &[]).await.status, 503);
    let shown = format!("the proxy https://localhost:{port}");
    logs::wait_for_line(mark, &["credential=\"hub\"", &shown]).await;
    assert!(
        world.proxy.asked().is_empty(),
        "no password without a verified proxy"
    );
    sidecar.stop().await;
    let both = format!("{}{proxy_ca}", world.authority.ca_pem());
    let sidecar = world.files().file("ca.pem", both).start(&yaml).await;
    assert_eq!(get(sidecar.address("hub"), "/b", &[]).await.status, 200);
    assert!(world.proxy.was_asked("CONNECT idp.example:443 HTTP/1.1"));
    sidecar.stop().await;
}

#[test]
fn check_names_the_proxy_of_each_part() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("a writable directory");
        path.display().to_string()
    };
    let secret = file("secret", SECRET);
    let yaml = format!(
        "authorities: {{ idp: {{ issuer: https://idp.example }} }}\ncredentials:\n  \
         hub: {{ tokenUrl: https://idp.example/token, clientID: a, clientSecretFile: {secret}, \
         egressProxy: {{ url: \"https://other.example\" }} }}\n"
    );
    let config = file("c.yaml", &yaml);
    logs::remember_secret(PASSWORD);
    let check = |arguments: &[&str]| {
        let arguments = [&["check", "--config", &config], arguments].concat();
        let mut command = crate::commands::sidecar(&arguments);
        let value = format!("http://ann:{PASSWORD}@proxy.example:3128");
        command
            .env("HTTPS_PROXY", value)
            .env_remove("NO_PROXY")
            .env_remove("no_proxy");
        crate::commands::ended(&command.output().expect("the binary runs")).1
    };
    let said = check(&[]);
    assert!(
        said.contains("authority idp: through the proxy http://proxy.example:3128"),
        "{said}"
    );
    assert!(
        said.contains("credential hub: through the proxy https://other.example"),
        "{said}"
    );
    let said: Value = serde_json::from_str(&check(&["--json"])).expect("JSON");
    let proxies = &said["egressProxies"];
    assert_eq!(proxies["authority idp"], "http://proxy.example:3128");
    assert_eq!(proxies["credential hub"], "https://other.example");
}
