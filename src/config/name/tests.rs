//! Tests of `name`.

use super::*;

pub fn accepts<T: FromStr>(texts: &[&str]) {
    for text in texts {
        assert!(text.parse::<T>().is_ok(), "{text:?}");
    }
}

pub fn refuses<T: FromStr>(texts: &[&str]) {
    for text in texts {
        assert!(text.parse::<T>().is_err(), "{text:?}");
    }
}

#[test]
fn names_are_short_and_plain() {
    accepts::<Name>(&["a", "A.b_c-1", &"x".repeat(64)]);
    refuses::<Name>(&["", "a b", "ä", "a/b", "a\n", &"x".repeat(65)]);
    accepts::<ClientId>(&["legacy", "a b:c", "~"]);
    refuses::<ClientId>(&["", "ä", "a\tb", &"x".repeat(257)]);
}

#[test]
fn patterns_are_in_normal_form() {
    accepts::<PathPattern>(&[
        "/",
        "/**",
        "/*",
        "/a/*/b",
        "/a/b/",
        "/api/v1/**",
        "/caf%C3%A9",
        "/.well-known/x",
        "/v1/devices:batch",
        "/devices/%3Aid",
        "/{id}",
        "/api/{tenant}/*/{device_id}/**",
    ]);
    refuses::<PathPattern>(&[
        "",
        "a",
        "**",
        "/**/a",
        "/a*",
        "/a**",
        "/***",
        "/..;/b",
        "/a%2F..",
        "/a%2fb",
        "/a/../b",
        "/..",
        "/./a",
        "//a",
        "/a//b",
        "/%41",
        "/caf%c3%a9",
        "/café",
        "/{}",
        "/{1id}",
        "/{id:int}",
        "/{id}x",
        "/{a}/{a}",
        "/{*rest}",
        "/devices/:id",
        "/devices/:device_id/x",
        "/devices/<id>",
        "/a?b",
        "/a b",
        "/a#b",
        "/a%",
    ]);
}

#[test]
fn parameters_that_other_keys_set_are_not_extra() {
    accepts::<ExtraParameter>(&["tenant", "token_name"]);
    refuses::<ExtraParameter>(&[
        "",
        "grant_type",
        "scope",
        "audience",
        "resource",
        "client_id",
        "client_assertion",
    ]);
}

#[test]
fn other_names() {
    accepts::<Scope>(&["devices:read"]);
    refuses::<Scope>(&["", "a b", "ä", "a\"b"]);
    accepts::<Audience>(&["https://a", "ä"]);
    refuses::<Audience>(&["", "a b", "a\n"]);
    accepts::<Resource>(&["https://a/", "urn:x:y"]);
    refuses::<Resource>(&["", "a", "/a", "https://a#b"]);
    accepts::<Method>(&["GET", "M-SEARCH"]);
    refuses::<Method>(&["", "get", "G T", "*", "ANY", "ALL", "GET,POST"]);
    accepts::<ServerName>(&["a.example", "127.0.0.1", "::1"]);
    refuses::<ServerName>(&["", "a:1", "a b", "[::1]"]);
    accepts::<HostValue>(&["a", "a.example:80", "[::1]:80", "127.0.0.1"]);
    refuses::<HostValue>(&["", "a b", "u@a", "*", "*.a", "a/b", "http://a"]);
    accepts::<WebOriginText>(&[
        "https://app.example",
        "http://127.0.0.1:3000",
        "http://[::1]:80",
    ]);
    refuses::<WebOriginText>(&[
        "",
        "*",
        "null",
        "app.example",
        "https://a/",
        "https://*.a",
        "ftp://a",
        "https://u@a",
    ]);
}
