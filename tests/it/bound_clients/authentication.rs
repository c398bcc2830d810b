//! `tls_client_auth` and `self_signed_tls_client_auth`.

use rcgen::{BasicConstraints, IsCa, KeyPair};
use serde_json::json;

use super::{GRANT, NAME, SECRET, World, claims, error, gateway, post_over};
use crate::support::certificates::{Issued, TlsClient};
use crate::support::client::{get, request};
use crate::support::logs;

const BY_NAME: [&str; 5] = ["by-subject", "by-dns", "by-uri", "by-ip", "by-email"];

#[tokio::test(flavor = "multi_thread")]
async fn each_name_of_a_verified_certificate_authenticates_its_client_and_no_other_does() {
    let world = World::start(&json!({ "keys": [Issued::by_itself(|_| {}).1] })).await;
    let right = world.showing(&world.clients.issue(&[], gateway));
    let refused = (401, "invalid_client".to_owned());
    let unknown = world.ask(&right, "unknown").await;
    assert_eq!(error(&unknown), refused);
    for id in BY_NAME {
        let token = claims(&world.ask(&right, id).await);
        assert_eq!((&token["client_id"], token.get("cnf")), (&json!(id), None));
        // The same connection, resumed.
        claims(&world.ask(&right, id).await);
    }
    let other = world.showing(&world.clients.client("another"));
    let (impostor, _) = Issued::by_itself(gateway);
    let impostor = world.showing(&impostor);
    for (client, reason) in [
        (&other, "does not have the registered name"),
        (&impostor, "is self-signed"),
        (&world.without_certificate(), "has no client certificate"),
    ] {
        for id in BY_NAME {
            let mark = logs::mark();
            let answer = world.ask(client, id).await;
            assert_eq!(error(&answer), refused, "{id}: {reason}");
            assert_eq!(answer.text(), unknown.text());
            assert!(answer.header("www-authenticate").is_none());
            let client_id = format!("client_id=\"{id}\"");
            logs::wait_for_line(mark, &["token request", &client_id, reason]).await;
        }
    }
    assert_eq!(error(&world.ask(&right, "disabled").await), refused);
    // The certificate of a connection says nothing about other clients.
    assert_eq!(error(&world.ask(&right, "secret").await), refused);
    let with_secret = [GRANT, ("client_id", "by-dns"), ("client_secret", SECRET)];
    let answer = world.post(&right, "/oauth/token", &with_secret).await;
    assert_eq!(error(&answer), refused);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_a_proxy_is_not_that_of_its_clients() {
    let world = World::start(&json!({ "keys": [Issued::by_itself(|_| {}).1] })).await;
    let proxy = world.showing(&world.clients.issue(&[], gateway));
    let behind = world.sidecar.address("behind");
    let by_name = [GRANT, ("client_id", "by-dns")];
    let bound = [
        GRANT,
        ("client_id", "bound-secret"),
        ("client_secret", SECRET),
    ];
    for (fields, refused) in [
        (&by_name[..], (401, "invalid_client")),
        (&bound, (400, "invalid_request")),
    ] {
        let post = async |lines: &str| {
            let connection = proxy.open(behind, NAME).await;
            let at = ("/oauth/token", lines);
            post_over(connection, at, fields).await
        };
        claims(&post("").await);
        for lines in [
            "X-Forwarded-For: 192.0.2.1\r\n",
            "Forwarded: for=192.0.2.1\r\n",
            "X-Forwarded-For: 127.0.0.1\r\n",
            "X-Forwarded-For: unknown\r\n",
        ] {
            let (status, code) = error(&post(lines).await);
            assert_eq!((status, code.as_str()), refused, "{lines}");
        }
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_authenticates_by_its_key() {
    let key = KeyPair::generate().expect("a key");
    let again = || KeyPair::from_pem(&key.serialize_pem()).expect("the same key");
    let (one, jwk) = Issued::by_itself_with(again(), |_| {});
    // As of `openssl req -x509`, which makes a certificate of an authority.
    let (authority, _) = Issued::by_itself_with(again(), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let (expired, _) = Issued::by_itself_with(again(), |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let world = World::start(&json!({ "keys": [jwk] })).await;
    for certificate in [&one, &authority] {
        let token = claims(&world.ask(&world.showing(certificate), "by-key").await);
        assert_eq!(token["client_id"], "by-key");
    }
    let refused = (401, "invalid_client".to_owned());
    for certificate in [
        Issued::by_itself(|_| {}).0,
        world.clients.issue(&[], gateway),
    ] {
        let answer = world.ask(&world.showing(&certificate), "by-key").await;
        assert_eq!(error(&answer), refused);
    }
    let mark = logs::mark();
    let ended = refuses(&world, &world.showing(&expired)).await;
    assert!(ended);
    logs::wait_for_line(mark, &["expired"]).await;
    // A certificate of an unknown authority is not self-signed.
    let unknown = crate::support::certificates::CertificateAuthority::new("unknown");
    assert!(refuses(&world, &world.showing(&unknown.client("me"))).await);
    world.sidecar.stop().await;
}

/// Whether the handshake, or the first answer after it, fails.
async fn refuses(world: &World, client: &TlsClient) -> bool {
    match client.try_open(world.address(), NAME).await {
        Err(_) => true,
        Ok(mut connection) => {
            connection.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            connection.try_answer("GET").await.is_err()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_names_its_certificate_stands_for_that_certificate_only() {
    let key = KeyPair::generate().expect("a key");
    let again = || KeyPair::from_pem(&key.serialize_pem()).expect("the same key");
    let (registered, jwk) = Issued::by_itself_with(again(), |_| {});
    let (renewed, _) = Issued::by_itself_with(again(), |params| {
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    });
    let with = |name: &str, value: serde_json::Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        json!({ "keys": [jwk] })
    };
    let x5c = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, registered.der());
    for jwks in [
        with("x5t#S256", registered.thumbprint().into()),
        with("x5c", json!([x5c])),
    ] {
        let world = World::start(&jwks).await;
        let status = async |it: &Issued| world.ask(&world.showing(it), "by-key").await.status;
        assert_eq!(
            (status(&registered).await, status(&renewed).await),
            (200, 401)
        );
        world.sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_lists_certificates_only_where_the_listener_requests_them() {
    let world = World::start(&json!({ "keys": [Issued::by_itself(|_| {}).1] })).await;
    let path = "/.well-known/oauth-authorization-server";
    let mut connection = world
        .without_certificate()
        .open(world.address(), NAME)
        .await;
    connection
        .send(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
        .await;
    let over_tls = connection.answer().await.json();
    let plain = get(world.sidecar.address("api"), path, &[]).await.json();
    let members = [
        "token_endpoint_auth_methods_supported",
        "introspection_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_methods_supported",
    ];
    let common = [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ];
    let all = [
        &common[..],
        &["tls_client_auth", "self_signed_tls_client_auth"],
    ]
    .concat();
    for member in members {
        assert_eq!(over_tls[member], json!(all), "{member}");
        assert_eq!(plain[member], json!(common), "{member}");
    }
    let bound = "tls_client_certificate_bound_access_tokens";
    assert_eq!((&over_tls[bound], plain.get(bound)), (&json!(true), None));
    // There a client cannot show its certificate.
    let form = b"grant_type=client_credentials&client_id=by-dns";
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let api = world.sidecar.address("api");
    let answer = request("POST", api, "/oauth/token", &headers, form).await;
    assert_eq!(error(&answer), (401, "invalid_client".to_owned()));
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_management_api_registers_clients_with_certificates() {
    let (own, jwk) = Issued::by_itself(|_| {});
    let world = World::start(&json!({ "keys": [jwk] })).await;
    let admin = world.sidecar.address("admin");
    let call = async |method: &str, path: &str, body: serde_json::Value| {
        let headers = [
            ("Authorization", "Bearer an-admin-token-of-the-tests"),
            ("Content-Type", "application/json"),
        ];
        request(method, admin, path, &headers, body.to_string().as_bytes()).await
    };
    let subject = "CN=Gateway one,O=Example";
    let by_name = json!({ "client_id": "api-name", "tls_client_auth_subject_dn": subject,
        "tls_client_certificate_bound_access_tokens": true });
    let by_key = json!({ "client_id": "api-key", "jwks": { "keys": [jwk] },
        "token_endpoint_auth_method": "self_signed_tls_client_auth" });
    for (body, method) in [
        (&by_name, "tls_client_auth"),
        (&by_key, "self_signed_tls_client_auth"),
    ] {
        let made = call("POST", "/clients", body.clone()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let made = made.json();
        assert_eq!(made["token_endpoint_auth_method"], method);
        assert!(made.get("client_secret").is_none());
    }
    let gateway = world.clients.issue(&[], gateway);
    let token = claims(&world.ask(&world.showing(&gateway), "api-name").await);
    assert_eq!(token["cnf"]["x5t#S256"], gateway.thumbprint());
    claims(&world.ask(&world.showing(&own), "api-key").await);
    // An answer can be sent back as it is, and a name replaced.
    let shown = call("GET", "/clients/api-name", json!({})).await.json();
    assert_eq!(shown["tls_client_auth_subject_dn"], subject);
    let same = call("PATCH", "/clients/api-name", shown).await;
    assert_eq!(same.status, 200, "{}", same.text());
    let other =
        json!({ "tls_client_auth_subject_dn": null, "tls_client_auth_san_dns": "other.test" });
    let changed = call("PATCH", "/clients/api-name", other).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let answer = world.ask(&world.showing(&gateway), "api-name").await;
    assert_eq!(error(&answer), (401, "invalid_client".to_owned()));
    let secrets = call("POST", "/clients/api-name/secrets", json!({})).await;
    assert_eq!(secrets.status, 409, "{}", secrets.text());
    for (body, field) in [
        (
            json!({ "tls_client_auth_subject_dn": "no name" }),
            "tls_client_auth_subject_dn",
        ),
        (
            json!({ "tls_client_auth_san_ip": "10.0.0" }),
            "tls_client_auth_san_ip",
        ),
        (
            json!({ "tls_client_auth_san_ip": "10.0.0.1", "tls_client_auth_san_dns": "a" }),
            "tls_client_auth_san_ip",
        ),
        (
            json!({ "token_endpoint_auth_method": "tls_client_auth" }),
            "token_endpoint_auth_method",
        ),
        (
            json!({ "token_endpoint_auth_method": "self_signed_tls_client_auth" }),
            "token_endpoint_auth_method",
        ),
        (
            json!({ "token_endpoint_auth_method": "client_secret_basic",
                "tls_client_auth_san_dns": "a" }),
            "tls_client_auth_san_dns",
        ),
        (
            json!({ "jwks": { "keys": [jwk] }, "tls_client_auth_san_dns": "a" }),
            "tls_client_auth_san_dns",
        ),
        (
            json!({ "tls_client_auth_san_dns": "a", "client_secret": SECRET }),
            "client_secret",
        ),
        (
            json!({ "dpop_bound_access_tokens": "yes" }),
            "dpop_bound_access_tokens",
        ),
    ] {
        let refused = call("POST", "/clients", body.clone()).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert_eq!(refused.json()["details"][0]["field"], field, "{body}");
    }
    world.sidecar.stop().await;
}
