//! The tests of refresh tokens that every store must pass.

use super::*;
use crate::store::tokens::{MAX_FAMILIES, MAX_USED};

#[tokio::test]
async fn a_refresh_token_and_its_kept_access_token_are_kept_together_or_not_at_all() {
    for (store, _directory) in stores().await {
        let kept = token("kept", "c", 1, Some(500));
        store.insert_token(&kept).await.unwrap();
        // The `jti` is taken, so the row cannot be written, and the refresh token with it.
        assert!(
            store
                .insert_refresh_token(&refresh(1, "f", "c"), &kept, true)
                .await
                .is_err()
        );
        assert_eq!(store.refresh_token(&[1; 32]).await.unwrap(), None);
        store
            .insert_refresh_token(&refresh(1, "f", "c"), &unkept(1), false)
            .await
            .unwrap();
        let grace = Duration::from_secs(30);
        let next = refresh(2, "f", "c");
        let now = (UnixTime(10), UnixTime(10));
        assert!(
            store
                .rotate_refresh_token(&[1; 32], &next, Some(&kept), now, grace)
                .await
                .is_err()
        );
        assert_eq!(
            store
                .refresh_token(&[1; 32])
                .await
                .unwrap()
                .unwrap()
                .used_at,
            None,
            "not spent"
        );
        let other = token("other", "c", 2, Some(500));
        let unknown = store
            .rotate_refresh_token(&[9; 32], &next, Some(&other), now, grace)
            .await
            .unwrap();
        assert_eq!(
            (
                unknown,
                store.tokens(&TokenFilter::default()).await.unwrap().len()
            ),
            (Rotation::Unknown, 1)
        );
        let rotated = store
            .rotate_refresh_token(&[1; 32], &next, Some(&other), now, grace)
            .await
            .unwrap();
        assert_eq!(
            (
                rotated,
                store.tokens(&TokenFilter::default()).await.unwrap().len()
            ),
            (Rotation::Done, 2)
        );
    }
}

fn numbered(number: usize, family: &str, grant: Value, expires_at: i64) -> RefreshToken {
    let hash = crate::domain::hash::sha256(&number.to_be_bytes());
    let access_expires_at = UnixTime(i64::try_from(number).unwrap());
    RefreshToken {
        hash,
        grant,
        expires_at: UnixTime(expires_at),
        access_expires_at,
        ..refresh(0, family, "c")
    }
}

#[tokio::test]
async fn the_family_unused_for_longest_is_deleted_beyond_the_most_of_an_owner() {
    for (store, _directory) in stores().await {
        let (ann, bob) = (json!({"owner": "ann"}), json!({"owner": "bob"}));
        let insert = async |number: usize, family: &str, grant: &Value, expires_at: i64| {
            let token = numbered(number, family, grant.clone(), expires_at);
            store
                .insert_refresh_token(&token, &unkept(20), false)
                .await
                .unwrap();
            token.hash
        };
        let is_kept = async |hash: &[u8; 32]| store.refresh_token(hash).await.unwrap().is_some();
        let of_bob = insert(1, "bob", &bob, 1000).await;
        let without = insert(2, "without", &json!({}), 1000).await;
        let expired = insert(3, "expired", &ann, 20).await;
        let (used, unused) = (
            insert(4, "used", &ann, 1000).await,
            insert(5, "unused", &ann, 1000).await,
        );
        for number in 100..usize::try_from(MAX_FAMILIES).unwrap() + 98 {
            insert(number, &format!("family-{number}"), &ann, 1000).await;
        }
        assert!(is_kept(&used).await && is_kept(&unused).await);
        let successor = numbered(6, "used", ann.clone(), 1000);
        let (now, grace) = (UnixTime(30), Duration::from_secs(30));
        let rotated = store
            .rotate_refresh_token(&used, &successor, None, (now, now), grace)
            .await
            .unwrap();
        assert_eq!(rotated, Rotation::Done);
        insert(7, "one more", &ann, 1000).await;
        assert!(!is_kept(&unused).await, "it was unused for longest");
        assert!(is_kept(&successor.hash).await && is_kept(&used).await);
        assert!(
            is_kept(&of_bob).await && is_kept(&without).await,
            "another owner's"
        );
        assert!(is_kept(&expired).await, "it is none of the live ones");
        assert_eq!(
            store.revocations(UnixTime(0)).await.unwrap().tokens,
            [],
            "access tokens live on"
        );
    }
}

#[tokio::test]
async fn of_a_familys_used_tokens_only_the_last_are_kept_when_their_access_tokens_have_expired() {
    for (store, _directory) in stores().await {
        let token = |number| numbered(number, "family", json!({}), 10_000);
        store
            .insert_refresh_token(&token(0), &unkept(1), false)
            .await
            .unwrap();
        let rotate = async |number: usize, now: i64| {
            let (hash, grace) = (token(number).hash, Duration::from_secs(30));
            let successor = token(number + 1);
            store
                .rotate_refresh_token(
                    &hash,
                    &successor,
                    None,
                    (UnixTime(now), UnixTime(now)),
                    grace,
                )
                .await
                .unwrap()
        };
        let most = usize::try_from(MAX_USED).unwrap();
        for number in 0..most + 20 {
            assert_eq!(rotate(number, 10).await, Rotation::Done);
        }
        let is_kept = async |number| {
            store
                .refresh_token(&token(number).hash)
                .await
                .unwrap()
                .is_some()
        };
        // The access tokens of the first ten have expired.
        assert!(
            !is_kept(0).await
                && !is_kept(10).await
                && is_kept(11).await
                && is_kept(most + 20).await
        );
        assert_eq!(rotate(most + 20, 5000).await, Rotation::Done);
        assert!(!is_kept(20).await && is_kept(21).await && is_kept(most + 21).await);
        assert_eq!(rotate(0, 5000).await, Rotation::Unknown);
        assert_eq!(rotate(21, 5000).await, Rotation::Reused);
        assert!(!is_kept(most + 21).await, "the family has ended");
    }
}
