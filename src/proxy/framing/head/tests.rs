//! Tests of `head`.

use super::*;

fn parsed(head: &str) -> Result<ParsedHead, Fault> {
    parse(&Bytes::copy_from_slice(head.as_bytes()), 4, false)
}

/// The head in its normal form.
fn settled(head: &str) -> String {
    let parsed = parsed(head).unwrap();
    let mut written = format!(
        "{} {} {:?}\r\n",
        parsed.request.method,
        String::from_utf8_lossy(parsed.request.raw_path()),
        parsed.request.version
    )
    .into_bytes();
    parsed.request.header_to_h1_wire(&mut written);
    written.extend_from_slice(b"\r\n");
    assert!(parsed.length >= written.len() - "Host: v:80\r\n".len());
    String::from_utf8(written).unwrap()
}

#[test]
fn hosts_are_names_or_addresses_with_or_without_port() {
    for host in [
        "a",
        "a.example",
        "a_b-c.example:8080",
        "127.0.0.1:1",
        "[::1]",
        "[2001:db8::1]:443",
    ] {
        assert!(is_host(host.as_bytes()), "{host}");
    }
    for host in [
        "", ":80", "a:", "a:b", "a:123456", "a b", "a,b", "a/b", "u@a", "[::1", "[::1]x", "[]",
        "::1", "a%2e",
    ] {
        assert!(!is_host(host.as_bytes()), "{host}");
    }
}

#[test]
fn a_host_beside_an_absolute_target_is_replaced_by_its_authority() {
    for head in [
        "GET http://v:80/x HTTP/1.1\r\nA: b\r\nhOst: v\r\nC: d\r\n\r\n",
        "GET http://v:80/x HTTP/1.1\r\nA: b\r\nHost:\r\nC: d\r\n\r\n",
        "GET http://v:80/x HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n",
        "GET http://v:80/x HTTP/1.1\r\nHost: elsewhere/@\r\nA: b\r\nC: d\r\n\r\n",
    ] {
        assert_eq!(
            settled(head),
            "GET http://v:80/x HTTP/1.1\r\nHost: v:80\r\nA: b\r\nC: d\r\n\r\n"
        );
    }
    let same = "GET http://v/x HTTP/1.0\r\nA: b\r\nHost: v\r\n\r\n";
    assert_eq!(
        settled(same),
        "GET http://v/x HTTP/1.0\r\nHost: v\r\nA: b\r\n\r\n"
    );
    let two = "GET http://v/x HTTP/1.1\r\nHost: v\r\nHost: v\r\n\r\n";
    assert!(parsed(two).is_err());
}

#[test]
fn a_target_is_settled_and_nothing_else() {
    assert_eq!(
        settled("\r\nGET /\"\u{e9} HTTP/1.0\r\nX:  a\r\nHost: b\r\n\r\n"),
        "GET /%22%C3%A9 HTTP/1.0\r\nX: a\r\nHost: b\r\n\r\n"
    );
}

#[test]
fn host_is_a_duty_of_http_1_1_only() {
    assert!(parsed("GET /readyz HTTP/1.0\r\n\r\n").is_ok());
    assert!(parsed("GET /readyz HTTP/1.1\r\n\r\n").is_err());
    assert!(parsed("GET /readyz HTTP/1.0\r\nHost: a b\r\n\r\n").is_err());
}

#[test]
fn every_fault_says_which_rule_is_broken_and_where() {
    for (head, rule, place) in [
        (
            "GET /a b HTTP/1.1\r\n\r\n",
            "the target has a space; send it as %20",
            "byte 3 of the target",
        ),
        ("GET /a HTTP/1.1 \r\n\r\n", WORDS, "line 1"),
        ("GET  /a HTTP/1.1\r\n\r\n", WORDS, "line 1"),
        ("GET /a\r\n\r\n", NO_VERSION, "line 1"),
        ("GET /a HTTP/3\r\n\r\n", VERSION, "line 1"),
        ("PRI * HTTP/2.0\r\n\r\n", HTTP_2, "line 1"),
        ("get /a HTTP/1.1\r\n\r\n", SMALL_METHOD, "line 1"),
        ("G{T /a HTTP/1.1\r\n\r\n", METHOD, "line 1"),
        ("GET /a HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", FOLDED, "line 3"),
        (
            "GET /a HTTP/1.1\r\nHost: a\r\nb\r\n\r\n",
            NO_COLON,
            "line 3",
        ),
        ("GET /a HTTP/1.1\r\nHost : a\r\n\r\n", NAME, "line 2"),
        ("GET /a HTTP/1.1\r\nX: \0\r\n\r\n", VALUE, "line 2"),
        ("GET /a HTTP/1.1\r\n\r\n", NO_HOST, ""),
        (
            "GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            TWO_HOSTS,
            "line 3",
        ),
        ("GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", HOST, "line 2"),
        (
            "GET /a HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            LENGTH,
            "line 2",
        ),
        (
            "GET /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            TWO_LENGTHS,
            "line 3",
        ),
        (
            "GET /a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            CODING,
            "line 2",
        ),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            CHUNKS_IN_1_0,
            "",
        ),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
            BOTH,
            "",
        ),
    ] {
        let fault = parsed(head).map(|_| ()).unwrap_err();
        let detail = fault.detail().unwrap();
        assert_eq!(fault.reason, Reason::MalformedRequest, "{head:?}");
        assert!(
            detail.starts_with(rule) && detail.contains(place),
            "{head:?}: {detail}"
        );
    }
}
