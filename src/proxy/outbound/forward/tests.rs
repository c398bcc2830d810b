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
    let request = request(url, host);
    route(&targets(), pass_through, &request, &Way::Direct).map_err(|refused| refused.fault.reason)
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

#[test]
fn inside_a_tunnel_requests_name_its_host_and_port_only() {
    let targets = targets();
    let inside = |tunnel: &str, target: &str, host: &str| {
        let way = Way::Tunnel(tunnel.into());
        let routed = route(&targets, true, &request(target, host), &way);
        routed.map_err(|refused| refused.fault.reason)
    };
    let api = || Ok(Routed::Target(0, Some("/api".to_owned())));
    for (tunnel, target, host) in [
        ("hub.example:80", "/api", "hub.example"),
        ("hub.example:80", "/api", "HUB.example.:80"),
        ("Hub.Example.:80", "http://hub.example/api", "hub.example"),
    ] {
        assert_eq!(inside(tunnel, target, host), api(), "{target} {host}");
    }
    // The port of the tunnel is the default inside.
    let of_port = inside("192.0.2.1:8080", "/x", "192.0.2.1");
    assert_eq!(of_port, Ok(Routed::Target(2, None)));
    for (tunnel, target, host) in [
        ("hub.example:80", "/admin", "hub.example"),
        ("hub.example:80", "/api", "other.example"),
        ("hub.example:80", "/api", "hub.example:8080"),
        (
            "hub.example:80",
            "http://other.example/api",
            "other.example",
        ),
        ("hub.example:80", "https://hub.example/api", "hub.example"),
    ] {
        let refused = inside(tunnel, target, host);
        assert_eq!(refused, Err(Reason::Destination), "{target} {host}");
    }
    // HTTP/1.0 without a Host.
    let mut old = request("/api", "hub.example");
    old.remove_header("host");
    let way = Way::Tunnel("hub.example:80".into());
    let routed = route(&targets, false, &old, &way);
    assert_eq!(routed.map_err(|refused| refused.fault.reason), api());
}

#[test]
fn a_redirected_request_names_a_host_with_the_port_of_its_destination() {
    let targets = targets();
    let redirected = |to: &str, target: &str, host: &str| {
        let way = Way::Redirected(to.parse().unwrap());
        let routed = route(&targets, true, &request(target, host), &way);
        routed.map_err(|refused| refused.fault.reason)
    };
    let api = || Ok(Routed::Target(0, Some("/api".to_owned())));
    assert_eq!(redirected("203.0.113.9:80", "/api", "hub.example"), api());
    assert_eq!(
        redirected("203.0.113.9:80", "/api", "hub.example:80"),
        api()
    );
    let by_address = redirected("192.0.2.1:8080", "/x", "192.0.2.1");
    assert_eq!(by_address, Ok(Routed::Target(2, None)));
    let elsewhere = Ok(Routed::Elsewhere(Host::parse("a.example").unwrap(), 81));
    assert_eq!(redirected("203.0.113.9:81", "/x", "a.example"), elsewhere);
    for (to, target, host) in [
        ("203.0.113.9:80", "/admin", "hub.example"),
        ("203.0.113.9:8080", "/api", "hub.example:80"),
        ("203.0.113.9:80", "http://hub.example/api", "hub.example"),
    ] {
        let refused = redirected(to, target, host);
        assert_eq!(refused, Err(Reason::Destination), "{to} {target} {host}");
    }
    // HTTP/1.0 without a Host names its destination.
    let mut old = request("/x", "a");
    old.remove_header("host");
    let way = Way::Redirected("192.0.2.1:8080".parse().unwrap());
    let routed = route(&targets, false, &old, &way);
    let routed = routed.map_err(|refused| refused.fault.reason);
    assert_eq!(routed, Ok(Routed::Target(2, None)));
}
