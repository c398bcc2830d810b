//! The issuer: tokens over real sockets, on its own listener and on an inbound one.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::support::client::{Connection, RawAnswer, get, post_form, request};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;
use crate::support::{logs, now};

const SECRET: &str = "a secret: of%20legacy+program";

fn yaml(upstream: &Upstream) -> String {
    format!(
        r#"
stateDir: "@DIR@"
store: {{ url: "sqlite:@DIR@/m2m.db" }}
probes: {{ listen: 127.0.0.1:0 }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  accessTokenLifetime: 15m
  clients:
    - id: legacy
      secretFile: "@DIR@/legacy"
      owner: "1"
      allowedGrantTypes: [client_credentials]
      allowedAudiences: [https://devices.example, https://hub.example]
      allowedScopes: [devices:read, devices:write]
      insertTokenClaims: {{ tenant: blue, sub: never, name: of-the-operator }}
    - {{ id: bare, secretFile: "@DIR@/bare", allowedGrantTypes: [client_credentials] }}
    - {{ id: off, secretFile: "@DIR@/legacy", allowedGrantTypes: [client_credentials], disabled: true }}
    - {{ id: over, secretFile: "@DIR@/legacy", allowedGrantTypes: [client_credentials], expiresAt: 2020-01-01T00:00:00Z }}
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    issuer: true
    upstream: "{}"
    authorities: [self]
    audiences: [https://devices.example]
    rules: [{{ paths: ["/**"], scopes: ["devices:read"] }}]
"#,
        upstream.url()
    )
}

fn secrets(builder: SidecarBuilder) -> SidecarBuilder {
    builder.secret_file("legacy", "legacy", SECRET).secret_file(
        "bare",
        "bare",
        "bare-secret-of-16-bytes",
    )
}

async fn sidecar(upstream: &Upstream) -> Sidecar {
    secrets(Sidecar::builder()).start(&yaml(upstream)).await
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn claims(answer: &RawAnswer) -> (Value, Value) {
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    logs::remember_secret(&token);
    let part = |n| {
        serde_json::from_slice(
            &URL_SAFE_NO_PAD
                .decode(token.split('.').nth(n).unwrap())
                .unwrap(),
        )
        .unwrap()
    };
    (part(0), part(1))
}

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_by_basic_or_form_or_json_gets_a_token() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let address = sidecar.address("issuer");
    let encoded: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let json = format!(
        r#"{{"grant_type":"client_credentials","client_id":"legacy","client_secret":"{SECRET}"}}"#
    );
    let answers = [
        post_form(
            address,
            "/oauth/token",
            &[GRANT],
            &[("Authorization", &basic("legacy", &encoded))],
        )
        .await,
        post_form(
            address,
            "/oauth/token",
            &[GRANT, ("token_name", "admin")],
            &[("Authorization", &basic("legacy", SECRET))],
        )
        .await,
        post_form(
            address,
            "/token",
            &[GRANT, ("client_id", "legacy"), ("client_secret", SECRET)],
            &[],
        )
        .await,
        post_form(
            address,
            "/oauth2/token",
            &[GRANT, ("client_id", "legacy"), ("client_secret", SECRET)],
            &[],
        )
        .await,
        request(
            "POST",
            address,
            "/oauth/token",
            &[("Content-Type", "application/json")],
            json.as_bytes(),
        )
        .await,
    ];
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!(
            (&body["token_type"], &body["expires_in"]),
            (&"Bearer".into(), &900.into())
        );
        assert_eq!(body["scope"], "devices:read devices:write");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let (header, claims) = claims(&answer);
        assert_eq!(
            (&header["typ"], &header["alg"]),
            (&"at+jwt".into(), &"ES256".into())
        );
        assert_eq!(claims["iss"], "http://issuer.test");
        assert_eq!(
            (&claims["sub"], &claims["client_id"]),
            (&"legacy".into(), &"legacy".into())
        );
        assert_eq!(
            claims["aud"],
            serde_json::json!(["https://devices.example", "https://hub.example"])
        );
        assert_eq!(
            (&claims["owner"], &claims["tenant"]),
            (&"1".into(), &"blue".into())
        );
        assert_eq!(claims["name"], "of-the-operator");
        let (iat, exp) = (
            claims["iat"].as_i64().unwrap(),
            claims["exp"].as_i64().unwrap(),
        );
        assert!(
            (now() - 15..now() - 8).contains(&iat),
            "ten seconds in the past"
        );
        assert!((895..=910).contains(&(exp - now())), "{exp}");
        uuid::Uuid::parse_str(claims["jti"].as_str().unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_and_audiences_are_narrowed_and_never_dropped() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let ask = async |fields: &[(&str, &str)]| {
        let fields: Vec<_> = [GRANT].iter().chain(fields).copied().collect();
        let auth = basic("legacy", SECRET);
        post_form(
            sidecar.address("issuer"),
            "/oauth/token",
            &fields,
            &[("Authorization", &auth)],
        )
        .await
    };
    let answer = ask(&[
        ("scope", "devices:write"),
        ("audience", "https://hub.example"),
    ])
    .await;
    let (_, narrowed) = claims(&answer);
    assert_eq!(
        (&narrowed["scope"], &narrowed["aud"]),
        (
            &"devices:write".into(),
            &serde_json::json!(["https://hub.example"])
        )
    );
    assert_eq!(answer.json()["scope"], "devices:write");
    for (fields, status, error) in [
        (vec![("scope", "devices:read admin")], 400, "invalid_scope"),
        (vec![("scope", "devices:read\u{e9}")], 400, "invalid_scope"),
        (
            vec![("audience", "https://other.example")],
            400,
            "invalid_target",
        ),
        (
            vec![("audience", "https://hub.example https://other.example")],
            400,
            "invalid_target",
        ),
        (
            vec![("resource", "https://other.example")],
            400,
            "invalid_target",
        ),
        (
            vec![("scope", "devices:read"), ("scope", "devices:read")],
            400,
            "invalid_request",
        ),
        (vec![GRANT], 400, "invalid_request"),
    ] {
        let answer = ask(&fields).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (status, Some(error)),
            "{fields:?}"
        );
    }
    // A client without audiences gets the issuer's own.
    let auth = basic("bare", "bare-secret-of-16-bytes");
    let answer = post_form(
        sidecar.address("issuer"),
        "/oauth/token",
        &[GRANT],
        &[("Authorization", &auth)],
    )
    .await;
    assert_eq!(
        claims(&answer).1["aud"],
        serde_json::json!(["http://issuer.test"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_client_gets_no_hint() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let address = sidecar.address("issuer");
    let mut bodies = Vec::new();
    for (id, secret) in [
        ("legacy", "wrong"),
        ("unknown", "wrong"),
        ("off", SECRET),
        ("over", SECRET),
        ("legacy", ""),
    ] {
        let answer = post_form(
            address,
            "/oauth/token",
            &[GRANT],
            &[("Authorization", &basic(id, secret))],
        )
        .await;
        assert_eq!(answer.status, 401, "{id}");
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .starts_with("Basic ")
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        bodies.push(answer.text());
        let posted = post_form(
            address,
            "/oauth/token",
            &[GRANT, ("client_id", id), ("client_secret", secret)],
            &[],
        )
        .await;
        assert_eq!(
            (posted.status, posted.header("www-authenticate")),
            (401, None),
            "{id}"
        );
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "the same answer for all: {bodies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_token_requests_get_the_rfcs_error() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let address = sidecar.address("issuer");
    let auth = basic("legacy", SECRET);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let authorized = ("Authorization", auth.as_str());
    for (headers, body, status, error) in [
        (vec![form, authorized], &b""[..], 400, "invalid_request"),
        (
            vec![form, authorized],
            b"grant_type=password",
            400,
            "unsupported_grant_type",
        ),
        (
            vec![form],
            b"grant_type=client_credentials",
            401,
            "invalid_client",
        ),
        (
            vec![form, ("Authorization", "Basic !!!")],
            b"grant_type=client_credentials",
            401,
            "invalid_client",
        ),
        (
            vec![authorized, ("Content-Type", "text/plain")],
            b"grant_type=client_credentials",
            400,
            "invalid_request",
        ),
        (
            vec![authorized, ("Content-Type", "application/json")],
            b"{",
            400,
            "invalid_request",
        ),
        (
            vec![authorized, ("Content-Type", "application/json")],
            b"[]",
            400,
            "invalid_request",
        ),
        (
            vec![form, authorized],
            b"grant_type=client_credentials&client_id=other",
            400,
            "invalid_request",
        ),
        (
            vec![form, authorized],
            b"grant_type=client_credentials&client_id=legacy&client_secret=x",
            400,
            "invalid_request",
        ),
        (
            vec![form, authorized],
            b"grant_type=%ff%fe",
            400,
            "invalid_request",
        ),
    ] {
        let answer = request("POST", address, "/oauth/token", &headers, body).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (status, Some(error)),
            "{shown}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{shown}");
    }
    let wrong_method = get(address, "/oauth/token", &[]).await;
    assert_eq!(
        (wrong_method.status, wrong_method.header("allow")),
        (405, Some("POST"))
    );
    assert_eq!(get(address, "/elsewhere", &[]).await.status, 404);
    let large = vec![b'a'; 64 * 1024 + 1];
    assert_eq!(
        request("POST", address, "/oauth/token", &[form], &large)
            .await
            .status,
        413
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_interface_may_send_its_own_bearer_token_along() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let fields = [GRANT, ("client_id", "legacy"), ("client_secret", SECRET)];
    let headers = [("Authorization", "Bearer of.a.user")];
    assert_eq!(
        post_form(sidecar.address("issuer"), "/oauth/token", &fields, &headers)
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue_is_answered_before_the_body() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let address = sidecar.address("issuer");
    let body = format!(
        "grant_type=client_credentials&client_id=bare&client_secret={}",
        "bare-secret-of-16-bytes"
    );
    let mut connection = Connection::open(address).await;
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {address}\r\nExpect: 100-continue\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.send(head).await;
    connection.send(body).await;
    let answer = connection.answer().await;
    assert_eq!(
        (answer.interim.as_slice(), answer.status),
        (&[100][..], 200),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_keys_are_true_and_the_key_outlives_a_restart() {
    let upstream = Upstream::start();
    let first = sidecar(&upstream).await;
    let address = first.address("issuer");
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ] {
        let metadata = get(address, path, &[]).await.json();
        assert_eq!(metadata["issuer"], "http://issuer.test", "{path}");
        assert_eq!(metadata["token_endpoint"], "http://issuer.test/oauth/token");
        assert_eq!(
            metadata["jwks_uri"],
            "http://issuer.test/.well-known/jwks.json"
        );
        assert_eq!(
            metadata["grant_types_supported"],
            serde_json::json!([
                "client_credentials",
                "refresh_token",
                "urn:ietf:params:oauth:grant-type:token-exchange"
            ])
        );
    }
    let keys = get(address, "/.well-known/jwks.json", &[]).await;
    assert!(keys.header("cache-control").unwrap().contains("max-age"));
    let key = &keys.json()["keys"][0];
    assert_eq!(
        (&key["alg"], &key["use"], &key["kty"]),
        (&"ES256".into(), &"sig".into(), &"EC".into())
    );
    assert!(key["kid"].is_string() && key["d"].is_null());
    let second = secrets(first.stop_keeping_state().await)
        .start(&yaml(&upstream))
        .await;
    assert_eq!(
        get(second.address("issuer"), "/.well-known/jwks.json", &[])
            .await
            .json(),
        keys.json()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbound_listener_answers_exactly_the_issuers_paths_and_accepts_its_tokens() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let api = sidecar.address("api");
    let fields = [
        GRANT,
        ("client_id", "legacy"),
        ("client_secret", SECRET),
        ("scope", "devices:read"),
    ];
    let answer = post_form(api, "/oauth/token", &fields, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    claims(&answer);
    let bearer = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
    assert_eq!(
        get(api, "/devices", &[("Authorization", &bearer)])
            .await
            .status,
        200
    );
    assert_eq!(get(api, "/.well-known/jwks.json", &[]).await.status, 200);
    assert_eq!(
        get(api, "/x/../.well-known/jwks.json", &[]).await.status,
        200,
        "the path is matched in its normal form"
    );
    // `/token` belongs to the issuer's own listener; here it is the upstream's, behind the rules.
    assert_eq!(post_form(api, "/token", &fields, &[]).await.status, 401);
    assert_eq!(get(api, "/oauth/token/x", &[]).await.status, 401);
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn issued_and_refused_tokens_are_counted_and_logged_without_secrets() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let mark = logs::mark();
    let address = sidecar.address("issuer");
    let answer = post_form(
        address,
        "/oauth/token",
        &[GRANT],
        &[("Authorization", &basic("legacy", SECRET))],
    )
    .await;
    claims(&answer);
    post_form(
        address,
        "/oauth/token",
        &[GRANT],
        &[("Authorization", &basic("legacy", "wrong-secret-here"))],
    )
    .await;
    logs::wait_for_line(mark, &["audit", "legacy"]).await;
    logs::wait_for_line(mark, &["audit", "invalid_client"]).await;
    let metrics = get(sidecar.address("probes"), "/metrics", &[]).await.text();
    for line in [
        "m2m_tokens_issued_total{client_id=\"legacy\",grant_type=\"client_credentials\"} 1",
        "m2m_token_requests_refused_total{error=\"invalid_client\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_a_path_serves_below_it_and_at_the_root_of_its_own_listener() {
    let upstream = Upstream::start();
    let below = yaml(&upstream).replace("http://issuer.test", "http://issuer.test/m2m");
    let sidecar = secrets(Sidecar::builder()).start(&below).await;
    let address = sidecar.address("issuer");
    for path in [
        "/m2m/.well-known/openid-configuration",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/m2m",
    ] {
        let answer = get(address, path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(
            answer.json()["token_endpoint"],
            "http://issuer.test/m2m/oauth/token"
        );
    }
    let fields = [GRANT, ("client_id", "legacy"), ("client_secret", SECRET)];
    for (listener, path, status) in [
        ("issuer", "/m2m/oauth/token", 200),
        ("issuer", "/oauth/token", 200),
        ("api", "/m2m/oauth/token", 200),
        ("api", "/oauth/token", 401),
    ] {
        let answer = post_form(sidecar.address(listener), path, &fields, &[]).await;
        assert_eq!(answer.status, status, "{listener} {path}");
        if status == 200 {
            claims(&answer);
        }
    }
}
