//! Clients and their secrets.

use super::*;

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
        assert!(!insert("x", client("unknown", json!({}), &[])).await);
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
async fn of_two_secrets_deleted_at_once_one_stays_and_keys_remove_every_secret() {
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
async fn deleting_a_client_ends_its_tokens_and_no_others() {
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
                .delete_client(1, &end("unknown", 10, 100))
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
