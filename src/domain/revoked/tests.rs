//! Tests of `revoked`.

use super::*;

const NOW: UnixTime = UnixTime(1000);

fn issued(jti: &str, client_id: Option<&'static str>, at: i64) -> Issued<'static> {
    Issued {
        token: TokenId::of(jti),
        client_id,
        at: UnixTime(at),
        after_end: None,
    }
}

#[test]
fn a_token_is_revoked_by_its_id_or_with_its_client() {
    let clients = HashMap::from([(
        "a".to_owned(),
        ClientEnd {
            until: UnixTime(100),
            marked: None,
        },
    )]);
    let revoked = Revoked::new(HashSet::from([TokenId::of("one")]), clients);
    let covers = |jti, client, issued_at| revoked.covers(&issued(jti, client, issued_at), NOW);
    assert!(covers("one", None, 500) && covers("one", Some("b"), 500));
    assert!(covers("two", Some("a"), 100) && covers("two", Some("a"), i64::MIN));
    assert!(
        !covers("two", Some("a"), 101) && !covers("two", Some("b"), 1) && !covers("two", None, 1)
    );
    assert!(!Revoked::default().covers(&issued("one", Some("a"), 1), NOW));
}

#[test]
fn a_client_may_be_named_by_the_hash_of_its_id() {
    let id = HashedClientId::of("a");
    assert_eq!(
        id.to_string(),
        "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs"
    );
    assert_eq!(HashedClientId::parse(&id.to_string()), Some(id));
    for other in [
        "",
        "a",
        "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs=",
        "AAAA",
    ] {
        assert_eq!(HashedClientId::parse(other), None, "{other}");
    }
    let hashed = HashMap::from([(
        id,
        ClientEnd {
            until: UnixTime(100),
            marked: None,
        },
    )]);
    let revoked = Revoked::default().with_hashed(hashed);
    assert!(revoked.covers(&issued("one", Some("a"), 100), NOW));
    assert!(!revoked.covers(&issued("one", Some("a"), 101), NOW));
    assert!(!revoked.covers(&issued("one", Some("b"), 1), NOW));
    assert!(!revoked.covers(&issued("one", None, 1), NOW));
}

#[test]
fn a_token_with_the_mark_was_issued_after_the_revocation() {
    let [mark, other] = [EndMark::of(b"one"), EndMark::of(b"another")];
    let end = |until| {
        let marked = Some(Marked {
            mark,
            until: UnixTime(until),
        });
        let clients = HashMap::from([(
            "a".to_owned(),
            ClientEnd {
                until: UnixTime(100),
                marked,
            },
        )]);
        Revoked::new(HashSet::from([TokenId::of("one")]), clients)
    };
    let covers = |revoked: &Revoked, jti, at, after_end| {
        revoked.covers(
            &Issued {
                after_end,
                ..issued(jti, Some("a"), at)
            },
            NOW,
        )
    };
    let revoked = end(i64::MIN);
    assert!(
        !covers(&revoked, "two", 50, Some(mark)),
        "issued after the clock was set back"
    );
    assert!(
        covers(&revoked, "two", 50, Some(other)),
        "another end's mark"
    );
    assert!(covers(&revoked, "two", 50, None));
    assert!(covers(&revoked, "one", 50, Some(mark)), "named on its own");
    assert!(covers(&end(50), "two", 50, Some(mark)) && !covers(&end(50), "two", 51, Some(mark)));
    assert_eq!(revoked.mark_for("a", UnixTime(100)), Some(mark));
    assert_eq!(
        revoked.mark_for("a", UnixTime(101)),
        None,
        "its `iat` says it"
    );
    assert_eq!(revoked.mark_for("b", UnixTime(1)), None);
}

#[test]
fn all_tokens_of_an_expired_client_are_revoked() {
    let expiries = Arc::new(HashMap::from([("a".to_owned(), UnixTime(1000))]));
    let revoked = Revoked::default().with_expiries(expiries);
    let token = issued("one", Some("a"), 1);
    assert!(!revoked.covers(&token, UnixTime(999)) && revoked.covers(&token, UnixTime(1000)));
    assert!(!revoked.covers(&issued("one", Some("b"), 1), UnixTime(1000)));
}

#[test]
fn a_mark_is_read_as_it_is_written() {
    let mark = EndMark::of(b"one");
    assert_eq!(EndMark::parse(&mark.to_string()), Some(mark));
    for other in [
        "",
        "1",
        "+123456789abcdef",
        "123456789ABCDEF0",
        "0123456789abcdef0",
    ] {
        assert_eq!(EndMark::parse(other), None, "{other}");
    }
}
