//! Parts of the request that equal a claim: a device's own token reads only its own device.

use serde_json::json;

use super::{World, outcome, world};
use crate::support::logs;
use crate::support::tokens::TokenBuilder;

const DEVICE: &str = "https://plgd.dev/deviceId";

const RULES: &str = r#"
      - paths: ["/api/v1/devices/{deviceId}/**"]
        methods: [GET]
        equals: { deviceId: "https://plgd.dev/deviceId" }
      - { paths: [/report], equals: { query.tenant: tid, header.x-owner: owner } }
      - { paths: [/nested], equals: { query.team: realm.teams } }
      - { paths: ["/**"], scopes: [admin] }"#;

fn device(world: &World, id: &str) -> TokenBuilder {
    world.token().claim(DEVICE, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_reads_only_its_own_device() {
    let world = world("    encodedSlash: keep", RULES).await;
    let own = "7a1f3c2e-0000-4000-8000-000000000001";
    let passed = (200, "-");
    for path in [
        format!("/api/v1/devices/{own}"),
        format!("/api/v1/devices/{own}/"),
        format!("/api/v1/devices/{own}/resources/%2Flight%2F1"),
        format!("/api//v1/x/../devices/{own}?x=1"),
        format!("/api/v1/devices/%37{}", &own[1..]),
    ] {
        let answer = world.send_token("GET", &path, device(&world, own)).await;
        assert_eq!(outcome(&answer), passed, "{path}");
    }
    let mark = logs::mark();
    for path in [
        "/api/v1/devices/7a1f3c2e-0000-4000-8000-000000000002".to_owned(),
        format!("/api/v1/devices/{}", own.to_uppercase()),
        format!("/api/v1/devices/{own}.json"),
        format!("/api/v1/devices/{own}%2F"),
        format!("/api/v1/devices/{own}%20"),
        format!("/api/v1/devices/other/{own}"),
        format!("/api/v1/devices/{own}/../other"),
        "/api/v1/devices/*".to_owned(),
    ] {
        let answer = world.send_token("GET", &path, device(&world, own)).await;
        assert_eq!(outcome(&answer), (403, "equals"), "{path}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(
            challenge.contains("error=\"insufficient_scope\""),
            "{challenge}"
        );
        assert!(!answer.text().contains(own), "{}", answer.text());
    }
    logs::wait_for_line(
        mark,
        &["access", "reason=\"equals\"", "client_id=\"tester\""],
    )
    .await;
    // A token without the claim owns nothing; one with a list owns each item.
    let path = format!("/api/v1/devices/{own}");
    for (token, expected) in [
        (world.token(), (403, "equals")),
        (world.token().claim(DEVICE, json!(["x", own])), passed),
        (world.token().claim(DEVICE, json!(["x"])), (403, "equals")),
        (
            world.token().claim(DEVICE, json!({ own: own })),
            (403, "equals"),
        ),
        (world.token().claim(DEVICE, ""), (403, "equals")),
    ] {
        let answer = world.send_token("GET", &path, token).await;
        assert_eq!(outcome(&answer), expected);
    }
    // The list of all devices is another rule's.
    let answer = world
        .send_token("GET", "/api/v1/devices", device(&world, own))
        .await;
    assert_eq!(outcome(&answer), (403, "scope"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_and_a_header_equal_claims_if_they_are_clear() {
    let world = world("", RULES).await;
    let token = || {
        world
            .token()
            .claim("tid", "blue")
            .claim("owner", json!(["1", "2"]))
    };
    let bearer = format!("Bearer {}", token().sign());
    for (target, owner, expected) in [
        ("/report?tenant=blue", &["2"][..], (200, "-")),
        ("/report?x=1&tenant=%62lue", &["1"], (200, "-")),
        ("/report?tenant=red", &["1"], (403, "equals")),
        ("/report", &["1"], (403, "equals")),
        ("/report?tenant=blue", &[], (403, "equals")),
        ("/report?tenant=blue", &["3"], (403, "equals")),
        ("/report?tenant=blue", &["1", "1"], (403, "equals")),
        ("/report?tenant=blue&tenant=red", &["1"], (403, "equals")),
        ("/report?tenant=blue&tenant=blue", &["1"], (403, "equals")),
        ("/report?tenant=blue&Tenant=red", &["1"], (403, "equals")),
        ("/report?tenant=blue&%74enant=red", &["1"], (403, "equals")),
        ("/report?tenant=blue;tenant=red", &["1"], (403, "equals")),
        ("/report?tenant=blue&x;tenant=red", &["1"], (403, "equals")),
        ("/report?tenant[]=blue", &["1"], (403, "equals")),
    ] {
        // The second answer comes from the cache of verified tokens.
        for _ in 0..2 {
            let mut headers = vec![("Authorization", bearer.as_str())];
            headers.extend(owner.iter().map(|owner| ("X-Owner", *owner)));
            let answer = world.send("GET", target, &headers).await;
            assert_eq!(outcome(&answer), expected, "{target} {owner:?}");
        }
    }
    let mark = logs::mark();
    for headers in [
        &[("X-Owner", "1"), ("X_Owner", "3")][..],
        &[("X-Owner", "1"), ("Connection", "x-owner")],
    ] {
        let headers = [&[("Authorization", bearer.as_str())], headers].concat();
        let answer = world.send("GET", "/report?tenant=blue", &headers).await;
        assert_eq!(outcome(&answer), (403, "equals"), "{headers:?}");
    }
    logs::wait_for_line(mark, &["reason=\"equals\"", "in another spelling"]).await;
    let received = world.upstream.received();
    assert!(
        received
            .iter()
            .all(|request| request.header("x-owner").is_some())
    );
    let teams = token().claim("realm", json!({ "teams": ["a", "b c"] }));
    let answer = world.send_token("GET", "/nested?team=b%20c", teams).await;
    assert_eq!(outcome(&answer), (200, "-"));
}
