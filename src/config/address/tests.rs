//! Tests of `address`.

use super::*;

fn accepts<T: FromStr>(texts: &[&str]) {
    for text in texts {
        assert!(text.parse::<T>().is_ok(), "{text:?}");
    }
}

fn refuses<T: FromStr>(texts: &[&str]) {
    for text in texts {
        assert!(text.parse::<T>().is_err(), "{text:?}");
    }
}

#[test]
fn listen_addresses_are_literal_or_localhost() {
    for (text, expected) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:0", "[::1]:0"),
        ("localhost:9", "localhost:9"),
        ("LocalHost:0", "localhost:0"),
        ("0.0.0.0:65535", "0.0.0.0:65535"),
    ] {
        assert_eq!(
            text.parse::<ListenAddress>().unwrap().0.to_string(),
            expected
        );
    }
    for text in [
        "",
        ":80",
        "example.com:80",
        "127.0.0.1",
        "localhost",
        "localhost:",
        "localhost:65536",
        "::1:80",
        "http://127.0.0.1:80",
    ] {
        assert!(text.parse::<ListenAddress>().is_err(), "{text}");
    }
}

#[test]
fn a_socket_in_the_file_system_may_have_a_mode_and_an_owner() {
    let parsed = |text: &str| text.parse::<ListenAddress>().map(|parsed| parsed.0);
    let Ok(Listen::Unix(socket)) = parsed("unix:/run/a.sock,mode=0640,owner=app:web") else {
        panic!("refused")
    };
    assert_eq!(socket.path.to_str(), Some("/run/a.sock"));
    assert_eq!(socket.mode, Some(0o640));
    assert_eq!(
        (socket.user.as_deref(), socket.group.as_deref()),
        (Some("app"), Some("web"))
    );
    let Ok(Listen::Unix(socket)) = parsed("unix:/run/a.sock,owner=:33") else {
        panic!("refused")
    };
    assert_eq!(
        (socket.mode, socket.user, socket.group.as_deref()),
        (None, None, Some("33"))
    );
    let long = format!("unix:/{}", "a".repeat(100));
    for text in [
        "unix:",
        "unix:run/a.sock",
        "unix:/run/",
        "unix:/a,mode=0999",
        "unix:/a,mode=1777",
        "unix:/a,mode=60",
        "unix:/a,group=web",
        "unix:/a,allowedUids=",
        "unix:/a,allowedUids=1000:",
        "unix:/a,",
        &long,
    ] {
        assert!(parsed(text).is_err(), "{text}");
    }
}

#[test]
fn urls_carry_no_credentials() {
    accepts::<HttpUrl>(&["http://a", "https://a:1/b?c=d", "http://[::1]:9/x"]);
    refuses::<HttpUrl>(&[
        "",
        "a",
        "/a",
        "ftp://a",
        "http://",
        "http://u@a",
        "http://u:p@a",
        "http://a/#f",
        "unix:/x",
    ]);
}

#[test]
fn networks_are_addresses_with_a_length() {
    accepts::<Network>(&[
        "10.0.0.0/8",
        "10.1.2.3",
        "10.1.2.3/32",
        "::1",
        "fd00::/8",
        "0.0.0.0/0",
    ]);
    refuses::<Network>(&[
        "",
        "10.1.2.3/8",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10/8",
        "a.example",
        "fd00::1/8",
    ]);
}

#[test]
fn upstreams_are_scheme_host_and_port() {
    let upstream = |text: &str| text.parse::<UpstreamUrl>().unwrap();
    assert_eq!(
        upstream("http://a"),
        UpstreamUrl {
            tls: false,
            h2c: false,
            host: "a".into(),
            port: 80,
            socket: None,
        }
    );
    assert_eq!(
        upstream("https://a/"),
        UpstreamUrl {
            tls: true,
            h2c: false,
            host: "a".into(),
            port: 443,
            socket: None,
        }
    );
    assert_eq!(
        upstream("http://[::1]:9"),
        UpstreamUrl {
            tls: false,
            h2c: false,
            host: "::1".into(),
            port: 9,
            socket: None,
        }
    );
    assert_eq!(
        upstream("h2c://a"),
        UpstreamUrl {
            tls: false,
            h2c: true,
            host: "a".into(),
            port: 80,
            socket: None,
        }
    );
    assert_eq!(upstream("h2c://127.0.0.1:9").host, "127.0.0.1");
    for (text, h2c) in [("unix:/run/a.sock", false), ("h2c+unix:/run/a.sock", true)] {
        let at = upstream(text);
        assert_eq!((at.socket, at.h2c), (Some("/run/a.sock".into()), h2c));
        assert_eq!((at.host.as_str(), at.port), ("localhost", 80));
    }
    let long = format!("unix:/{}", "a".repeat(107));
    refuses::<UpstreamUrl>(&[
        &long,
        "unix:",
        "unix:run/a.sock",
        "unix://run/a.sock",
        "h2c:/a",
        "h2c://a/b",
        "h2c://u@a",
        "a:80",
        "http://a/b",
        "http://a?b",
        "http://u@a",
        "http://a:0",
        "http://a:99999",
        "ws://a",
    ]);
}
