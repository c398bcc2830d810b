//! The effect of the configuration's keys for paths and forwarding on the same requests.

use super::World;
use crate::support::client::{Connection, get};
use crate::support::logs;

async fn statuses(world: &World, targets: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for target in targets {
        statuses.push(get(world.address(), target, &[("Host", "a")]).await.status);
    }
    statuses
}

fn seen(world: &World) -> Vec<String> {
    world
        .recorder
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_slash_that_is_kept_is_a_character_of_its_segment() {
    let more = "      - { paths: [\"/hrefs/*\", \"/exact/a%2Fb\"], access: public }\n    \
        encodedSlash: keep\n";
    let world = World::new(more).await;
    let good = ["/hrefs/%2flight%2F1", "/public/a%2Fb/../c", "/exact/a%2fb"];
    assert_eq!(statuses(&world, &good).await, [200; 3]);
    assert_eq!(
        seen(&world),
        ["/hrefs/%2Flight%2F1", "/public/c", "/exact/a%2Fb"]
    );
    // One segment, so not `/hrefs/*` with two, nor `/exact/a/b`.
    assert_eq!(
        statuses(&world, &["/hrefs/a%2Fb/c", "/exact/a/b", "/hrefs%2Fa"]).await,
        [401; 3]
    );
    let hidden = [
        "/public/..%2Fadmin",
        "/public/%2F..%2Fadmin",
        "/public/%2e%2e%2fadmin",
        "/public/a%252Fb",
        "/public/a;b",
    ];
    assert_eq!(statuses(&world, &hidden).await, [400; 5]);
    assert_eq!(seen(&world).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_semicolon_that_is_kept_is_a_character_of_its_segment() {
    let world = World::new(
        "      - { paths: [\"/exact/a;b\"], access: public }\n    pathParameters: keep\n",
    )
    .await;
    assert_eq!(
        statuses(
            &world,
            &["/public/a;v=1;w/b", "/public/a%3bv", "/exact/a;b"]
        )
        .await,
        [200; 3]
    );
    assert_eq!(
        seen(&world),
        ["/public/a;v=1;w/b", "/public/a%3Bv", "/exact/a;b"]
    );
    assert_eq!(
        statuses(&world, &["/exact/a", "/public;x/a", "/exact/a;c"]).await,
        [401; 3]
    );
    let hidden = [
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/;/admin",
        "/public/%2e%2e;/admin",
        "/public/a%2Fb",
    ];
    assert_eq!(statuses(&world, &hidden).await, [400; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubly_encoded_delimiter_that_is_kept_stays_as_it_was_sent() {
    let world = World::new(
        "      - { paths: [\"/exact/a%252Fb\"], access: public }\n    doubleEncoding: keep\n",
    )
    .await;
    let good = [
        "/public/job/feature%252fx",
        "/exact/a%252Fb",
        "/public/a%255cb%253bc%2525",
    ];
    assert_eq!(statuses(&world, &good).await, [200; 3]);
    assert_eq!(seen(&world), good);
    let hidden = [
        "/public/..%252fadmin",
        "/public/%252e%252e/admin",
        "/public/%25252e%25252e/admin",
        "/public/..%255cadmin",
        "/public/a%2500",
        "/public/a%252f%253bx",
        "/public/a%2Fb",
        "/public/%f6",
    ];
    assert_eq!(statuses(&world, &hidden).await, [400; 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn escapes_that_are_not_utf_8_can_be_kept_as_iso_8859_1() {
    let more = "      - { paths: [\"/exact/sch%C3%B6n\"], access: public }\n    nonUtf8: keep\n";
    let world = World::new(more).await;
    assert_eq!(
        statuses(
            &world,
            &["/public/sch%f6n", "/exact/sch%f6n", "/exact/sch%c3%b6n"]
        )
        .await,
        [200; 3]
    );
    assert_eq!(
        seen(&world),
        ["/public/sch%F6n", "/exact/sch%F6n", "/exact/sch%C3%B6n"]
    );
    let hidden = [
        "/public/%c0%ae%c0%ae/admin",
        "/public/..%c0%afadmin",
        "/public/..%e0%80%afadmin",
    ];
    assert_eq!(statuses(&world, &hidden).await, [400; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_path_names_its_cause_and_the_key_that_allows_it() {
    let world = World::new("").await;
    for (target, cause) in [
        ("/public/a%252Fb", "doubleEncoding: keep"),
        ("/public/%F6", "nonUtf8: keep"),
        ("/public/a%2Fb", "encodedSlash: keep"),
        ("/public/a;b", "pathParameters: keep"),
        ("/public/%2e%2e/a", "encoded dot segment"),
        ("/public/a\\b", "a backslash"),
        ("/public/100%", "send the sign as %25"),
    ] {
        let answer = get(world.address(), target, &[("Host", "a")]).await;
        let text = answer.json()["error_description"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            answer.status == 400 && text.contains(cause),
            "{target}: {text}"
        );
        let listener = format!("listener=\"{}\"", world.name);
        logs::wait_for_line(world.mark, &["access", &listener, "ambiguous_path", cause]).await;
    }
}

const CLAIMED: &[(&str, &str)] = &[
    ("Host", "inner.example:80"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "outer.example"),
    ("X-Forwarded-Port", "443"),
    ("X-Real-IP", "203.0.113.7"),
    ("Forwarded", "for=203.0.113.7;proto=https"),
    ("X_Forwarded_For", "forged"),
    ("X_Real_IP", "forged"),
];

async fn forwarding(listener: &str) -> Vec<(&'static str, Vec<String>)> {
    let world = World::new(listener).await;
    assert_eq!(get(world.address(), "/public/x", CLAIMED).await.status, 200);
    let seen = world.recorder.requests().remove(0);
    [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-real-ip",
        "forwarded",
    ]
    .into_iter()
    .map(|name| {
        (
            name,
            seen.all(name).into_iter().map(str::to_owned).collect(),
        )
    })
    .collect()
}

fn values(expected: &[(&'static str, &str)]) -> Vec<(&'static str, Vec<String>)> {
    let value = |value: &str| {
        if value.is_empty() {
            Vec::new()
        } else {
            vec![value.to_owned()]
        }
    };
    expected
        .iter()
        .map(|(name, text)| (*name, value(text)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding_fields_of_untrusted_peers_are_replaced() {
    for listener in ["", "    trustedProxies: [10.0.0.0/8, \"::1\"]\n"] {
        assert_eq!(
            forwarding(listener).await,
            values(&[
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "inner.example:80"),
                ("x-forwarded-port", ""),
                ("x-real-ip", "127.0.0.1"),
                (
                    "forwarded",
                    "for=127.0.0.1;host=\"inner.example:80\";proto=http"
                ),
            ])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxys_word_is_extended() {
    assert_eq!(
        forwarding("    trustedProxies: [127.0.0.0/8, 10.0.0.0/8]\n").await,
        values(&[
            ("x-forwarded-for", "203.0.113.7, 10.0.0.1, 127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "outer.example"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "203.0.113.7"),
            // The proxy's own `Forwarded` omits 10.0.0.1: both families get the longer list.
            (
                "forwarded",
                "for=203.0.113.7;host=\"outer.example\";proto=https, for=10.0.0.1, \
                 for=127.0.0.1;host=\"inner.example:80\";proto=http"
            ),
        ])
    );
}

/// Fields of an authenticating proxy, a load balancer and a CDN; and harmless ones.
const OF_OTHER_PROXIES: &[(&str, &str)] = &[
    ("Host", "a"),
    ("X-Forwarded-User", "1"),
    ("X_Forwarded_User", "2"),
    ("X-Forwarded-Client-Cert", "3"),
    ("X-Auth-Request-Email", "4"),
    ("X_Auth_Request_Email", "5"),
    ("Remote-User", "6"),
    ("X-Original-URI", "7"),
    ("True-Client-IP", "8"),
    ("Proxy", "9"),
    ("X-Tenant", "10"),
    ("X-Auth-Token", "11"),
];

/// The values of [`OF_OTHER_PROXIES`] that the upstream sees.
async fn passed(listener: &str) -> Vec<String> {
    let world = World::new(listener).await;
    assert_eq!(
        get(world.address(), "/public/x", OF_OTHER_PROXIES)
            .await
            .status,
        200
    );
    let seen = world.recorder.requests().remove(0);
    let sent = OF_OTHER_PROXIES.iter().skip(1);
    sent.filter(|(name, value)| seen.all(&name.to_lowercase()).contains(value))
        .map(|(_, value)| (*value).to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_fields_pass_from_trusted_proxies_only() {
    assert_eq!(passed("").await, ["10", "11"]);
    assert_eq!(
        passed("    trustedProxies: [10.0.0.0/8]\n").await,
        ["10", "11"]
    );
    let of_trusted = ["1", "3", "4", "6", "7", "8", "9", "10", "11"];
    assert_eq!(
        passed("    trustedProxies: [127.0.0.0/8]\n").await,
        of_trusted,
        "in the usual spelling"
    );
    assert_eq!(
        passed("    removeHeaders: [x_tenant, \"X-Auth-T*\"]\n").await,
        ["4", "5", "6", "7", "8", "9"]
    );
    assert_eq!(
        passed("    removeHeaders: []\n").await,
        ["4", "5", "6", "7", "8", "9", "10", "11"]
    );
}

/// A trusted proxy that writes one family: the other family and the access log agree with it.
#[tokio::test(flavor = "multi_thread")]
async fn both_families_and_the_log_agree() {
    const CLIENT: &str = "203.0.113.7";
    let world = World::new("    trustedProxies: [127.0.0.0/8, 10.0.0.0/8]\n").await;
    for (number, claimed) in [
        &[
            ("X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.0.0.1"),
            ("X-Forwarded-Proto", "https"),
        ][..],
        &[(
            "Forwarded",
            "for=6.6.6.6, for=\"203.0.113.7:80\";proto=https, for=10.0.0.1",
        )],
        // The proxy writes X-Forwarded-For, and passes on its client's Forwarded.
        &[
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Forwarded-Proto", "https"),
            ("Forwarded", "for=6.6.6.6;proto=http"),
        ],
    ]
    .into_iter()
    .enumerate()
    {
        let mark = logs::mark();
        for path in [format!("/public/{number}"), format!("/admin/{number}")] {
            let headers = [&[("Host", "inner")], claimed].concat();
            get(world.address(), &path, &headers).await;
            let line = [
                &format!("path=\"{path}\""),
                &format!("peer={CLIENT} "),
                "via=127.0.0.1:",
            ];
            logs::wait_for_line(mark, &line.map(|text: &str| text)).await;
        }
        let seen = world.recorder.requests().pop().expect("a request");
        assert_eq!(seen.all("x-real-ip"), [CLIENT]);
        assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
        let nodes = |list: &str| {
            list.split(',')
                .map(|item| item.trim().to_owned())
                .collect::<Vec<_>>()
        };
        let (plain, list) = (
            nodes(seen.all("x-forwarded-for")[0]),
            nodes(seen.all("forwarded")[0]),
        );
        assert_eq!(plain.len(), list.len());
        for (address, element) in plain.iter().zip(&list) {
            let node = element
                .split(';')
                .next()
                .unwrap_or_default()
                .trim_start_matches("for=");
            assert_eq!(node.trim_matches('"').trim_end_matches(":80"), address);
        }
        assert!(
            list[list.len() - 2..]
                .iter()
                .all(|element| element.starts_with("for="))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_between_requests_is_kept() {
    let mut world = World::new("").await;
    let mut kept = Connection::open(world.address()).await;
    for _ in 0..3 {
        world.canary(&mut kept, "nothing").await;
    }
    assert_eq!(world.recorder.connections(), 1);
}
