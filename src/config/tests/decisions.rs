//! Listeners that decide for a proxy.

use super::{assert_problem, config, small_but, warnings};
use crate::domain::settings::OriginalRequest;

/// A file with a listener that has these keys, and these keys of its rule.
fn decisions(keys: &str, rule: &str) -> String {
    small_but(
        "inbound:\n",
        &format!(
            "decisions:\n  - name: edge\n    listen: 127.0.0.1:9191\n    authorities: [self]\n    \
             audiences: any\n    rules: [{{ paths: [/a]{rule} }}]\n{keys}inbound:\n"
        ),
    )
}

const FROM: &str = "    from: original\n";

#[test]
fn by_default_only_this_machine_and_certificates_may_ask() {
    let config = config(&decisions(FROM, ""));
    let [edge] = config.decisions.as_slice() else {
        panic!("one listener: {:?}", config.decisions);
    };
    assert_eq!(edge.from, OriginalRequest::Original);
    assert_eq!(edge.path_prefix, "");
    let networks: Vec<_> = (edge.peers.networks.iter())
        .map(ToString::to_string)
        .collect();
    assert_eq!(networks, ["127.0.0.0/8", "::1/128"]);
    assert!(edge.peers.by_certificate);
    assert!(edge.listener.upstreams.is_empty());
    assert!(edge.listener.ordinary.unchanged && !config.inbound[0].ordinary.unchanged);
    assert!(warnings(&decisions(FROM, "")).is_empty());
}

#[test]
fn named_peers_replace_the_default() {
    let keys = "    from: request\n    pathPrefix: /ask\n    trustedProxies: [10.0.0.0/8]\n";
    let config = config(&decisions(keys, ""));
    let edge = &config.decisions[0];
    assert_eq!(edge.path_prefix, "/ask");
    assert_eq!(edge.peers.networks, ["10.0.0.0/8".parse().unwrap()]);
    assert!(!edge.peers.by_certificate);
    assert_eq!(edge.listener.trusted_proxies, edge.peers.networks);
}

#[test]
fn the_form_is_never_guessed() {
    assert_problem(&decisions("", ""), "decisions[0].from", "required");
    let unknown = decisions("    from: nginx\n", "");
    assert_problem(&unknown, "decisions[0].from", "forwarded");
    let prefix = decisions(&format!("{FROM}    pathPrefix: /ask\n"), "");
    assert_problem(&prefix, "decisions[0].pathPrefix", "`from: request` only");
    let nothing = decisions(&format!("{FROM}    trustedProxies: []\n"), "");
    assert_problem(&nothing, "decisions[0].trustedProxies", "empty");
}

#[test]
fn keys_without_a_meaning_are_refused() {
    for key in [
        "upstream: http://a",
        "upstreams: {}",
        "upstreamTls: {}",
        "upstreamTimeouts: {}",
        "upstreamAuthorization: keep",
        "authorization: strip",
        "preserveHost: true",
        "maxBody: 1KiB",
        "removeHeaders: []",
        "streams: untilClosed",
        "cors: {}",
        "responseHeaders: {}",
        "privateCache: true",
        "issuer: true",
    ] {
        let (name, _) = key.split_once(':').unwrap();
        let text = decisions(&format!("{FROM}    {key}\n"), "");
        assert_problem(&text, &format!("decisions[0].{name}"), "forwards nothing");
    }
    for key in ["wsIdle: 1m", "allowedOrigins: []", "tokenCookie: a"] {
        let (name, _) = key.split_once(':').unwrap();
        let text = decisions(&format!("{FROM}    {key}\n"), "");
        assert_problem(&text, &format!("decisions[0].{name}"), "WebSocket");
    }
    let cookie = "    tokenLocations: [authorization, websocketSubprotocol]\n";
    let cookie = decisions(&format!("{FROM}{cookie}"), "");
    assert_problem(&cookie, "decisions[0].tokenLocations[1]", "WebSocket");
    let limits = decisions(&format!("{FROM}    limits: {{ concurrent: 1 }}\n"), "");
    assert_problem(&limits, "decisions[0].limits.concurrent", "ends before");
    for (rule, key) in [
        (", upstream: a", "upstream"),
        (", timeout: 1s", "timeout"),
        (", stripPrefix: /a", "stripPrefix"),
    ] {
        let path = format!("decisions[0].rules[0].{key}");
        assert_problem(&decisions(FROM, rule), &path, "forwards nothing");
    }
}

#[test]
fn names_and_addresses_are_unique_and_rules_are_checked() {
    let name = decisions(FROM, "").replacen("name: edge", "name: in", 1);
    assert_problem(&name, "decisions[0].name", "already used");
    let address = decisions(FROM, "").replacen("127.0.0.1:9191", "127.0.0.1:8081", 1);
    assert_problem(&address, "decisions[0].listen", "already used");
    let rule = decisions(FROM, ", methods: [GET], scopes: [\"a\"], access: public");
    assert_problem(&rule, "decisions[0].rules[0].scopes", "public rule");
    let pattern = decisions(FROM, "");
    let pattern = pattern.replace("paths: [/a]", "paths: [/a/../b]");
    assert_problem(&pattern, "decisions[0].rules[0].paths[0]", "");
    let authority =
        decisions(FROM, "").replacen("[self]\n    audiences", "[none]\n    audiences", 1);
    assert_problem(
        &authority,
        "decisions[0].authorities[0]",
        "no authority is named",
    );
}
