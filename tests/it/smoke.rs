//! The fake world itself: its answers and its faults.

use std::time::Duration;

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::authority::{Authority, Endpoint, ExpiresIn};
use crate::support::behave::{Behave, Gate};
use crate::support::client::{self, Connection};
use crate::support::keys::Alg;
use crate::support::leaks::Secrets;
use crate::support::upstream::{Answer, Upstream};
use crate::support::{AUDIENCE, logs, now};

fn decode(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).expect("base64url")
}

/// The header or the claims of a token.
fn part(token: &str, number: usize) -> Value {
    serde_json::from_slice(&decode(token.split('.').nth(number).expect("three parts")))
        .expect("JSON")
}

/// Whether the key that the authority publishes under the token's `kid` made its signature.
fn is_signed_by(authority: &Authority, token: &str) -> bool {
    let header = part(token, 0);
    let jwks = authority.jwks();
    let jwk = jwks["keys"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|jwk| jwk["kid"] == header["kid"]);
    let jwk = jwk.expect("a published key");
    let member = |name: &str| decode(jwk[name].as_str().expect("a text"));
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let (message, signature) = (message.as_bytes(), decode(signature));
    let point = || [vec![4], member("x"), member("y")].concat();
    let ecdsa = |algorithm| {
        UnparsedPublicKey::new(algorithm, point())
            .verify(message, &signature)
            .is_ok()
    };
    let rsa = |parameters| {
        RsaPublicKeyComponents {
            n: member("n"),
            e: member("e"),
        }
        .verify(parameters, message, &signature)
        .is_ok()
    };
    match header["alg"].as_str().expect("a text") {
        "ES256" => ecdsa(&signature::ECDSA_P256_SHA256_FIXED),
        "ES384" => ecdsa(&signature::ECDSA_P384_SHA384_FIXED),
        "EdDSA" => UnparsedPublicKey::new(&signature::ED25519, member("x"))
            .verify(message, &signature)
            .is_ok(),
        "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        other => panic!("no algorithm: {other}"),
    }
}

#[tokio::test]
async fn authority_serves_metadata_and_keys() {
    let authority = Authority::start_at_path("/realms/iot");
    for (target, endpoint) in [
        (
            "/realms/iot/.well-known/openid-configuration",
            Endpoint::OpenidConfiguration,
        ),
        (
            "/.well-known/oauth-authorization-server/realms/iot",
            Endpoint::AuthorizationServer,
        ),
    ] {
        let metadata = client::get(authority.address(), target, &[]).await.json();
        assert_eq!(metadata["issuer"], authority.issuer());
        assert_eq!(metadata["jwks_uri"], authority.jwks_url());
        assert_eq!(metadata["token_endpoint"], authority.token_url());
        assert_eq!(authority.fetches(endpoint), 1);
    }
    let keys = client::get(authority.address(), "/realms/iot/jwks.json", &[])
        .await
        .json();
    assert_eq!(keys["keys"][0]["kid"], "es256-1");
    assert_eq!(keys["keys"][0].get("d"), None);
    assert_eq!(
        client::get(authority.address(), "/jwks.json", &[])
            .await
            .status,
        404
    );
    assert_eq!(
        (
            authority.fetches(Endpoint::Jwks),
            authority.fetches(Endpoint::Other)
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn tokens_of_every_algorithm_verify_with_the_published_key() {
    let authority = Authority::start();
    for alg in Alg::ALL {
        let key = authority.add_key(&alg.name(), alg);
        let token = authority.token().sign();
        assert_eq!(
            part(&token, 0),
            json!({"typ": "at+jwt", "kid": key.kid, "alg": alg.name()})
        );
        assert!(is_signed_by(&authority, &token), "{alg:?}");
        assert!(
            key.private_pem()
                .starts_with("-----BEGIN PRIVATE KEY-----\nM")
        );
    }
    let other_padding = authority
        .token()
        .alg(Alg::RS256)
        .signed_as(Alg::PS512)
        .sign();
    assert_eq!(part(&other_padding, 0)["kid"], "RS256");
    assert!(is_signed_by(&authority, &other_padding));
}

#[tokio::test]
async fn rsa_keys_are_lent_to_one_authority_at_a_time() {
    let (first, second) = (Authority::start(), Authority::start());
    let modulus =
        |authority: &Authority| authority.add_key("rsa", Alg::RS256).public_jwk()["n"].clone();
    assert_ne!(modulus(&first), modulus(&second));
}

#[tokio::test]
async fn wrong_tokens_are_wrong_in_one_way() {
    let (authority, other) = (Authority::start(), Authority::start());
    let right = authority.token().sign();
    let claims = part(&right, 1);
    assert_eq!(
        (&claims["iss"], &claims["aud"]),
        (&json!(authority.issuer()), &json!([AUDIENCE]))
    );
    assert!(claims["iat"].as_i64() < Some(now()) && claims["exp"].as_i64() > Some(now() + 3000));

    let expired = authority.token().expires_in(-60).sign();
    assert!(is_signed_by(&authority, &expired) && part(&expired, 1)["exp"].as_i64() < Some(now()));
    let changed = authority
        .token()
        .claim("aud", "x")
        .without("jti")
        .header("typ", "JWT")
        .without_header("kid")
        .sign();
    assert_eq!(
        (&part(&changed, 1)["aud"], part(&changed, 1).get("jti")),
        (&json!("x"), None)
    );
    assert_eq!(part(&changed, 0), json!({"typ": "JWT", "alg": "ES256"}));

    let foreign = authority.token().signed_by(&other.key("es256-1")).sign();
    assert!(!is_signed_by(&authority, &foreign) && is_signed_by(&other, &foreign));
    let raw = authority.sign_raw(
        r#"{"alg":"ES256","kid":"es256-1"}"#,
        r#"{"sub":"a","sub":"b"}"#,
    );
    assert!(is_signed_by(&authority, &raw));
    let unsigned = authority.token().unsigned().sign();
    assert!(unsigned.ends_with('.') && part(&unsigned, 0)["alg"] == "none");
    assert_eq!(
        part(&authority.token().hmac(b"public key").sign(), 0)["alg"],
        "HS256"
    );
}

#[tokio::test]
async fn rotation_replaces_keys_and_old_ones_can_still_sign() {
    let authority = Authority::start();
    let old = authority.token().sign();
    let kid = authority.rotate();
    let kids = |jwks: Value| {
        jwks["keys"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|k| k["kid"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(kids(authority.jwks()), [json!(kid)]);
    assert_eq!(part(&authority.token().sign(), 0)["kid"], json!(kid));
    assert_eq!(
        part(&authority.token().kid("es256-1").sign(), 0),
        part(&old, 0)
    );
    authority.publish_jwk(authority.key(&kid).public_jwk());
    assert_eq!(kids(authority.jwks()), [json!(kid), json!(kid)]);
    authority.remove_key(&kid);
    assert_eq!(kids(authority.jwks()), [json!(kid)]);
}

#[tokio::test]
async fn token_endpoint_records_requests_and_answers_as_told() {
    let authority = Authority::start();
    authority.register_client("legacy", "smoke-secret-of-legacy");
    let basic = format!("Basic {}", STANDARD.encode("legacy:smoke-secret-of-legacy"));
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "a b"),
        ("audience", "https://x.example"),
    ];
    let answer = client::post_form(
        authority.address(),
        "/oauth/token",
        &form,
        &[("Authorization", &basic)],
    )
    .await
    .json();
    assert_eq!(answer["expires_in"], 3600);
    assert_eq!(
        authority.issued(),
        [answer["access_token"].as_str().expect("a token")]
    );
    let request = authority.token_requests().pop().expect("one request");
    assert_eq!(
        request.client(),
        Some(("legacy".to_owned(), "smoke-secret-of-legacy".to_owned()))
    );
    assert_eq!(request.all("scope"), ["a b"]);

    let wrong = [
        ("client_id", "legacy"),
        ("client_secret", "smoke-wrong-secret"),
    ];
    assert_eq!(
        client::post_form(authority.address(), "/oauth/token", &wrong, &[])
            .await
            .status,
        401
    );

    authority.answer_tokens(|answer| {
        answer.expires_in = ExpiresIn::Is("3600".into());
        answer.token = Some("smoke-opaque-token".to_owned());
        answer.token_type = None;
    });
    let right = [
        ("client_id", "legacy"),
        ("client_secret", "smoke-secret-of-legacy"),
    ];
    let answer = client::post_form(authority.address(), "/oauth/token", &right, &[])
        .await
        .json();
    assert_eq!(
        answer,
        json!({"access_token": "smoke-opaque-token", "expires_in": "3600"})
    );
}

#[tokio::test]
async fn each_misbehaviour_behaves_so() {
    let authority = Authority::start();
    let fetch = async |behave: Behave| {
        authority.behave_next(Endpoint::Jwks, [behave]);
        let request = client::request_bytes("GET", authority.address(), "/jwks.json", &[], b"");
        client::try_send_raw(authority.address(), request).await
    };
    let body = async |behave: Behave| fetch(behave).await.expect("an answer").text();
    assert_eq!(
        fetch(Behave::Status(503)).await.expect("an answer").status,
        503
    );
    assert_eq!(body(Behave::EmptyBody).await, "");
    assert_eq!(body(Behave::EmptyKeys).await, r#"{"keys": []}"#);
    assert_eq!(body(Behave::Body("[]".to_owned())).await, "[]");
    assert!(serde_json::from_str::<Value>(&body(Behave::InvalidJson).await).is_err());
    assert_eq!(body(Behave::HugeBody(300_000)).await.len(), 300_000);
    assert_eq!(
        body(Behave::Slow(Duration::ZERO)).await,
        authority.jwks().to_string()
    );
    assert_eq!(
        body(Behave::Delay(Duration::ZERO)).await,
        authority.jwks().to_string()
    );
    let headers = vec![("Cache-Control".to_owned(), "max-age=1".to_owned())];
    let answer = fetch(Behave::WithHeaders(headers))
        .await
        .expect("an answer");
    assert_eq!(answer.header("cache-control"), Some("max-age=1"));

    let reset = fetch(Behave::Reset).await.expect_err("a reset");
    assert_eq!(reset.error.kind(), std::io::ErrorKind::ConnectionReset);
    let half = fetch(Behave::Truncated)
        .await
        .expect_err("half an answer")
        .partial
        .expect("a head");
    assert!(!half.body.is_empty() && half.body.len() < authority.jwks().to_string().len());
    assert!(fetch(Behave::Raw(b"SMTP".to_vec())).await.is_err());

    let metadata = "/.well-known/openid-configuration";
    authority.behave(Endpoint::OpenidConfiguration, Behave::WrongIssuer);
    let wrong = client::get(authority.address(), metadata, &[]).await.json();
    assert_ne!(wrong["issuer"], authority.issuer());
    assert_eq!(wrong["jwks_uri"], authority.jwks_url());
    assert_eq!(authority.fetches(Endpoint::Jwks), 12);
}

#[tokio::test]
async fn held_answers_come_when_the_gate_opens_and_hung_ones_never() {
    let authority = Authority::start();
    let gate = Gate::closed();
    authority.behave(Endpoint::Jwks, Behave::Hold(gate.clone()));
    authority.behave(Endpoint::Token, Behave::Hang);
    let request = client::request_bytes("GET", authority.address(), "/jwks.json", &[], b"");
    let mut waiting = Connection::open(authority.address()).await;
    waiting.send(request).await;
    let mut hanging = Connection::open(authority.address()).await;
    hanging
        .send("POST /oauth/token HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    authority.wait_for_fetches(Endpoint::Token, 1).await;
    gate.open();
    assert_eq!(waiting.answer().await.status, 200);
    // Nothing was sent before the connection ended with its server.
    authority.down().await;
    assert!(hanging.is_ended().await);
}

#[tokio::test]
async fn a_server_that_was_down_is_back_on_its_port() {
    let authority = Authority::start();
    authority.down().await;
    let refused = tokio::net::TcpStream::connect(authority.address())
        .await
        .expect_err("nothing listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    authority.up();
    assert_eq!(
        client::get(authority.address(), "/jwks.json", &[])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn upstream_records_what_was_sent_as_it_was_sent() {
    let upstream = Upstream::start();
    let bytes = "PUT /a%2Fb?q HTTP/1.1\r\nhOST: x\r\nX-A: 1\r\nx-a:  2 \r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = client::send_raw(upstream.address(), bytes).await;
    assert_eq!(
        answer.json(),
        json!({"method": "PUT", "target": "/a%2Fb?q", "bodyBytes": 3})
    );
    let request = upstream.wait_for(1).await.remove(0);
    assert_eq!(
        request.head,
        &bytes.as_bytes()[..bytes.find("\r\n\r\n").expect("a head") + 4]
    );
    assert_eq!(request.headers[0], ("hOST".to_owned(), "x".to_owned()));
    assert_eq!(request.all("X-A"), ["1", "2"]);
    assert_eq!((&request.body[..], request.complete), (&b"abc"[..], true));
}

#[tokio::test]
async fn upstream_answers_as_scripted() {
    let upstream = Upstream::start();
    let get = || client::request_bytes("GET", upstream.address(), "/", &[], b"");
    upstream.next(Answer::status(418, "tea"));
    upstream.next(Answer::with_headers(&[("X-One", "1")], "one"));
    let mut connection = Connection::open(upstream.address()).await;
    // Pipelined: both requests before the first answer.
    connection.send([get(), get()].concat()).await;
    assert_eq!(connection.answer().await.status, 418);
    assert_eq!(connection.answer().await.header("x-one"), Some("1"));

    upstream.next(Answer::Close);
    connection.send(get()).await;
    assert!(connection.is_ended().await);

    upstream.next(Answer::Reset);
    assert!(
        client::try_send_raw(upstream.address(), get())
            .await
            .is_err()
    );
    upstream.next(Answer::Partial(10, b"half".to_vec()));
    let partial = client::try_send_raw(upstream.address(), get())
        .await
        .expect_err("broken off")
        .partial;
    assert_eq!(partial.expect("a head").body, b"half");

    let (answer, stream) = Answer::stream();
    upstream.next(Answer::Delay(Duration::ZERO, Box::new(answer)));
    stream.send("a");
    stream.send("bc");
    stream.finish();
    assert_eq!(
        client::send_raw(upstream.address(), get()).await.text(),
        "abc"
    );
    let (answer, stream) = Answer::stream();
    upstream.next(answer);
    stream.send("a");
    drop(stream);
    assert!(
        client::try_send_raw(upstream.address(), get())
            .await
            .is_err()
    );

    upstream.next(Answer::Early(413));
    let early = client::send_raw(
        upstream.address(),
        "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    )
    .await;
    assert_eq!(early.status, 413);
    let expecting = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na";
    assert_eq!(
        client::send_raw(upstream.address(), expecting)
            .await
            .interim,
        [100]
    );
    let head = client::send_raw(upstream.address(), "HEAD / HTTP/1.1\r\n\r\n").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    upstream.answer(|request| Answer::status(200, &request.target));
    assert_eq!(
        client::get(upstream.address(), "/mirror", &[]).await.text(),
        "/mirror"
    );
}

#[tokio::test]
async fn upstream_closes_idle_connections() {
    let upstream = Upstream::start();
    upstream.close_idle_after(Duration::from_millis(1));
    let mut connection = Connection::open(upstream.address()).await;
    assert!(connection.is_ended().await);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn tls_servers_are_trusted_through_their_ca_and_only_so() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (upstream, authority) = (Upstream::start_tls(), Authority::start_tls());
    let trusting = |pem: &str| {
        let ca = reqwest::Certificate::from_pem(pem.as_bytes()).expect("a certificate");
        reqwest::Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .build()
            .expect("a client")
    };
    let answer = trusting(upstream.ca_pem())
        .get(upstream.url())
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let answer = trusting(authority.ca_pem())
        .get(authority.jwks_url())
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(
        trusting(authority.ca_pem())
            .get(upstream.url())
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn log_lines_are_captured_as_the_sidecar_lets_them_out() {
    logs::start();
    let mark = logs::mark();
    tracing::trace!(target: "m2m_sidecar::smoke", number = 17, "traced");
    tracing::info!(target: "access", "smoke access");
    tracing::error!(target: "pingora_proxy", "said by a dependency");
    assert!(
        logs::wait_for_line(mark, &["traced", "number=17"])
            .await
            .contains("TRACE")
    );
    logs::wait_for_line(mark, &["access", "smoke access"]).await;
    assert!(logs::lines_since(mark, &["said by a dependency"]).is_empty());
    assert!(logs::lines_since(logs::mark(), &["traced"]).is_empty());
}

#[test]
fn leaks_are_found_whole_and_in_part() {
    let signature = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut secrets = Secrets::default();
    secrets.remember("s3cret-of-a-client");
    secrets.remember(&format!("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.{signature}"));
    let found = |text: &str| secrets.find_in(text.as_bytes());
    assert_eq!(
        found("one\ntwo s3cret-of-a-client three"),
        ["line 2: two <SECRET>"]
    );
    assert_eq!(
        found("s3cret-of-a-clien and the claims eyJzdWIiOiJhIn0"),
        Vec::<String>::new()
    );
    for start in 0..signature.len() - 21 {
        assert!(
            !found(&format!("x{}x", &signature[start..start + 21])).is_empty(),
            "from {start}"
        );
    }
    assert!(found(&signature[..10]).is_empty());
}

#[tokio::test]
async fn the_fake_world_itself_leaks_nothing() {
    let mark = logs::mark();
    let authority = Authority::start();
    authority.token().sign();
    logs::assert_no_leaks(mark);
}
