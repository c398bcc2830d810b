//! The client of plgd that lists tokens. It makes a new JSON decoder for every entry of the same
//! body, and so loses what the decoder before has read ahead.

use std::collections::BTreeSet;

use serde_json::Value;

use super::go_body::GoBody;
use super::status::message;
use super::{TOKENS, blacklist, issue, jti, world};
use crate::plgd::front::{self, Request};
use crate::plgd::replay::world::World;

/// Characters of a claim, with which the assertion is still accepted.
const LARGEST: usize = 20_000;

/// GetTokens of plgd's client: every entry, or the first fault.
async fn get_tokens(world: &World, bearer: &str, query: &str) -> Result<Vec<Value>, String> {
    let target = format!("{TOKENS}?{query}");
    let authorization = format!("bearer {bearer}");
    let headers = [
        ("Accept", "application/protojson"),
        ("Authorization", authorization.as_str()),
    ];
    let request = Request {
        method: "GET",
        target: &target,
        headers: &headers,
        body: None,
    };
    let mut body = GoBody::ask(world.front.open().await, &front::bytes(&request)).await?;
    let mut entries = Vec::new();
    while let Some(entry) = body.decode().await? {
        let entry = message(body.status, &entry)?;
        super::status::token_entry(&entry)?;
        entries.push(entry);
    }
    Ok(entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_that_loses_what_it_read_ahead_finds_every_entry_in_the_order_of_issue() {
    let world = world().await;
    let mut issued = Vec::new();
    for number in 0..60 {
        // Entries of different lengths: names of up to 1200 characters.
        let name = format!("{number}-{}", "n".repeat(number * 20));
        issued.push(jti(&issue(
            &world.front,
            "owner2",
            &[("token_name", &name)],
        )
        .await));
    }
    let user = world.user("2").sign();
    let listed = get_tokens(&world, &user, "").await.expect("every entry");
    let ids: Vec<&str> = listed
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, issued);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_with_all_claims_of_a_large_assertion_are_read_too() {
    let world = world().await;
    let mut issued = Vec::new();
    for number in 0..30 {
        // Of very different lengths, in no order.
        let pad = "x".repeat(number * 7919 % LARGEST);
        let assertion = world.user("2").claim("pad", pad).sign();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "JWTPrivateKeyClient"),
            ("client_assertion", assertion.as_str()),
        ];
        let answer = super::post_form(&world.front, &form, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        issued.push(jti(answer.json()["access_token"].as_str().unwrap()));
    }
    let listed = get_tokens(&world, &world.user("2").sign(), "")
        .await
        .expect("every entry");
    let ids: Vec<&str> = listed
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, issued);
    assert!(
        listed
            .iter()
            .all(|entry| entry["originalTokenClaims"]["pad"].is_string())
    );
}

/// T10 to T14.
#[tokio::test(flavor = "multi_thread")]
async fn plgds_client_lists_with_and_without_the_blacklisted() {
    let world = world().await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(jti(
            &issue(&world.front, "owner2", &[("token_name", name)]).await
        ));
    }
    let user = world.user("2").sign();
    blacklist(&world, &user, &ids[2]).await;
    let set = |entries: &[Value]| -> BTreeSet<String> {
        entries
            .iter()
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = get_tokens(&world, &user, "includeBlacklisted=true")
        .await
        .expect("three");
    assert_eq!(
        set(&all),
        BTreeSet::from(["one", "two", "three"].map(str::to_owned))
    );
    assert_eq!(all[2]["blacklisted"]["flag"], true);
    let live = get_tokens(&world, &user, "").await.expect("two");
    assert_eq!(
        set(&live),
        BTreeSet::from(["one", "two"].map(str::to_owned))
    );
    let two = format!("idFilter={}&idFilter={}", ids[0], ids[2]);
    assert_eq!(get_tokens(&world, &user, &two).await.expect("one").len(), 1);
    let two = format!("{two}&includeBlacklisted=true");
    assert_eq!(get_tokens(&world, &user, &two).await.expect("two").len(), 2);
    assert_eq!(
        get_tokens(&world, &world.user("3").sign(), "").await,
        Ok(Vec::new())
    );
    let refused = get_tokens(&world, "junk", "").await.unwrap_err();
    assert!(
        refused.starts_with("rpc error: code = 16 desc = "),
        "{refused}"
    );
}
