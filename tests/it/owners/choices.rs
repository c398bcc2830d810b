//! Which owners and devices a request gets, and which are refused.

use serde_json::{Value, json};

use super::*;

fn invalid(what: &str) -> (u16, String, String) {
    (400, "invalid_request".to_owned(), what.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_gets_the_owner_and_the_device_that_it_names_within_its_registration() {
    for profile in ["plgd", "standard"] {
        let sidecar = builder().start(&yaml(profile, "")).await;
        for (client, form, owner, device) in [
            ("dps", vec![(OWNER, "7")], json!("7"), Value::Null),
            (
                "dps",
                vec![(OWNER, "tenant-a"), (DEVICE, "d 1")],
                json!("tenant-a"),
                json!("d 1"),
            ),
            (
                "dps",
                vec![(OWNER, "tenant-")],
                json!("tenant-"),
                Value::Null,
            ),
            ("dps", vec![], Value::Null, Value::Null),
            // An empty value counts as absent (RFC 6749 §3.2).
            (
                "dps",
                vec![(OWNER, ""), (OWNER, "7")],
                json!("7"),
                Value::Null,
            ),
            ("any", vec![(OWNER, "")], json!("1"), Value::Null),
            ("any", vec![(OWNER, "ä*")], json!("ä*"), Value::Null),
            ("any", vec![], json!("1"), Value::Null),
            ("any", vec![(OWNER, "1")], json!("1"), Value::Null),
            ("named", vec![(OWNER, "*")], json!("*"), Value::Null),
            ("named", vec![(OWNER, "2")], json!("2"), Value::Null),
            ("fixed", vec![(OWNER, "1")], json!("1"), Value::Null),
            (
                "devices",
                vec![(OWNER, "1"), (DEVICE, "d")],
                json!("1"),
                json!("d"),
            ),
        ] {
            let claims = claims_of(&ask(&sidecar, client, &form).await);
            assert_eq!(
                (&claims[OWNER], &claims[DEVICE]),
                (&owner, &device),
                "{form:?}"
            );
            // In the plgd profile, the subject is the user.
            let subject = if profile == "plgd" && owner != Value::Null {
                owner
            } else {
                json!(client)
            };
            assert_eq!(claims["sub"], subject);
            assert_eq!(claims["client_id"], client);
        }
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_owner_or_device_is_refused() {
    for profile in ["plgd", "standard"] {
        let sidecar = builder().start(&yaml(profile, "")).await;
        let long = "a".repeat(257);
        for (client, name, value, what) in [
            (
                "dps",
                OWNER,
                "8",
                "the owner `8` is not allowed to this client",
            ),
            (
                "dps",
                OWNER,
                "77",
                "the owner `77` is not allowed to this client",
            ),
            (
                "dps",
                OWNER,
                "Tenant-a",
                "the owner `Tenant-a` is not allowed to this client",
            ),
            (
                "dps",
                OWNER,
                "7 ",
                "the owner `7 ` is not allowed to this client",
            ),
            (
                "named",
                OWNER,
                "3",
                "the owner `3` is not allowed to this client",
            ),
            (
                "devices",
                OWNER,
                "2",
                "the owner `2` is not allowed to this client",
            ),
            (
                "any",
                DEVICE,
                "d",
                "the device `d` is not allowed to this client",
            ),
        ] {
            let answer = ask(&sidecar, client, &[(name, value)]).await;
            assert_eq!(refusal(&answer), invalid(what), "{profile} {client}");
        }
        for (name, value) in [(OWNER, "a\nb"), (OWNER, long.as_str()), (DEVICE, "\u{7f}")] {
            let answer = ask(&sidecar, "dps", &[(name, value)]).await;
            let what = format!(
                "the parameter `{name}` must be a text of 1 to 256 bytes without control characters"
            );
            assert_eq!(refusal(&answer), invalid(&what));
        }
        for form in [
            [(OWNER, "7"), (OWNER, "7")],
            [(OWNER, "7"), (OWNER, "tenant-a")],
            [(DEVICE, "d"), (DEVICE, "d")],
        ] {
            let answer = ask(&sidecar, "dps", &form).await;
            assert_eq!(refusal(&answer), invalid("a parameter is repeated"));
        }
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_keys_plgds_profile_ignores_the_parameters_and_the_standard_one_refuses_others()
{
    let form = [(OWNER, "7"), (DEVICE, "dev7"), ("sub", "7")];
    let sidecar = builder().start(&yaml("plgd", "")).await;
    let mark = logs::mark();
    let claims = claims_of(&ask(&sidecar, "fixed", &form).await);
    assert_eq!((&claims[OWNER], &claims["sub"]), (&json!("1"), &json!("1")));
    assert!(claims.get(DEVICE).is_none());
    logs::wait_for_line(mark, &["WARN", "client_id=\"fixed\"", "allowedOwners"]).await;
    sidecar.stop().await;
    let sidecar = builder().start(&yaml("standard", "")).await;
    let answer = ask(&sidecar, "fixed", &form).await;
    assert_eq!(
        refusal(&answer),
        invalid("the owner `7` is not allowed to this client")
    );
    let answer = ask(&sidecar, "fixed", &form[1..]).await;
    assert_eq!(
        refusal(&answer),
        invalid("the device `dev7` is not allowed to this client")
    );
    let answer = ask(&sidecar, "inside", &[(OWNER, "7")]).await;
    assert_eq!(answer.status, 401, "it comes from another network");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_plgds_tokens_api_take_the_same_parameters() {
    let sidecar = builder().start(&yaml("plgd", "")).await;
    let body = |owner: Value| {
        json!({ "grant_type": "client_credentials", OWNER: owner, DEVICE: "d" }).to_string()
    };
    for path in ["/m2m/oauth/token", "/m2m/api/v1/tokens"] {
        let answer = ask_json(&sidecar, path, "dps", &body(json!("tenant-a"))).await;
        let claims = claims_of(&answer);
        assert_eq!(
            (&claims[OWNER], &claims[DEVICE]),
            (&json!("tenant-a"), &json!("d"))
        );
        for owner in [
            json!("8"),
            json!(7),
            json!(true),
            json!(["7"]),
            json!({ "a": "7" }),
        ] {
            let answer = ask_json(&sidecar, path, "dps", &body(owner.clone())).await;
            assert_eq!(answer.status, 400, "{path} {owner}");
        }
        // Null is absent, and without the keys every value is ignored.
        let answer = ask_json(&sidecar, path, "dps", &body(Value::Null)).await;
        assert!(claims_of(&answer).get(OWNER).is_none());
        let answer = ask_json(&sidecar, path, "fixed", &body(json!(7))).await;
        assert_eq!(claims_of(&answer)[OWNER], "1");
    }
    let twice = format!(r#"{{"grant_type":"client_credentials","{OWNER}":"7","{OWNER}":"7"}}"#);
    let answer = ask_json(&sidecar, "/m2m/oauth/token", "dps", &twice).await;
    assert_eq!(answer.status, 400);
    // A parameter in the query would be ignored.
    let target = format!("/m2m/oauth/token?{OWNER}=7");
    let authorization = basic("dps", SECRET);
    let headers = [("Authorization", authorization.as_str())];
    let answer = post_form(sidecar.address("issuer"), &target, &[GRANT], &headers).await;
    assert!(
        refusal(&answer).2.contains("in the query"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subject_as_owner_claim_is_chosen_too() {
    let yaml = yaml("plgd", "").replace(&format!("ownerClaim: {OWNER}"), "ownerClaim: sub");
    let sidecar = builder().start(&yaml).await;
    let claims = claims_of(&ask(&sidecar, "dps", &[("sub", "tenant-a")]).await);
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&json!("tenant-a"), &json!("dps"))
    );
    // Without an owner, a client is its own.
    for form in [&[][..], &[("sub", "dps")]] {
        assert_eq!(claims_of(&ask(&sidecar, "dps", form).await)["sub"], "dps");
    }
    let answer = ask(&sidecar, "dps", &[("sub", "fixed")]).await;
    assert_eq!(
        refusal(&answer),
        invalid("the owner `fixed` is not allowed to this client")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_keeps_owner_and_device() {
    for profile in ["plgd", "standard"] {
        let sidecar = builder().start(&yaml(profile, "")).await;
        let refresh = async |token: &str, form: &[(&str, &str)]| {
            let fixed = [("grant_type", "refresh_token"), ("refresh_token", token)];
            let form = [&fixed, form].concat();
            let authorization = basic("dps", SECRET);
            let headers = [("Authorization", authorization.as_str())];
            let address = sidecar.address("issuer");
            remembered(post_form(address, "/m2m/oauth/token", &form, &headers).await)
        };
        let first = ask(&sidecar, "dps", &[(OWNER, "tenant-a"), (DEVICE, "d")]).await;
        let mut token = first.json()["refresh_token"]
            .as_str()
            .expect("one")
            .to_owned();
        for form in [&[][..], &[(OWNER, "tenant-a"), (DEVICE, "d")]] {
            let answer = refresh(&token, form).await;
            let claims = claims_of(&answer);
            assert_eq!(
                (&claims[OWNER], &claims[DEVICE]),
                (&json!("tenant-a"), &json!("d"))
            );
            token = answer.json()["refresh_token"]
                .as_str()
                .expect("one")
                .to_owned();
        }
        for (name, value, what) in [
            (OWNER, "7", "owner"),
            (OWNER, "8", "owner"),
            (DEVICE, "e", "device"),
        ] {
            let what = format!(
                "a refresh token keeps its {what}: send the request without the parameter for it"
            );
            assert_eq!(
                refusal(&refresh(&token, &[(name, value)]).await),
                invalid(&what)
            );
        }
        // A refused request uses no token up.
        assert_eq!(claims_of(&refresh(&token, &[]).await)[OWNER], "tenant-a");
        let first = ask(&sidecar, "dps", &[]).await;
        let token = first.json()["refresh_token"]
            .as_str()
            .expect("one")
            .to_owned();
        for form in [[(OWNER, "7")], [(DEVICE, "d")]] {
            assert_eq!(refresh(&token, &form).await.status, 400, "it has none");
        }
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_and_the_audit_log_show_the_choice() {
    let sidecar = builder().start(&yaml("standard", "")).await;
    let mark = logs::mark();
    let form = [(OWNER, "tenant-a"), (DEVICE, "d"), ("token_name", "first")];
    let answer = ask(&sidecar, "dps", &form).await;
    let token = answer.json()["access_token"]
        .as_str()
        .expect("one")
        .to_owned();
    let line = logs::wait_for_line(mark, &[" audit: ", "token request", "issued"]).await;
    for part in ["client_id=\"dps\"", "owner=\"tenant-a\"", "device_id=\"d\""] {
        assert!(line.contains(part), "{line}");
    }
    let authorization = basic("dps", SECRET);
    let headers = [("Authorization", authorization.as_str())];
    let address = sidecar.address("issuer");
    let asked = [("token", token.as_str())];
    let seen = post_form(address, "/m2m/oauth/introspect", &asked, &headers)
        .await
        .json();
    assert_eq!(
        (&seen[OWNER], &seen[DEVICE]),
        (&json!("tenant-a"), &json!("d"))
    );
    // Named tokens are listed by their owner.
    let listed = admin(&sidecar, "GET", "/tokens?owner=tenant-a", &Value::Null)
        .await
        .json();
    assert_eq!(listed["tokens"][0]["name"], "first", "{listed}");
    let mark = logs::mark();
    ask(&sidecar, "dps", &[(OWNER, "8")]).await;
    logs::wait_for_line(
        mark,
        &[
            " audit: ",
            "client_id=\"dps\"",
            "the owner `8` is not allowed",
        ],
    )
    .await;
}
