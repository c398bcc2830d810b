use super::*;

fn answer(status: u16, body: &str) -> HttpAnswer {
    let status = StatusCode::from_u16(status).unwrap();
    HttpAnswer {
        status,
        headers: HeaderMap::new(),
        body: body.to_owned().into(),
    }
}

#[test]
fn the_entry_of_a_tokens_endpoint_gives_the_state() {
    let jti = Uuid::from_u128(7);
    let read = |status, body: &str| {
        read_plgd(&answer(status, &body.replace('$', &jti.to_string())), jti).ok()
    };
    for (status, body, expected) in [
        (200, r#"{"result":{"id":"$"}}"#, Some(State::Active)),
        (
            200,
            r#"{"id":"$","version":"0","unknown":1}"#,
            Some(State::Active),
        ),
        (
            200,
            "\n{\"result\":{\"id\":\"$\"}}\n\n{\"result\":{}}",
            Some(State::Active),
        ),
        (
            200,
            r#"{"result":{"id":"$","blacklisted":{}}}"#,
            Some(State::Active),
        ),
        (
            200,
            r#"{"result":{"id":"$","blacklisted":{"flag":false}}}"#,
            Some(State::Active),
        ),
        (
            200,
            r#"{"result":{"id":"$","blacklisted":{"flag":true,"timestamp":"1"}}}"#,
            Some(State::Revoked),
        ),
        // Not found.
        (200, "", Some(State::Refused)),
        (200, " \n", Some(State::Refused)),
        (
            401,
            r#"{"code":16,"message":"token is blacklisted"}"#,
            Some(State::Refused),
        ),
        (403, "", Some(State::Refused)),
        (500, r#"{"result":{"id":"$"}}"#, None),
        (404, "", None),
        (302, "", None),
        (200, r#"{"error":{"code":14}}"#, None),
        (200, r#"{"result":{"id":"$"},"error":{}}"#, None),
        (200, r#"{"result":{}}"#, None),
        (200, "{}", None),
        (
            200,
            r#"{"result":{"id":"00000000-0000-0000-0000-000000000001"}}"#,
            None,
        ),
        (
            200,
            r#"{"result":{"id":"$","blacklisted":{"flag":"true"}}}"#,
            None,
        ),
        (200, r#"{"result":{"id":"$","blacklisted":true}}"#, None),
        (200, r#"{"result":["#, None),
        (200, "<html>", None),
        (200, "[]", None),
    ] {
        assert_eq!(read(status, body), expected, "{status} {body}");
    }
}
