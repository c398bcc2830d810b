//! Refresh tokens and assertions.

use super::*;

#[tokio::test]
async fn a_lost_answer_can_be_repeated_and_a_stolen_refresh_token_ends_its_family() {
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
async fn tokens_issued_while_their_client_ends_do_not_outlive_the_end() {
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
        for (number, after_end, is_valid) in [(3, mark, true), (4, older, false)] {
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
                is_valid
            );
            let filter = TokenFilter {
                jtis: vec![jti],
                ..TokenFilter::default()
            };
            assert_eq!(
                store.tokens(&filter).await.unwrap()[0].revoked_at.is_none(),
                is_valid
            );
        }
        assert_eq!(list(&*store, TokenFilter::default()).await.len(), 6);
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
async fn of_many_uses_of_one_assertion_one_succeeds() {
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
