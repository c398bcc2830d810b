//! `explain`: what it says is what a running listener does, for requests of every kind.

use std::io::Write;
use std::process::Stdio;

use tempfile::TempDir;

use crate::commands::{ended, sidecar};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::request;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;
use crate::support::upstream::Upstream;
use crate::support::{AUDIENCE, logs};

fn yaml(authority: &Authority, upstream: &Upstream) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
store: {{ url: "sqlite::memory:" }}
issuer: {{ url: "http://issuer.test/m2m", listen: 127.0.0.1:0 }}
authorities:
  users: {{ issuer: "{}" }}
  others: {{ issuer: "https://nobody.test" }}
inbound:
  - name: explained
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    issuer: true
    authorities: [users, others]
    audiences: [{AUDIENCE}]
    corsPreflight: pass
    rules:
      - {{ paths: [/healthz], methods: [GET], access: public }}
      - {{ paths: ["/devices/**"], methods: [GET], scopes: ["devices:read"] }}
      - paths: ["/devices/**"]
        scopes: ["devices:write"]
      - {{ paths: [/blue], anyScope: ["devices:read", admin], claims: {{ tenant: [blue, green] }} }}
  - name: trial
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    mode: shadow
    limits: {{ concurrent: 5 }}
    authorities: [users]
    audiences: any
    rules: [{{ paths: [/x], scopes: [x] }}]
"#,
        authority.issuer(),
        upstream = upstream.url()
    )
}

/// A configuration file, and what `explain` says about it.
struct Explained {
    dir: TempDir,
}

impl Explained {
    fn new(yaml: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let text = yaml.replace("@DIR@", &dir.path().display().to_string());
        std::fs::write(dir.path().join("c.yaml"), text).expect("a writable directory");
        Self { dir }
    }

    fn explain(
        &self,
        listener: &str,
        method: &str,
        path: &str,
        token: Option<&str>,
    ) -> (Option<i32>, String, String) {
        let config = self.dir.path().join("c.yaml").display().to_string();
        let mut arguments =
            vec!["explain", "--config", &config, "--listener", listener, "--method", method, "--path", path];
        if token.is_some() {
            arguments.extend(["--token-file", "-"]);
        }
        let mut child = sidecar(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdin = child.stdin.take().expect("piped");
        // A command that does not read it has ended already.
        let _ = stdin.write_all(format!("{}\n", token.unwrap_or_default()).as_bytes());
        drop(stdin);
        let (code, out, err) = ended(&child.wait_with_output().expect("an end"));
        // What it prints may be shared: it must hold no token.
        logs::note(&out);
        (code, out, err)
    }
}

/// The line that begins with this word, without it.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no line {name} in:\n{text}")).trim()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_explained_is_what_a_listener_does() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let yaml = yaml(&authority, &upstream);
    let running = Sidecar::start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let explained = Explained::new(&yaml);
    let stranger = TestKey::generate("stranger", Alg::ES256);
    let mut known_kid = stranger.clone();
    known_kid.kid = "es256-1".to_owned();
    let token = || authority.token();
    let large = "x".repeat(9000);
    let cases: Vec<(&str, &str, Option<TokenBuilder>, &str, &str)> = vec![
        // method, path, token; the code, and the check that refuses.
        ("GET", "/healthz", None, "public", ""),
        ("GET", "/healthz", Some(token().expires_in(-100)), "public", ""),
        ("HEAD", "//healthz/", None, "public", ""),
        ("POST", "/healthz", Some(token()), "no_rule", "some rule"),
        ("GET", "/healthz?x=1", None, "public", ""),
        ("GET", "/devices/7", None, "no_token", ""),
        ("GET", "/devices/7", Some(token()), "permitted", ""),
        ("PUT", "/devices/7", Some(token()), "scope", "scopes"),
        ("PUT", "/devices/7", Some(token().claim("scope", "devices:write")), "permitted", ""),
        ("GET", "/blue", Some(token().claim("tenant", "green")), "permitted", ""),
        ("GET", "/blue", Some(token().claim("tenant", "red")), "claim", "rule's claims"),
        ("GET", "/blue", Some(token().claim("scope", "other")), "scope", "scopes"),
        ("GET", "/nowhere", None, "no_token", ""),
        ("GET", "/nowhere", Some(token()), "no_rule", "some rule"),
        ("GET", "/a%2fb", Some(token()), "ambiguous_path", "path"),
        ("TRACE", "/healthz", None, "method", ""),
        ("GET", "/m2m/.well-known/jwks.json", None, "local", ""),
        ("OPTIONS", "/devices/7", None, "no_token", ""),
        ("GET", "/blue", Some(token().expires_in(-100)), "expired", "times"),
        ("GET", "/blue", Some(token().claim("nbf", crate::support::now() + 900)), "not_yet_valid", "times"),
        (
            "GET",
            "/blue",
            Some(token().claim("iat", crate::support::now() + 900)),
            "issued_in_future",
            "times",
        ),
        ("GET", "/blue", Some(token().claim("aud", "elsewhere")), "audience", "audience"),
        ("GET", "/blue", Some(token().without("exp")), "no_expiry", "claims"),
        ("GET", "/blue", Some(token().claim("exp", "soon")), "malformed_claims", "claims"),
        ("GET", "/blue", Some(token().claim("iss", "http://elsewhere.test")), "unknown_issuer", "issuer"),
        ("GET", "/blue", Some(token().without("iss")), "unknown_issuer", "issuer"),
        ("GET", "/blue", Some(token().header("typ", "id+jwt")), "token_type", "type"),
        ("GET", "/blue", Some(token().header("crit", serde_json::json!(["x"]))), "critical_header", "form"),
        ("GET", "/blue", Some(token().unsigned()), "malformed_token", "form"),
        ("GET", "/blue", Some(token().hmac(b"secret")), "algorithm", "algorithm"),
        ("GET", "/blue", Some(token().signed_by(&stranger)), "unknown_kid", "key"),
        ("GET", "/blue", Some(token().signed_by(&known_kid)), "signature", "signature"),
        (
            "GET",
            "/blue",
            Some(token().claim("cnf", serde_json::json!({ "jkt": "x" }))),
            "sender_constrained",
            "claims",
        ),
        ("GET", "/blue", Some(token().claim("padding", large)), "token_too_large", "form"),
    ];
    for (method, path, token, code, refused) in cases {
        let token = token.map(TokenBuilder::sign);
        let bearer = token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        let mark = logs::mark();
        let answer = request(method, running.address("explained"), path, &headers, b"").await;
        let logged = logs::wait_for_line(mark, &["listener=\"explained\"", "reason="]).await;
        assert!(logged.contains(&format!("reason=\"{code}\"")), "{method} {path}: {logged}");

        let (exit, out, err) = explained.explain("explained", method, path, token.as_deref());
        let passes = answer.status < 400;
        assert_eq!((exit, err.as_str()), (Some(i32::from(!passes)), ""), "{method} {path} {code}\n{out}");
        let decision = line(&out, "decision");
        let expected =
            if passes { format!("allow ({code})") } else { format!("deny ({code}), {}", answer.status) };
        assert_eq!(decision, expected, "{out}");
        assert_eq!(out.matches("REFUSED").count(), usize::from(!refused.is_empty()), "{code}\n{out}");
        if !refused.is_empty() {
            assert!(line(&out, refused).starts_with("REFUSED"), "{out}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_what_it_needs_and_the_token_are_shown() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let token = authority
        .token()
        .claim("tenant", "red-tenant")
        .claim("aud", serde_json::json!([AUDIENCE, "a\u{1b}[31m"]))
        .sign();
    let (_, out, _) = explained.explain("explained", "GET", "//blue/?x=1", Some(&token));
    assert_eq!(line(&out, "path"), "/blue/ in normal form");
    assert_eq!(line(&out, "rule"), "4 of 4, on line 21: /blue");
    assert_eq!(
        line(&out, "needs"),
        "a valid token; scopes: one of devices:read admin; claims: tenant = blue or green"
    );
    let token_line = line(&out, "token");
    assert!(token_line.contains("sub tester, client_id tester"), "{out}");
    assert!(token_line.contains(&format!("aud {AUDIENCE} a\\u{{1b}}[31m")), "{out}");
    assert_eq!(line(&out, "issuer"), "ok: `iss` is that of the authority `users`");
    assert_eq!(line(&out, "key"), "ok: kid es256-1; keys fetched: 1");
    assert!(line(&out, "times").starts_with("ok: exp in 3"), "{out}");
    assert!(line(&out, "advice").contains("claims"));
    assert!(
        !out.contains("red-tenant"),
        "claims of the rule are its operator's, those of the token are not shown"
    );
    let (_, out, _) = explained.explain("explained", "POST", "/devices", None);
    assert_eq!(line(&out, "rule"), "3 of 4, on line 19: /devices/**");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_unless_a_signature_is_to_be_checked() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let token = authority.token().sign();
    for (path, token) in [("/healthz", Some(&token)), ("/a%2fb", Some(&token)), ("/blue", None)] {
        explained.explain("explained", "GET", path, token.map(String::as_str));
    }
    let foreign = authority.token().claim("iss", "http://elsewhere.test").sign();
    explained.explain("explained", "GET", "/blue", Some(&foreign));
    assert_eq!(authority.fetches(Endpoint::Jwks) + authority.fetches(Endpoint::OpenidConfiguration), 0);
    explained.explain("explained", "GET", "/blue", Some(&token));
    assert_eq!(authority.fetches(Endpoint::Jwks), 1);
    assert!(!explained.dir.path().join("state").exists(), "it leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_had_are_said_to_be_the_reason() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let token = authority.token().sign();
    authority.down().await;
    let (exit, out, _) = explained.explain("explained", "GET", "/blue", Some(&token));
    assert_eq!((exit, line(&out, "decision")), (Some(1), "deny (keys_unavailable), 503"));
    let url = format!("{}/.well-known/openid-configuration", authority.issuer());
    let expected = format!("REFUSED: {url}: nothing listens there: the connection was refused");
    assert!(line(&out, "key").starts_with(&expected), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_it_says_what_enforcement_would_do() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let (exit, out, _) = explained.explain("trial", "GET", "/x", Some(&authority.token().sign()));
    assert_eq!((exit, line(&out, "decision")), (Some(0), "shadow (scope), enforced it would be 403"));
    assert_eq!(line(&out, "scopes"), "REFUSED: all of x");
    assert!(
        line(&out, "listener").contains("enforces nothing") && line(&out, "limits").contains("not judged")
    );
}

/// A sidecar's own issuer keeps its keys to itself; what it publishes is asked of the process that runs it.
#[tokio::test(flavor = "multi_thread")]
async fn the_own_issuers_keys_are_asked_of_the_running_sidecar() {
    let upstream = Upstream::start();
    let yaml = |listen: &str| {
        format!(
            r#"
stateDir: "@DIR@"
store: {{ url: "sqlite:@DIR@/m2m.db" }}
issuer:
  url: http://issuer.test/base
  listen: {listen}
  clients: [{{ id: legacy, secretFile: "@DIR@/secret", allowedAudiences: [a] }}]
authorities: {{ self: {{ issuer: "http://issuer.test/base" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [self], audiences: [a], rules: [{{ paths: [/] }}] }}
"#,
            upstream.url()
        )
    };
    let secret = "a-client-secret-of-enough-bytes";
    let running =
        Sidecar::builder().secret_file("secret", "legacy", secret).start(&yaml("127.0.0.1:0")).await;
    let issuer = running.address("issuer");
    let form = [("grant_type", "client_credentials"), ("client_id", "legacy"), ("client_secret", secret)];
    let answer = crate::support::client::post_form(issuer, "/oauth/token", &form, &[]).await;
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    logs::remember_secret(&token);
    let explained = Explained::new(&yaml(&format!("0.0.0.0:{}", issuer.port())));
    std::fs::write(explained.dir.path().join("secret"), secret).expect("a writable directory");
    let (exit, out, err) = explained.explain("api", "GET", "/", Some(&token));
    assert_eq!((exit, err.as_str(), line(&out, "decision")), (Some(0), "", "allow (permitted)"), "{out}");
    assert!(!explained.dir.path().join("m2m.db").exists(), "no store is opened");
    running.stop().await;
    let (exit, out, _) = explained.explain("api", "GET", "/", Some(&token));
    assert_eq!((exit, line(&out, "decision")), (Some(1), "deny (keys_unavailable), 503"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_wrong_usage() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let (exit, out, err) = explained.explain("explaind", "GET", "/", None);
    assert_eq!((exit, out.as_str()), (Some(2), ""));
    assert!(err.contains("`explaind`") && err.contains("explained, trial"), "{err}");
    assert_eq!(explained.explain("explained", "G T", "/", None).0, Some(2));
    assert_eq!(explained.explain("explained", "GET", "/blue", Some("a\nb")).0, Some(2));
    let config = explained.dir.path().join("c.yaml").display().to_string();
    let missing = [
        "explain",
        "--config",
        &config,
        "--listener",
        "explained",
        "--path",
        "/",
        "--token-file",
        "/nowhere",
    ];
    let (exit, _, err) = ended(&crate::commands::run(&missing));
    assert_eq!(exit, Some(2));
    assert!(err.contains("/nowhere"), "{err}");
}
