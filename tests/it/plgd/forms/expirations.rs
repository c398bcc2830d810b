//! `expiration` in the forms that plgd's clients send.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_expiration_may_be_written_with_exponent_or_fraction() {
    let world = World::start().await;
    let client = json!({"grant_type": "client_credentials", "client_id": "serviceClient", "client_secret": SECRET});
    let hour = now() + 3600;
    let written = [
        format!("{hour}"),
        format!("{hour}.0"),
        format!("{}.{:09}e9", hour / 1_000_000_000, hour % 1_000_000_000),
    ];
    for path in [TOKEN, TOKENS] {
        for number in &written {
            for text in [number.clone(), format!("\"{number}\"")] {
                let mut body = client.clone();
                body["expiration"] = serde_json::from_str(&text).expect("JSON");
                assert_eq!(
                    expiry(&post_json(&world, path, &body).await),
                    json!(hour),
                    "{text}"
                );
            }
        }
        for wrong in [
            "\"NaN\"",
            "1700000000.5",
            "1e300",
            "\"1e300\"",
            "\"\\u0661\"",
            "true",
            "[]",
            "{}",
            "-1.5",
            "\"0x10\"",
        ] {
            let mut body = client.clone();
            body["expiration"] = serde_json::from_str(wrong).expect("JSON");
            let answer = post_json(&world, path, &body).await;
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (400, &json!(3)),
                "{wrong}"
            );
        }
        for none in ["null", "0", "0.0", "-1", "-0.0", "\"-5\"", "\"0\"", "\"\""] {
            let mut body = client.clone();
            body["expiration"] = serde_json::from_str(none).expect("JSON");
            assert_eq!(
                expiry(&post_json(&world, path, &body).await),
                Value::Null,
                "{none}"
            );
        }
    }
    // A number that JSON itself cannot hold.
    let body = r#"{"grant_type":"client_credentials","expiration":1e999}"#;
    let answer = request(
        "POST",
        world.sidecar.address("issuer"),
        TOKENS,
        &[],
        body.as_bytes(),
    )
    .await;
    assert_eq!(answer.status, 400);
    for number in &written {
        assert_eq!(
            expiry(
                &world
                    .token("serviceClient", &[("expiration", number)])
                    .await
            ),
            json!(hour)
        );
    }
    // What JSON's readers cannot hold is no end, and no way around a client's lifetime.
    for beyond in ["9223372036854775807", "9007199254740992", "1e18"] {
        assert_eq!(
            expiry(
                &world
                    .token("serviceClient", &[("expiration", beyond)])
                    .await
            ),
            Value::Null
        );
        assert_eq!(
            world
                .token("dayClient", &[("aud", "x"), ("expiration", beyond)])
                .await
                .status,
            401
        );
    }
    for far in [9_007_199_254_740_991_i64, 1_900_000_000_000] {
        let answer = world
            .token("serviceClient", &[("expiration", &far.to_string())])
            .await;
        assert_eq!(expiry(&answer), json!(far));
    }
    for wrong in ["soon", "99999999999999999999", "1.5"] {
        let answer = world.token("serviceClient", &[("expiration", wrong)]).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_request")),
            "{wrong}"
        );
    }
}

/// plgd's web page asks for a token without end by the moment of the click.
#[tokio::test(flavor = "multi_thread")]
async fn an_expiration_of_the_last_minute_gives_what_leaving_it_out_gives() {
    let world = World::start().await;
    for ago in [0, 30] {
        let click = (now() - ago).to_string();
        let without_end = world
            .token("serviceClient", &[("expiration", &click)])
            .await;
        assert_eq!(
            expiry(&without_end),
            Value::Null,
            "the client has no lifetime"
        );
        let day = world
            .token("dayClient", &[("aud", "x"), ("expiration", &click)])
            .await;
        let end = expiry(&day).as_i64().expect("a time");
        assert!(
            (now() + 86_300..=now() + 86_400).contains(&end),
            "the client's lifetime"
        );
        let page = json!({"grant_type": "client_credentials", "client_id": "dayClient", "client_secret": SECRET,
            "audience": ["x"], "expiration": click.parse::<i64>().expect("a number")});
        let end = expiry(&post_json(&world, TOKENS, &page).await)
            .as_i64()
            .expect("a time");
        assert!((now() + 86_300..=now() + 86_400).contains(&end));
    }
    for ago in [90, 3600] {
        for client in ["serviceClient", "dayClient"] {
            let old = (now() - ago).to_string();
            let answer = world
                .token(client, &[("aud", "x"), ("expiration", &old)])
                .await;
            let expected = if client == "dayClient" { 401 } else { 400 };
            assert_eq!(answer.status, expected, "{client}: {}", answer.text());
        }
        assert_eq!(
            world
                .token(
                    "serviceClient",
                    &[("expiration", &(now() - ago).to_string())]
                )
                .await
                .status,
            401
        );
    }
    // At the root of the listener a time that has passed is an error, whenever it was.
    let click = now().to_string();
    let form = [
        ("grant_type", "client_credentials"),
        ("expiration", click.as_str()),
    ];
    let authorization = basic("serviceClient");
    let headers = [("Authorization", authorization.as_str())];
    assert_eq!(
        post_form(
            world.sidecar.address("issuer"),
            "/oauth/token",
            &form,
            &headers
        )
        .await
        .status,
        400
    );
}
