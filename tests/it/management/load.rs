//! Changes of the administrator while clients request tokens.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{World, is, meter};
use crate::support::until;

/// The secret that the client at work has just now, and how often it was right.
struct AtWork {
    secret: Mutex<String>,
    done: AtomicUsize,
    over: AtomicBool,
}

impl AtWork {
    async fn go_on(&self, requests: usize) {
        let enough = self.done.load(Ordering::SeqCst) + requests;
        until("the client gets its tokens", async || {
            self.done.load(Ordering::SeqCst) >= enough
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_secrets_and_keys_and_disabling_others_fails_no_request_of_a_valid_client() {
    let world = World::start().await;
    let first = world.create(meter()).await;
    let other = world
        .create(
            json!({ "client_id": "other", "scope": "devices:read", "audience": ["https://devices.example"] }),
        )
        .await;
    let at_work = AtWork {
        secret: Mutex::new(first),
        done: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    let client = async || {
        let mut answers = BTreeMap::new();
        while !at_work.over.load(Ordering::SeqCst) {
            let secret = at_work.secret.lock().expect("no panic").clone();
            let answer = world.token("meter", &secret).await;
            // Checked at once, also with a new signing key.
            let outcome = match answer.status {
                200 => {
                    world
                        .check_token(answer.json()["access_token"].as_str().expect("a token"))
                        .await
                }
                status => (status, answer.text()),
            };
            *answers.entry(outcome).or_insert(0) += 1;
            at_work.done.fetch_add(1, Ordering::SeqCst);
        }
        answers
    };
    let administrator = async {
        for _ in 0..4 {
            at_work.go_on(10).await;
            let made = world
                .call("POST", "/clients/meter/secrets", json!({ "grace": "1h" }))
                .await
                .json();
            at_work.go_on(10).await;
            let new = made["client_secret"].as_str().expect("a secret").to_owned();
            let old = std::mem::replace(&mut *at_work.secret.lock().expect("no panic"), new);
            // A reader of the old one has used it by then.
            at_work.go_on(10).await;
            let secrets = world.get("/clients/meter/secrets").await.json()["secrets"].clone();
            for secret in secrets
                .as_array()
                .expect("a list")
                .iter()
                .filter(|it| it["id"] != made["id"])
            {
                let target = format!(
                    "/clients/meter/secrets/{}",
                    secret["id"].as_str().expect("an id")
                );
                assert_eq!(world.call("DELETE", &target, Value::Null).await.status, 204);
            }
            assert_eq!(
                world.token("meter", &old).await.status,
                401,
                "it was taken back"
            );

            let token = world.good_token("other", &other).await;
            assert_eq!(world.check_token(&token).await.0, 200);
            let rotated = world
                .call("POST", "/keys/rotate", json!({ "now": true }))
                .await;
            assert_eq!(rotated.status, 200, "{}", rotated.text());
            assert_eq!(
                world.check_token(&token).await.0,
                200,
                "its key is published still"
            );
            world
                .call("PATCH", "/clients/other", json!({ "disabled": true }))
                .await;
            assert_eq!(world.check_token(&token).await, is(401, "revoked"));
            assert!(matches!(
                world.token("other", &other).await.status,
                401 | 429
            ));
            world
                .call("PATCH", "/clients/other", json!({ "disabled": null }))
                .await;
        }
        at_work.over.store(true, Ordering::SeqCst);
    };
    let (one, two, three, ()) = tokio::join!(client(), client(), client(), administrator);
    for answers in [one, two, three] {
        assert_eq!(
            answers.keys().collect::<Vec<_>>(),
            [&is(200, "-")],
            "{answers:?}"
        );
    }
}
