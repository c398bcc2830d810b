//! A client's `jwks_uri`: where it may lead, and what a host that misbehaves costs.

use super::*;
use crate::support::authority::Endpoint;
use crate::support::behave::Behave;

/// Sidecar with clients of the store that publish their keys at these places.
async fn sidecar(places: &[(String, String)], issuer: &str, ca_pem: &str) -> Sidecar {
    let builder = Sidecar::builder().file("ca.pem", ca_pem);
    for (id, uri) in places {
        store_client(&builder, id, may(json!({"jwks_uri": uri})), Vec::new()).await;
    }
    builder
        .start(&yaml(&format!(
            "  clientJwksCaFile: \"@DIR@/ca.pem\"\n{issuer}"
        )))
        .await
}

const LOCALHOST: &str = "  clientJwksHosts: [localhost]\n";

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_jwks_uri_are_fetched_once_and_a_key_that_is_not_there_causes_no_flood() {
    let host = Authority::start_tls();
    let sidecar = sidecar(
        &[("robot".to_owned(), host.jwks_url())],
        LOCALHOST,
        host.ca_pem(),
    )
    .await;
    assert_eq!(
        host.fetches(Endpoint::Jwks),
        0,
        "not before they are needed"
    );
    for _ in 0..5 {
        claims(&present(&sidecar, &assertion(&host, "robot").sign()).await);
    }
    assert_eq!(host.fetches(Endpoint::Jwks), 1);
    for number in 0..20 {
        let jwt = assertion(&host, "robot")
            .header("kid", format!("unknown-{number}"))
            .sign();
        assert_eq!(present(&sidecar, &jwt).await.status, 401);
    }
    // One per ten seconds, however slow this machine is.
    assert!(
        host.fetches(Endpoint::Jwks) <= 3,
        "{}",
        host.fetches(Endpoint::Jwks)
    );
    claims(&present(&sidecar, &assertion(&host, "robot").sign()).await);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwks_uri_leads_to_no_private_address() {
    let host = Authority::start_tls();
    let port = host.address().port();
    let uris = [
        format!("https://localhost:{port}/jwks.json"),
        format!("https://LOCALHOST:{port}/jwks.json"),
        format!("https://localhost.:{port}/jwks.json"),
        format!("https://127.0.0.1:{port}/jwks.json"),
        format!("https://127.1:{port}/jwks.json"),
        format!("https://2130706433:{port}/jwks.json"),
        format!("https://0x7f.0.0.1:{port}/jwks.json"),
        format!("https://0177.0.0.1:{port}/jwks.json"),
        format!("https://0.0.0.0:{port}/jwks.json"),
        format!("https://[::1]:{port}/jwks.json"),
        format!("https://[::]:{port}/jwks.json"),
        format!("https://[::ffff:127.0.0.1]:{port}/jwks.json"),
        format!("https://[::ffff:7f00:1]:{port}/jwks.json"),
        format!("https://[64:ff9b::7f00:1]:{port}/jwks.json"),
        "https://10.0.0.1/jwks.json".to_owned(),
        "https://172.16.0.1/jwks.json".to_owned(),
        "https://192.168.0.1/jwks.json".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://100.64.0.1/jwks.json".to_owned(),
        "https://224.0.0.1/jwks.json".to_owned(),
        "https://255.255.255.255/jwks.json".to_owned(),
        "https://[fe80::1]/jwks.json".to_owned(),
        "https://[fd00::1]/jwks.json".to_owned(),
    ];
    let places: Vec<_> = uris
        .iter()
        .enumerate()
        .map(|(n, uri)| (format!("c{n}"), uri.clone()))
        .collect();
    // Another private host is allowed: that opens no other.
    let sidecar = sidecar(
        &places,
        "  clientJwksHosts: [keys.internal]\n",
        host.ca_pem(),
    )
    .await;
    for (id, uri) in &places {
        let answer = present(&sidecar, &assertion(&host, id).sign()).await;
        assert_eq!(
            error(&answer),
            (503, "temporarily_unavailable".to_owned()),
            "{uri}"
        );
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(host.fetches(Endpoint::Jwks), 0);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_and_answers_that_are_no_key_set_bring_no_keys() {
    let target = Authority::start_tls();
    let hosts: Vec<_> = (0..9).map(|_| Authority::start_tls()).collect();
    let location = |status: u16| {
        let url = target.jwks_url();
        Behave::Raw(
            format!("HTTP/1.1 {status} Moved\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n")
                .into(),
        )
    };
    let misbehave = [
        location(301),
        location(302),
        location(307),
        location(308),
        Behave::HugeBody(1 << 20),
        Behave::InvalidJson,
        Behave::EmptyKeys,
        Behave::Status(500),
        Behave::Truncated,
    ];
    let mut places = Vec::new();
    for (number, (host, behave)) in hosts.iter().zip(misbehave).enumerate() {
        host.behave(Endpoint::Jwks, behave);
        places.push((format!("c{number}"), host.jwks_url()));
    }
    // All with one certificate each: what matters here comes after TLS, so all are trusted.
    let trusted: String = hosts
        .iter()
        .chain([&target])
        .map(Authority::ca_pem)
        .collect();
    let sidecar = sidecar(&places, LOCALHOST, &trusted).await;
    for ((id, _), host) in places.iter().zip(&hosts) {
        let answer = present(&sidecar, &assertion(host, id).sign()).await;
        assert_eq!(
            error(&answer),
            (503, "temporarily_unavailable".to_owned()),
            "{id}"
        );
        assert_eq!(host.fetches(Endpoint::Jwks), 1, "{id}");
        // The target's keys are not the client's, whatever its host says.
        assert_eq!(
            present(&sidecar, &assertion(&target, id).sign())
                .await
                .status,
            503
        );
    }
    assert_eq!(target.fetches(Endpoint::Jwks), 0);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_jwks_uri_that_is_not_https_is_refused() {
    let host = Authority::start();
    let sidecar = {
        let builder = Sidecar::builder();
        store_client(
            &builder,
            "plain",
            may(json!({"jwks_uri": host.jwks_url()})),
            Vec::new(),
        )
        .await;
        builder
            .start(&yaml("  clientJwksHosts: [127.0.0.1]\n"))
            .await
    };
    assert_eq!(
        present(&sidecar, &assertion(&host, "plain").sign())
            .await
            .status,
        503,
        "its registration cannot be read"
    );
    assert_eq!(host.fetches(Endpoint::Jwks), 0);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_key_host_delays_no_other_client() {
    let (dead, good) = (Authority::start_tls(), Authority::start_tls());
    dead.behave(Endpoint::Jwks, Behave::Hang);
    let places = [
        ("dead".to_owned(), dead.jwks_url()),
        ("good".to_owned(), good.jwks_url()),
    ];
    let both = format!("{}{}", dead.ca_pem(), good.ca_pem());
    let sidecar = sidecar(&places, LOCALHOST, &both).await;
    let waiting = async {
        let all = (0..20).map(async |_| {
            present(&sidecar, &assertion(&dead, "dead").sign())
                .await
                .status
        });
        futures_util::future::join_all(all).await
    };
    let served = async {
        dead.wait_for_fetches(Endpoint::Jwks, 1).await;
        for _ in 0..20 {
            claims(&present(&sidecar, &assertion(&good, "good").sign()).await);
        }
    };
    let (refused, ()) = tokio::join!(waiting, served);
    assert!(refused.iter().all(|status| *status == 503), "{refused:?}");
    sidecar.stop().await;
}
