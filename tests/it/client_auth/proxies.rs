//! The issuer behind a proxy: whose failures are counted, and which address stands in the audit log
//! and in access lines.

use super::*;
use crate::support::client::request;
use crate::support::clock::StandingClock;
use crate::support::upstream::Upstream;

const TOKEN: &str = "/m2m-oauth-server/oauth/token";
const CLIENTS: [&str; 3] = ["device-service", "billing", "dashboard"];
const SECRET: &str = "sixteen bytes or more";

/// As `import-plgd` leaves the bundle's, whose nginx is on this machine; `proxies` is its line of
/// `trustedProxies`.
async fn plgd(proxies: &str) -> Sidecar {
    let clients = CLIENTS
        .map(|id| format!("    - {{ id: {id}, secretFile: \"@DIR@/secret\", owner: \"1\" }}\n"));
    let yaml = format!(
        "stateDir: \"@DIR@\"\nstore: {{ url: \"sqlite:@DIR@/m2m.db\" }}\nissuer:\n  url: \
         https://hub.example/m2m-oauth-server\n  \
         listen: 127.0.0.1:0\n  profile: plgd\n{proxies}  clients:\n{}",
        clients.concat()
    );
    // Delays are over when the time has passed, however slow the machine is.
    let builder = Sidecar::builder().clock(StandingClock::now());
    let builder = CLIENTS
        .iter()
        .fold(builder, |it, id| it.secret_file("secret", id, SECRET));
    builder.start(&yaml).await
}

/// A token request that nginx passes on: it appends the address of its client to what that client
/// has sent (`$proxy_add_x_forwarded_for`).
async fn through_nginx(
    sidecar: &Sidecar,
    address: &str,
    sent: &str,
    id: &str,
    secret: &str,
) -> RawAnswer {
    logs::remember_client_secret(id, secret);
    let list = if sent.is_empty() {
        address.to_owned()
    } else {
        format!("{sent}, {address}")
    };
    let headers = [
        ("Authorization", basic(id, secret)),
        ("X-Forwarded-For", list),
    ];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    post_form(sidecar.address("issuer"), TOKEN, &[GRANT], &headers).await
}

const GUESSER: &str = "198.51.100.7";
const OWN: &str = "192.0.2.1";

/// Without the key all who come through the proxy are one address: five wrong secrets of anyone
/// lock out every client whose secret was not used since the start.
#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_secrets_behind_a_proxy_lock_out_their_sender_and_no_other_client() {
    for (proxies, others) in [("  trustedProxies: [127.0.0.1]\n", 200), ("", 429)] {
        let sidecar = plgd(proxies).await;
        for id in CLIENTS {
            for _ in 0..5 {
                // That it says to be the client changes nothing: the proxy says whose request it
                // is.
                assert_eq!(
                    through_nginx(&sidecar, GUESSER, OWN, id, "a guess of mine")
                        .await
                        .status,
                    401
                );
            }
        }
        for id in CLIENTS {
            assert_eq!(
                through_nginx(&sidecar, OWN, "", id, SECRET).await.status,
                others,
                "{proxies}"
            );
            assert_eq!(
                through_nginx(&sidecar, GUESSER, OWN, id, SECRET)
                    .await
                    .status,
                429,
                "{proxies}"
            );
        }
        sidecar.stop().await;
    }
}

/// Many client ids from one network: these failures too are counted for the address that the proxy
/// names.
#[tokio::test(flavor = "multi_thread")]
async fn a_guesser_that_sprays_through_a_proxy_slows_down_its_own_network_only() {
    let sidecar = plgd("  trustedProxies: [127.0.0.1]\n").await;
    let guesser = "2001:db8:1:2::7";
    let mut statuses = Vec::new();
    for n in 0..40 {
        statuses.push(
            through_nginx(
                &sidecar,
                guesser,
                "",
                &format!("unknown-{n}"),
                "a guess of mine",
            )
            .await
            .status,
        );
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    for other in ["2001:db8:2::1", OWN] {
        assert_eq!(
            through_nginx(&sidecar, other, "", CLIENTS[0], SECRET)
                .await
                .status,
            200,
            "{other}"
        );
    }
    sidecar.stop().await;
}

/// What `trustedProxies` sees, for both kinds of listener.
async fn counted(sidecar: &Sidecar, listener: &str, headers: &[(&str, &str)]) -> (String, String) {
    let (mark, id) = (logs::mark(), Uuid::new_v4().to_string());
    let headers = [
        &[
            ("X-Request-Id", id.as_str()),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ],
        headers,
    ]
    .concat();
    let body = b"grant_type=client_credentials&client_id=billing&client_secret=wrong";
    let address = sidecar.address(listener);
    let answer = request("POST", address, TOKEN, &headers, body).await;
    assert!(matches!(answer.status, 401 | 429), "{}", answer.status);
    let access = logs::wait_for_line(mark, &[" access: ", &format!("request_id=\"{id}\"")]).await;
    let field = |line: &str, name: &str| {
        let value = line
            .split(&format!(" {name}="))
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    let client = field(&access, "peer");
    // A client behind a proxy has no port that is known.
    let is_proxied = !field(&access, "via").is_empty();
    let audited = if is_proxied {
        format!("{}:0", bracketed(&client))
    } else {
        client.clone()
    };
    logs::wait_for_line(
        mark,
        &[" audit: ", "token request", &format!("peer={audited}")],
    )
    .await;
    let client = if is_proxied {
        client
    } else {
        client.rsplit_once(':').expect("a port").0.to_owned()
    };
    (
        client,
        field(&access, "via")
            .rsplit_once(':')
            .map_or(String::new(), |(via, _)| via.to_owned()),
    )
}

fn bracketed(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_address_that_is_no_proxys_is_counted_and_logged() {
    let sidecar = plgd("  trustedProxies: [127.0.0.0/8, 10.0.0.0/8]\n").await;
    let xff = "X-Forwarded-For";
    for (headers, client) in [
        (&[(xff, "203.0.113.7")][..], "203.0.113.7"),
        (&[(xff, "6.6.6.6, 203.0.113.7, 10.0.0.1")], "203.0.113.7"),
        (
            &[(xff, "6.6.6.6"), (xff, "203.0.113.7"), (xff, "10.0.0.1")],
            "203.0.113.7",
        ),
        (&[(xff, "203.0.113.7:4711")], "203.0.113.7"),
        (&[(xff, "2001:db8::7")], "2001:db8::7"),
        (&[(xff, "[2001:db8::7]:4711")], "2001:db8::7"),
        (
            &[(
                "Forwarded",
                "for=6.6.6.6, for=\"[2001:db8::7]:4711\";proto=https, For=10.0.0.2",
            )],
            "2001:db8::7",
        ),
        (
            &[(xff, "203.0.113.7"), ("Forwarded", "for=6.6.6.6")],
            "203.0.113.7",
        ),
        (&[("X-Real-IP", "203.0.113.7")], "203.0.113.7"),
        // The proxy names no address, or none that could be counted.
        (&[], "127.0.0.1"),
        (&[(xff, "")], "127.0.0.1"),
        (&[(xff, "203.0.113.7, unknown")], "127.0.0.1"),
        (&[(xff, "203.0.113.7, <script>")], "127.0.0.1"),
        (&[("Forwarded", "for=_hidden")], "127.0.0.1"),
        (&[("Forwarded", "for=203.0.113.7;proto=\"")], "127.0.0.1"),
    ] {
        assert_eq!(
            counted(&sidecar, "issuer", headers).await.0,
            client,
            "{headers:?}"
        );
    }
    sidecar.stop().await;
    let strict = plgd("  trustedProxies: [10.0.0.0/8]\n").await;
    for headers in [
        (xff, "203.0.113.7"),
        ("Forwarded", "for=203.0.113.7"),
        ("X-Real-IP", "203.0.113.7"),
    ] {
        let seen = counted(&strict, "issuer", &[headers]).await;
        assert_eq!(
            seen,
            ("127.0.0.1".to_owned(), String::new()),
            "{headers:?}: of a guesser"
        );
    }
    strict.stop().await;
}

/// A request that is refused before its path is read is a line of the client's too.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_target_is_logged_for_the_client_behind_the_proxy() {
    let sidecar = plgd("  trustedProxies: [127.0.0.1]\n").await;
    let mark = logs::mark();
    let headers = [("X-Forwarded-For", "203.0.113.9")];
    let answer = request(
        "GET",
        sidecar.address("issuer"),
        "/m2m-oauth-server/a%2Fb",
        &headers,
        b"",
    )
    .await;
    assert_eq!(answer.status, 400);
    logs::wait_for_line(
        mark,
        &[
            " access: ",
            "ambiguous_path",
            "peer=203.0.113.9",
            "via=127.0.0.1",
        ],
    )
    .await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbound_listener_that_answers_for_the_issuer_goes_by_its_own_proxies() {
    let upstream = Upstream::start();
    let listener = |name: &str, proxies: &str| {
        format!(
            "  - {{ name: {name}, listen: 127.0.0.1:0, issuer: true, upstream: \"{}\", \
             authorities: [self], audiences: any, {proxies}\
             rules: [{{ paths: [\"/api/**\"] }}] }}\n",
            upstream.url()
        )
    };
    let yaml = format!(
        "stateDir: \"@DIR@\"\nstore: {{ url: \"sqlite:@DIR@/m2m.db\" }}\nissuer:\n  url: \
         https://hub.example/m2m-oauth-server\n  \
         listen: 127.0.0.1:0\n  profile: plgd\n  trustedProxies: [127.0.0.1]\nauthorities: {{ \
         self: {{ issuer: \
         https://hub.example/m2m-oauth-server }} }}\ninbound:\n{}{}",
        listener("open", ""),
        listener("behind", "trustedProxies: [127.0.0.1], "),
    );
    let sidecar = Sidecar::start(&yaml).await;
    let headers = [("X-Forwarded-For", "203.0.113.7")];
    for (name, client) in [
        ("issuer", "203.0.113.7"),
        ("behind", "203.0.113.7"),
        ("open", "127.0.0.1"),
    ] {
        assert_eq!(counted(&sidecar, name, &headers).await.0, client, "{name}");
    }
    sidecar.stop().await;
}
