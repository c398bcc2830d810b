//! Client ids that are no plain path segment: SPIFFE ids, accounts of Kubernetes, Windows names.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{World, error, is};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const IDS: [&str; 9] = [
    "spiffe://cluster.local/ns/default/sa/meter",
    "system:serviceaccount:default:meter",
    r"DOMAIN\meter",
    "100%",
    "a%2Fb",
    "a;b=c",
    "a b?c#d",
    "revoke",
    "..",
];

fn escaped(id: &str) -> String {
    utf8_percent_encode(id, NON_ALPHANUMERIC).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_any_id_is_made_shown_changed_and_ended_by_path_and_by_parameter() {
    let world = World::start().await;
    for id in IDS {
        let secret = world.create(json!({ "client_id": id, "scope": "a" })).await;
        let id_escaped = escaped(id);
        let (by_path, by_parameter) = (
            format!("/clients/{id_escaped}"),
            format!("/client?client_id={id_escaped}"),
        );
        for target in [&by_path, &by_parameter] {
            let shown = world.get(target).await;
            assert_eq!(
                (shown.status, &shown.json()["client_id"]),
                (200, &json!(id)),
                "{target}"
            );
        }
        let listed = world
            .get(&format!("/clients?client_id={id_escaped}"))
            .await
            .json();
        assert_eq!(listed["clients"][0]["client_id"], id);
        // A colon in the id is escaped in Basic (RFC 6749 §2.3.1).
        let token = world.good_token(&escaped(id), &secret).await;
        for (target, owner) in [(&by_path, "1"), (&by_parameter, "2")] {
            let patched = world.call("PATCH", target, json!({ "owner": owner })).await;
            assert_eq!(
                (patched.status, &patched.json()["owner"]),
                (200, &json!(owner)),
                "{target}"
            );
        }
        for secrets in [
            format!("{by_path}/secrets"),
            format!("/client/secrets?client_id={id_escaped}"),
        ] {
            let made = world.call("POST", &secrets, json!({})).await;
            assert_eq!(made.status, 201, "{secrets}: {}", made.text());
            let secret_id = made.json()["id"].as_str().expect("an id").to_owned();
            assert!(world.get(&secrets).await.text().contains(&secret_id));
            let (path, query) = secrets.split_once('?').unwrap_or((&secrets, ""));
            let deleted = world
                .call(
                    "DELETE",
                    &format!("{path}/{secret_id}?{query}"),
                    Value::Null,
                )
                .await;
            assert_eq!(deleted.status, 204, "{secrets}: {}", deleted.text());
        }
        assert_eq!(world.check_token(&token).await.0, 200);
        let revoke = format!("/client/revoke?client_id={id_escaped}");
        assert_eq!(world.call("POST", &revoke, json!({})).await.status, 200);
        assert_eq!(world.check_token(&token).await.0, 401, "{id}");
        let token = world.good_token(&escaped(id), &secret).await;
        let disabled = world
            .call("PATCH", &by_path, json!({ "disabled": true }))
            .await;
        assert_eq!(disabled.status, 200, "{}", disabled.text());
        assert_eq!(world.check_token(&token).await.0, 401, "{id}");
        assert_eq!(
            world.call("DELETE", &by_path, Value::Null).await.status,
            204
        );
        assert_eq!(
            error(&world.get(&by_path).await),
            is(404, "not_found"),
            "{id}"
        );
        let none = world.get(&format!("/clients?client_id={id_escaped}")).await;
        assert_eq!(
            (none.status, none.json()["clients"].as_array().map(Vec::len)),
            (200, Some(0))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parameter_is_needed_where_the_path_names_no_client() {
    let world = World::start().await;
    for (method, target) in [
        ("GET", "/client"),
        ("PATCH", "/client"),
        ("DELETE", "/clients"),
        ("POST", "/client/revoke"),
        ("GET", "/client/secrets?client=x"),
    ] {
        let answer = world
            .call(
                method,
                target,
                if method == "GET" {
                    Value::Null
                } else {
                    json!({})
                },
            )
            .await;
        assert_eq!(
            error(&answer),
            is(400, "invalid_request"),
            "{method} {target}: {}",
            answer.text()
        );
        assert!(answer.text().contains("client_id"), "{}", answer.text());
    }
    for target in ["/clients/%", "/clients/%zz", "/clients/%ff", "/clients/a%5"] {
        assert_eq!(world.get(target).await.status, 400, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_client_of_any_id_is_shown_and_its_tokens_are_ended() {
    let upstream = Upstream::start();
    let id = "spiffe://cluster.local/ns/default/sa/configured";
    let yaml = super::yaml(&upstream).replace("id: configured", &format!("id: \"{id}\""));
    let sidecar = super::files(Sidecar::builder()).start(&yaml).await;
    let world = World { upstream, sidecar };
    let target = format!("/clients/{}", escaped(id));
    assert_eq!(world.get(&target).await.json()["source"], "configuration");
    let token = world
        .good_token(&escaped(id), super::CONFIGURED_SECRET)
        .await;
    assert_eq!(
        world
            .call("POST", &format!("{target}/revoke"), json!({}))
            .await
            .status,
        200
    );
    assert_eq!(world.check_token(&token).await.0, 401);
}
