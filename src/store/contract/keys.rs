//! Signing keys, in every store.

use super::*;
use crate::store::{KeyRecord, KeyState, StoredKey, StoredKeys};

fn key(kid: &str, created_at: i64, state: KeyState) -> StoredKey {
    StoredKey {
        record: KeyRecord {
            kid: kid.to_owned(),
            algorithm: format!("algorithm of {kid}"),
            created_at: UnixTime(created_at),
            state,
            signs_from: UnixTime(created_at + 1),
            retired_at: (state == KeyState::Retired).then_some(UnixTime(created_at + 2)),
            longest_token: Duration::from_secs(3600),
            foreign_since: (state == KeyState::Active).then_some(UnixTime(created_at + 3)),
        },
        private_key: SecretString::from(format!("pem of {kid}\n")),
    }
}

fn seen(stored: &StoredKeys) -> Vec<(KeyRecord, &str)> {
    stored
        .keys
        .iter()
        .map(|key| (key.record.clone(), key.private_key.expose_secret()))
        .collect()
}

#[tokio::test]
async fn keys_are_kept_whole_changed_together_and_given_back_newest_first() {
    for (store, _directory) in stores().await {
        let empty = store.signing_keys().await.unwrap();
        assert_eq!((empty.revision, empty.keys.len()), (0, 0));
        let keys = [
            key("r", 1, KeyState::Retired),
            key("a", 2, KeyState::Active),
            key("n", 3, KeyState::Next),
        ];
        let change = KeyChange {
            put: keys.to_vec(),
            delete: Vec::new(),
        };
        assert!(store.change_signing_keys(0, &change).await.unwrap());
        let [retired, active, next] = keys.map(|key| key.record);
        let stored = store.signing_keys().await.unwrap();
        let expected = [
            (next.clone(), "pem of n\n"),
            (active.clone(), "pem of a\n"),
            (retired, "pem of r\n"),
        ];
        assert_eq!((stored.revision, seen(&stored)), (1, expected.to_vec()));

        let longest = Duration::from_secs(u64::try_from(i64::MAX).unwrap());
        let active = KeyRecord {
            longest_token: longest,
            ..active
        };
        let put = vec![StoredKey {
            record: active.clone(),
            private_key: "sealed".into(),
        }];
        let change = KeyChange {
            put,
            delete: vec!["r".to_owned(), "unknown".to_owned()],
        };
        assert!(store.change_signing_keys(1, &change).await.unwrap());
        let stored = store.signing_keys().await.unwrap();
        assert_eq!(
            (stored.revision, seen(&stored)),
            (2, vec![(next, "pem of n\n"), (active, "sealed")])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_to_the_same_keys_one_is_made_and_the_others_leave_nothing() {
    for (store, _directory) in stores().await {
        for revision in 0..3 {
            let changes = (0..20).map(|number| {
                let kid = format!("{revision}-{number}");
                let change = KeyChange {
                    put: vec![key(&kid, revision, KeyState::Next)],
                    delete: Vec::new(),
                };
                let store = &store;
                async move { store.change_signing_keys(revision, &change).await.unwrap() }
            });
            let made = futures_util::future::join_all(changes).await;
            assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
        }
        let stored = store.signing_keys().await.unwrap();
        assert_eq!((stored.revision, stored.keys.len()), (3, 3));
        assert_eq!(store.revisions().await.unwrap().keys, 3);
    }
}

#[tokio::test]
async fn a_change_that_fails_half_way_changes_nothing() {
    for (store, _directory) in stores().await {
        let mut impossible = key("b", 1, KeyState::Active);
        impossible.record.retired_at = Some(UnixTime(5));
        let change = KeyChange {
            put: vec![key("a", 1, KeyState::Active), impossible],
            delete: Vec::new(),
        };
        assert!(store.change_signing_keys(0, &change).await.is_err());
        let stored = store.signing_keys().await.unwrap();
        assert_eq!((stored.revision, stored.keys.len()), (0, 0));
    }
}
