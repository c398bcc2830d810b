//! Revisions, revocations, times and transactions.

use super::*;

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
async fn the_proven_time_only_grows_and_is_kept_with_the_clocks_claim() {
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
async fn only_revocations_since_a_revision_are_read() {
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
async fn each_revision_rises_with_its_own_changes_only() {
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
            delete: vec!["unknown".to_owned()],
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
async fn a_failed_write_affects_no_other_write_of_its_transaction() {
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
async fn acknowledged_writes_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::SqliteFile(directory.path().join("m2m.db"));
    let store = crate::store::open(&config).await.unwrap();
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
    let store = crate::store::open(&config).await.unwrap();
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
