//! Request lines, field lines, `Host`, and floods of them.

use super::{BAD, Case, OK, PATH, TOO_LARGE, World};

const LINES: &[Case<'static>] = &[
    (
        "bare LF everywhere",
        "GET /public/{m} HTTP/1.1\nHost: a\n\n",
        &[BAD],
    ),
    (
        "bare LF once",
        "GET /public/{m} HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        &[BAD],
    ),
    (
        "LF LF at the end",
        "GET /public/{m} HTTP/1.1\r\nHost: a\n\n",
        &[BAD],
    ),
    (
        "CR LF LF at the end",
        "GET /public/{m} HTTP/1.1\r\n{h}\n",
        &[BAD],
    ),
    (
        "bare CR in a value",
        "GET /public/{m} HTTP/1.1\r\n{h}X: y\rX-M2M-Subject: forged\r\n\r\n",
        &[BAD],
    ),
    (
        "bare CR in the request line",
        "GET /public/{m}\rHTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    ("CR CR LF", "GET /public/{m} HTTP/1.1\r\r\n{h}\r\n", &[BAD]),
    (
        "NUL in a value",
        "GET /public/{m} HTTP/1.1\r\n{h}X: a{00}b\r\n\r\n",
        &[BAD],
    ),
    (
        "NUL in a name",
        "GET /public/{m} HTTP/1.1\r\n{h}X{00}: b\r\n\r\n",
        &[BAD],
    ),
    (
        "NUL in the target",
        "GET /public/{m}{00} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "a vertical tab in a value",
        "GET /public/{m} HTTP/1.1\r\n{h}X: a{0b}b\r\n\r\n",
        &[BAD],
    ),
    (
        "an escape in a value",
        "GET /public/{m} HTTP/1.1\r\n{h}X: a{1b}b\r\n\r\n",
        &[BAD],
    ),
    (
        "DEL in a value",
        "GET /public/{m} HTTP/1.1\r\n{h}X: a{7f}b\r\n\r\n",
        &[BAD],
    ),
    (
        "folded by a space",
        "GET /public/{m} HTTP/1.1\r\n{h}X: a\r\n b\r\n\r\n",
        &[BAD],
    ),
    (
        "folded by a tab",
        "GET /public/{m} HTTP/1.1\r\n{h}X: a\r\n\tb\r\n\r\n",
        &[BAD],
    ),
    (
        "the first field folded",
        "GET /public/{m} HTTP/1.1\r\n {h}\r\n",
        &[BAD],
    ),
    (
        "a line of spaces",
        "GET /public/{m} HTTP/1.1\r\n{h}   \r\n\r\n",
        &[BAD],
    ),
    (
        "no name",
        "GET /public/{m} HTTP/1.1\r\n{h}: a\r\n\r\n",
        &[BAD],
    ),
    (
        "no colon",
        "GET /public/{m} HTTP/1.1\r\n{h}X\r\n\r\n",
        &[BAD],
    ),
    (
        "a space in a name",
        "GET /public/{m} HTTP/1.1\r\n{h}Bad Name: a\r\n\r\n",
        &[BAD],
    ),
    (
        "a bracket in a name",
        "GET /public/{m} HTTP/1.1\r\n{h}X(: a\r\n\r\n",
        &[BAD],
    ),
    (
        "a name beyond ASCII",
        "GET /public/{m} HTTP/1.1\r\n{h}X\u{e9}: a\r\n\r\n",
        &[BAD],
    ),
    (
        "a value beyond ASCII",
        "GET /public/{m} HTTP/1.1\r\n{h}X: \u{e9}\r\n\r\n",
        &[OK],
    ),
    (
        "a tab in a value",
        "GET /public/{m} HTTP/1.1\r\n{h}X:\ta\tb\t\r\n\r\n",
        &[OK],
    ),
    (
        "an empty value",
        "GET /public/{m} HTTP/1.1\r\n{h}X:\r\n\r\n",
        &[OK],
    ),
    (
        "an empty line in front",
        "\r\nGET /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[OK],
    ),
    (
        "two empty lines in front",
        "\r\n\r\nGET /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "LF in front",
        "\nGET /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "CR in front",
        "\rGET /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "a space in front",
        " GET /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    ("two spaces", "GET  /public/{m} HTTP/1.1\r\n{h}\r\n", &[BAD]),
    (
        "two spaces behind the target",
        "GET /public/{m}  HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "a tab between",
        "GET\t/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "a space behind",
        "GET /public/{m} HTTP/1.1 \r\n{h}\r\n",
        &[BAD],
    ),
    (
        "a space in the target",
        "GET /public/{m} /admin HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    ("no target", "GET HTTP/1.1\r\n{h}\r\n", &[BAD]),
    ("an empty target", "GET  HTTP/1.1\r\n{h}\r\n", &[BAD]),
    ("HTTP/0.9", "GET /public/{m}\r\n\r\n", &[BAD]),
    (
        "HTTP/0.9 by name",
        "GET /public/{m} HTTP/0.9\r\n{h}\r\n",
        &[BAD],
    ),
    ("HTTP/1.2", "GET /public/{m} HTTP/1.2\r\n{h}\r\n", &[BAD]),
    ("HTTP/2.0", "GET /public/{m} HTTP/2.0\r\n{h}\r\n", &[BAD]),
    (
        "HTTP/2 preface after a request",
        "GET /public/{m}x HTTP/1.1\r\n{h}\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[OK, BAD],
    ),
    (
        "another protocol",
        "INVALID CONNECTION PREFACE\r\n\r\n",
        &[],
    ),
    ("HTTP/1.10", "GET /public/{m} HTTP/1.10\r\n{h}\r\n", &[BAD]),
    ("HTTP/01.1", "GET /public/{m} HTTP/01.1\r\n{h}\r\n", &[BAD]),
    ("http/1.1", "GET /public/{m} http/1.1\r\n{h}\r\n", &[BAD]),
    ("HTTP/1.0", "GET /public/{m} HTTP/1.0\r\n{h}\r\n", &[OK]),
    (
        "HTTP/1.0, kept",
        "GET /public/{m} HTTP/1.0\r\n{h}Connection: keep-alive\r\n\r\n",
        &[OK],
    ),
    (
        "a small method",
        "get /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "a mixed method",
        "Get /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "a small CONNECT",
        "connect a:80 HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "a method with a mark",
        "G!T /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "a long method",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    ("PURGE", "PURGE /public/{m} HTTP/1.1\r\n{h}\r\n", &[OK]),
    (
        "M-SEARCH",
        "M-SEARCH /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[OK],
    ),
    (
        "TRACE",
        "TRACE /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[(405, "method")],
    ),
    (
        "CONNECT",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        &[(405, "tunnel")],
    ),
    (
        "CONNECT elsewhere",
        "CONNECT b:80 HTTP/1.1\r\n{h}\r\n",
        &[(405, "tunnel")],
    ),
    (
        "CONNECT with a path",
        "CONNECT /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[(405, "tunnel")],
    ),
];

const HOSTS: &[Case<'static>] = &[
    ("none", "GET /public/{m} HTTP/1.1\r\nX: y\r\n\r\n", &[BAD]),
    (
        "none in HTTP/1.0",
        "GET /public/{m} HTTP/1.0\r\n\r\n",
        &[OK],
    ),
    (
        "none in HTTP/1.0, with a body",
        "POST /public/{m} HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi",
        &[OK],
    ),
    (
        "two in HTTP/1.0",
        "GET /public/{m} HTTP/1.0\r\n{h}{h}\r\n",
        &[BAD],
    ),
    (
        "twice the same",
        "GET /public/{m} HTTP/1.1\r\n{h}{h}\r\n",
        &[BAD],
    ),
    (
        "two",
        "GET /public/{m} HTTP/1.1\r\n{h}Host: forged\r\n\r\n",
        &[BAD],
    ),
    (
        "two, spelled otherwise",
        "GET /public/{m} HTTP/1.1\r\n{h}hOST: forged\r\n\r\n",
        &[BAD],
    ),
    (
        "the second with a space before the colon",
        "GET /public/{m} HTTP/1.1\r\n{h}Host : forged\r\n\r\n",
        &[BAD],
    ),
    (
        "the second folded",
        "GET /public/{m} HTTP/1.1\r\n{h}\tHost: forged\r\n\r\n",
        &[BAD],
    ),
    ("empty", "GET /public/{m} HTTP/1.1\r\nHost:\r\n\r\n", &[BAD]),
    (
        "userinfo",
        "GET /public/{m} HTTP/1.1\r\nHost: user@a\r\n\r\n",
        &[BAD],
    ),
    (
        "a path",
        "GET /public/{m} HTTP/1.1\r\nHost: a/admin\r\n\r\n",
        &[BAD],
    ),
    (
        "a query",
        "GET /public/{m} HTTP/1.1\r\nHost: a?b\r\n\r\n",
        &[BAD],
    ),
    (
        "a fragment",
        "GET /public/{m} HTTP/1.1\r\nHost: a#b\r\n\r\n",
        &[BAD],
    ),
    (
        "a backslash",
        "GET /public/{m} HTTP/1.1\r\nHost: a\\b\r\n\r\n",
        &[BAD],
    ),
    (
        "a space",
        "GET /public/{m} HTTP/1.1\r\nHost: a b\r\n\r\n",
        &[BAD],
    ),
    (
        "a comma",
        "GET /public/{m} HTTP/1.1\r\nHost: a, b\r\n\r\n",
        &[BAD],
    ),
    (
        "a name as port",
        "GET /public/{m} HTTP/1.1\r\nHost: a:b\r\n\r\n",
        &[BAD],
    ),
    (
        "two ports",
        "GET /public/{m} HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
        &[BAD],
    ),
    (
        "an open bracket",
        "GET /public/{m} HTTP/1.1\r\nHost: [::1\r\n\r\n",
        &[BAD],
    ),
    (
        "an escape",
        "GET /public/{m} HTTP/1.1\r\nHost: a%2eb\r\n\r\n",
        &[BAD],
    ),
    (
        "beyond ASCII",
        "GET /public/{m} HTTP/1.1\r\nHost: \u{e9}\r\n\r\n",
        &[BAD],
    ),
    (
        "a port",
        "GET /public/{m} HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
        &[OK],
    ),
    (
        "an IPv6 address",
        "GET /public/{m} HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        &[OK],
    ),
    (
        "an imitation beside",
        "GET /public/{m} HTTP/1.1\r\n{h}X-Host: b\r\nHost_: b\r\n\r\n",
        &[OK],
    ),
];

const TARGET_FORMS: &[Case<'static>] = &[
    (
        "absolute",
        "GET http://a/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[OK],
    ),
    (
        "absolute, scheme in capitals",
        "GET HTTP://a/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[OK],
    ),
    (
        "absolute, https",
        "GET https://a/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[OK],
    ),
    (
        "absolute, with a query",
        "GET http://a/public/{m}?x=http://b/ HTTP/1.1\r\n{h}\r\n",
        &[OK],
    ),
    (
        "absolute, Host is another",
        "GET http://b/public/{m} HTTP/1.1\r\nHost: forged\r\n\r\n",
        &[OK],
    ),
    (
        "absolute, another port",
        "GET http://a:81/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[OK],
    ),
    (
        "absolute, the port in Host only",
        "GET http://a/public/{m} HTTP/1.1\r\nHost: a:80\r\n\r\n",
        &[OK],
    ),
    (
        "absolute, an empty Host",
        "GET http://a/public/{m} HTTP/1.1\r\nHost:\r\n\r\n",
        &[OK],
    ),
    (
        "absolute, Host is no host",
        "GET http://a/public/{m} HTTP/1.1\r\nHost: forged/@\r\n\r\n",
        &[OK],
    ),
    (
        "absolute, no Host",
        "GET http://a/public/{m} HTTP/1.1\r\nX: y\r\n\r\n",
        &[OK],
    ),
    (
        "absolute, no Host in HTTP/1.0",
        "GET http://a/public/{m} HTTP/1.0\r\n\r\n",
        &[OK],
    ),
    (
        "absolute, two Hosts",
        "GET http://a/public/{m} HTTP/1.1\r\n{h}{h}\r\n",
        &[BAD],
    ),
    (
        "absolute, a body and a request behind",
        "POST http://a/public/{m} HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello{s}",
        &[OK, super::NO_TOKEN],
    ),
    (
        "absolute, another scheme",
        "GET ftp://a/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "absolute, a file",
        "GET file:///public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "absolute, userinfo",
        "GET http://u@a/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "absolute, userinfo like a host",
        "GET http://a@b/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "absolute, a backslash",
        "GET http://a\\@b/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "absolute, no authority",
        "GET http:///public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "absolute, one slash",
        "GET http:/a/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "absolute, no path",
        "GET http://a HTTP/1.1\r\n{h}\r\n",
        &[super::NO_TOKEN],
    ),
    (
        "absolute, a query for a path",
        "GET http://a?/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[super::NO_TOKEN],
    ),
    (
        "absolute, dot segments",
        "GET http://a/public/../admin/smuggled HTTP/1.1\r\n{h}\r\n",
        &[super::NO_TOKEN],
    ),
    (
        "absolute, encoded dot segments",
        "GET http://a/public/%2e%2e/admin/smuggled HTTP/1.1\r\n{h}\r\n",
        &[PATH],
    ),
    (
        "absolute, a fragment",
        "GET http://a/public/{m}#/admin HTTP/1.1\r\n{h}\r\n",
        &[PATH],
    ),
    (
        "authority",
        "GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        &[BAD],
    ),
    ("asterisk", "OPTIONS * HTTP/1.1\r\n{h}\r\n", &[BAD]),
    ("asterisk, GET", "GET * HTTP/1.1\r\n{h}\r\n", &[BAD]),
    ("relative", "GET public/{m} HTTP/1.1\r\n{h}\r\n", &[BAD]),
    (
        "a query alone",
        "GET ?/public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_only_lines_with_one_reading() {
    World::new("").await.run(LINES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_for_exactly_one_host() {
    World::new("").await.run(HOSTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_has_a_form_that_is_forwarded_as_a_path() {
    World::new("").await.run(TARGET_FORMS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_fields_is_refused_and_disturbs_no_client() {
    let mut world = World::new("").await;
    let head = "GET /public/{m} HTTP/1.1\r\n{h}";
    let small = format!("{head}{}\r\n", "a:\r\n".repeat(257));
    let empty = format!("{head}{}\r\n", "a:\r\n".repeat(8000));
    let value = format!("{head}X: {}\r\n\r\n", "a".repeat(33 * 1024));
    let name = format!("{head}{}: x\r\n\r\n", "a".repeat(33 * 1024));
    let target = format!(
        "GET /public/{{m}}/{} HTTP/1.1\r\n{{h}}\r\n",
        "a".repeat(33 * 1024)
    );
    let many = format!(
        "{head}{}\r\n",
        format!("X: {}\r\n", "a".repeat(1000)).repeat(40)
    );
    let allowed = format!("{head}{}\r\n", "x-a: b\r\n".repeat(199));
    let long_name = format!("{head}x-{}: b\r\n\r\n", "a".repeat(10_000));
    let cases = [
        ("257 small ones", small.as_str(), &[TOO_LARGE][..]),
        ("8000 empty ones", &empty, &[TOO_LARGE]),
        ("a huge value", &value, &[TOO_LARGE]),
        ("a huge name", &name, &[TOO_LARGE]),
        ("a huge target", &target, &[TOO_LARGE]),
        ("forty of a kilobyte", &many, &[TOO_LARGE]),
        ("two hundred, with Host", &allowed, &[OK]),
        ("a long name", &long_name, &[OK]),
    ];
    world.run(&cases).await;
}
