//! The places of a token, and the pages that may open a WebSocket.

use super::*;

/// The fields of a request that carries this token in a place.
fn at(place: &str, token: &str) -> String {
    match place {
        "cookie" => format!("Cookie: a=1; token={token}; b=2\r\n"),
        "subprotocol" => format!("Sec-WebSocket-Protocol: Bearer, {token}\r\n"),
        "header" => format!("Authorization: Bearer {token}\r\n"),
        _ => panic!("{place}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listed_place_holds_the_token() {
    for (locations, places) in [
        ("[authorization]", &["header"][..]),
        ("[websocketCookie]", &["cookie"]),
        ("[websocketSubprotocol]", &["subprotocol"]),
        (
            "[websocketSubprotocol, authorization]",
            &["subprotocol", "header"],
        ),
    ] {
        let keys = format!(
            "    tokenLocations: {locations}\n    allowedOrigins: [\"https://app.example\"]"
        );
        let world = world(&keys).await;
        for place in ["cookie", "subprotocol", "header"] {
            let fields = at(place, &world.token());
            let asked = handshake("/events", &fields);
            if places.contains(&place) {
                let mut client = connect(world.address(), asked).await;
                let (seen, _server) = world.upstream.accept("").await;
                assert_eq!(answered(&mut client).await.0, 101, "{place} of {locations}");
                // The upstream gets it where it was.
                let text = String::from_utf8(seen.raw).unwrap();
                assert!(text.contains(fields.trim_end()), "{place}");
                assert!(text.contains("x-m2m-client-id: tester"), "{text}");
            } else {
                let (status, reason) = world.refused(asked).await;
                assert_eq!(
                    (status, reason.as_deref()),
                    (401, Some("no_token")),
                    "{place} of {locations}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_cookie_subprotocol_and_header_counts_and_goes_alone() {
    let world = world(ALL_LOCATIONS).await;
    let token = |sub: &str| world.authority.token().claim("sub", sub).sign();
    let [cookie, subprotocol, header] = ["cookie", "subprotocol", "header"].map(|place| {
        let token = token(place);
        (at(place, &token), token)
    });
    for (fields, first, selected) in [
        (
            &[&header, &subprotocol, &cookie][..],
            &cookie,
            &["Bearer"][..],
        ),
        // The service that gets the subprotocol selects it itself.
        (&[&header, &subprotocol], &subprotocol, &[]),
    ] {
        let fields: String = fields.iter().map(|(field, _)| field.as_str()).collect();
        let mut client = connect(world.address(), handshake("/events", &fields)).await;
        let (seen, _server) = world.upstream.accept("").await;
        let text = String::from_utf8(seen.raw.clone()).unwrap();
        for (_, token) in [&cookie, &subprotocol, &header] {
            assert_eq!(text.contains(token.as_str()), *token == first.1);
        }
        let (status, head) = answered(&mut client).await;
        assert_eq!(status, 101);
        assert_eq!(head.all("sec-websocket-protocol"), selected);
    }
    // A bad token in the first place is not replaced by a good one in the next.
    let fields = [at("cookie", "a.b.c"), header.0].concat();
    let (status, reason) = world.refused(handshake("/events", &fields)).await;
    assert_eq!((status, reason.as_deref()), (401, Some("malformed_token")));
    let twice = format!("Cookie: token={0}; token={0}\r\n", cookie.1);
    let (status, reason) = world.refused(handshake("/events", &twice)).await;
    assert_eq!(
        (status, reason.as_deref()),
        (400, Some("two_authorizations"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_requests_have_their_token_in_the_header_only() {
    let world = world(ALL_LOCATIONS).await;
    for place in ["cookie", "subprotocol"] {
        let fields = at(place, &world.token());
        for upgrade in [
            "",
            "Upgrade: websocket\r\n",
            "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        ] {
            let asked = format!("GET /events HTTP/1.1\r\nHost: a\r\n{upgrade}{fields}\r\n");
            let (status, reason) = world.refused(asked).await;
            assert_eq!(
                (status, reason.as_deref()),
                (401, Some("no_token")),
                "{upgrade}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_pages_open_a_websocket() {
    let listed = world(ALL_LOCATIONS).await;
    let shadow = world(&format!("{ALL_LOCATIONS}\n    mode: shadow")).await;
    let unlisted = world("").await;
    for (origin, is_allowed) in [
        ("", true),
        ("Origin: https://app.example\r\n", true),
        ("Origin: HTTPS://APP.EXAMPLE:443\r\n", true),
        ("Origin: http://app.example\r\n", false),
        ("Origin: https://app.example.evil\r\n", false),
        // The page of the listener's own host is not listed either.
        ("Origin: http://127.0.0.1\r\n", false),
        ("Origin: null\r\n", false),
        ("Origin: https://app.example\r\nOrigin: null\r\n", false),
    ] {
        for (world, path, is_allowed) in [
            (&listed, "/events", is_allowed),
            (&listed, "/public", is_allowed),
            (&shadow, "/events", true),
            (&unlisted, "/events", true),
        ] {
            let fields = [at("header", &world.token()), origin.to_owned()].concat();
            let asked = handshake(path, &fields);
            if is_allowed {
                let mut client = connect(world.address(), asked).await;
                world.upstream.accept("").await;
                assert_eq!(answered(&mut client).await.0, 101, "{origin}");
            } else {
                let (status, reason) = world.refused(asked).await;
                let refused = (status, reason.as_deref());
                assert_eq!(refused, (403, Some("cross_site")), "{origin}");
            }
        }
    }
    assert!(listed.upstream.is_unasked().await);
}
