//! Lists of kept tokens, in every store.

use super::*;

#[tokio::test]
async fn the_oldest_come_first_and_those_of_a_second_as_they_were_kept() {
    for (store, _directory) in stores().await {
        let kept = ["m", "z", "a", "k", "b"];
        for (jti, issued) in kept.iter().zip([20, 20, 20, 30, 10]) {
            store
                .insert_token(&token(jti, "c", issued, None))
                .await
                .unwrap();
        }
        let oldest_first = TokenFilter {
            oldest_first: true,
            ..TokenFilter::default()
        };
        assert_eq!(
            list(&*store, oldest_first.clone()).await,
            ["b", "m", "z", "a", "k"]
        );
        let behind = |issued, jti: &str| {
            let (after, limit) = (Some((UnixTime(issued), jti.to_owned())), Some(2));
            TokenFilter {
                after,
                limit,
                ..oldest_first.clone()
            }
        };
        assert_eq!(list(&*store, behind(10, "b")).await, ["m", "z"]);
        assert_eq!(list(&*store, behind(20, "z")).await, ["a", "k"]);
        assert_eq!(list(&*store, behind(30, "k")).await, [""; 0]);
        // The last one of a page may be deleted before the next page is read.
        assert_eq!(list(&*store, behind(20, "gone")).await, ["m", "z"]);
    }
}

#[tokio::test]
async fn expired_tokens_are_left_out_from_the_second_of_their_end() {
    for (store, _directory) in stores().await {
        for (jti, expires) in [("endless", None), ("late", Some(100)), ("early", Some(30))] {
            store
                .insert_token(&token(jti, "c", 10, expires))
                .await
                .unwrap();
        }
        for (now, left) in [
            (29, vec!["endless", "late", "early"]),
            (30, vec!["endless", "late"]),
            (100, vec!["endless"]),
        ] {
            let unexpired_at = Some(UnixTime(now));
            let filter = TokenFilter {
                unexpired_at,
                oldest_first: true,
                ..TokenFilter::default()
            };
            assert_eq!(list(&*store, filter).await, left, "{now}");
        }
    }
}
