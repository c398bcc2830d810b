//! `explain`: what it says is what a running listener does, for requests of every kind.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tempfile::TempDir;

use crate::commands::{ended, run, sidecar};
use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::Behave;
use crate::support::client::request;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;
use crate::support::upstream::Upstream;
use crate::support::{AUDIENCE, logs};

/// That of some key or certificate.
const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

fn yaml(authority: &Authority, upstream: &Upstream) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
store: {{ url: "sqlite::memory:" }}
issuer: {{ url: "http://issuer.test/m2m", listen: 127.0.0.1:0 }}
authorities:
  users: {{ issuer: "{}" }}
  others: {{ issuer: "https://unused.test" }}
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

    fn keep_secret(&self, secret: &str) {
        let file = self.dir.path().join("secret");
        std::fs::write(&file, secret).expect("a writable directory");
        std::fs::set_permissions(file, Permissions::from_mode(0o600)).expect("a file of ours");
    }

    fn explain(
        &self,
        listener: &str,
        method: &str,
        path: &str,
        token: Option<&str>,
    ) -> (Option<i32>, String, String) {
        self.explain_with(listener, method, path, token, &[])
    }

    fn explain_with(
        &self,
        listener: &str,
        method: &str,
        path: &str,
        token: Option<&str>,
        headers: &[&str],
    ) -> (Option<i32>, String, String) {
        self.explain_more(listener, method, path, token, headers, &[])
    }

    /// A `GET` from this address.
    fn explain_from(
        &self,
        listener: &str,
        path: &str,
        from: &str,
        headers: &[&str],
    ) -> (Option<i32>, String, String) {
        self.explain_more(listener, "GET", path, None, headers, &["--from", from])
    }

    fn explain_more(
        &self,
        listener: &str,
        method: &str,
        path: &str,
        token: Option<&str>,
        headers: &[&str],
        more: &[&str],
    ) -> (Option<i32>, String, String) {
        let config = self.dir.path().join("c.yaml").display().to_string();
        let mut arguments = vec![
            "explain",
            "--config",
            &config,
            "--listener",
            listener,
            "--method",
            method,
            "--path",
            path,
        ];
        arguments.extend(more);
        if token.is_some() {
            arguments.extend(["--token-file", "-"]);
        }
        for header in headers {
            arguments.extend(["--header", header]);
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
        // The output may be shared, so it must contain no token.
        logs::note(&out);
        (code, out, err)
    }
}

/// The line that begins with this word, without it.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found
        .unwrap_or_else(|| panic!("no line {name} in:\n{text}"))
        .trim()
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_agrees_with_the_listener() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    // A name of its own: other tests write access lines too.
    let yaml = yaml(&authority, &upstream).replace("name: explained", "name: compared");
    let running = Sidecar::start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let explained = Explained::new(&yaml);
    let unknown = TestKey::generate("unknown", Alg::ES256);
    let mut known_kid = unknown.clone();
    known_kid.kid = "es256-1".to_owned();
    let token = || authority.token();
    let large = "x".repeat(9000);
    let cases: Vec<(&str, &str, Option<TokenBuilder>, &str, &str)> = vec![
        // method, path, token; the code, and the check that refuses.
        ("GET", "/healthz", None, "public", ""),
        (
            "GET",
            "/healthz",
            Some(token().expires_in(-100)),
            "public",
            "",
        ),
        ("HEAD", "//healthz/", None, "public", ""),
        ("POST", "/healthz", Some(token()), "no_rule", "some rule"),
        ("GET", "/healthz?x=1", None, "public", ""),
        ("GET", "/devices/7", None, "no_token", ""),
        ("GET", "/devices/7", Some(token()), "permitted", ""),
        ("PUT", "/devices/7", Some(token()), "scope", "scopes"),
        (
            "PUT",
            "/devices/7",
            Some(token().claim("scope", "devices:write")),
            "permitted",
            "",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("tenant", "green")),
            "permitted",
            "",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("tenant", "red")),
            "claim",
            "rule's claims",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("scope", "other")),
            "scope",
            "scopes",
        ),
        ("GET", "/nowhere", None, "no_token", ""),
        ("GET", "/nowhere", Some(token()), "no_rule", "some rule"),
        ("GET", "/a%2fb", Some(token()), "ambiguous_path", "path"),
        ("TRACE", "/healthz", None, "method", ""),
        ("GET", "/m2m/.well-known/jwks.json", None, "local", ""),
        ("OPTIONS", "/devices/7", None, "no_token", ""),
        (
            "GET",
            "/blue",
            Some(token().expires_in(-100)),
            "expired",
            "times",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("nbf", crate::support::now() + 900)),
            "not_yet_valid",
            "times",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("iat", crate::support::now() + 900)),
            "issued_in_future",
            "times",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("aud", "elsewhere")),
            "audience",
            "audience",
        ),
        (
            "GET",
            "/blue",
            Some(token().without("exp")),
            "no_expiry",
            "claims",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("exp", "soon")),
            "malformed_claims",
            "claims",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("iss", "http://elsewhere.test")),
            "unknown_issuer",
            "issuer",
        ),
        (
            "GET",
            "/blue",
            Some(token().without("iss")),
            "unknown_issuer",
            "issuer",
        ),
        (
            "GET",
            "/blue",
            Some(token().header("typ", "id+jwt")),
            "token_type",
            "type",
        ),
        (
            "GET",
            "/blue",
            Some(token().header("crit", serde_json::json!(["x"]))),
            "critical_header",
            "form",
        ),
        (
            "GET",
            "/blue",
            Some(token().unsigned()),
            "malformed_token",
            "form",
        ),
        (
            "GET",
            "/blue",
            Some(token().hmac(b"secret")),
            "algorithm",
            "algorithm",
        ),
        (
            "GET",
            "/blue",
            Some(token().signed_by(&unknown)),
            "unknown_kid",
            "key",
        ),
        (
            "GET",
            "/blue",
            Some(token().signed_by(&known_kid)),
            "signature",
            "signature",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("cnf", serde_json::json!({ "jkt": "x" }))),
            "sender_constrained",
            "claims",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("cnf", serde_json::json!({ "jkt": THUMBPRINT }))),
            "token_binding",
            "binding",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("cnf", serde_json::json!({ "x5t#S256": THUMBPRINT }))),
            "certificate_binding",
            "binding",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("padding", large)),
            "token_too_large",
            "form",
        ),
        (
            "GET",
            "/blue",
            Some(token().claim("padding", "x".repeat(30_000))),
            "head_too_large",
            "path",
        ),
        (
            "get",
            "/devices/7",
            Some(token()),
            "malformed_request",
            "path",
        ),
        (
            "GET",
            "/devices/7#x",
            Some(token()),
            "ambiguous_path",
            "path",
        ),
        (
            "GET",
            "/devices/7?x=1#x",
            Some(token()),
            "ambiguous_path",
            "path",
        ),
        (
            "GET",
            "/devices/ 7",
            Some(token()),
            "malformed_request",
            "path",
        ),
        (
            "GET",
            "devices/7",
            Some(token()),
            "malformed_request",
            "path",
        ),
        // As SPIFFE, Entra and Auth0 issue them.
        (
            "GET",
            "/devices/7",
            Some(token().without("jti")),
            "permitted",
            "",
        ),
    ];
    for (method, path, token, code, refused) in cases {
        let token = token.map(TokenBuilder::sign);
        let bearer = token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer
            .iter()
            .map(|bearer| ("Authorization", bearer.as_str()))
            .collect();
        let mark = logs::mark();
        let answer = request(method, running.address("compared"), path, &headers, b"").await;
        let logged = logs::wait_for_line(mark, &["listener=\"compared\"", "reason="]).await;
        assert!(
            logged.contains(&format!("reason=\"{code}\"")),
            "{method} {path}: {logged}"
        );

        let (exit, out, err) = explained.explain("compared", method, path, token.as_deref());
        let passes = answer.status < 400;
        assert_eq!(
            (exit, err.as_str()),
            (Some(i32::from(!passes)), ""),
            "{method} {path} {code}\n{out}"
        );
        let decision = line(&out, "decision");
        let expected = if passes {
            format!("allow ({code})")
        } else {
            format!("deny ({code}), {}", answer.status)
        };
        assert_eq!(decision, expected, "{out}");
        assert_eq!(
            out.matches("REFUSED").count(),
            usize::from(!refused.is_empty()),
            "{code}\n{out}"
        );
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
    assert!(
        token_line.contains(&format!("aud {AUDIENCE} a\\u{{1b}}[31m")),
        "{out}"
    );
    assert_eq!(
        line(&out, "issuer"),
        "ok: `iss` is that of the authority `users`"
    );
    assert_eq!(line(&out, "key"), "ok: kid es256-1; keys fetched: 1");
    assert!(line(&out, "times").starts_with("ok: exp in 3"), "{out}");
    assert!(line(&out, "advice").contains("claims"));
    assert!(
        !out.contains("red-tenant"),
        "claims of the rule are its operator's, those of the token are not shown"
    );
    let (_, out, _) = explained.explain("explained", "POST", "/devices", None);
    assert_eq!(line(&out, "rule"), "3 of 4, on line 19: /devices/**");
    let config = explained.dir.path().join("c.yaml").display().to_string();
    let request = [
        "--listener",
        "explained",
        "--method",
        "POST",
        "--path",
        "/devices",
        "--json",
    ];
    let (code, out, _) = ended(&run(
        &[&["explain", "--config", &config][..], &request].concat()
    ));
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &json["passes"]), (Some(1), &false.into()));
    let said = json["said"].as_array().expect("a list");
    let rule = said
        .iter()
        .find(|it| it["what"] == "rule")
        .expect("the rule");
    assert_eq!(rule["said"], "3 of 4, on line 19: /devices/**");
}

/// The request that `explain` evaluates has the host and the client that are given.
#[tokio::test(flavor = "multi_thread")]
async fn conditions_comparisons_and_modes_of_rules_are_shown() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let yaml = format!(
        r#"
stateDir: "@DIR@/state"
authorities:
  users: {{ issuer: "{}" }}
  others: {{ issuer: "https://unused.test" }}
inbound:
  - name: ruled
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [users, others]
    audiences: [{AUDIENCE}]
    trustedProxies: [10.9.0.1]
    rules:
      - {{ paths: [/a], hosts: ["*.example"], networks: [10.0.0.0/8, "::1"], scopes: [a] }}
      - {{ paths: ["/d/{{id}}"], equals: {{ id: dev, query.t: tid }}, authorities: [users] }}
      - {{ paths: [/o], access: optional }}
      - {{ paths: [/s], scopes: [s], mode: shadow }}
      - {{ paths: [/m], authorities: [others] }}
"#,
        authority.issuer(),
        upstream.url()
    );
    let explained = Explained::new(&yaml);
    let token = authority
        .token()
        .claim("dev", "7")
        .claim("tid", "blue")
        .sign();
    let explain = |path: &str, token: Option<&str>, headers: &[&str]| {
        explained.explain_with("ruled", "GET", path, token, headers)
    };
    let (_, out, _) = explain("/a", None, &[]);
    assert_eq!(line(&out, "rule"), "none of 5 matches");
    assert_eq!(
        line(&out, "nearest rule"),
        "1 of 5, on line 14: /a; the host is localhost, the rule has *.example; the client is \
         127.0.0.1, the rule has 10.0.0.0/8 ::1/128"
    );
    let host = "Host: x.example";
    for from in ["::1", "10.1.2.3", "10.9.0.1"] {
        let (_, out, _) = explained.explain_from("ruled", "/a", from, &[host]);
        assert_eq!(
            line(&out, "rule"),
            "1 of 5, on line 14: /a, host *.example, from 10.0.0.0/8 ::1/128",
            "{from}"
        );
        assert_eq!(line(&out, "decision"), "deny (no_token), 401");
    }
    let client = "X-Forwarded-For: 192.0.2.1";
    let (_, out, _) = explained.explain_from("ruled", "/a", "10.9.0.1", &[host, client]);
    assert!(
        line(&out, "nearest rule").ends_with(
            "the client is 192.0.2.1, the rule has \
        10.0.0.0/8 ::1/128"
        ),
        "{out}"
    );
    let (_, out, _) = explained.explain_from(
        "ruled",
        "/a",
        "10.9.0.1",
        &[host, "X-Forwarded-For: unknown"],
    );
    assert!(
        line(&out, "nearest rule").contains("the client is unknown"),
        "{out}"
    );

    let (code, out, _) = explain("/d/7?t=blue", Some(&token), &[]);
    assert_eq!(
        (code, line(&out, "decision")),
        (Some(0), "allow (permitted)")
    );
    assert_eq!(
        line(&out, "needs"),
        "a valid token; authority: users; equal: {id} = dev, query.t = tid"
    );
    assert_eq!(line(&out, "authority"), "ok: users");
    for path in ["/d/8?t=blue", "/d/7?t=blue&T=red"] {
        let (code, out, _) = explain(path, Some(&token), &[]);
        assert_eq!(
            (code, line(&out, "decision")),
            (Some(1), "deny (equals), 403")
        );
        assert_eq!(line(&out, "equal"), "REFUSED: {id} = dev, query.t = tid");
    }
    let (code, out, _) = explain("/o", None, &[]);
    assert_eq!(
        (code, line(&out, "decision")),
        (Some(0), "allow (anonymous)")
    );
    assert_eq!(line(&out, "needs"), "no token, or a valid one");
    let (code, out, _) = explain("/o", Some("x"), &[]);
    assert_eq!(
        (code, line(&out, "decision")),
        (Some(1), "deny (malformed_token), 401")
    );
    let (code, out, _) = explain("/s", Some(&token), &[]);
    let decision = "shadow (scope), enforced it would be 403";
    assert_eq!((code, line(&out, "decision")), (Some(0), decision));
    assert_eq!(line(&out, "mode"), "shadow: the rule refuses nothing");
    let (code, out, _) = explain("/m", Some(&token), &[]);
    assert_eq!(
        (code, line(&out, "decision")),
        (Some(1), "deny (authority), 403")
    );
    assert_eq!(line(&out, "authority"), "REFUSED: others");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_unless_a_signature_is_to_be_checked() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let token = authority.token().sign();
    for (path, token) in [
        ("/healthz", Some(&token)),
        ("/a%2fb", Some(&token)),
        ("/blue", None),
    ] {
        explained.explain("explained", "GET", path, token.map(String::as_str));
    }
    let foreign = authority
        .token()
        .claim("iss", "http://elsewhere.test")
        .sign();
    explained.explain("explained", "GET", "/blue", Some(&foreign));
    assert_eq!(
        authority.fetches(Endpoint::Jwks) + authority.fetches(Endpoint::OpenidConfiguration),
        0
    );
    explained.explain("explained", "GET", "/blue", Some(&token));
    assert_eq!(authority.fetches(Endpoint::Jwks), 1);
    assert!(
        !explained.dir.path().join("state").exists(),
        "it leaves nothing behind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_keys_are_named_as_the_reason() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let token = authority.token().sign();
    authority.down().await;
    let (exit, out, _) = explained.explain("explained", "GET", "/blue", Some(&token));
    assert_eq!(
        (exit, line(&out, "decision")),
        (Some(1), "deny (keys_unavailable), 503")
    );
    let url = format!("{}/.well-known/openid-configuration", authority.issuer());
    let expected = format!("REFUSED: {url}: nothing listens there: the connection was refused");
    assert!(line(&out, "key").starts_with(&expected), "{out}");
}

/// Each revocation method: its name in the metadata, and its endpoint at the fake authority.
const METHODS: [(&str, &str, Endpoint, &str); 3] = [
    (
        "revocation_list_uri",
        "/revocations",
        Endpoint::Revocations,
        "auto",
    ),
    (
        "plgd_tokens_endpoint",
        "/api/v1/tokens",
        Endpoint::PlgdTokens,
        "auto",
    ),
    (
        "introspection_endpoint",
        "/introspect",
        Endpoint::Introspection,
        "{ kind: introspection, credential: introspector }",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_token_was_revoked_is_asked_as_a_listener_asks() {
    let upstream = Upstream::start();
    for (member, path, endpoint, revocation) in METHODS {
        let authority = Authority::start();
        authority.advertise(member, path);
        let secret = "a-client-secret-of-enough-bytes";
        authority.register_client("introspector", secret);
        let ids = [
            "11111111-2222-4333-8444-555555555555",
            "99999999-2222-4333-8444-555555555555",
        ];
        authority.revoke(ids[1]);
        let yaml = yaml(&authority, &upstream).replace(
            "users: { issuer:",
            &format!("users: {{ revocation: {revocation}, issuer:"),
        ) + &format!(
            "credentials:\n  introspector: {{ tokenUrl: \"{}\", clientID: introspector, \
            clientSecretFile: \"@DIR@/secret\" }}\n",
            authority.token_url()
        );
        let running = Sidecar::builder()
            .secret_file("secret", "introspector", secret)
            .start(&yaml)
            .await;
        let explained = Explained::new(&yaml);
        explained.keep_secret(secret);
        let good = authority.token().claim("jti", ids[0]).sign();
        let revoked = authority.token().claim("jti", ids[1]).sign();
        let unnamed = authority.token().without("jti").sign();
        for (token, code) in [(&good, "permitted"), (&revoked, "revoked"), (&unnamed, "")] {
            let bearer = format!("Bearer {token}");
            let headers = [("Authorization", bearer.as_str())];
            let answer = request(
                "GET",
                running.address("explained"),
                "/devices/7",
                &headers,
                b"",
            )
            .await;
            let (exit, out, _) = explained.explain("explained", "GET", "/devices/7", Some(token));
            assert_eq!(
                exit,
                Some(i32::from(answer.status != 200)),
                "{member}\n{out}"
            );
            let reason = answer.header("x-m2m-reason").unwrap_or("permitted");
            assert!(code.is_empty() || code == reason, "{member}: {reason}");
            assert!(
                line(&out, "decision").contains(&format!("({reason})")),
                "{member}\n{out}"
            );
            let verdict = if answer.status == 200 {
                "ok: "
            } else {
                "REFUSED: "
            };
            let said = line(&out, "revocation");
            assert!(
                said.starts_with(verdict) && said.contains(path),
                "{member}\n{out}"
            );
        }
        authority.behave(endpoint, Behave::Status(500));
        let (exit, out, _) = explained.explain("explained", "GET", "/devices/7", Some(&good));
        assert_eq!(
            (exit, line(&out, "decision")),
            (Some(1), "deny (revocation_unavailable), 503")
        );
        assert!(line(&out, "revocation").contains("status"), "{out}");
    }
    // Without a query it says so.
    let authority = Authority::start();
    let explained = Explained::new(&yaml(&authority, &upstream));
    let (exit, out, _) = explained.explain(
        "explained",
        "GET",
        "/devices/7",
        Some(&authority.token().sign()),
    );
    assert_eq!(exit, Some(0));
    assert!(
        line(&out, "revocation").starts_with("ok: none (the issuer's metadata names neither"),
        "{out}"
    );
    assert!(
        !explained.dir.path().join("state").exists(),
        "it leaves nothing behind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_matching_rule_the_nearest_one_is_named_with_what_differs() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let token = authority.token().sign();
    for (method, path, nearest) in [
        (
            "POST",
            "/healthz",
            "1 of 4, on line 17: /healthz; the method is POST, the rule has GET HEAD",
        ),
        (
            "GET",
            "/Devices/7",
            "2 of 4, on line 18: /devices/**; segment 1 is `Devices`, \
            the pattern has `devices`: upper and lower \
             case differ",
        ),
        (
            "GET",
            "/blue/x",
            "4 of 4, on line 21: /blue; segment 2, `x`, is not in the pattern",
        ),
    ] {
        for token in [Some(token.as_str()), None] {
            let (exit, out, _) = explained.explain("explained", method, path, token);
            assert_eq!(
                (exit, line(&out, "rule")),
                (Some(1), "none of 4 matches"),
                "{out}"
            );
            assert_eq!(line(&out, "nearest rule"), nearest, "{out}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_with_two_readings_is_explained_by_what_differs() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let wide = "rules: [{ paths: [/x], scopes: [x] }, { paths: [\"/**\"] }]";
    let yaml = yaml(&authority, &upstream).replace("rules: [{ paths: [/x], scopes: [x] }]", wide);
    let token = authority.token().sign();
    let explained = Explained::new(&yaml);
    let (exit, out, _) = explained.explain("trial", "GET", "/X", Some(&token));
    assert_eq!(
        (exit, line(&out, "decision")),
        (Some(0), "shadow (ambiguous_path), enforced it would be 400"),
        "{out}"
    );
    let enforcing = Explained::new(&yaml.replace("    mode: shadow\n", ""));
    for (path, cause) in [
        ("/X", "in upper and lower case only"),
        ("/x.json", "without the ending"),
    ] {
        let (exit, out, _) = enforcing.explain("trial", "GET", path, Some(&token));
        assert_eq!(
            (exit, line(&out, "decision")),
            (Some(1), "deny (ambiguous_path), 400"),
            "{out}"
        );
        assert!(line(&out, "rule").contains(cause), "{out}");
    }
    let insensitive =
        Explained::new(&yaml.replace("    mode: shadow\n", "    pathCase: insensitive\n"));
    let (_, out, _) = insensitive.explain("trial", "GET", "/X", Some(&token));
    assert!(line(&out, "rule").starts_with("1 of 2"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn further_headers_and_limits_are_evaluated() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let yaml = yaml(&authority, &upstream).replace("    mode: shadow\n", "    maxBody: 1KiB\n");
    let explained = Explained::new(&yaml);
    let token = authority.token().claim("scope", "x").sign();
    for (header, decision) in [
        ("Content-Length: 1024", "allow (permitted)"),
        ("Content-Length: 1025", "deny (body_too_large), 413"),
        ("Content-Length: 1, 2", "deny (malformed_request), 400"),
        ("Transfer-Encoding: gzip", "deny (malformed_request), 400"),
        ("Expect: 200-maybe", "deny (expectation), 417"),
        ("Host: a b", "deny (malformed_request), 400"),
        ("authorization: Bearer x", "deny (two_authorizations), 400"),
    ] {
        let (_, out, _) = explained.explain_with("trial", "POST", "/x", Some(&token), &[header]);
        assert_eq!(line(&out, "decision"), decision, "{header}\n{out}");
    }
    let preflight = [
        "Origin: https://a.example",
        "Access-Control-Request-Method: GET",
    ];
    let (exit, out, _) =
        explained.explain_with("explained", "OPTIONS", "/devices/7", None, &preflight);
    assert_eq!(
        (exit, line(&out, "decision")),
        (Some(0), "allow (preflight)")
    );
    for bad in ["no colon", "a b: c", "x: a\nb"] {
        assert_eq!(
            explained.explain_with("trial", "GET", "/x", None, &[bad]).0,
            Some(2),
            "{bad}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_it_says_what_enforcement_would_do() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let (exit, out, _) = explained.explain("trial", "GET", "/x", Some(&authority.token().sign()));
    assert_eq!(
        (exit, line(&out, "decision")),
        (Some(0), "shadow (scope), enforced it would be 403")
    );
    assert_eq!(line(&out, "scopes"), "REFUSED: all of x");
    assert!(
        line(&out, "listener").contains("nothing is enforced")
            && line(&out, "limits").contains("not available here")
    );
}

/// A sidecar's own issuer keeps its keys to itself; what it publishes is asked of the process that
/// runs it.
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
    let running = Sidecar::builder()
        .secret_file("secret", "legacy", secret)
        .start(&yaml("127.0.0.1:0"))
        .await;
    let issuer = running.address("issuer");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "legacy"),
        ("client_secret", secret),
    ];
    let answer = crate::support::client::post_form(issuer, "/oauth/token", &form, &[]).await;
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    logs::remember_secret(&token);
    let explained = Explained::new(&yaml(&format!("0.0.0.0:{}", issuer.port())));
    explained.keep_secret(secret);
    let (exit, out, err) = explained.explain("api", "GET", "/", Some(&token));
    assert_eq!(
        (exit, err.as_str(), line(&out, "decision")),
        (Some(0), "", "allow (permitted)"),
        "{out}"
    );
    assert!(
        !explained.dir.path().join("m2m.db").exists(),
        "no store is opened"
    );
    assert!(
        line(&out, "revocation").contains("/oauth/revocations"),
        "{out}"
    );
    let form = [
        ("token", token.as_str()),
        ("client_id", "legacy"),
        ("client_secret", secret),
    ];
    assert_eq!(
        crate::support::client::post_form(issuer, "/oauth/revoke", &form, &[])
            .await
            .status,
        200
    );
    let (exit, out, _) = explained.explain("api", "GET", "/", Some(&token));
    assert_eq!(
        (exit, line(&out, "decision")),
        (Some(1), "deny (revoked), 401"),
        "{out}"
    );
    running.stop().await;
    let (exit, out, _) = explained.explain("api", "GET", "/", Some(&token));
    assert_eq!(
        (exit, line(&out, "decision")),
        (Some(1), "deny (keys_unavailable), 503")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_questions_are_wrong_usage() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let explained = Explained::new(&yaml(&authority, &upstream));
    let (exit, out, err) = explained.explain("explaind", "GET", "/", None);
    assert_eq!((exit, out.as_str()), (Some(2), ""));
    assert!(
        err.contains("`explaind`") && err.contains("explained, trial"),
        "{err}"
    );
    assert_eq!(explained.explain("explained", "G T", "/", None).0, Some(2));
    assert_eq!(
        explained
            .explain("explained", "GET", "/blue", Some("a\nb"))
            .0,
        Some(2)
    );
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
