use axum::body::Body;

use super::*;

fn admitted(method: &str, pairs: &[(&'static str, &'static str)]) -> Result<(), String> {
    let guard = Guard::new(
        SecretString::from("right-token"),
        vec!["admin.example".to_owned(), "a:1".to_owned()],
    );
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.parse().unwrap();
    for (name, value) in pairs {
        request
            .headers_mut()
            .append(*name, HeaderValue::from_static(value));
    }
    guard
        .admit(&request)
        .map_err(|refusal| format!("{refusal:?}"))
}

/// The guard's result for a token from an address.
fn presented(guard: &Guard, token: &'static str, from: &str) -> Result<(), String> {
    let mut request = Request::new(Body::empty());
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    request.headers_mut().insert(AUTHORIZATION, value);
    request
        .extensions_mut()
        .insert(PeerAddress(std::net::SocketAddr::new(
            from.parse().unwrap(),
            1,
        )));
    match guard.check_token(&request) {
        Ok(()) => Ok(()),
        Err(Refusal::Token) => Err("wrong".to_owned()),
        Err(refusal) => Err(format!("{refusal:?}")),
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_right_elsewhere_is_no_easier_to_guess() {
    let guard = Guard::new(SecretString::from("Admin-Pass-000042"), Vec::new());
    let wrong = || Err("wrong".to_owned());
    let delayed = || Err("TooManyWrongTokens(1s)".to_owned());
    assert_eq!(presented(&guard, "Admin-Pass-000042", "192.0.2.1"), Ok(()));
    for _ in 0..10 {
        assert_eq!(
            presented(&guard, "Admin-Pass-000001", "198.51.100.1"),
            wrong()
        );
    }
    for token in ["Admin-Pass-000001", "Admin-Pass-000042"] {
        assert_eq!(presented(&guard, token, "198.51.100.1"), delayed());
    }
    // Where it was right it is right, also beside a guesser, and nowhere else.
    for _ in 0..50 {
        presented(&guard, "Admin-Pass-000001", "192.0.2.1").unwrap_err();
        assert_eq!(presented(&guard, "Admin-Pass-000042", "192.0.2.1"), Ok(()));
    }
    assert_eq!(
        presented(&guard, "Admin-Pass-000042", "203.0.113.7"),
        Ok(()),
        "an authenticated caller passes"
    );
    // A guesser there finds nothing by going on.
    (0..1000).for_each(|_| drop(presented(&guard, "Admin-Pass-000001", "192.0.2.1")));
    assert_eq!(
        presented(&guard, "Admin-Pass-000042", "192.0.2.1"),
        delayed()
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(
        presented(&guard, "Admin-Pass-000042", "198.51.100.1"),
        Ok(()),
        "one in a second is compared"
    );
}

#[tokio::test(start_paused = true)]
async fn a_replaced_token_does_not_count_where_it_was_right() {
    let guard = Guard::new(SecretString::from("Admin-Pass-000042"), Vec::new());
    assert_eq!(presented(&guard, "Admin-Pass-000042", "192.0.2.1"), Ok(()));
    assert!(
        guard
            .tokens()
            .replace("Admin-Pass-000043".into(), Duration::ZERO)
    );
    for _ in 0..20 {
        presented(&guard, "Admin-Pass-000042", "192.0.2.1").unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn a_generated_token_is_never_delayed_and_a_range_of_addresses_guesses_as_one() {
    let generated = concat!("m2ma_", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG");
    let guard = Guard::new(SecretString::from(generated), Vec::new());
    for guess in 0..300 {
        presented(
            &guard,
            "Admin-Pass-000001",
            &format!("192.0.2.{}", guess % 50),
        )
        .unwrap_err();
    }
    presented(&guard, "Admin-Pass-000001", "198.51.100.1").unwrap_err();
    assert!(
        presented(&guard, "Admin-Pass-000001", "192.0.2.99")
            .unwrap_err()
            .contains("TooMany")
    );
    assert_eq!(presented(&guard, generated, "192.0.2.1"), Ok(()));
}

const TOKEN: (&str, &str) = ("authorization", "Bearer right-token");
const HERE: (&str, &str) = ("host", "127.0.0.1:9901");

#[test]
fn hosts_that_dns_can_point_here_are_refused_unless_listed() {
    for host in [
        "127.0.0.1:9901",
        "127.0.0.1",
        "[::1]:9901",
        "localhost",
        "LOCALHOST:1",
        "admin.example",
        "Admin.Example:8",
        "a:1",
    ] {
        assert_eq!(admitted("GET", &[("host", host), TOKEN]), Ok(()), "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "a:2",
        "a",
        "127.0.0.1.evil.example",
        "",
    ] {
        assert_eq!(
            admitted("GET", &[("host", host), TOKEN]),
            Err("Host".to_owned()),
            "{host}"
        );
    }
    assert_eq!(admitted("GET", &[TOKEN]), Ok(()), "HTTP/1.0");
}

#[test]
fn other_sites_are_refused_whatever_token_they_have() {
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "null"),
        ("origin", "http://evil.example"),
        ("origin", "http://127.0.0.1:9999"),
    ] {
        assert_eq!(
            admitted("GET", &[HERE, TOKEN, (name, value)]),
            Err("CrossSite".to_owned()),
            "{value}"
        );
    }
    for (name, value) in [
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("origin", "http://127.0.0.1:9901"),
    ] {
        assert_eq!(
            admitted("GET", &[HERE, TOKEN, (name, value)]),
            Ok(()),
            "{value}"
        );
    }
}

#[test]
fn only_the_token_lets_in() {
    for value in ["Bearer right-token", "bearer  right-token"] {
        assert_eq!(
            admitted("GET", &[HERE, ("authorization", value)]),
            Ok(()),
            "{value}"
        );
    }
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer right-toke",
        "Bearer right-token2",
        "Basic right-token",
        "right-token",
    ] {
        assert_eq!(
            admitted("GET", &[HERE, ("authorization", value)]),
            Err("Token".to_owned()),
            "{value}"
        );
    }
    assert_eq!(
        admitted("GET", &[HERE, TOKEN, TOKEN]),
        Err("Token".to_owned())
    );
    assert_eq!(admitted("GET", &[HERE]), Err("Token".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_replaced_token_counts_for_the_grace_period_only() {
    let tokens = AdminTokens::new(Some("first".into()));
    let good = |tokens: &AdminTokens| {
        ["first", "second", "third"].map(|token| tokens.contain(&SecretString::from(token)))
    };
    assert!(
        !tokens.replace("first".into(), Duration::from_secs(60)),
        "no change"
    );
    assert!(tokens.replace("second".into(), Duration::from_secs(60)));
    assert_eq!(good(&tokens), [true, true, false]);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(tokens.replace("third".into(), Duration::from_secs(60)));
    assert_eq!(good(&tokens), [true, true, true]);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(
        good(&tokens),
        [false, true, true],
        "a second change lengthens no grace"
    );
    // Put back: it is the one that counts.
    assert!(tokens.replace("second".into(), Duration::from_secs(60)));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(good(&tokens), [false, true, false]);
}

#[test]
fn writes_are_json() {
    let json = ("content-type", "application/json; charset=utf-8");
    let patch = ("content-type", "application/merge-patch+json");
    let text = ("content-type", "text/plain");
    let body = ("content-length", "2");
    let refused = Err("ContentType".to_owned());
    assert_eq!(admitted("POST", &[HERE, TOKEN, json]), Ok(()));
    assert_eq!(admitted("POST", &[HERE, TOKEN]), refused);
    assert_eq!(admitted("POST", &[HERE, TOKEN, text]), refused);
    assert_eq!(admitted("POST", &[HERE, TOKEN, patch]), refused);
    assert_eq!(admitted("PATCH", &[HERE, TOKEN, patch]), Ok(()));
    assert_eq!(admitted("DELETE", &[HERE, TOKEN]), Ok(()));
    assert_eq!(admitted("DELETE", &[HERE, TOKEN, text, body]), refused);
    assert_eq!(admitted("GET", &[HERE, TOKEN]), Ok(()));
}
