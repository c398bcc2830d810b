//! Ways out: the proxies of the file and of the environment.

use super::{Files, Problems, assert_problem, config, small, small_but, small_with, warnings};
use crate::config::{Config, Loaded, parse};

/// The small configuration with an authority and a credential elsewhere, and this top level.
fn with(top: &str) -> String {
    let text = small_with(
        "authorities",
        "  users: { issuer: \"https://idp.example\" }\n",
    );
    text.replace(
        "tokenUrl: http://127.0.0.1:8080/oauth/token",
        "tokenUrl: https://idp.example/token",
    ) + top
}

fn parse_in(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let files = Files::new();
    parse(text, "x.yaml", &|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        match (found, name) {
            (Some((_, value)), _) => Some((*value).to_owned()),
            (None, "DIR") => Some(files.0.path().display().to_string()),
            _ => None,
        }
    })
}

fn ways(config: &Config) -> Vec<String> {
    let ways = config.ways_out().into_iter();
    ways.map(|(part, proxy)| format!("{part}: {proxy}"))
        .collect()
}

const BOTH: [&str; 2] = [
    "authority users: http://p.example:3128",
    "credential hub: http://p.example:3128",
];

#[test]
fn the_proxy_of_the_file_serves_authorities_and_credentials() {
    let proxy = "egressProxy: { url: \"http://p.example:3128\" }\n";
    assert_eq!(ways(&config(&with(proxy))), BOTH);
    for but in ["idp.example", "\".example\"", "\"*\"", "\"example:443\""] {
        let text = format!("egressProxy: {{ url: \"http://p.example:3128\", noProxy: [{but}] }}\n");
        assert!(ways(&config(&with(&text))).is_empty(), "{but}");
    }
    let own = with(proxy).replace(
        "issuer: \"https://idp.example\"",
        "issuer: \"https://idp.example\", egressProxy: none",
    );
    assert_eq!(ways(&config(&own)), [BOTH[1]]);
    let own = with("egressProxy: none\n").replace(
        "issuer: \"https://idp.example\"",
        "issuer: \"https://idp.example\", egressProxy: { url: \"https://q.example\" }",
    );
    assert_eq!(ways(&config(&own)), ["authority users: https://q.example"]);
    // Loopback needs no exception.
    let text = small() + "egressProxy: { url: \"http://p.example:3128\" }\n";
    assert!(ways(&config(&text)).is_empty());
}

#[test]
fn the_environment_is_read_as_curl_and_go_read_it() {
    let found = |variables: &[(&str, &str)]| ways(&parse_in(&with(""), variables).unwrap().config);
    assert_eq!(found(&[("HTTPS_PROXY", "http://p.example:3128")]), BOTH);
    assert_eq!(found(&[("https_proxy", "p.example:3128")]), BOTH);
    let both = [
        ("https_proxy", "http://p.example:3128"),
        ("HTTPS_PROXY", "http://q.example"),
    ];
    assert_eq!(found(&both), BOTH);
    for none in [
        &[][..],
        &[("HTTPS_PROXY", " ")],
        &[("HTTP_PROXY", "http://p.example:3128")],
        &[
            ("HTTPS_PROXY", "http://p.example"),
            ("NO_PROXY", "a, .example"),
        ],
        &[("HTTPS_PROXY", "http://p.example"), ("no_proxy", "*")],
    ] {
        assert!(found(none).is_empty(), "{none:?}");
    }
    // The plain-text proxy of CGI's environment comes from the client (httpoxy).
    let plain = with("").replace("https://idp.example", "http://idp.example");
    let found = |variables: &[(&str, &str)]| ways(&parse_in(&plain, variables).unwrap().config);
    let upper = ("HTTP_PROXY", "http://p.example:3128");
    assert_eq!(found(&[upper]), BOTH);
    assert!(found(&[upper, ("REQUEST_METHOD", "GET")]).is_empty());
    let lower = ("http_proxy", "http://p.example:3128");
    assert_eq!(found(&[lower, ("REQUEST_METHOD", "GET")]), BOTH);
}

#[test]
fn a_proxy_of_the_environment_that_is_this_sidecar_is_ignored_and_one_of_the_file_is_refused() {
    let own = parse_in(&with(""), &[("HTTPS_PROXY", "http://127.0.0.1:8082")]).unwrap();
    assert!(ways(&own.config).is_empty());
    assert_problem(
        &with("egressProxy: { url: \"http://localhost:8082\" }\n"),
        "egressProxy.url",
        "own listener `outbound[0]`",
    );
}

#[test]
fn a_broken_variable_is_an_error_without_its_value() {
    for (value, why) in [
        (
            "socks5://ann:hush-hush@p.example:1080",
            "SOCKS proxies are not supported",
        ),
        ("http://ann:hush-hush@p.example/path", "remove path"),
        ("ftp://hush-hush", "it must begin with"),
    ] {
        let problems = parse_in(&with(""), &[("HTTPS_PROXY", value)])
            .unwrap_err()
            .to_string();
        assert!(
            problems.contains(why) && problems.contains("HTTPS_PROXY"),
            "{problems}"
        );
        assert!(!problems.contains("hush"), "{problems}");
        let ignored = parse_in(&with("egressProxy: none\n"), &[("HTTPS_PROXY", value)]);
        assert!(ignored.is_ok());
    }
}

#[test]
fn every_mistake_of_a_proxy_has_its_key() {
    for (settings, key, message) in [
        (
            "url: \"http://ann:pw@p.example\"",
            "url",
            "remove the password, put it into a file",
        ),
        (
            "url: \"socks5://p.example\"",
            "url",
            "SOCKS proxies are not supported",
        ),
        ("url: p.example", "url", "it must begin with"),
        ("url: \"http://p.example/x\"", "url", "remove path"),
        (
            "url: \"https://p.example\", passwordFile: \"${DIR}/secret\"",
            "passwordFile",
            "needs a user",
        ),
        (
            "url: \"https://ann@p.example\", passwordFile: /nowhere",
            "passwordFile",
            "cannot be read",
        ),
        (
            "url: \"http://p.example\", noProxy: [\"a/b\"]",
            "noProxy[0]",
            "it must be a name",
        ),
        ("noProxy: []", "url", "this key is required"),
    ] {
        let text = with(&format!("egressProxy: {{ {settings} }}\n"));
        assert_problem(&text, &format!("egressProxy.{key}"), message);
    }
    assert_problem(
        &with("egressProxy: shared\n"),
        "egressProxy",
        "`environment`, `none`",
    );
    let open = "egressProxy: { url: \"http://ann@p.example\", passwordFile: \"${DIR}/secret\" }\n";
    let warned = warnings(&with(open));
    assert!(
        warned.iter().any(|it| it.contains("password of the proxy")),
        "{warned:?}"
    );
}

#[test]
fn upstreams_use_a_proxy_only_where_the_listener_says_so() {
    let top = "egressProxy: { url: \"http://p.example:3128\" }\n";
    let upstream = "    upstream: http://127.0.0.1:9\n    credential: hub\n";
    let with = |upstream: &str| {
        small_but(
            "    upstream: http://127.0.0.1:9\n    credential: hub\n",
            &format!("    upstream: {upstream}\n    credential: hub\n"),
        ) + top
    };
    assert!(small().contains(upstream));
    let proxy = |text: &str| {
        let config = config(text);
        let targets = config.outbound[0].targets();
        targets[0].upstream.proxy.as_ref().map(ToString::to_string)
    };
    assert_eq!(proxy(&with("https://a.example")), None);
    let shared = with("https://a.example\n    egressProxy: shared");
    assert_eq!(proxy(&shared).as_deref(), Some("http://p.example:3128"));
    assert_eq!(
        ways(&config(&shared)),
        ["outbound out: http://p.example:3128"]
    );
    for straight in [
        "https://a.example\n    egressProxy: none",
        "https://127.0.0.1:9\n    egressProxy: shared",
        "unix:/run/a.sock\n    egressProxy: shared",
        "http://a.example\n    egressProxy: { url: \"http://q.example\", noProxy: [a.example] }",
    ] {
        assert_eq!(proxy(&with(straight)), None, "{straight}");
    }
    for plain in ["http://a.example", "h2c://a.example"] {
        assert_problem(
            &with(&format!("{plain}\n    egressProxy: shared")),
            "outbound[0].upstream",
            "only https upstreams",
        );
    }
}
