//! Revocations in memory, in the store and in the list.

use std::sync::atomic::AtomicI64;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use futures_util::poll;
use serde_json::{Value, json};

use super::*;
use crate::domain::revoked::{Issued, TokenId};
use crate::issuer::Issuer;
use crate::issuer::tests::{TestClock, client, config, open};

const PER_CLIENT: usize = 1000;

async fn revocations(store: &Arc<dyn Store>, now: i64) -> Revocations {
    let clock = Arc::new(TestClock(AtomicI64::new(now)));
    let shared = HashSet::new();
    Revocations::open(
        store.clone(),
        ProfilePolicy::STANDARD,
        shared,
        clock,
        UnixTime(now),
    )
    .await
    .unwrap()
}

fn token(number: usize, expires_at: i64) -> RevokedToken {
    RevokedToken {
        jti: format!("{number:05}"),
        client_id: "busy".to_owned(),
        expires_at: UnixTime(expires_at),
        revoked_at: UnixTime(1000),
    }
}

fn revocable(token: RevokedToken) -> Revocable {
    Revocable {
        token,
        issued_at: UnixTime(900),
        after_end: None,
    }
}

#[tokio::test]
async fn a_revocation_is_stored_however_many_there_are_before_it() {
    let store = crate::store::open(&crate::store::Config::SqliteMemory)
        .await
        .unwrap();
    let first = revocations(&store, 1000).await;
    let covers = |revocations: &Revocations, jti: &str| {
        let (token, client_id) = (TokenId::of(jti), Some("busy"));
        let issued = Issued {
            token,
            client_id,
            at: UnixTime(900),
            after_end: None,
        };
        revocations.now().current().covers(&issued, UnixTime(1000))
    };
    join_all(
        (0..=PER_CLIENT)
            .map(|number| first.revoke(revocable(token(number, 1040))))
            .collect::<Vec<_>>(),
    )
    .await
    .into_iter()
    .for_each(Result::unwrap);
    assert!(
        first.known.load().generation < 50,
        "revocations that come together are taken over together"
    );
    let last = token(PER_CLIENT + 1, 90_000);
    assert!(covers(&first, &last.jti));
    first.revoke(revocable(last.clone())).await.unwrap();
    // The other revocations have expired, and their published entries are removed.
    for restarted in [false, true] {
        let revocations = if restarted {
            &revocations(&store, 2000).await
        } else {
            first.forget_expired(UnixTime(2000)).await;
            &first
        };
        assert!(
            covers(revocations, &last.jti) && !covers(revocations, "00000"),
            "{restarted}"
        );
    }
    // A stored revocation is not written again.
    let before = store.revisions().await.unwrap().revocations;
    first.revoke(revocable(last)).await.unwrap();
    assert_eq!(store.revisions().await.unwrap().revocations, before);
}

#[tokio::test]
async fn a_client_that_revokes_without_end_takes_no_room_from_the_users_of_others() {
    let store = crate::store::open(&crate::store::Config::SqliteMemory)
        .await
        .unwrap();
    let revocations = revocations(&store, 1000).await;
    let of_others = |number: usize| RevokedToken {
        jti: format!("other-{number}"),
        client_id: format!("other-{}", number % 3),
        ..token(number, i64::MAX)
    };
    for of_busy in [true, false] {
        let token = |number| {
            if of_busy {
                token(number, i64::MAX)
            } else {
                of_others(number)
            }
        };
        let revoke = |number| revocations.revoke(revocable(token(number)));
        let revoked = join_all((0..=CROWDED).map(revoke).collect::<Vec<_>>()).await;
        revoked.into_iter().for_each(Result::unwrap);
        assert_eq!(revocations.is_crowded(), !of_busy);
    }
}

#[tokio::test]
async fn the_list_of_a_new_store_has_a_higher_revision_than_those_of_the_store_before() {
    let revision = |issuer: &Issuer| issuer.state.revocations.known.load().revision;
    let issuer = open(config(Vec::new())).await.unwrap();
    for number in 0..20 {
        issuer
            .state
            .revocations
            .revoke(revocable(token(number, i64::MAX)))
            .await
            .unwrap();
    }
    let last = revision(&issuer);
    let (store, clock) = (issuer.state.store.clone(), issuer.state.clock.clone());
    let again = Issuer::open(config(Vec::new()), store, clock)
        .await
        .unwrap();
    assert_eq!(
        revision(&again),
        last,
        "a restart on the same store goes on"
    );
    let store = crate::store::open(&crate::store::Config::SqliteMemory)
        .await
        .unwrap();
    let clock = Arc::new(TestClock(AtomicI64::new(issuer.state.clock.now().0 + 1)));
    let new_issuer = Issuer::open(config(Vec::new()), store, clock)
        .await
        .unwrap();
    assert!(
        revision(&new_issuer) > last,
        "{} {last}",
        revision(&new_issuer)
    );
}

fn claims(list: &RevocationList) -> Value {
    let jwt = std::str::from_utf8(&list.jwt).unwrap();
    let payload = URL_SAFE_NO_PAD
        .decode(jwt.split('.').nth(1).unwrap())
        .unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// The issuer's list, and that of another process on the same store.
#[tokio::test]
async fn a_list_says_what_of_the_store_is_in_it() {
    let issuer = open(config(vec![client("a", "s")])).await.unwrap();
    let other = revocations(&issuer.state.store, 5000).await;
    let list = async |of: &Revocations| {
        claims(
            &of.list(issuer.url(), ListedClients::Hashed, &issuer.state.keys)
                .await
                .unwrap(),
        )
    };
    let first = list(&other).await["revision"].as_i64().unwrap();
    issuer
        .state
        .revocations
        .revoke(revocable(token(1, i64::MAX)))
        .await
        .unwrap();
    let newer = list(&issuer.state.revocations).await;
    assert_eq!(
        (&newer["revision"], &newer["revoked"]),
        (&json!(first + 1), &json!(["00001"]))
    );
    // The other process has not read the revocation yet, so its list does not contain it.
    let older = list(&other).await;
    assert_eq!(
        (&older["revision"], &older["iat"]),
        (&json!(first), &json!(5000))
    );
    assert_eq!(older["revoked"], json!([]));
    other.catch_up().await.unwrap();
    assert_eq!(list(&other).await["revision"], first + 1);
}

#[tokio::test]
async fn the_time_of_a_list_is_the_time_at_which_the_store_was_read() {
    let issuer = open(config(Vec::new())).await.unwrap();
    let clock = Arc::new(TestClock(AtomicI64::new(1000)));
    let shared = HashSet::new();
    let store = issuer.state.store.clone();
    let revocations = Revocations::open(
        store,
        ProfilePolicy::STANDARD,
        shared,
        clock.clone(),
        UnixTime(1000),
    );
    let revocations = revocations.await.unwrap();
    let iat = async || {
        claims(
            &revocations
                .list(issuer.url(), ListedClients::Hashed, &issuer.state.keys)
                .await
                .unwrap(),
        )["iat"]
            .clone()
    };
    clock.0.store(1020, Ordering::Relaxed);
    assert_eq!(iat().await, 1000);
    revocations.catch_up().await.unwrap();
    clock.0.store(1040, Ordering::Relaxed);
    assert_eq!(iat().await, 1020);
}

#[test]
fn a_list_is_signed_elsewhere_and_those_who_ask_meanwhile_share_the_next() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let issuer = open(config(Vec::new())).await.unwrap();
            let revocations = &issuer.state.revocations;
            let known = revocations.known.load().revision;
            let ask = || revocations.list(issuer.url(), ListedClients::Hashed, &issuer.state.keys);
            // The only blocking thread is busy.
            let (go_on, wait) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || wait.recv());
            let mut first = Box::pin(ask());
            assert!(
                poll!(&mut first).is_pending(),
                "it is not signed on this thread"
            );
            go_on.send(()).unwrap();
            busy.await.unwrap().unwrap();
            let mut lists = Vec::new();
            for number in 0..20 {
                revocations
                    .revoke(revocable(token(number, i64::MAX)))
                    .await
                    .unwrap();
                lists.push(Box::pin(ask()));
                assert!(
                    poll!(lists.last_mut().unwrap()).is_pending(),
                    "one list at a time"
                );
            }
            assert_eq!(
                claims(&first.await.unwrap())["revision"],
                known,
                "what was known when it was begun"
            );
            let lists = join_all(lists).await;
            let mut jwts: Vec<_> = lists.into_iter().map(|list| list.unwrap().jwt).collect();
            jwts.dedup();
            assert_eq!(jwts.len(), 1);
        });
}
