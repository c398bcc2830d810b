//! Tests of `forwarded`.

use proptest::prelude::*;

use super::*;

const TRUSTED: &[&str] = &["127.0.0.0/8", "10.0.0.0/8"];

/// The headers that the upstream receives for a request from 127.0.0.1, and the client address.
fn forwarded(claimed: &[(&'static str, &str)]) -> (String, [String; 5]) {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request.insert_header("host", "in:80").unwrap();
    for (name, value) in claimed {
        request.append_header(*name, *value).unwrap();
    }
    let trusted: Vec<IpNet> = TRUSTED
        .iter()
        .map(|network| network.parse().unwrap())
        .collect();
    let origin = RequestOrigin::read(
        &request.headers,
        "::ffff:127.0.0.1".parse().unwrap(),
        &trusted,
    );
    let headers = crate::proxy::headers::ClientHeaders::new::<&str>(&[], &[]);
    headers.strip(&mut request, origin.is_trusted());
    let mut added = Added::default();
    origin.write(&mut request, &mut added).unwrap();
    // The upstream receives both.
    for (name, value) in added.fields() {
        assert!(!request.headers.contains_key(name), "{name}");
        request.append_header(name.clone(), value.clone()).unwrap();
    }
    let seen = [
        X_FORWARDED_FOR,
        X_FORWARDED_PROTO,
        X_FORWARDED_HOST,
        X_REAL_IP,
        header::FORWARDED,
    ]
    .map(|name| {
        let values: Vec<_> = request
            .headers
            .get_all(&name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        values.join(" | ")
    });
    (origin.client().to_string(), seen)
}

fn expect(claimed: &[(&'static str, &str)], client: &str, seen: [&str; 5]) {
    assert_eq!(
        forwarded(claimed),
        (client.to_owned(), seen.map(str::to_owned)),
        "{claimed:?}"
    );
}

const OURS: &str = "for=127.0.0.1;host=\"in:80\";proto=http";

#[test]
fn a_missing_family_is_written_from_the_other() {
    expect(
        &[
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "out"),
        ],
        "203.0.113.7",
        [
            "203.0.113.7, 127.0.0.1",
            "https",
            "out",
            "203.0.113.7",
            &format!("for=203.0.113.7;host=\"out\";proto=https, {OURS}"),
        ],
    );
    expect(
        &[(
            "forwarded",
            "for=\"[2001:db8::7]:4711\";proto=HTTPS;host=out, For=10.0.0.2",
        )],
        "2001:db8::7",
        [
            "2001:db8::7, 10.0.0.2, 127.0.0.1",
            "https",
            "out",
            "2001:db8::7",
            &format!("for=\"[2001:db8::7]:4711\";proto=HTTPS;host=out, For=10.0.0.2, {OURS}"),
        ],
    );
    expect(
        &[("x-real-ip", "203.0.113.7")],
        "203.0.113.7",
        [
            "203.0.113.7, 127.0.0.1",
            "http",
            "in:80",
            "203.0.113.7",
            &format!("for=203.0.113.7, {OURS}"),
        ],
    );
    expect(
        &[],
        "127.0.0.1",
        ["127.0.0.1", "http", "in:80", "127.0.0.1", OURS],
    );
}

#[test]
fn the_client_is_the_last_untrusted_address() {
    for (list, client) in [
        ("203.0.113.7, 10.0.0.1", "203.0.113.7"),
        ("1.2.3.4, 203.0.113.7, 10.0.0.1", "203.0.113.7"),
        ("1.2.3.4,203.0.113.7", "203.0.113.7"),
        ("10.0.0.3, 10.0.0.1", "10.0.0.3"),
        ("203.0.113.7:5678", "203.0.113.7"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("203.0.113.7, unknown, 10.0.0.1", "10.0.0.1"),
        ("_hidden", "127.0.0.1"),
        ("203.0.113.7, <x>", "127.0.0.1"),
    ] {
        assert_eq!(forwarded(&[("x-forwarded-for", list)]).0, client, "{list}");
    }
}

#[test]
fn x_forwarded_counts_when_the_families_differ() {
    let (client, seen) = forwarded(&[
        ("x-forwarded-for", "203.0.113.7"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6;proto=https;host=evil"),
    ]);
    assert_eq!(client, "203.0.113.7");
    assert_eq!(
        seen[3..],
        ["203.0.113.7".to_owned(), format!("for=203.0.113.7, {OURS}")]
    );
    assert!(
        !seen.join(" ").contains("6.6.6.6") && !seen.join(" ").contains("evil"),
        "{seen:?}"
    );
    for broken in [
        "for=203.0.113.7;proto=\"https",
        "for",
        "for=203.0.113.7 proto=https",
        "=x",
    ] {
        let (_, seen) = forwarded(&[("x-forwarded-for", "203.0.113.7"), ("forwarded", broken)]);
        assert_eq!(seen[4], format!("for=203.0.113.7, {OURS}"), "{broken}");
    }
}

/// A proxy appends its client's address to the line that the client sent.
#[test]
fn a_clients_list_cannot_invalidate_its_proxys_entry() {
    for sent in ["\u{e4}", "\u{80}, 6.6.6.6", "\"", "6.6.6.6;", "for=\""] {
        let (x_list, list) = (
            format!("{sent}, 203.0.113.7"),
            format!("{sent}, for=203.0.113.7"),
        );
        let (client, seen) = forwarded(&[
            ("x-forwarded-for", &x_list),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ]);
        assert_eq!(
            (client.as_str(), seen[3].as_str()),
            ("203.0.113.7", "203.0.113.7"),
            "{x_list}"
        );
        let (client, _) = forwarded(&[("forwarded", &list), ("x-real-ip", "6.6.6.6")]);
        assert_ne!(client, "6.6.6.6", "{list}");
    }
}

#[test]
fn agreeing_families_are_extended_unchanged() {
    let (_, seen) = forwarded(&[
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=203.0.113.7;by=_x;proto=https"),
        ("forwarded", "for=\"10.0.0.1:80\""),
    ]);
    assert_eq!(
        seen[4],
        format!("for=203.0.113.7;by=_x;proto=https, for=\"10.0.0.1:80\", {OURS}")
    );
}

/// An untrusted peer is written in another way, with the same result.
#[test]
fn an_untrusted_peer_is_written_like_a_trusted_one() {
    let peers = [
        "127.0.0.1",
        "10.20.30.255",
        "100.99.9.0",
        "::1",
        "2001:db8::17",
    ];
    for (peer, has_host) in peers
        .into_iter()
        .flat_map(|peer| [(peer, true), (peer, false)])
    {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        if has_host {
            request.insert_header("host", "in:80").unwrap();
        }
        let peer: IpAddr = peer.parse().unwrap();
        let written = [vec![], vec![IpNet::from(peer)]].map(|trusted| {
            let origin = RequestOrigin::read(&request.headers, peer, &trusted);
            let mut added = Added::default();
            origin.write(&mut request.clone(), &mut added).unwrap();
            added.fields().to_vec()
        });
        assert_eq!(written[0], written[1]);
        assert_eq!(written[0].len(), if has_host { 5 } else { 4 });
    }
}

proptest! {
    /// For any headers of a trusted proxy, both forwarded lists name the same nodes.
    #[test]
    fn both_lists_name_the_same_nodes(
        x_list in proptest::option::of("([0-9.:a-f]{1,6}|10\\.0\\.0\\.[1-3]|, \
            |,|unknown|\\[::1\\]|\"){0,6}"),
        list in proptest::option::of("(for=|proto=https|host=a|10\\.0\\.0\\.[1-3]|\"|\\[::1\\]|;|, \
            |\\\\){0,8}"),
    ) {
        let claimed: Vec<_> = [("x-forwarded-for", &x_list), ("forwarded", &list)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect();
        let (_, seen) = forwarded(&claimed);
        let x_nodes: Vec<_> = items(&seen[0]).map(parse_node).collect();
        let nodes: Vec<_> = parse_forwarded(&seen[4]).unwrap().into_iter().map(|element| element.node).collect();
        prop_assert_eq!(x_nodes, nodes);
    }
}
