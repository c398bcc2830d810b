use serde_json::json;

use super::*;
use crate::domain::revoked::{Issued, TokenId};
use crate::issuer::Config;
use crate::issuer::tests::{NOW, client, config, open};
use crate::issuer::{Issuer, Profile};

fn covers(issuer: &Issuer, client: &str, issued: i64) -> bool {
    issuer
        .revoked()
        .current()
        .covers(&issued_to(client, issued), UnixTime(NOW))
}

fn issued_to(client: &str, at: i64) -> Issued<'_> {
    let at = UnixTime(at).minus(BACKDATED);
    Issued {
        token: TokenId::of("x"),
        client_id: Some(client),
        at,
        after_end: None,
    }
}

async fn end(issuer: &Issuer, client: &str, body: Value) -> Result<UnixTime, ManagementError> {
    issuer
        .client_admin()
        .end_tokens(client, body.as_object().expect("an object"))
        .await
}

#[tokio::test]
async fn all_of_a_client_ends_up_to_a_time_and_never_beyond_now() {
    let issuer = open(config(vec![client("a", "s"), client("b", "s")]))
        .await
        .unwrap();
    let before = |time: i64| json!({ "before": UnixTime(time).to_rfc3339() });
    assert_eq!(
        end(&issuer, "a", before(NOW - 100)).await.unwrap(),
        UnixTime(NOW - 100)
    );
    assert!(covers(&issuer, "a", NOW - 100) && !covers(&issuer, "a", NOW - 99));
    assert!(!covers(&issuer, "b", NOW - 100));
    // An earlier time takes nothing back.
    end(&issuer, "a", before(NOW - 200)).await.unwrap();
    assert!(covers(&issuer, "a", NOW - 100));
    assert!(matches!(
        end(&issuer, "a", before(NOW + 1)).await,
        Err(ManagementError::Invalid(_))
    ));
    assert!(matches!(
        end(&issuer, "a", json!({ "until": 1 })).await,
        Err(ManagementError::Invalid(_))
    ));
    assert!(!covers(&issuer, "a", NOW - 99));
    assert_eq!(end(&issuer, "b", json!({})).await.unwrap(), UnixTime(NOW));
    assert!(covers(&issuer, "b", NOW) && !covers(&issuer, "b", NOW + 1));
    assert!(matches!(
        end(&issuer, "c", json!({})).await,
        Err(ManagementError::NotFound(_))
    ));
}

#[tokio::test]
async fn the_end_of_tokens_that_never_expire_is_never_forgotten() {
    let ends = async |config: Config, lifetime: Value| {
        let issuer = open(config).await.unwrap();
        let new = json!({ "client_id": "a", "access_token_lifetime": lifetime });
        issuer
            .client_admin()
            .create(new.as_object().unwrap())
            .await
            .unwrap();
        issuer.client_admin().delete("a").await.unwrap();
        issuer
            .state
            .store
            .revocations(UnixTime(NOW))
            .await
            .unwrap()
            .clients[0]
            .expires_at
    };
    assert_eq!(
        ends(config(Vec::new()), json!("90d")).await,
        UnixTime(NOW + 90 * 86_400)
    );
    assert_eq!(
        ends(config(Vec::new()), json!("1m")).await,
        UnixTime(NOW + 86_400)
    );
    let plgd = Config {
        profile: Profile::Plgd,
        ..config(Vec::new())
    };
    assert_eq!(ends(plgd, json!("1m")).await, UnixTime::NEVER);
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

#[tokio::test]
async fn of_requests_at_the_same_time_each_answer_holds_when_it_is_given() {
    let issuer = open(config(Vec::new())).await.unwrap();
    for (number, deletes) in [false, true].into_iter().enumerate() {
        let id = format!("client-{number}");
        issuer
            .client_admin()
            .create(object(&json!({ "client_id": id })))
            .await
            .unwrap();
        let ends = (0..4).map(|_| async {
            if deletes {
                let _one_of_them_found_it = issuer.client_admin().delete(&id).await;
            } else {
                issuer
                    .client_admin()
                    .update(&id, object(&json!({ "disabled": true })))
                    .await
                    .unwrap();
            }
            let client = issuer.state.clients.get(&id);
            (
                client.is_some_and(|client| !client.disabled),
                covers(&issuer, &id, NOW),
            )
        });
        let held = futures_util::future::join_all(ends).await;
        assert_eq!(held, [(false, true); 4], "{id}");
    }
}

#[tokio::test]
async fn two_requests_never_take_a_clients_last_secret_away() {
    let issuer = open(config(Vec::new())).await.unwrap();
    let id = "client";
    issuer
        .client_admin()
        .create(object(&json!({ "client_id": id })))
        .await
        .unwrap();
    issuer
        .client_admin()
        .create_secret(id, &Map::new())
        .await
        .unwrap();
    let secrets = issuer.client_admin().secrets(id).await.unwrap();
    let deletes = secrets.iter().map(|it| {
        issuer
            .client_admin()
            .delete_secret(id, &it.stored.secret_id, false)
    });
    let deleted = futures_util::future::join_all(deletes).await;
    assert_eq!(
        deleted.iter().filter(|it| it.is_ok()).count(),
        1,
        "{deleted:?}"
    );
    assert!(
        deleted
            .iter()
            .any(|it| matches!(it, Err(ManagementError::Conflict(_)))),
        "{deleted:?}"
    );
    assert_eq!(issuer.client_admin().secrets(id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_that_is_given_keys_beside_a_new_secret_has_no_secret() {
    use crate::jose::Algorithm;
    use crate::jose::sign::SigningKey;

    let issuer = open(config(Vec::new())).await.unwrap();
    let jwk = SigningKey::generate(Algorithm::ES256).unwrap().public_jwk();
    let keys =
        json!({ "jwks": { "keys": [jwk] }, "token_endpoint_auth_method": "private_key_jwt" });
    for number in 0..20 {
        let id = format!("client-{number}");
        issuer
            .client_admin()
            .create(object(&json!({ "client_id": id })))
            .await
            .unwrap();
        let patch = async || {
            issuer
                .client_admin()
                .update(&id, object(&keys))
                .await
                .map(drop)
        };
        let add = async || {
            issuer
                .client_admin()
                .create_secret(&id, &Map::new())
                .await
                .map(drop)
        };
        let (patched, added) = if number % 2 == 0 {
            tokio::join!(patch(), add())
        } else {
            let (added, patched) = tokio::join!(add(), patch());
            (patched, added)
        };
        assert!(patched.is_ok(), "{patched:?}");
        assert!(
            matches!(added, Ok(()) | Err(ManagementError::Conflict(_))),
            "{added:?}"
        );
        assert!(
            issuer.client_admin().secrets(&id).await.unwrap().is_empty(),
            "{id}: {added:?}"
        );
    }
}

#[tokio::test]
async fn a_client_of_a_deleted_ones_id_is_let_in_as_soon_as_it_is_made() {
    let issuer = open(config(Vec::new())).await.unwrap();
    let new = json!({ "client_id": "client" });
    issuer.client_admin().create(object(&new)).await.unwrap();
    let again = async {
        while issuer.client_admin().create(object(&new)).await.is_err() {
            tokio::task::yield_now().await;
        }
        issuer.state.clients.get("client").is_some()
    };
    let (deleted, is_let_in) = tokio::join!(issuer.client_admin().delete("client"), again);
    deleted.unwrap();
    assert!(is_let_in);
    assert!(issuer.state.clients.get("client").is_some());
    // Its tokens of this second carry the mark of the other's end.
    let mark = issuer
        .revoked()
        .current()
        .mark_for("client", UnixTime(NOW).minus(BACKDATED));
    let issued = Issued {
        after_end: mark,
        ..issued_to("client", NOW)
    };
    assert!(mark.is_some() && !issuer.revoked().current().covers(&issued, UnixTime(NOW)));
}

#[tokio::test]
async fn tokens_issued_while_another_process_ends_the_client_end_too() {
    let one = open(config(Vec::new())).await.unwrap();
    let clock = one.state.clock.clone();
    let other = Issuer::open(config(Vec::new()), one.state.store.clone(), clock)
        .await
        .unwrap();
    for (number, by_patch) in [true, false].into_iter().enumerate() {
        let id = format!("client-{number}");
        one.client_admin()
            .create(json!({ "client_id": id }).as_object().unwrap())
            .await
            .unwrap();
        other.reload().await.unwrap();
        if by_patch {
            one.client_admin()
                .update(&id, json!({ "disabled": true }).as_object().unwrap())
                .await
                .unwrap();
        } else {
            one.client_admin().delete(&id).await.unwrap();
        }
        let until = |issuer: &Issuer| {
            let known = issuer.revoked().current();
            (0..60)
                .take_while(|after| known.covers(&issued_to(&id, NOW + after), UnixTime(NOW)))
                .count()
        };
        assert!(
            other
                .state
                .clients
                .get(&id)
                .is_some_and(|client| !client.disabled),
            "it does not know yet"
        );
        let changes = async || one.state.store.revisions().await.unwrap().revocations;
        let before = changes().await;
        other.reload().await.unwrap();
        assert_eq!(
            changes().await,
            before + 1,
            "ended once more, up to the moment it learned of it"
        );
        other.reload().await.unwrap();
        one.reload().await.unwrap();
        assert_eq!(changes().await, before + 1, "and only once");
        assert_eq!(until(&one), until(&other));
    }
}
