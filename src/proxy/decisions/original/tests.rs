use super::*;

const FORWARDED: [(&str, &str); 4] = [
    ("x-forwarded-method", "PUT"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "api.example:8443"),
    ("x-forwarded-uri", "/a/b?c=/d"),
];
const ORIGINAL: [(&str, &str); 2] = [
    ("x-original-method", "PUT"),
    ("x-original-url", "https://api.example:8443/a/b?c=/d"),
];

fn question(target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut question = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
    question.append_header("host", "127.0.0.1:9191").unwrap();
    for (name, value) in fields {
        question.append_header(*name, *value).unwrap();
    }
    question
}

fn read(
    from: OriginalRequest,
    target: &str,
    fields: &[(&'static str, &str)],
) -> Result<Original, (Reason, String)> {
    let read = Original::read(&question(target, fields), from, "");
    read.map_err(|refusal| {
        let detail = refusal.detail.map(Cow::into_owned);
        (refusal.reason, detail.unwrap_or_default())
    })
}

/// The fields, with one replaced; `None` removes it.
fn with(
    fields: &[(&'static str, &'static str)],
    name: &str,
    value: Option<&'static str>,
) -> Vec<(&'static str, &'static str)> {
    let replaced = |(known, old): &(&'static str, &'static str)| {
        Some((*known, if *known == name { value? } else { old }))
    };
    fields.iter().filter_map(replaced).collect()
}

#[test]
fn each_form_has_method_host_path_and_query() {
    for (from, fields) in [
        (OriginalRequest::Forwarded, &FORWARDED[..]),
        (OriginalRequest::Original, &ORIGINAL),
    ] {
        let original = read(from, "/", fields).unwrap();
        assert_eq!(original.method, Method::PUT);
        assert_eq!((original.path(), original.query()), ("/a/b", Some("c=/d")));
        let hosts: Vec<_> = original.headers.get_all(header::HOST).iter().collect();
        assert_eq!(hosts, ["api.example:8443"]);
        assert_eq!(original.headers[X_FORWARDED_PROTO], "https");
        assert_eq!(original.headers[X_FORWARDED_HOST], "api.example:8443");
        assert_eq!(original.scopes, None);
    }
    let original = read(OriginalRequest::Request, "/a/b?c=/d", &FORWARDED[..2]).unwrap();
    assert_eq!(original.method, Method::GET);
    assert_eq!((original.path(), original.query()), ("/a/b", Some("c=/d")));
    assert_eq!(original.headers[header::HOST], "127.0.0.1:9191");
}

#[test]
fn a_missing_repeated_or_wrong_header_is_refused() {
    let everything = [
        (OriginalRequest::Forwarded, &FORWARDED[..]),
        (OriginalRequest::Original, &ORIGINAL),
    ];
    for (from, fields) in everything {
        for (name, value) in fields {
            let refused = |fields: &[(&'static str, &str)]| {
                let (reason, detail) = read(from, "/", fields).unwrap_err();
                assert_eq!(reason, Reason::OriginalRequest, "{name}");
                assert!(detail.contains(&format!("`{name}`")), "{detail}");
                detail
            };
            assert!(refused(&with(fields, name, None)).ends_with("is missing"));
            let twice = [fields, &[(*name, *value)]].concat();
            assert!(refused(&twice).ends_with("occurs twice"));
            refused(&with(fields, name, Some("")));
            refused(&with(fields, name, Some("GET, POST")));
        }
    }
    for (name, value) in [
        ("x-forwarded-method", "get"),
        ("x-forwarded-proto", "HTTPS"),
        ("x-forwarded-host", "a@b"),
        ("x-forwarded-host", "a, b"),
        ("x-forwarded-uri", "https://api.example/a"),
        ("x-forwarded-uri", "*"),
    ] {
        let (reason, _) = read(
            OriginalRequest::Forwarded,
            "/",
            &with(&FORWARDED, name, Some(value)),
        )
        .unwrap_err();
        assert!(matches!(reason, Reason::OriginalRequest), "{value}");
    }
    for value in [
        "/a",
        "//h/a",
        "https://h",
        "https://h?a",
        "https:/a",
        "ftp://h/a",
        "https://u@h/a",
    ] {
        let fields = with(&ORIGINAL, "x-original-url", Some(value));
        assert!(
            read(OriginalRequest::Original, "/", &fields).is_err(),
            "{value}"
        );
    }
}

#[test]
fn a_fragment_is_refused_and_invalid_characters_are_escaped() {
    let uri = |value| {
        read(
            OriginalRequest::Forwarded,
            "/",
            &with(&FORWARDED, "x-forwarded-uri", Some(value)),
        )
    };
    assert_eq!(
        uri("/public#/../admin").unwrap_err().0,
        Reason::AmbiguousPath
    );
    let (reason, detail) = uri("/a b").unwrap_err();
    assert_eq!(reason, Reason::OriginalRequest);
    assert!(detail.contains("has a space"), "{detail}");
    let original = uri("/a\"b\\c?d={e}").unwrap();
    assert_eq!(
        (original.path(), original.query()),
        ("/a%22b%5Cc", Some("d=%7Be%7D"))
    );
}

#[test]
fn the_prefix_is_removed_as_it_is_written() {
    let read = |target: &str| {
        let read = Original::read(&question(target, &[]), OriginalRequest::Request, "/ask");
        read.map(|original| original.path().to_owned())
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(read("/ask/a/b?c"), Ok("/a/b".to_owned()));
    assert_eq!(read("/ask/"), Ok("/".to_owned()));
    for target in [
        "/ask",
        "/asking/a",
        "/a",
        "/ASK/a",
        "/%61sk/a",
        "/x/../ask/a",
        "//ask/a",
    ] {
        assert_eq!(read(target), Err(Reason::OriginalRequest), "{target}");
    }
}

#[test]
fn the_question_may_add_scopes_and_nothing_else() {
    let scopes =
        |target: &str| read(OriginalRequest::Original, target, &ORIGINAL).map(|it| it.scopes);
    for (target, expected) in [
        ("/", ""),
        ("/?", ""),
        ("/?scope=a", "a"),
        ("/?scope=a+b%20c", "a b c"),
    ] {
        let scopes = scopes(target).unwrap().unwrap_or_default();
        assert_eq!(scopes.to_string(), expected, "{target}");
    }
    for target in [
        "/?scope=",
        "/?scope",
        "/?scope=a&scope=b",
        "/?Scope=a",
        "/?scopes=a",
        "/?scope=a&x=1",
        "/?scope=%22",
        "/?scope=%ff",
        "/?scope=a%00",
        "/x",
        "/x?scope=a",
        "//",
    ] {
        assert_eq!(
            scopes(target).unwrap_err().0,
            Reason::OriginalRequest,
            "{target}"
        );
    }
    let original = read(OriginalRequest::Request, "/a?scope=b", &[]).unwrap();
    assert_eq!(original.query(), Some("scope=b"));
    assert_eq!(original.scopes, None);
}
