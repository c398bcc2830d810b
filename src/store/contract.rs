//! What every store must do: one list of tests, run against each store there is.

mod keys;
mod lists;
mod refresh_tokens;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::tokens::{
    ClientNotBefore, Ended, NotedTime, OwnerFilter, RefreshToken, Revocations, RevokedToken,
    Rotation, TokenCount, TokenFilter, TokenRecord,
};
use super::{
    Config, DeletedSecret, KeyChange, Revisions, SecretsOf, Store, StoredClient, StoredSecret,
};
use crate::domain::clock::UnixTime;
use crate::domain::proven_time::{Claim, ProvenTime};
use crate::domain::revoked::EndMark;
use crate::domain::secret::{ExposeSecret, SecretString};

/// A fresh, empty store of each kind, and what keeps it alive.
async fn stores() -> Vec<(Arc<dyn Store>, Option<tempfile::TempDir>)> {
    let directory = tempfile::tempdir().unwrap();
    let file = Config::SqliteFile(directory.path().join("m2m.db"));
    vec![
        (super::open(&file).await.unwrap(), Some(directory)),
        (super::open(&Config::SqliteMemory).await.unwrap(), None),
    ]
}

fn secret(id: &str, created_at: i64) -> StoredSecret {
    StoredSecret {
        secret_id: id.to_owned(),
        hash: SecretString::from(format!("hash of {id}")),
        last_four: (id != "supplied").then(|| "abcd".to_owned()),
        created_at: UnixTime(created_at),
        expires_at: None,
        last_used_at: None,
    }
}

fn client(id: &str, document: Value, secrets: &[StoredSecret]) -> StoredClient {
    StoredClient {
        client_id: id.to_owned(),
        document,
        version: 1,
        created_at: UnixTime(1),
        updated_at: UnixTime(1),
        secrets: secrets.to_vec(),
    }
}

fn token(jti: &str, client_id: &str, issued_at: i64, expires_at: Option<i64>) -> TokenRecord {
    TokenRecord {
        jti: jti.to_owned(),
        client_id: client_id.to_owned(),
        owner: Some(format!("owner of {client_id}")),
        owner_issuer: Some("https://idp.example".to_owned()),
        subject: client_id.to_owned(),
        name: Some("näme".to_owned()),
        scope: vec!["a".to_owned(), "b:c".to_owned()],
        audience: vec!["https://x".to_owned(), "y z".to_owned()],
        issued_at: UnixTime(issued_at),
        expires_at: expires_at.map(UnixTime),
        revoked_at: None,
        original_claims: json!({"n": [1, {"x": null}]}).as_object().cloned(),
        after_end: None,
    }
}

/// An access token that is not kept.
fn unkept(issued_at: i64) -> TokenRecord {
    token("not kept", "c", issued_at, None)
}

fn end(client_id: &str, until: i64, expires_at: i64) -> ClientNotBefore {
    let (until, expires_at, revoked_at) =
        (UnixTime(until), UnixTime(expires_at), UnixTime(until + 10));
    let mark = EndMark::of(&until.0.to_be_bytes());
    ClientNotBefore {
        client_id: client_id.to_owned(),
        until,
        expires_at,
        revoked_at,
        mark,
    }
}

fn revoked(jti: &str, client_id: &str, expires_at: i64, revoked_at: i64) -> RevokedToken {
    let (jti, client_id) = (jti.to_owned(), client_id.to_owned());
    RevokedToken {
        jti,
        client_id,
        expires_at: UnixTime(expires_at),
        revoked_at: UnixTime(revoked_at),
    }
}

fn refresh(number: u8, family: &str, client_id: &str) -> RefreshToken {
    RefreshToken {
        hash: [number; 32],
        family_id: family.to_owned(),
        client_id: client_id.to_owned(),
        grant: json!({"scope": "a"}),
        expires_at: UnixTime(1000),
        used_at: None,
        access_jti: format!("access-{number}"),
        access_expires_at: UnixTime(500),
    }
}

fn jtis(tokens: &[TokenRecord]) -> Vec<&str> {
    tokens.iter().map(|token| token.jti.as_str()).collect()
}

async fn list(store: &dyn Store, filter: TokenFilter) -> Vec<String> {
    jtis(&store.tokens(&filter).await.unwrap())
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_client_is_kept_whole_and_changed_only_as_it_was_read() {
    for (store, _directory) in stores().await {
        let first = client(
            "b",
            json!({"scope": "x", "nested": {"ä": [1.5, null]}}),
            &[secret("s1", 5), secret("supplied", 6)],
        );
        assert!(store.insert_client(&first).await.unwrap());
        let again = client("b", json!({"scope": "other"}), &[secret("s9", 5)]);
        assert!(!store.insert_client(&again).await.unwrap(), "it exists");
        assert!(
            store
                .insert_client(&client("a", json!({}), &[]))
                .await
                .unwrap()
        );
        assert_eq!(store.client("b").await.unwrap(), Some(first.clone()));
        assert_eq!(store.client("c").await.unwrap(), None);
        let all = store.clients().await.unwrap();
        assert_eq!(all, [client("a", json!({}), &[]), first.clone()]);
        assert_eq!(all[1].secrets[0].hash.expose_secret(), "hash of s1");

        let changed = StoredClient {
            document: json!({"scope": "y"}),
            updated_at: UnixTime(9),
            ..first
        };
        let kept = SecretsOf::Kept;
        assert!(store.update_client(&changed, kept, None).await.unwrap());
        assert!(
            !store.update_client(&changed, kept, None).await.unwrap(),
            "it was read before the change"
        );
        let now = store.client("b").await.unwrap().unwrap();
        assert_eq!(
            (now.version, now.document["scope"].as_str()),
            (2, Some("y"))
        );
        assert_eq!(
            (now.created_at, now.updated_at, now.secrets.len()),
            (UnixTime(1), UnixTime(9), 2)
        );
    }
}

#[tokio::test]
async fn secrets_overlap_until_the_older_ones_end() {
    for (store, _directory) in stores().await {
        let short = StoredSecret {
            expires_at: Some(UnixTime(20)),
            ..secret("short", 2)
        };
        store
            .insert_client(&client("c", json!({}), &[secret("old", 1), short]))
            .await
            .unwrap();
        let read = store.client("c").await.unwrap().unwrap();
        let insert = |id: &'static str, read: StoredClient| {
            let store = &store;
            async move {
                store
                    .insert_secret(&read, &secret(id, 9), Some(UnixTime(50)))
                    .await
                    .unwrap()
            }
        };
        let unaware = StoredClient {
            secrets: read.secrets[..1].to_vec(),
            ..read.clone()
        };
        assert!(
            !insert("new", unaware).await,
            "there is one that was not known"
        );
        let changed = StoredClient {
            version: 2,
            ..read.clone()
        };
        assert!(!insert("new", changed).await, "it was changed meanwhile");
        assert!(insert("new", read.clone()).await);
        assert!(!insert("newer", read).await, "there is a new one");
        assert!(!insert("x", client("nobody", json!({}), &[])).await);
        store
            .touch_secrets(&[("new".into(), UnixTime(30)), ("gone".into(), UnixTime(30))])
            .await
            .unwrap();
        store
            .touch_secrets(&[("new".into(), UnixTime(29))])
            .await
            .unwrap();
        // One that was noted before the clock was set back.
        store
            .touch_secrets(&[("old".into(), UnixTime(50_000))])
            .await
            .unwrap();
        store
            .touch_secrets(&[("old".into(), UnixTime(40))])
            .await
            .unwrap();
        let secrets = store.client("c").await.unwrap().unwrap().secrets;
        let seen: Vec<_> = secrets
            .iter()
            .map(|it| (it.secret_id.as_str(), it.expires_at, it.last_used_at))
            .collect();
        let at = |time| Some(UnixTime(time));
        assert_eq!(
            seen,
            [
                ("old", at(50), at(40)),
                ("short", at(20), None),
                ("new", None, at(30))
            ]
        );
        let delete = async |id, secret, at: Option<i64>| {
            store
                .delete_secret(id, secret, at.map(UnixTime))
                .await
                .unwrap()
        };
        assert_eq!(
            delete("b", "old", None).await,
            DeletedSecret::Unknown,
            "not that client's"
        );
        assert_eq!(delete("c", "old", None).await, DeletedSecret::Done);
        assert_eq!(delete("c", "old", None).await, DeletedSecret::Unknown);
        assert_eq!(
            delete("c", "new", Some(20)).await,
            DeletedSecret::Last,
            "the other one ends at 20"
        );
        assert_eq!(store.client("c").await.unwrap().unwrap().secrets.len(), 2);
        assert_eq!(
            delete("c", "short", Some(20)).await,
            DeletedSecret::Done,
            "it is dead"
        );
        assert_eq!(delete("c", "new", None).await, DeletedSecret::Done);
    }
}

#[tokio::test]
async fn of_two_secrets_that_are_deleted_at_once_one_stays_and_keys_take_every_secret_away() {
    for (store, _directory) in stores().await {
        store
            .insert_client(&client(
                "c",
                json!({}),
                &[secret("one", 1), secret("two", 2)],
            ))
            .await
            .unwrap();
        let [one, two] = ["one", "two"].map(|id| store.delete_secret("c", id, Some(UnixTime(5))));
        let (one, two) = tokio::join!(one, two);
        let both = [one.unwrap(), two.unwrap()];
        assert!(
            both.contains(&DeletedSecret::Done) && both.contains(&DeletedSecret::Last),
            "{both:?}"
        );
        // A secret that comes between the reading and the change goes as well; one that comes later
        // is refused.
        let read = store.client("c").await.unwrap().unwrap();
        assert!(
            store
                .insert_secret(&read, &secret("three", 3), None)
                .await
                .unwrap()
        );
        let keyed = StoredClient {
            document: json!({"jwks": {}}),
            ..read.clone()
        };
        assert!(
            store
                .update_client(&keyed, SecretsOf::Deleted, None)
                .await
                .unwrap()
        );
        assert!(
            !store
                .insert_secret(&read, &secret("four", 4), None)
                .await
                .unwrap()
        );
        assert_eq!(store.client("c").await.unwrap().unwrap().secrets, []);
    }
}

#[tokio::test]
async fn who_deletes_a_client_ends_all_it_was_issued_and_nothing_else() {
    for (store, _directory) in stores().await {
        for id in ["c", "other"] {
            store
                .insert_client(&client(id, json!({}), &[secret(id, 1)]))
                .await
                .unwrap();
            store
                .insert_token(&token(&format!("{id}-before"), id, 10, Some(100)))
                .await
                .unwrap();
            store
                .insert_token(&token(&format!("{id}-after"), id, 11, Some(100)))
                .await
                .unwrap();
            let number = u8::try_from(id.len()).unwrap();
            store
                .insert_refresh_token(&refresh(number, id, id), &unkept(1), false)
                .await
                .unwrap();
        }
        assert!(
            !store
                .delete_client(1, &end("nobody", 10, 100))
                .await
                .unwrap()
        );
        assert!(
            !store.delete_client(2, &end("c", 10, 100)).await.unwrap(),
            "it was changed meanwhile"
        );
        assert!(store.delete_client(1, &end("c", 10, 100)).await.unwrap());
        assert_eq!(store.client("c").await.unwrap(), None);
        assert_eq!(store.clients().await.unwrap().len(), 1);
        let dead = store.tokens(&TokenFilter::default()).await.unwrap();
        let dead: Vec<_> = dead
            .iter()
            .filter(|token| token.revoked_at.is_some())
            .collect();
        assert_eq!(
            dead.iter()
                .map(|token| token.jti.as_str())
                .collect::<Vec<_>>(),
            ["c-before"]
        );
        assert_eq!(store.refresh_token(&[1; 32]).await.unwrap(), None);
        assert!(store.refresh_token(&[5; 32]).await.unwrap().is_some());
        let expected = Revocations {
            tokens: vec![],
            clients: vec![end("c", 10, 100)],
        };
        assert_eq!(store.revocations(UnixTime(100)).await.unwrap(), expected);
        assert_eq!(
            store.revocations(UnixTime(101)).await.unwrap(),
            Revocations::default()
        );
        // The later of two times holds, with the mark of the newer end.
        store.end_client_tokens(&end("c", 20, 200)).await.unwrap();
        store.end_client_tokens(&end("c", 15, 150)).await.unwrap();
        let both = ClientNotBefore {
            mark: end("c", 15, 150).mark,
            ..end("c", 20, 200)
        };
        assert_eq!(
            store.revocations(UnixTime(0)).await.unwrap().clients,
            [both]
        );
    }
}

#[tokio::test]
async fn disabling_a_client_and_ending_its_tokens_is_one_step() {
    for (store, _directory) in stores().await {
        let first = client("c", json!({}), &[]);
        store.insert_client(&first).await.unwrap();
        let stale = StoredClient {
            version: 7,
            ..first.clone()
        };
        let kept = SecretsOf::Kept;
        assert!(
            !store
                .update_client(&stale, kept, Some(&end("c", 10, 100)))
                .await
                .unwrap()
        );
        assert_eq!(
            store.revocations(UnixTime(0)).await.unwrap(),
            Revocations::default()
        );
        assert!(
            store
                .update_client(&first, kept, Some(&end("c", 10, 100)))
                .await
                .unwrap()
        );
        assert_eq!(
            store.revocations(UnixTime(0)).await.unwrap().clients,
            [end("c", 10, 100)]
        );
    }
}

#[tokio::test]
async fn tokens_are_found_by_client_owner_id_and_state_page_by_page() {
    for (store, _directory) in stores().await {
        for (jti, client_id, issued, expires) in [
            ("1", "a", 10, Some(100)),
            ("2", "a", 20, None),
            ("3", "b", 20, Some(30)),
            ("4", "b", 30, Some(100)),
        ] {
            store
                .insert_token(&token(jti, client_id, issued, expires))
                .await
                .unwrap();
        }
        store
            .revoke_token(&revoked("4", "b", 100, 35))
            .await
            .unwrap();
        store
            .revoke_token(&revoked("4", "b", 100, 99))
            .await
            .unwrap();
        let all = store.tokens(&TokenFilter::default()).await.unwrap();
        assert_eq!(jtis(&all), ["4", "3", "2", "1"]);
        assert_eq!(all[0].revoked_at, Some(UnixTime(35)));
        assert_eq!(all[3], token("1", "a", 10, Some(100)));
        let store = &*store;
        let by = |change: fn(&mut TokenFilter)| {
            let mut filter = TokenFilter::default();
            change(&mut filter);
            list(store, filter)
        };
        assert_eq!(by(|f| f.client_id = Some("a".into())).await, ["2", "1"]);
        assert_eq!(
            by(|f| f.owner = Some(OwnerFilter::Named("owner of b".into()))).await,
            ["4", "3"]
        );
        assert_eq!(
            by(|f| f.jtis = vec!["1".into(), "3".into(), "x".into()]).await,
            ["3", "1"]
        );
        assert_eq!(
            by(|f| f.active = Some((true, UnixTime(30)))).await,
            ["2", "1"]
        );
        assert_eq!(
            by(|f| f.active = Some((false, UnixTime(30)))).await,
            ["4", "3"]
        );
        assert_eq!(by(|f| f.without_revoked = true).await, ["3", "2", "1"]);
        assert_eq!(by(|f| f.limit = Some(2)).await, ["4", "3"]);
        let page = by(|f| (f.after, f.limit) = (Some((UnixTime(20), "3".into())), Some(2)));
        assert_eq!(page.await, ["2", "1"]);
    }
}

#[tokio::test]
async fn owners_of_the_same_name_are_told_apart_by_their_issuer() {
    for (store, _directory) in stores().await {
        for (jti, issuer) in [
            ("a", Some("https://a")),
            ("b", Some("https://b")),
            ("none", None),
        ] {
            let owner_issuer = issuer.map(str::to_owned);
            let token = TokenRecord {
                owner: Some("1".into()),
                owner_issuer,
                ..token(jti, "c", 9, None)
            };
            store.insert_token(&token).await.unwrap();
        }
        let of = |issuer: &str, without_issuer| TokenFilter {
            owner: Some(OwnerFilter::Of {
                owner: "1".into(),
                issuers: vec![issuer.into()],
                without_issuer,
            }),
            ..TokenFilter::default()
        };
        assert_eq!(list(&*store, of("https://a", false)).await, ["a"]);
        assert_eq!(list(&*store, of("https://a", true)).await, ["none", "a"]);
        assert_eq!(list(&*store, of("https://c", false)).await, [""; 0]);
        let named = TokenFilter {
            owner: Some(OwnerFilter::Named("1".into())),
            ..TokenFilter::default()
        };
        assert_eq!(list(&*store, named).await, ["none", "b", "a"]);
        let ended = store
            .end_tokens(&of("https://b", false), UnixTime(50), UnixTime(50))
            .await
            .unwrap();
        assert_eq!(
            ended
                .revoked
                .iter()
                .map(|token| &token.jti)
                .collect::<Vec<_>>(),
            ["b"]
        );
    }
}

#[tokio::test]
async fn ending_tokens_revokes_the_live_and_deletes_the_dead() {
    for (store, _directory) in stores().await {
        store
            .insert_token(&token("live", "a", 10, Some(100)))
            .await
            .unwrap();
        store
            .insert_token(&token("endless", "a", 10, None))
            .await
            .unwrap();
        store
            .insert_token(&token("expired", "a", 10, Some(50)))
            .await
            .unwrap();
        store
            .insert_token(&token("foreign", "b", 10, Some(100)))
            .await
            .unwrap();
        let filter = TokenFilter {
            client_id: Some("a".into()),
            ..TokenFilter::default()
        };
        let mut ended = store
            .end_tokens(&filter, UnixTime(500), UnixTime(50))
            .await
            .unwrap();
        ended.revoked.sort_by(|a, b| a.jti.cmp(&b.jti));
        // Also what only a clock that is ahead takes for expired.
        let endless = revoked("endless", "a", i64::MAX, 500);
        let expected = vec![endless.clone(), revoked("live", "a", 100, 500)];
        assert_eq!(
            ended,
            Ended {
                revoked: expected.clone(),
                deleted: 1
            }
        );
        assert_eq!(
            store
                .end_tokens(&filter, UnixTime(60), UnixTime(60))
                .await
                .unwrap(),
            Ended::default()
        );
        assert_eq!(
            store.revocations(UnixTime(0)).await.unwrap().tokens,
            expected
        );
        assert_eq!(
            store.revocations(UnixTime(101)).await.unwrap().tokens,
            [endless]
        );
        assert_eq!(
            list(&*store, TokenFilter::default()).await,
            ["live", "foreign", "endless"]
        );
    }
}

#[tokio::test]
async fn a_lost_answer_may_be_asked_for_again_and_a_stolen_refresh_token_ends_its_family() {
    let grace = Duration::from_secs(30);
    let rotate = |store: Arc<dyn Store>, old: u8, new: u8, now: i64| async move {
        let successor = refresh(new, "f", "c");
        store
            .rotate_refresh_token(
                &[old; 32],
                &successor,
                None,
                (UnixTime(now), UnixTime(now)),
                grace,
            )
            .await
            .unwrap()
    };
    for (store, _directory) in stores().await {
        let rotate = |old, new, now| rotate(store.clone(), old, new, now);
        store
            .insert_refresh_token(&refresh(1, "f", "c"), &unkept(1), false)
            .await
            .unwrap();
        assert_eq!(rotate(9, 10, 100).await, Rotation::Unknown);
        assert_eq!(
            rotate(1, 2, 1000).await,
            Rotation::Unknown,
            "it has expired"
        );
        assert_eq!(rotate(1, 2, 100).await, Rotation::Done);
        assert_eq!(
            store
                .refresh_token(&[1; 32])
                .await
                .unwrap()
                .unwrap()
                .used_at,
            Some(UnixTime(100))
        );
        assert_eq!(
            rotate(1, 3, 130).await,
            Rotation::Done,
            "its answer was lost"
        );
        assert_eq!(rotate(3, 4, 140).await, Rotation::Done);
        // The successor that was lost.
        assert_eq!(rotate(2, 5, 141).await, Rotation::Reused);
        assert_eq!(
            store.refresh_token(&[4; 32]).await.unwrap(),
            None,
            "the whole family is gone"
        );
        let mut dead = store.revocations(UnixTime(141)).await.unwrap().tokens;
        dead.sort_by(|a, b| a.jti.cmp(&b.jti));
        let dead: Vec<_> = dead.iter().map(|token| token.jti.as_str()).collect();
        assert_eq!(dead, ["access-1", "access-2", "access-3", "access-4"]);
        assert_eq!(rotate(4, 6, 142).await, Rotation::Unknown);
    }
    // Each of these is a reuse.
    for (second_use, third) in [(131, None), (69, None), (101, Some((1, 3, 102)))] {
        for (store, _directory) in stores().await {
            store
                .insert_refresh_token(&refresh(1, "f", "c"), &unkept(1), false)
                .await
                .unwrap();
            store
                .insert_refresh_token(&refresh(100, "g", "c"), &unkept(1), false)
                .await
                .unwrap();
            assert_eq!(rotate(store.clone(), 1, 2, 100).await, Rotation::Done);
            let second = rotate(store.clone(), 1, 50, second_use).await;
            if let Some((old, new, now)) = third {
                assert_eq!(second, Rotation::Done);
                assert_eq!(
                    rotate(store.clone(), old, new, now).await,
                    Rotation::Reused,
                    "a third time"
                );
            } else {
                assert_eq!(
                    second,
                    Rotation::Reused,
                    "too late, or the clock was set back"
                );
            }
            assert!(
                store.refresh_token(&[100; 32]).await.unwrap().is_some(),
                "another family"
            );
        }
    }
    // The successor was heard of, so no answer was lost.
    for (store, _directory) in stores().await {
        store
            .insert_refresh_token(&refresh(1, "f", "c"), &unkept(1), false)
            .await
            .unwrap();
        assert_eq!(rotate(store.clone(), 1, 2, 100).await, Rotation::Done);
        assert_eq!(rotate(store.clone(), 2, 3, 101).await, Rotation::Done);
        assert_eq!(rotate(store.clone(), 1, 4, 102).await, Rotation::Reused);
    }
}

#[tokio::test]
async fn what_is_issued_while_its_client_ends_does_not_outlive_the_end() {
    for (store, _directory) in stores().await {
        store.end_client_tokens(&end("c", 10, 900)).await.unwrap();
        store
            .insert_token(&token("early", "c", 10, None))
            .await
            .unwrap();
        store
            .insert_token(&token("late", "c", 11, None))
            .await
            .unwrap();
        store
            .insert_token(&token("other", "d", 10, None))
            .await
            .unwrap();
        let ended_at = store.revocations(UnixTime(0)).await.unwrap().clients[0].revoked_at;
        let kept = store.tokens(&TokenFilter::default()).await.unwrap();
        let kept: Vec<_> = kept
            .iter()
            .map(|it| (it.jti.as_str(), it.revoked_at))
            .collect();
        assert_eq!(
            kept,
            [("late", None), ("other", None), ("early", Some(ended_at))]
        );
        let access = token("with refresh", "c", 10, None);
        store
            .insert_refresh_token(&refresh(1, "f", "c"), &access, true)
            .await
            .unwrap();
        store
            .insert_refresh_token(&refresh(2, "g", "c"), &unkept(11), false)
            .await
            .unwrap();
        assert_eq!(store.refresh_token(&[1; 32]).await.unwrap(), None);
        assert!(store.refresh_token(&[2; 32]).await.unwrap().is_some());
        // The clock was set back after the end: the mark says what the `iat` does not.
        let [mark, older] = [end("c", 10, 900).mark, EndMark::of(b"older")];
        for (number, after_end, lives) in [(3, mark, true), (4, older, false)] {
            let jti = format!("marked-{number}");
            let access = TokenRecord {
                after_end: Some(after_end),
                ..token(&jti, "c", 9, None)
            };
            store
                .insert_refresh_token(&refresh(number, "h", "c"), &access, true)
                .await
                .unwrap();
            assert_eq!(
                store.refresh_token(&[number; 32]).await.unwrap().is_some(),
                lives
            );
            let filter = TokenFilter {
                jtis: vec![jti],
                ..TokenFilter::default()
            };
            assert_eq!(
                store.tokens(&filter).await.unwrap()[0].revoked_at.is_none(),
                lives
            );
        }
        assert_eq!(list(&*store, TokenFilter::default()).await.len(), 6);
    }
}

#[tokio::test]
async fn the_latest_time_of_signing_only_grows() {
    for (store, _directory) in stores().await {
        assert_eq!(store.signed_until().await.unwrap(), UnixTime(0));
        for (at, noted) in [(50, 50), (40, 50), (60, 60)] {
            store.note_signed_until(UnixTime(at)).await.unwrap();
            assert_eq!(store.signed_until().await.unwrap(), UnixTime(noted));
        }
    }
}

#[tokio::test]
async fn the_proven_time_only_grows_and_is_kept_with_what_the_clock_claims() {
    for (store, _directory) in stores().await {
        assert_eq!(store.proven_time().await.unwrap(), None);
        let claim = Some(Claim {
            at: UnixTime(90),
            stood: Duration::from_secs(7),
        });
        let noted = |at, claim, boot: &str, uptime| NotedTime {
            proven: ProvenTime {
                at: UnixTime(at),
                claim,
            },
            boot: Some(boot.to_owned()).filter(|boot| !boot.is_empty()),
            uptime: Duration::from_secs(uptime),
        };
        for (note, kept) in [
            (noted(50, claim, "one", 5), 50),
            (noted(40, None, "two", 3), 50),
            (noted(60, claim, "", 0), 60),
        ] {
            store.note_proven_time(&note).await.unwrap();
            let proven = ProvenTime {
                at: UnixTime(kept),
                ..note.proven
            };
            assert_eq!(
                store.proven_time().await.unwrap(),
                Some(NotedTime { proven, ..note })
            );
        }
    }
}

#[tokio::test]
async fn what_was_revoked_since_a_revision_is_read_alone() {
    for (store, _directory) in stores().await {
        assert_eq!(
            store.revocations_since(0).await.unwrap(),
            (0, Revocations::default())
        );
        store
            .revoke_token(&revoked("a", "c", 100, 1))
            .await
            .unwrap();
        store.end_client_tokens(&end("c", 10, 900)).await.unwrap();
        store
            .insert_token(&token("kept", "d", 1, Some(500)))
            .await
            .unwrap();
        let filter = TokenFilter {
            client_id: Some("d".into()),
            ..TokenFilter::default()
        };
        store
            .end_tokens(&filter, UnixTime(5), UnixTime(5))
            .await
            .unwrap();
        store
            .revoke_token(&revoked("a", "c", 100, 7))
            .await
            .unwrap();
        let (revision, all) = store.revocations_since(0).await.unwrap();
        assert_eq!(
            (revision, &all),
            (4, &store.revocations(UnixTime(0)).await.unwrap())
        );
        assert_eq!(
            all.tokens
                .iter()
                .map(|it| it.jti.as_str())
                .collect::<Vec<_>>(),
            ["a", "kept"]
        );
        let (_, later) = store.revocations_since(1).await.unwrap();
        assert_eq!((later.tokens.len(), later.clients.len()), (1, 1));
        // An end that moves is new again.
        store
            .insert_client(&client("c", json!({}), &[]))
            .await
            .unwrap();
        store.delete_client(1, &end("c", 20, 900)).await.unwrap();
        store
            .insert_refresh_token(&refresh(1, "f", "e"), &unkept(1), false)
            .await
            .unwrap();
        store
            .delete_refresh_family("f", UnixTime(10), UnixTime(10))
            .await
            .unwrap();
        let (revision, new) = store.revocations_since(4).await.unwrap();
        assert_eq!(revision, 6);
        assert_eq!(new.clients, [end("c", 20, 900)]);
        assert_eq!(new.tokens, [revoked("access-1", "e", 500, 10)]);
        assert_eq!(
            store.revocations_since(6).await.unwrap(),
            (6, Revocations::default())
        );
    }
}

#[tokio::test]
async fn an_owners_tokens_of_a_client_are_counted_until_they_expire() {
    for (store, _directory) in stores().await {
        for (jti, client, expires_at) in [
            ("1", "a", Some(50)),
            ("2", "a", Some(60)),
            ("3", "a", None),
            ("4", "b", Some(70)),
        ] {
            let owner = Some("7".to_owned());
            store
                .insert_token(&TokenRecord {
                    owner,
                    ..token(jti, client, 1, expires_at)
                })
                .await
                .unwrap();
        }
        // Another issuer's user of the same name.
        let other = TokenRecord {
            owner: Some("7".to_owned()),
            owner_issuer: None,
            ..token("6", "a", 1, None)
        };
        store.insert_token(&other).await.unwrap();
        store.insert_token(&token("5", "a", 1, None)).await.unwrap();
        store.revoke_token(&revoked("2", "a", 60, 9)).await.unwrap();
        let issuers = ["https://idp.example", "https://idp.example/"].map(str::to_owned);
        let owner = ("7", &issuers[..]);
        let count = async |now| store.count_tokens("a", owner, UnixTime(now)).await.unwrap();
        let of = |all, revoked, end: Option<i64>| TokenCount {
            all,
            revoked,
            first_end: end.map(UnixTime),
        };
        assert_eq!(count(49).await, of(3, 1, Some(50)));
        assert_eq!(count(50).await, of(2, 1, Some(60)));
        assert_eq!(count(60).await, of(1, 0, None));
        for nobody in [("7", &issuers[1..]), ("8", &issuers)] {
            assert_eq!(
                store.count_tokens("a", nobody, UnixTime(1)).await.unwrap(),
                TokenCount::default()
            );
        }
    }
}

#[tokio::test]
async fn deleting_a_refresh_family_revokes_its_access_tokens() {
    for (store, _directory) in stores().await {
        let access = token("access-1", "c", 1, Some(500));
        store
            .insert_refresh_token(&refresh(1, "f", "c"), &access, true)
            .await
            .unwrap();
        assert!(
            !store
                .delete_refresh_family("g", UnixTime(10), UnixTime(10))
                .await
                .unwrap()
        );
        // The clock is ahead: to it the access token has expired.
        assert!(
            store
                .delete_refresh_family("f", UnixTime(600), UnixTime(10))
                .await
                .unwrap()
        );
        let kept = store.tokens(&TokenFilter::default()).await.unwrap();
        assert_eq!(
            kept[0].revoked_at,
            Some(UnixTime(600)),
            "the kept access token is marked"
        );
        assert_eq!(store.refresh_token(&[1; 32]).await.unwrap(), None);
        let expected = [revoked("access-1", "c", 500, 600)];
        assert_eq!(
            store.revocations(UnixTime(10)).await.unwrap().tokens,
            expected
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uses_of_one_assertion_one_is_the_first() {
    for (store, _directory) in stores().await {
        let uses = (0..50).map(|_| store.use_assertion(&[7; 32], UnixTime(100)));
        let first = futures_util::future::join_all(uses).await;
        assert_eq!(
            first
                .into_iter()
                .filter(|first| *first.as_ref().unwrap())
                .count(),
            1
        );
        assert!(store.use_assertion(&[8; 32], UnixTime(100)).await.unwrap());
        store.purge(UnixTime(100), 10).await.unwrap();
        assert!(!store.use_assertion(&[7; 32], UnixTime(200)).await.unwrap());
        store.purge(UnixTime(101), 10).await.unwrap();
        assert!(store.use_assertion(&[7; 32], UnixTime(200)).await.unwrap());
    }
}

#[tokio::test]
async fn what_is_dead_is_purged_in_portions_and_what_never_expires_stays() {
    for (store, _directory) in stores().await {
        for number in 0..5 {
            store
                .insert_token(&token(&number.to_string(), "a", 1, Some(10)))
                .await
                .unwrap();
        }
        store
            .insert_token(&token("endless", "a", 1, None))
            .await
            .unwrap();
        store
            .revoke_token(&revoked("endless", "a", i64::MAX, 5))
            .await
            .unwrap();
        store.revoke_token(&revoked("0", "a", 10, 5)).await.unwrap();
        assert_eq!(
            store.purge(UnixTime(10), 3).await.unwrap(),
            0,
            "still alive to a clock a second behind"
        );
        assert_eq!(
            store.purge(UnixTime(11), 3).await.unwrap(),
            4,
            "three tokens, one revocation"
        );
        assert_eq!(store.purge(UnixTime(11), 3).await.unwrap(), 2);
        assert_eq!(list(&*store, TokenFilter::default()).await, ["endless"]);
        assert_eq!(
            store.revocations(UnixTime(99)).await.unwrap().tokens.len(),
            1
        );
    }
}

#[tokio::test]
async fn revisions_rise_with_what_they_count_and_nothing_else() {
    for (store, _directory) in stores().await {
        let mut last = store.revisions().await.unwrap();
        let mut rises = async |store: &Arc<dyn Store>| {
            let now = store.revisions().await.unwrap();
            let before = std::mem::replace(&mut last, now);
            (
                now.keys > before.keys,
                now.clients > before.clients,
                now.revocations > before.revocations,
            )
        };
        store
            .insert_client(&client("c", json!({}), &[]))
            .await
            .unwrap();
        assert_eq!(rises(&store).await, (false, true, false));
        store
            .insert_client(&client("c", json!({}), &[]))
            .await
            .unwrap();
        store
            .insert_token(&token("t", "c", 1, Some(100)))
            .await
            .unwrap();
        store
            .touch_secrets(&[("s".into(), UnixTime(1))])
            .await
            .unwrap();
        assert_eq!(rises(&store).await, (false, false, false));
        assert!(
            store
                .insert_secret(&client("c", json!({}), &[]), &secret("s", 1), None)
                .await
                .unwrap()
        );
        assert_eq!(rises(&store).await, (false, true, false));
        store
            .revoke_token(&revoked("t", "c", 100, 2))
            .await
            .unwrap();
        assert_eq!(rises(&store).await, (false, false, true));
        assert!(store.delete_client(1, &end("c", 10, 100)).await.unwrap());
        assert_eq!(rises(&store).await, (false, true, true));
        let revision = store.revisions().await.unwrap().keys;
        let change = KeyChange {
            delete: vec!["nobody".to_owned()],
            ..KeyChange::default()
        };
        assert!(store.change_signing_keys(revision, &change).await.unwrap());
        assert_eq!(rises(&store).await, (true, false, false));
        assert!(!store.change_signing_keys(revision, &change).await.unwrap());
        assert_eq!(rises(&store).await, (false, false, false));
        assert_ne!(last, Revisions::default());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_takes_none_of_those_beside_it_along() {
    for (store, _directory) in stores().await {
        let store = &store;
        let writes = (0..200).map(|number| async move {
            // Every fourth has a `jti` that is taken.
            let jti = if number % 4 == 0 {
                "taken".to_owned()
            } else {
                number.to_string()
            };
            store
                .insert_token(&token(&jti, "a", 1, Some(10)))
                .await
                .is_ok()
        });
        let kept = futures_util::future::join_all(writes).await;
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 151);
        assert_eq!(
            store.tokens(&TokenFilter::default()).await.unwrap().len(),
            151
        );
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::SqliteFile(directory.path().join("m2m.db"));
    let store = super::open(&config).await.unwrap();
    store
        .insert_client(&client("c", json!({"a": 1}), &[secret("s", 1)]))
        .await
        .unwrap();
    store
        .insert_token(&token("t", "c", 1, Some(100)))
        .await
        .unwrap();
    store
        .revoke_token(&revoked("t", "c", 100, 2))
        .await
        .unwrap();
    let before = store.revisions().await.unwrap();
    drop(store);
    let store = super::open(&config).await.unwrap();
    assert_eq!(
        store.clients().await.unwrap(),
        [client("c", json!({"a": 1}), &[secret("s", 1)])]
    );
    assert_eq!(list(&*store, TokenFilter::default()).await, ["t"]);
    assert_eq!(
        store.revocations(UnixTime(0)).await.unwrap().tokens,
        [revoked("t", "c", 100, 2)]
    );
    assert_eq!(store.revisions().await.unwrap(), before);
}
