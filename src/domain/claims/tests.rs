//! Tests of `claims`.

use super::*;

fn claims(json: &str) -> Claims {
    Claims::parse(json.as_bytes()).unwrap()
}

#[test]
fn repeated_members_are_refused_at_every_depth() {
    for bad in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":{"b":1,"b":1}}"#,
        r#"{"a":[{"b":1,"b":1}]}"#,
        "[]",
        "1",
        "",
        "{",
    ] {
        assert_eq!(Claims::parse(bad.as_bytes()), Err(InvalidJson), "{bad}");
    }
    assert!(Claims::parse(br#"{"a":{"b":1},"b":1} x"#).is_err());
}

#[test]
fn numeric_dates_are_numbers_and_nothing_else() {
    assert_eq!(claims(r#"{"exp":12}"#).numeric_date("exp"), Ok(Some(12)));
    assert_eq!(claims(r#"{"exp":12.9}"#).numeric_date("exp"), Ok(Some(12)));
    assert_eq!(claims(r#"{"exp":-1}"#).numeric_date("exp"), Ok(Some(-1)));
    assert_eq!(claims("{}").numeric_date("exp"), Ok(None));
    for bad in [
        r#"{"exp":"12"}"#,
        r#"{"exp":null}"#,
        r#"{"exp":1e300}"#,
        r#"{"exp":18446744073709551615}"#,
        r#"{"exp":[1]}"#,
    ] {
        assert_eq!(
            claims(bad).numeric_date("exp"),
            Err(WrongType("exp")),
            "{bad}"
        );
    }
}

#[test]
fn scopes_come_from_scope_or_scp_as_text_or_list() {
    for json in [
        r#"{"scope":"a b"}"#,
        r#"{"scp":"a b"}"#,
        r#"{"scope":["a","b"]}"#,
        r#"{"scp":["a b"]}"#,
    ] {
        assert_eq!(claims(json).scopes().unwrap().to_string(), "a b", "{json}");
    }
    assert!(claims(r#"{"scope":5}"#).scopes().is_err());
    assert!(claims(r#"{"scope":[5]}"#).scopes().is_err());
    assert!(claims("{}").scopes().unwrap().is_empty());
}

#[test]
fn scope_and_scp_must_agree() {
    let both =
        |scope: &str, scp: &str| claims(&format!(r#"{{"scope":{scope},"scp":{scp}}}"#)).scopes();
    for (scope, scp) in [
        (r#""a b""#, r#"["b","a"]"#),
        (r#""""#, "[]"),
        (r#"["a"]"#, r#""a a""#),
    ] {
        assert!(both(scope, scp).is_ok(), "{scope} {scp}");
    }
    for (scope, scp) in [
        (r#""a""#, r#""a b""#),
        (r#""a b""#, r#""a""#),
        (r#""""#, r#"["a"]"#),
        (r#""a""#, "7"),
    ] {
        assert!(both(scope, scp).is_err(), "{scope} {scp}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for depth in [126, 127, 200, 100_000] {
            let json = format!(r#"{{"x":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
            assert_eq!(
                Claims::parse(json.as_bytes()).is_ok(),
                depth == 126,
                "{depth} {open}"
            );
        }
    }
}

#[test]
fn invalid_json_is_refused() {
    for bad in [
        &br#"{"exp":1,"\u0065xp":2}"#[..],
        b"\xef\xbb\xbf{}",
        b"{}\0",
        br#"{"a":1,}"#,
        b"{'a':1}",
        b"{a:1}",
        br#"{"a":NaN}"#,
        br#"{"a":Infinity}"#,
        br#"{"a":1e400}"#,
        br#"{"a":01}"#,
        br#"{"a":+1}"#,
        br#"{"a":0x10}"#,
        br#"{"a":.5}"#,
        br#"{"a":"\ud800"}"#,
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\n\"}",
        b"{} // x",
    ] {
        assert_eq!(
            Claims::parse(bad),
            Err(InvalidJson),
            "{}",
            String::from_utf8_lossy(bad)
        );
    }
}

#[test]
fn a_fault_of_json_has_a_place_and_a_word() {
    for (json, said) in [
        ("{", "line 1, column 1: EOF while parsing an object"),
        ("{\n  \"a\": 1,\n}", "line 3, column 1: trailing comma"),
        ("{\n\"a\" 1}", "line 2, column 5: expected `:`"),
        ("{\"a\":'b'}", "line 1, column 6: expected value"),
        (
            "{\"a\":1,\n \"a\":2}",
            "line 2, column 4: the member `a` is repeated",
        ),
        ("{\"a\":\"x\ny\"}", "line 2, column 0"),
        ("[]", "line 1, column 1: it is no object"),
        (
            "\u{feff}{}",
            "line 1, column 1: it begins with a byte order mark",
        ),
        ("{} {}", "line 1, column 4: trailing characters"),
    ] {
        let fault = Claims::parse_or_explain(json.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(
            fault.starts_with(said.split(", column 0").next().unwrap_or(said)),
            "{json:?}: {fault}"
        );
        assert!(!fault.contains(" at line"), "{fault}");
    }
    assert!(Claims::parse_or_explain(b"{\"a\":1}").is_ok());
}

#[test]
fn a_dotted_name_selects_members() {
    let token = claims(
        r#"{"a":{"b":{"c":1},"b.c":2,"x":null},"a.b":{"c":3},"l":[{"m":1}],"t":"x","resource_access":{"my.api":{"roles":["r"]}},
            "https://plgd.dev/deviceId":"d",".":{"":4}}"#,
    );
    for (name, value) in [
        ("a.b.c", Some("2")),
        ("a.b", Some(r#"{"c":3}"#)),
        ("a.x", Some("null")),
        ("a.y", None),
        ("a.b.c.d", None),
        ("t.x", None),
        ("l.m", None),
        ("l.0.m", None),
        ("a.", None),
        (".a", None),
        ("", None),
        ("resource_access.my.api.roles", Some(r#"["r"]"#)),
        ("https://plgd.dev/deviceId", Some(r#""d""#)),
    ] {
        assert_eq!(
            token.find(name).map(ToString::to_string).as_deref(),
            value,
            "{name}"
        );
    }
}

#[test]
fn faults_of_documents_are_described() {
    for (text, said) in [
        (&b""[..], "it is empty"),
        (b" \n", "it is empty"),
        (b"\xef\xbb\xbf{}", "byte order mark (BOM)"),
        (b"\xff\xfe{\0}\0", "not UTF-8"),
        (b"\n<!DOCTYPE html><html>", "HTML or XML page"),
        (b"<?xml?>", "HTML or XML page"),
        (br#"{"a":{"b":1,"b":2}}"#, "repeats the member `b`,"),
        (
            br#"{"x\u001b at line 7":1,"x\u001b at line 7":1}"#,
            "repeats the member `x\\u{1b} at line 7`,",
        ),
        (b"[]", "JSON, but not an object"),
        (b"{\"a\": [", "ends unexpectedly after 7 bytes"),
        (b"{\n  'a': 1}", "not JSON (line 2, column 3)"),
        (b"{} x", "not JSON (line 1, column 4)"),
    ] {
        let fault = DocumentFault::of(text).unwrap().to_string();
        assert!(fault.contains(said), "{fault}");
        assert!(Claims::parse(text).is_err());
    }
    assert_eq!(DocumentFault::of(b"{\"a\":1}"), None);
    let long = format!("{{\"{0}\":1,\"{0}\":1}}", "x".repeat(100_000));
    assert!(
        DocumentFault::of(long.as_bytes())
            .unwrap()
            .to_string()
            .len()
            < 200
    );
}

#[test]
fn audience_is_a_string_or_a_list_of_strings() {
    assert_eq!(claims(r#"{"aud":"a"}"#).strings("aud"), Ok(vec!["a"]));
    assert_eq!(
        claims(r#"{"aud":["a","b"]}"#).strings("aud"),
        Ok(vec!["a", "b"])
    );
    assert_eq!(
        claims(r#"{"aud":["a",1]}"#).strings("aud"),
        Err(WrongType("aud"))
    );
    assert_eq!(
        claims(r#"{"aud":{}}"#).strings("aud"),
        Err(WrongType("aud"))
    );
}
