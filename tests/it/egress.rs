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
