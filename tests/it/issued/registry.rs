//! The token registry, and what happens when the store does not answer.

use std::time::Duration;

use super::{
    SECRET, YAML, answer_to, builder, claims, count, database, is, issue, post, text, world,
};
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

#[tokio::test(flavor = "multi_thread")]
async fn only_tokens_with_a_name_leave_a_row_and_it_is_written_before_the_answer() {
    let upstream = Upstream::start();
    let (sidecar, _clock) = world(&upstream).await;
    let mut database = database(&sidecar).await;
    for _ in 0..3 {
        issue(&sidecar, "plain", &[]).await;
    }
    assert_eq!(count(&mut database, "tokens").await, 0);
    let named = issue(
        &sidecar,
        "plain",
        &[("token_name", "laptop"), ("scope", "a")],
    )
    .await;
    let claims = claims(text(&named, "access_token"));
    let row: (String, String, String, String, String, String, i64) = sqlx::query_as(
        "SELECT jti, client_id, owner, name, scope, audience, expires_at FROM tokens WHERE \
         revoked_at IS NULL",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    let expected = (
        claims["jti"].as_str().unwrap().to_owned(),
        "plain".to_owned(),
        "7".to_owned(),
        "laptop".to_owned(),
        "a".to_owned(),
        r#"["devices","hub"]"#.to_owned(),
        claims["exp"].as_i64().unwrap(),
    );
    assert_eq!(row, expected);
    let columns: Vec<(i64, String)> =
        sqlx::query_as("SELECT cid, name FROM pragma_table_info('tokens')")
            .fetch_all(&mut database)
            .await
            .unwrap();
    assert!(
        !columns.iter().any(|(_, name)| name.contains("token")),
        "never the token itself: {columns:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_locked_nothing_is_half_written_and_issued_tokens_stay_good() {
    let upstream = Upstream::start();
    let (sidecar, _clock) = world(&upstream).await;
    let before = issue(&sidecar, "fresh", &[("token_name", "before")]).await;
    let mut other = database(&sidecar).await;
    let counts = [
        count(&mut other, "tokens").await,
        count(&mut other, "refresh_tokens").await,
    ];
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();

    let credentials = ("grant_type", "client_credentials");
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&before, "refresh_token")),
    ];
    let revoke = [("token", text(&before, "access_token"))];
    let named = [credentials, ("token_name", "lost")];
    let (named, refreshable, refreshed, revoked) = tokio::join!(
        post(&sidecar, "/oauth/token", "plain", &named),
        post(&sidecar, "/oauth/token", "fresh", &named[..1]),
        post(&sidecar, "/oauth/token", "fresh", &refresh),
        post(&sidecar, "/oauth/revoke", "fresh", &revoke),
    );
    for answer in [named, refreshable, refreshed, revoked] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    // A token without a row needs no store, and issued tokens can still be verified.
    let unnamed = issue(&sidecar, "plain", &[]).await;
    for token in [&before, &unnamed] {
        assert_eq!(
            answer_to(&sidecar, text(token, "access_token")).await,
            is(200, "-")
        );
    }

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let after = [
        count(&mut other, "tokens").await,
        count(&mut other, "refresh_tokens").await,
    ];
    assert_eq!(after, counts);
    // The refresh token was not spent by the attempt.
    let answer = post(&sidecar, "/oauth/token", "fresh", &refresh).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_expired_a_day_ago_are_forgotten_however_many() {
    let upstream = Upstream::start();
    let (sidecar, clock) = world(&upstream).await;
    let mut database = database(&sidecar).await;
    issue(&sidecar, "plain", &[("token_name", "kept")]).await;
    // More than one portion.
    sqlx::query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         INSERT INTO tokens (jti, client_id, subject, scope, audience, issued_at, expires_at)
         SELECT 'old-' || i, 'plain', 'plain', '', '[]', 1, 2 FROM n",
    )
    .execute(&mut database)
    .await
    .unwrap();
    // The next look is a minute after the first.
    clock.forward(Duration::from_mins(2));
    until("they are gone", async || {
        count(&mut database, "tokens").await == 1
    })
    .await;
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM tokens")
        .fetch_all(&mut database)
        .await
        .unwrap();
    assert_eq!(names, ["kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_leaves_one_audit_line_that_says_who_and_from_where() {
    let upstream = Upstream::start();
    // A client of its own: other tests leave lines of `fresh` meanwhile.
    let yaml = YAML
        .replace("@UPSTREAM@", &upstream.url())
        .replace("id: fresh", "id: audited");
    let sidecar = builder()
        .secret_file("secret", "audited", SECRET)
        .start(&yaml)
        .await;
    let mark = logs::mark();
    let first = issue(&sidecar, "audited", &[]).await;
    let (access, refresh) = (text(&first, "access_token"), text(&first, "refresh_token"));
    let jti = claims(access)["jti"].as_str().unwrap().to_owned();
    post(
        &sidecar,
        "/oauth/token",
        "audited",
        &[("grant_type", "refresh_token"), ("refresh_token", refresh)],
    )
    .await;
    post(
        &sidecar,
        "/oauth/token",
        "audited",
        &[("grant_type", "refresh_token"), ("refresh_token", "m2mr_x")],
    )
    .await;
    post(&sidecar, "/oauth/introspect", "other", &[("token", access)]).await;
    post(&sidecar, "/oauth/revoke", "audited", &[("token", access)]).await;
    for texts in [
        &[
            "token request",
            "client_id=\"audited\"",
            "outcome=\"issued\"",
            "grant_type=\"client_credentials\"",
            &jti,
        ][..],
        &[
            "token request",
            "client_id=\"audited\"",
            "outcome=\"issued\"",
            "grant_type=\"refresh_token\"",
        ],
        &[
            "token request",
            "client_id=\"audited\"",
            "outcome=\"invalid_grant\"",
            "not valid",
        ],
        &[
            "introspection request",
            "client_id=\"other\"",
            "outcome=\"not_allowed\"",
            &jti,
        ],
        &[
            "revocation request",
            "client_id=\"audited\"",
            "outcome=\"revoked\"",
            &jti,
        ],
    ] {
        let lines = logs::lines_since(mark, &[&["audit", "peer=127.0.0.1:"], texts].concat());
        assert_eq!(lines.len(), 1, "{texts:?}: {lines:#?}");
    }
}
