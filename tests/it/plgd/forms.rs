//! Requests that plgd's server takes, as its clients and its web page send them.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{
    ISSUER, OWNER, SECRET, TOKEN, TOKENS, World, YAML, basic, claims, remember, with_secrets,
};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, get, post_form, request};
use crate::support::clock::MovableClock;
use crate::support::logs;
use crate::support::now;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::Upstream;

mod expirations;

const LINE_SECRET: &str = "a-secret-with-a-line-end";
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The world with an inbound listener that answers for the issuer, and clients whose secret files
/// end in line ends.
async fn world() -> World {
    let (users, upstream, clock) = (Authority::start(), Upstream::start(), MovableClock::now());
    let more = r#"  clients:
    - { id: lf, secretFile: "@DIR@/lf", owner: "1" }
    - { id: crlf, secretFile: "@DIR@/crlf", owner: "1" }
    - { id: bare, secretFile: "@DIR@/bare", owner: "1" }
    - { id: chooser, secretFile: "@DIR@/secret", owner: "1", accessTokenLifetime: 24h,
        allowedAudiences: [x, y] }
"#;
    let yaml = [ISSUER, YAML]
        .concat()
        .replace("@USERS@", &users.issuer())
        .replace("@UPSTREAM@", &upstream.url());
    let yaml = yaml
        .replacen("  clients:\n", more, 1)
        .replace("name: api,", "name: api, issuer: true,");
    logs::remember_client_secret("lf", LINE_SECRET);
    let builder = [("lf", "\n"), ("crlf", "\r\n"), ("bare", "")]
        .into_iter()
        .fold(with_secrets(Sidecar::builder()), |builder, (name, end)| {
            builder.file(name, format!("{LINE_SECRET}{end}"))
        });
    let sidecar = builder.clock(Arc::clone(&clock) as _).start(&yaml).await;
    users.wait_for_fetches(Endpoint::Jwks, 1).await;
    World {
        sidecar,
        users,
        clock,
        _upstream: upstream,
    }
}

async fn post_json(world: &World, path: &str, body: &Value) -> RawAnswer {
    let headers = [("Content-Type", "application/json")];
    let address = world.sidecar.address("issuer");
    remember(request("POST", address, path, &headers, body.to_string().as_bytes()).await)
}

fn audience(answer: &RawAnswer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    claims(answer.json()["access_token"].as_str().expect("a token"))["aud"].clone()
}

fn expiry(answer: &RawAnswer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let token = body["access_token"]
        .as_str()
        .or(body["accessToken"].as_str())
        .expect("a token")
        .to_owned();
    claims(&token)["exp"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn aud_in_a_form_chooses_the_audience_and_counts_before_audience() {
    let world = world().await;
    let mark = logs::mark();
    for (form, expected) in [
        (&[("aud", "x")][..], json!(["x"])),
        (&[("aud", "x y")], json!(["x", "y"])),
        (&[("audience", "y")], json!(["y"])),
        (&[("audience", "y"), ("aud", "x")], json!(["x"])),
        (&[("audience", "outside"), ("aud", "x")], json!(["x"])),
    ] {
        assert_eq!(
            audience(&world.token("chooser", form).await),
            expected,
            "{form:?}"
        );
    }
    let warned = logs::lines_since(mark, &["WARN", "client_id=\"chooser\"", "`aud` counts"]);
    assert_eq!(warned.len(), 2, "one for each request: {warned:?}");
    // Only the audit line shows the texts of an unauthenticated client.
    let form = [
        ("grant_type", "client_credentials"),
        ("audience", "evil-1"),
        ("aud", "evil-2"),
    ];
    let unknown = [("Authorization", "Basic bm9ib2R5OndoYXRldmVy")];
    assert_eq!(
        post_form(world.sidecar.address("issuer"), TOKEN, &form, &unknown)
            .await
            .status,
        401
    );
    assert!(logs::lines_since(mark, &["evil-"]).is_empty());
    assert!(logs::lines_since(mark, &["`aud` counts", "whatever"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn aud_outside_the_list_or_without_a_list_is_an_error() {
    let world = World::start().await;
    for (client, form) in [
        ("dayClient", &[("aud", "z")][..]),
        ("dayClient", &[("aud", "x z")]),
        ("dayClient", &[("aud", "z"), ("audience", "x")]),
        ("dayClient", &[("audience", "z")]),
        ("dayClient", &[("aud", "")]),
        ("serviceClient", &[("aud", "x")]),
        ("serviceClient", &[("aud", "x"), ("audience", "y")]),
        ("dayClient", &[("resource", "urn:x")]),
    ] {
        let answer = world.token(client, form).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["error"]),
            (400, &json!("invalid_target")),
            "{form:?}: {body}"
        );
    }
}

/// A device provisioning service with `audience` in its configuration sends it with every request.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_audience_is_ignored_for_a_client_without_audiences_and_in_json_it_is_an_error() {
    let world = World::start().await;
    let issuer = json!(["http://issuer.test/m2m-oauth-server"]);
    for form in [
        &[("audience", "https://a.example")][..],
        &[("audience", "a b"), ("audience", "c")],
        &[("audience", "a"), ("aud", "")],
        &[("resource", "urn:x")],
        &[("resource", "relative")],
        &[("audience", &"x ".repeat(101))],
    ] {
        assert_eq!(audience(&world.token("serviceClient", form).await), issuer);
    }
    let client = json!({"grant_type": "client_credentials", "client_id": "serviceClient", "client_secret": SECRET});
    for (path, audience) in [
        (TOKEN, json!("https://a.example")),
        (TOKEN, json!(["x"])),
        (TOKENS, json!(["https://a.example"])),
    ] {
        let mut body = client.clone();
        body["audience"] = audience;
        let answer = post_json(&world, path, &body).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (400, &json!(3)),
            "{}",
            answer.text()
        );
    }
    // `aud` and `resource` mean nothing in JSON.
    let mut body = client;
    (body["aud"], body["resource"]) = (json!("https://a.example"), json!("urn:x"));
    assert_eq!(audience(&post_json(&world, TOKEN, &body).await), issuer);
    // At the root the RFCs hold: `audience` counts.
    let form = [
        ("grant_type", "client_credentials"),
        ("audience", "https://a.example"),
    ];
    let headers = [("Authorization", basic("serviceClient"))];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let answer = post_form(
        world.sidecar.address("issuer"),
        "/oauth/token",
        &form,
        &headers,
    )
    .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_target"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_credentials_may_come_twice_and_different_ones_are_400() {
    let world = World::start().await;
    let authorization = basic("serviceClient");
    let headers = [("Authorization", authorization.as_str())];
    let post = async |path: &'static str, id: &str, secret: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
        ];
        remember(post_form(world.sidecar.address("issuer"), path, &form, &headers).await)
    };
    assert_eq!(post(TOKEN, "serviceClient", SECRET).await.status, 200);
    assert_eq!(post(TOKEN, "", SECRET).await.status, 200);
    for (path, id, secret) in [
        (TOKEN, "serviceClient", "wrong"),
        (TOKEN, "twoClient", SECRET),
        (TOKEN, "twoClient", ""),
        // The RFC's shape has one method per request.
        ("/oauth/token", "serviceClient", SECRET),
    ] {
        let answer = post(path, id, secret).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["error"]),
            (400, &json!("invalid_request")),
            "{path} {id}: {body}"
        );
    }
}

/// plgd's tokens API reads the body only.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_tokens_api_credentials_in_the_header_do_not_matter_beside_those_of_the_body() {
    let world = World::start().await;
    let address = world.sidecar.address("issuer");
    let body = json!({"grantType": "client_credentials", "clientId": "serviceClient", "clientSecret": SECRET});
    let wrong = format!(
        "Basic {}",
        STANDARD.encode("serviceClient:wrong-secret-here")
    );
    for authorization in [
        basic("twoClient"),
        wrong.clone(),
        "Basic %%%".to_owned(),
        "Bearer junk".to_owned(),
    ] {
        let headers = [("Authorization", authorization.as_str())];
        let answer = remember(
            request(
                "POST",
                address,
                TOKENS,
                &headers,
                body.to_string().as_bytes(),
            )
            .await,
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            claims(answer.json()["accessToken"].as_str().expect("a token"))["client_id"],
            "serviceClient"
        );
    }
    let grant = br#"{"grantType":"client_credentials"}"#;
    let authorization = basic("serviceClient");
    for (authorization, expected) in [(&authorization, 200), (&wrong, 401)] {
        let headers = [("Authorization", authorization.as_str())];
        let answer = remember(request("POST", address, TOKENS, &headers, grant).await);
        assert_eq!(answer.status, expected, "{}", answer.text());
        assert_eq!(answer.header("www-authenticate").is_some(), expected == 401);
    }
    let mut body = body;
    body["clientSecret"] = json!("wrong-secret-here");
    let (body, headers) = (
        body.to_string(),
        [("Authorization", authorization.as_str())],
    );
    let answer = request("POST", address, TOKENS, &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 401, "the header does not help");
    assert!(
        answer
            .header("www-authenticate")
            .is_some_and(|it| it.starts_with("Basic "))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_needs_no_type_and_a_secret_beside_it_is_not_looked_at() {
    let world = World::start().await;
    let jwt = world
        .users
        .token()
        .claim(OWNER, "1")
        .claim("sub", "u")
        .sign();
    let address = world.sidecar.address("issuer");
    let named = ("client_id", "JWTPrivateKeyClient");
    let wrong_basic = format!(
        "Basic {}",
        STANDARD.encode("JWTPrivateKeyClient:wrong-secret-here")
    );
    for (form, authorization) in [
        (vec![named], None),
        (
            vec![
                named,
                ("client_assertion_type", TYPE),
                ("client_secret", "wrong-secret-here"),
            ],
            None,
        ),
        (vec![("client_assertion_type", TYPE)], Some(&wrong_basic)),
        (vec![named], Some(&wrong_basic)),
    ] {
        let fixed = [
            ("grant_type", "client_credentials"),
            ("client_assertion", jwt.as_str()),
        ];
        let headers: Vec<_> = authorization
            .map(|it| ("Authorization", it.as_str()))
            .into_iter()
            .collect();
        let answer =
            remember(post_form(address, TOKEN, &[&fixed[..], &form].concat(), &headers).await);
        assert_eq!(answer.status, 200, "{form:?}: {}", answer.text());
    }
    let camel = json!({"grantType": "client_credentials", "clientId": "JWTPrivateKeyClient", "clientAssertion": jwt,
        "clientSecret": "wrong-secret-here"});
    assert_eq!(post_json(&world, TOKENS, &camel).await.status, 200);
    // A right secret beside a wrong assertion does not authenticate, and a client with a secret
    // may not use an assertion.
    for (client, assertion, secret) in [
        ("serviceClient", jwt.as_str(), SECRET),
        ("JWTPrivateKeyClient", "not.a.jwt", SECRET),
    ] {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
        ];
        let form = [&form[..], &[("client_assertion", assertion)]].concat();
        let answer = post_form(address, TOKEN, &form, &[]).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (401, &json!("invalid_client")),
            "{client}"
        );
    }
    // A type without an assertion is nothing.
    let typed = [("client_assertion_type", TYPE)];
    assert_eq!(world.token("serviceClient", &typed).await.status, 200);
    let answer = post_form(
        address,
        "/oauth/token",
        &[("grant_type", "client_credentials"), typed[0]],
        &[],
    )
    .await;
    assert_eq!(answer.status, 400, "at the root the RFC holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_may_come_with_the_line_end_of_its_file() {
    let world = world().await;
    let address = world.sidecar.address("issuer");
    let ends = ["", "\n", "\r\n", "\r", "\n\n", " "];
    for (client, accepted) in [
        ("bare", &[""][..]),
        ("lf", &["", "\n"]),
        ("crlf", &["", "\r\n"]),
    ] {
        for (number, end) in ends.into_iter().enumerate() {
            let secret = format!("{LINE_SECRET}{end}");
            let answer = match number % 3 {
                0 => {
                    let form = [("client_id", client), ("client_secret", secret.as_str())];
                    let form = [&[("grant_type", "client_credentials")][..], &form].concat();
                    post_form(address, TOKEN, &form, &[]).await
                }
                1 => {
                    let basic = format!("Basic {}", STANDARD.encode(format!("{client}:{secret}")));
                    let form = [("grant_type", "client_credentials")];
                    post_form(address, TOKEN, &form, &[("Authorization", &basic)]).await
                }
                _ => {
                    let body = json!({"grant_type": "client_credentials", "client_id": client, "client_secret": secret});
                    post_json(&world, TOKEN, &body).await
                }
            };
            let expected = if accepted.contains(&end) { 200 } else { 401 };
            assert_eq!(remember(answer).status, expected, "{client} with {end:?}");
        }
        // A right secret does not end the delay of wrong ones: five failures of one client are
        // free.
        world.clock.forward(Duration::from_mins(20));
    }
    // Two that differ by the line end are two.
    let basic = format!("Basic {}", STANDARD.encode(format!("lf:{LINE_SECRET}")));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_secret", "a-secret-with-a-line-end\n"),
    ];
    assert_eq!(
        post_form(address, TOKEN, &form, &[("Authorization", &basic)])
            .await
            .status,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_end_that_is_taken_out_of_the_file_counts_as_long_as_an_old_secret() {
    let world = world().await;
    let address = world.sidecar.address("issuer");
    let try_with = async |end: &str| {
        let secret = format!("{LINE_SECRET}{end}");
        let form = [("client_id", "lf"), ("client_secret", secret.as_str())];
        let form = [&[("grant_type", "client_credentials")][..], &form].concat();
        remember(post_form(address, TOKEN, &form, &[]).await).status
    };
    assert_eq!(
        (
            try_with("").await,
            try_with("\n").await,
            try_with("\r\n").await
        ),
        (200, 200, 401)
    );
    std::fs::write(world.sidecar.path("lf"), format!("{LINE_SECRET}\r\n")).expect("a file");
    until("the file was read again", async || {
        try_with("\r\n").await == 200
    })
    .await;
    assert_eq!((try_with("").await, try_with("\n").await), (200, 200));
    world.clock.forward(Duration::from_hours(2));
    assert_eq!(
        (
            try_with("").await,
            try_with("\n").await,
            try_with("\r\n").await
        ),
        (200, 401, 200)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_slash_at_the_end_of_a_path_does_not_matter() {
    let world = world().await;
    let user = world.user("1");
    for listener in ["issuer", "api"] {
        let address = world.sidecar.address(listener);
        let authorization = basic("serviceClient");
        let headers = [("Authorization", authorization.as_str())];
        let form = [("grant_type", "client_credentials")];
        let answer = remember(post_form(address, &format!("{TOKEN}/"), &form, &headers).await);
        assert_eq!(answer.status, 200, "{listener}: {}", answer.text());
        let headers = [("Authorization", user.as_str())];
        assert_eq!(
            get(address, &format!("{TOKENS}/"), &headers).await.status,
            200,
            "{listener}"
        );
        for path in [
            "jwks.json",
            "openid-configuration",
            "oauth-authorization-server",
        ] {
            let path = format!("/m2m-oauth-server/.well-known/{path}");
            let (with, without) = (
                get(address, &format!("{path}/"), &[]).await,
                get(address, &path, &[]).await,
            );
            assert_eq!(
                (with.status, with.text()),
                (200, without.text()),
                "{listener} {path}"
            );
        }
    }
    // At the root the paths are exact.
    let issuer = world.sidecar.address("issuer");
    assert_eq!(
        get(issuer, "/.well-known/jwks.json/", &[]).await.status,
        404
    );
    assert_eq!(
        get(issuer, "/m2m-oauth-server/.well-known/jwks.json/x", &[])
            .await
            .status,
        404
    );
}
