//! Tests of `forward`.

use super::*;

fn request(target: &str, host: &str) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request.set_raw_path(target.as_bytes()).unwrap();
    request.insert_header("host", host).unwrap();
    request
}

fn targets() -> Vec<Urls> {
    let urls = |host: &str, port, paths: &[&str]| Urls {
        host: Host::parse(host).unwrap(),
        port,
        paths: Some(
            paths
                .iter()
                .map(|path| Pattern::parse(path).unwrap())
                .collect(),
        ),
    };
    vec![
        urls("hub.example", 80, &["/api/**"]),
        urls("hub.example", 80, &["/other"]),
        Urls {
            paths: None,
            ..urls("192.0.2.1", 8080, &[])
        },
        Urls {
            paths: None,
            ..urls("[2001:db8::1]", 80, &[])
        },
    ]
}

fn routed(url: &str, pass_through: bool) -> Result<Routed, Reason> {
    let host = url.split('/').nth(2).unwrap_or_default();
    route(&targets(), pass_through, &request(url, host)).map_err(|refused| refused.fault.reason)
}

#[test]
fn a_url_leads_to_the_target_with_its_host_port_and_path() {
    let target = |index, path: Option<&str>| Ok(Routed::Target(index, path.map(str::to_owned)));
    for (url, expected) in [
        ("http://hub.example/api/v1?x=1", target(0, Some("/api/v1"))),
        ("HTTP://Hub.Example:80/api", target(0, Some("/api"))),
        ("http://hub.example./api//a/../b", target(0, Some("/api/b"))),
        ("http://hub.example/other", target(1, Some("/other"))),
        ("http://192.0.2.1:8080/a%2Fb", target(2, None)),
        ("http://[2001:DB8::1]/", target(3, None)),
        ("http://[2001:db8:0::1]:80/", target(3, None)),
        // One address in many spellings, and a name in two.
        ("http://3221225985:8080/x", target(2, None)),
        ("http://0xc0000201:8080/x", target(2, None)),
        ("http://0300.0.02.1:8080/x", target(2, None)),
        ("http://192.0.513:8080/x", target(2, None)),
        ("http://%68ub.example/api", target(0, Some("/api"))),
        ("http://%68ub.example/admin", Err(Reason::Destination)),
        ("http://hub.example../api", Err(Reason::MalformedRequest)),
        ("http://hub..example/api", Err(Reason::MalformedRequest)),
        ("http://.hub.example/api", Err(Reason::MalformedRequest)),
        ("http://hub.example/", Err(Reason::Destination)),
        ("http://hub.example/apis", Err(Reason::Destination)),
        ("http://hub.example/api/../admin", Err(Reason::Destination)),
        (
            "http://hub.example/api/..%2Fadmin",
            Err(Reason::AmbiguousPath),
        ),
        ("http://hub.example:8080/api", Err(Reason::Destination)),
        ("http://hub.example:0/api", Err(Reason::MalformedRequest)),
        ("http://hub.example.evil/api", Err(Reason::Destination)),
        ("http://evil.example/api", Err(Reason::Destination)),
        ("http://192.0.2.1/", Err(Reason::Destination)),
        ("https://hub.example/api", Err(Reason::Destination)),
        ("ftp://hub.example/api", Err(Reason::Destination)),
        ("/api", Err(Reason::Destination)),
    ] {
        assert_eq!(routed(url, false), expected, "{url}");
    }
}

#[test]
fn elsewhere_is_where_no_target_is_and_never_round_a_list() {
    let elsewhere = |host: &str, port| Ok(Routed::Elsewhere(Host::parse(host).unwrap(), port));
    assert_eq!(
        routed("http://A.example:81/x", true),
        elsewhere("a.example", 81)
    );
    assert_eq!(
        routed("http://hub.example:8080/x", true),
        elsewhere("hub.example", 8080)
    );
    assert_eq!(
        routed("http://hub.example/admin", true),
        Err(Reason::Destination)
    );
    assert_eq!(
        routed("https://a.example/x", true),
        Err(Reason::Destination)
    );
    assert_eq!(routed("/x", true), Err(Reason::Destination));
}
