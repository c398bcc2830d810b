//! Access tokens.

use super::*;

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
async fn owners_of_the_same_name_are_distinguished_by_their_issuer() {
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
async fn ending_tokens_revokes_valid_and_deletes_expired_ones() {
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
        for unknown in [("7", &issuers[1..]), ("8", &issuers)] {
            assert_eq!(
                store.count_tokens("a", unknown, UnixTime(1)).await.unwrap(),
                TokenCount::default()
            );
        }
    }
}

#[tokio::test]
async fn expired_rows_are_purged_in_portions_and_endless_ones_stay() {
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
