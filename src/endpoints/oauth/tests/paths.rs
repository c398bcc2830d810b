//! The paths of the endpoints, the keys and the metadata.

use super::*;

#[tokio::test]
async fn keys_and_metadata_are_published_and_may_be_kept_for_five_minutes() {
    let issuer = issuer().await;
    let jwks: Value = serde_json::from_str(&issuer.public_keys()).unwrap();
    for (path, expected) in [
        ("/m2m/.well-known/jwks.json", jwks),
        (
            "/m2m/.well-known/openid-configuration",
            issuer.metadata(RequestedCertificates::default()),
        ),
        (
            "/m2m/.well-known/oauth-authorization-server",
            issuer.metadata(RequestedCertificates::default()),
        ),
        (
            "/.well-known/oauth-authorization-server/m2m",
            issuer.metadata(RequestedCertificates::default()),
        ),
    ] {
        let answer = send(
            &router(&issuer),
            Request::get(path).body(Body::empty()).unwrap(),
        )
        .await;
        assert_eq!((answer.status, &answer.body), (200, &expected), "{path}");
        assert_eq!(answer.header(CONTENT_TYPE), Some("application/json"));
        assert_eq!(answer.header(CACHE_CONTROL), Some("public, max-age=300"));
        let head = send(
            &router(&issuer),
            Request::head(path).body(Body::empty()).unwrap(),
        )
        .await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
    }
}

#[tokio::test]
async fn exactly_the_paths_of_the_placement_answer() {
    let issuer = issuer().await;
    let below = [
        "/.well-known/oauth-authorization-server/m2m",
        "/m2m/.well-known/jwks.json",
        "/m2m/.well-known/oauth-authorization-server",
        "/m2m/.well-known/openid-configuration",
        "/m2m/oauth/introspect",
        "/m2m/oauth/revocations",
        "/m2m/oauth/authorize",
        "/m2m/oauth/revoke",
        "/m2m/oauth/token",
    ];
    let root = [
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/oauth/introspect",
        "/oauth/revocations",
        "/oauth/authorize",
        "/oauth/revoke",
        "/oauth/token",
    ];
    let own = ["/m2m/oauth2/token", "/m2m/token", "/oauth2/token", "/token"];
    for (at, paths) in [
        (Placement::BasePath, below.to_vec()),
        (Placement::BasePathAndRoot, [&below[..], &root].concat()),
        (Placement::OwnListener, [&below[..], &root, &own].concat()),
    ] {
        let mut expected = paths.clone();
        expected.sort_unstable();
        assert_eq!(issuer_paths(&issuer, at), expected, "{at:?}");
        let router = issuer_router(
            Arc::clone(&issuer),
            at,
            RequestedCertificates::default(),
            Arc::new(|_| {}),
            no_callers(),
        );
        for path in [
            &below[..],
            &root,
            &own,
            &["/", "/m2m", "/m2m/oauth/token/", "/m2m/api/v1/tokens"],
        ]
        .concat()
        {
            // No endpoint has this method: 405 says that there is one.
            let request = Request::put(path).body(Body::empty()).unwrap();
            let expected = match paths.contains(&path) {
                // One that answers every method.
                true if path.ends_with("/oauth/authorize") => 400,
                true => 405,
                false => 404,
            };
            assert_eq!(
                send(&router, request).await.status,
                expected,
                "{at:?} {path}"
            );
        }
    }
}

#[tokio::test]
async fn an_issuer_without_a_path_or_with_a_strange_one_has_its_paths_too() {
    for (url, token) in [
        ("http://127.0.0.1:8080", "/oauth/token"),
        ("https://a/:t/*x/%7By%7D", "/:t/*x/%7By%7D/oauth/token"),
        ("https://a/oauth", "/oauth/oauth/token"),
        (
            "https://a/.well-known/oauth-authorization-server",
            "/.well-known/oauth-authorization-server/oauth/token",
        ),
    ] {
        let issuer = open(Config {
            url: url.parse().unwrap(),
            ..config(Vec::new())
        })
        .await
        .unwrap();
        for at in [
            Placement::BasePath,
            Placement::BasePathAndRoot,
            Placement::OwnListener,
        ] {
            let router = issuer_router(
                Arc::clone(&issuer),
                at,
                RequestedCertificates::default(),
                Arc::new(|_| {}),
                no_callers(),
            );
            let answer = send(&router, Request::post(token).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, 400, "{url} {at:?}");
        }
    }
}

#[tokio::test]
async fn the_metadata_leads_to_the_token_endpoint() {
    let issuer = issuer().await;
    let token_endpoint = issuer.metadata(RequestedCertificates::default())["token_endpoint"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = token_endpoint
        .strip_prefix(URL.trim_end_matches("/m2m"))
        .unwrap()
        .to_owned();
    assert!(issuer_paths(&issuer, Placement::BasePath).contains(&path));
}
