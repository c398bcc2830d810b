//! `allowedNetworks`: from elsewhere a client's authentication fails.

use super::*;
use crate::support::clock::StandingClock;

/// A request that the proxy in front passes on for a client of this address.
async fn from(
    sidecar: &Sidecar,
    address: &str,
    path: &str,
    (id, secret): (&str, &str),
    form: &[(&str, &str)],
) -> RawAnswer {
    logs::remember_client_secret(id, secret);
    let authorization = basic(id, secret);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("X-Forwarded-For", address),
    ];
    remembered(post_form(sidecar.address("issuer"), path, form, &headers).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_authenticates_from_its_networks_only_at_every_endpoint() {
    for profile in ["standard", "plgd"] {
        let yaml = yaml(profile, "  trustedProxies: [127.0.0.1]");
        let sidecar = builder().start(&yaml).await;
        let inside = ("inside", SECRET);
        let good = from(&sidecar, "10.1.2.3", "/m2m/oauth/token", inside, &[GRANT]).await;
        assert_eq!(good.status, 200, "{}", good.text());
        let body = good.json();
        let token = body["access_token"].as_str().expect("a token").to_owned();
        let refresh = body["refresh_token"].as_str().expect("one").to_owned();
        let (asked, refreshing) = (
            [("token", token.as_str())],
            [
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh.as_str()),
            ],
        );
        let requests = [
            ("/m2m/oauth/token", "token request", &[GRANT][..]),
            ("/m2m/oauth/token", "token request", &refreshing[..]),
            ("/m2m/oauth/introspect", "introspection", &asked[..]),
            ("/m2m/oauth/revoke", "revocation request", &asked[..]),
        ];
        let wrong = ("inside", "a wrong secret of some length");
        for (path, line, form) in requests {
            let refused = from(&sidecar, "10.1.2.3", path, wrong, form).await;
            let mark = logs::mark();
            let elsewhere = from(&sidecar, "192.0.2.1", path, inside, form).await;
            assert_eq!((elsewhere.status, elsewhere.text()), (401, refused.text()));
            assert_eq!(
                elsewhere.header("www-authenticate"),
                refused.header("www-authenticate")
            );
            let reason = "the client's address is in none of its `allowedNetworks`";
            let line = logs::wait_for_line(mark, &[" audit: ", line, reason]).await;
            assert!(
                line.contains("client_id=\"inside\"") && line.contains("192.0.2.1"),
                "{line}"
            );
            assert!(
                !elsewhere.text().contains("10.0.0.0"),
                "{}",
                elsewhere.text()
            );
        }
        for address in ["2001:db8::1", "::ffff:10.0.0.1", "10.255.255.255"] {
            let answer = from(&sidecar, address, "/m2m/oauth/token", inside, &[GRANT]).await;
            assert_eq!(answer.status, 200, "{address}");
        }
        for address in ["2001:db8::2", "11.0.0.1"] {
            let answer = from(&sidecar, address, "/m2m/oauth/token", inside, &[GRANT]).await;
            assert_eq!(answer.status, 401, "{address}");
        }
        // Nothing was revoked from elsewhere.
        let seen = from(
            &sidecar,
            "10.1.2.3",
            "/m2m/oauth/introspect",
            inside,
            &asked,
        )
        .await;
        assert_eq!(seen.json()["active"], true);
        sidecar.stop().await;
    }
}

/// A right secret from elsewhere counts as a failure: otherwise the delays would show it.
#[tokio::test(flavor = "multi_thread")]
async fn from_elsewhere_a_right_secret_is_delayed_like_a_wrong_one() {
    let yaml = yaml("standard", "  trustedProxies: [127.0.0.1]");
    for secret in [SECRET, "a wrong secret of some length"] {
        let sidecar = builder().clock(StandingClock::now()).start(&yaml).await;
        let mut statuses = Vec::new();
        for _ in 0..8 {
            let path = "/m2m/oauth/token";
            let answer = from(&sidecar, "192.0.2.1", path, ("inside", secret), &[GRANT]).await;
            statuses.push(answer.status);
        }
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
        let path = "/m2m/oauth/token";
        let answer = from(&sidecar, "10.0.0.1", path, ("inside", SECRET), &[GRANT]).await;
        assert_eq!(answer.status, 200, "its own network is not delayed");
        sidecar.stop().await;
    }
}

/// Without trusted proxies, the header says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_say_where_it_comes_from() {
    let sidecar = builder().start(&yaml("standard", "")).await;
    let inside = ("inside", SECRET);
    let answer = from(&sidecar, "10.1.2.3", "/m2m/oauth/token", inside, &[GRANT]).await;
    assert_eq!(answer.status, 401);
}
