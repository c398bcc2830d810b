//! The same members for clients of the store, and what of them is no fault of the client.

use serde_json::{Value, json};

use super::*;
use crate::issued::database;

/// A client of the store, and its secret.
async fn create(sidecar: &Sidecar, body: &Value) -> String {
    let answer = admin(sidecar, "POST", "/clients", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let secret = answer.json()["client_secret"]
        .as_str()
        .expect("one")
        .to_owned();
    logs::remember_client_secret(body["client_id"].as_str().expect("an id"), &secret);
    secret
}

async fn ask_with(
    sidecar: &Sidecar,
    (id, secret): (&str, &str),
    form: &[(&str, &str)],
) -> RawAnswer {
    let authorization = basic(id, secret);
    let headers = [("Authorization", authorization.as_str())];
    let address = sidecar.address("issuer");
    remembered(post_form(address, "/m2m/oauth/token", form, &headers).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_management_api_has_the_same_members_and_reads_its_own_answers() {
    let sidecar = builder().start(&yaml("standard", "")).await;
    let body = json!({
        "client_id": "stored",
        "grant_types": ["client_credentials", "refresh_token"],
        "allowed_owners": ["7", "tenant-*", "7"],
        "allow_device_id": true,
        "allowed_networks": ["127.0.0.0/8", "::1"],
    });
    let secret = create(&sidecar, &body).await;
    let read = admin(&sidecar, "GET", "/clients/stored", &Value::Null)
        .await
        .json();
    assert_eq!(read["allowed_owners"], json!(["7", "tenant-*"]));
    assert_eq!(read["allow_device_id"], true);
    assert_eq!(read["allowed_networks"], json!(["127.0.0.0/8", "::1"]));
    assert!(read.get("assertion_audiences").is_none(), "{read}");
    // The answer can be sent back.
    let same = admin(&sidecar, "PATCH", "/clients/stored", &read).await;
    assert_eq!((same.status, &same.json()), (200, &read));
    let form = [GRANT, (OWNER, "tenant-a"), (DEVICE, "d")];
    let first = ask_with(&sidecar, ("stored", &secret), &form).await;
    assert_eq!(claims_of(&first)[OWNER], "tenant-a");
    let refresh = first.json()["refresh_token"]
        .as_str()
        .expect("one")
        .to_owned();
    // An owner that is no longer allowed is not refreshed either.
    let patch = json!({ "allowed_owners": ["7"] });
    assert_eq!(
        admin(&sidecar, "PATCH", "/clients/stored", &patch)
            .await
            .status,
        200
    );
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
    ];
    let answer = ask_with(&sidecar, ("stored", &secret), &form).await;
    assert_eq!(refusal(&answer).1, "invalid_grant");
    let patch = json!({ "allowed_owners": ["tenant-*"], "allow_device_id": null });
    assert_eq!(
        admin(&sidecar, "PATCH", "/clients/stored", &patch)
            .await
            .status,
        200
    );
    let answer = ask_with(&sidecar, ("stored", &secret), &form).await;
    assert_eq!(
        refusal(&answer).1,
        "invalid_grant",
        "the device is not allowed"
    );
    let patch = json!({ "allow_device_id": true, "allowed_networks": ["10.0.0.0/8"] });
    assert_eq!(
        admin(&sidecar, "PATCH", "/clients/stored", &patch)
            .await
            .status,
        200
    );
    let answer = ask_with(&sidecar, ("stored", &secret), &form).await;
    assert_eq!(refusal(&answer).1, "invalid_client");
    let patch = json!({ "allowed_networks": [] });
    assert_eq!(
        admin(&sidecar, "PATCH", "/clients/stored", &patch)
            .await
            .status,
        200
    );
    let answer = ask_with(&sidecar, ("stored", &secret), &form).await;
    assert_eq!(claims_of(&answer)[OWNER], "tenant-a");
    // Clients of the configuration are shown in the same way.
    let read = admin(&sidecar, "GET", "/clients/dps", &Value::Null)
        .await
        .json();
    assert_eq!(read["allowed_owners"], json!(["7", "tenant-*"]));
    let read = admin(&sidecar, "GET", "/clients/inside", &Value::Null)
        .await
        .json();
    assert_eq!(
        read["allowed_networks"],
        json!(["10.0.0.0/8", "2001:db8::1/128"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_members_are_named() {
    let without_device = yaml("standard", "").replace(&format!("deviceIDClaim: {DEVICE}"), "");
    let without_device = without_device.replace("allowDeviceId: true", "allowDeviceId: false");
    let sidecar = builder().start(&without_device).await;
    for (members, field, problem) in [
        (json!({ "allowed_owners": "7" }), "allowed_owners", "list"),
        (
            json!({ "allowed_owners": ["a*b"] }),
            "allowed_owners",
            "at the end",
        ),
        (
            json!({ "allowed_owners": [""] }),
            "allowed_owners",
            "1 to 256 bytes",
        ),
        (json!({ "allow_device_id": 1 }), "allow_device_id", "true"),
        (
            json!({ "allow_device_id": true }),
            "allow_device_id",
            "deviceIDClaim",
        ),
        (
            json!({ "allowed_networks": ["10.0.0.1/8"] }),
            "allowed_networks",
            "mask",
        ),
        (
            json!({ "assertion_audiences": "any" }),
            "assertion_audiences",
            "`legacy`",
        ),
        (
            json!({ "assertion_audiences": "legacy" }),
            "assertion_audiences",
            "private_key_jwt",
        ),
    ] {
        let answer = admin(&sidecar, "POST", "/clients", &members).await;
        assert_eq!(answer.status, 400, "{members}");
        let text = answer.text();
        assert!(text.contains(field) && text.contains(problem), "{text}");
    }
}

/// plgd's coap-gateway takes 400, 401, 403, 404 and 409 for final.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_is_no_fault_of_the_client() {
    for profile in ["plgd", "standard"] {
        let sidecar = builder().start(&yaml(profile, "")).await;
        let grants = json!(["client_credentials", "refresh_token"]);
        let body = json!({ "client_id": "stored", "grant_types": grants });
        let secret = create(&sidecar, &body).await;
        let first = ask_with(&sidecar, ("stored", &secret), &[GRANT]).await;
        let refresh = first.json()["refresh_token"]
            .as_str()
            .expect("one")
            .to_owned();
        let mut store = database(&sidecar).await;
        let unreadable = "UPDATE refresh_tokens SET token_grant = '{}'";
        sqlx::query(unreadable)
            .execute(&mut store)
            .await
            .expect("a row");
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.as_str()),
        ];
        let answer = ask_with(&sidecar, ("stored", &secret), &form).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        let unreadable = "UPDATE clients SET document = '{\"scope\": 1}'";
        sqlx::query(unreadable)
            .execute(&mut store)
            .await
            .expect("a row");
        drop(store);
        let builder = sidecar.stop_keeping_state().await;
        let sidecar = builder.start(&yaml(profile, "")).await;
        let answer = ask_with(&sidecar, ("stored", &secret), &[GRANT]).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        sidecar.stop().await;
    }
}
