//! The published part of the revocations.

use super::*;

const MAX_PER_CLIENT: usize = crate::issuer::ProfilePolicy::STANDARD
    .limits
    .revoked_per_client;
use crate::domain::revoked::EndMark;

/// Not before any of the revocations.
const NOW: UnixTime = UnixTime(3000);

fn publish(
    stored: &Stored,
    shared: &[&str],
    now: UnixTime,
) -> (Vec<String>, HashMap<String, ClientEnd>) {
    let shared = shared.iter().map(|id| (*id).to_owned()).collect();
    let known = Known::of(stored.clone(), 1, 0);
    let published = published(&known, &Bounds::new(MAX_PER_CLIENT, shared), now);
    let single = published.jtis().into_iter().map(str::to_owned).collect();
    (
        single,
        published
            .clients
            .iter()
            .map(|(id, end)| ((*id).to_owned(), *end))
            .collect(),
    )
}

#[test]
fn one_user_of_a_shared_client_ends_nothing_by_revoking_without_end() {
    let token = |client: &str, number: usize| RevokedToken {
        jti: format!("{client}-{number}"),
        client_id: client.to_owned(),
        expires_at: UnixTime(9000),
        revoked_at: UnixTime(1000),
    };
    let mut known = Stored::default();
    known
        .tokens
        .extend((0..3000).map(|number| token("portal", number)));
    let (single, clients) = publish(&known, &["portal"], NOW);
    assert_eq!((single.len(), clients.len()), (3000, 0));
    // When the list is full, a client that is not shared ends before one that is.
    known
        .tokens
        .extend((0..500).map(|number| token("a", number)));
    known
        .tokens
        .extend((0..600).map(|number| token("b", number)));
    let (single, clients) = publish(&known, &["portal"], NOW);
    assert_eq!(
        (single.len(), clients.keys().collect::<Vec<_>>()),
        (3500, vec![&"b".to_owned()])
    );
}

#[test]
fn new_revocations_are_added_once_without_expired_ones() {
    let token = |jti: &str, expires_at: i64| RevokedToken {
        jti: jti.to_owned(),
        client_id: "c".to_owned(),
        expires_at: UnixTime(expires_at),
        revoked_at: UnixTime(1),
    };
    let end = |client: &str, until: i64| ClientNotBefore {
        client_id: client.to_owned(),
        until: UnixTime(until),
        expires_at: UnixTime(50),
        revoked_at: UnixTime(until),
        mark: EndMark::of(b"end"),
    };
    let first = Stored {
        tokens: vec![token("b", 10), token("d", 90)],
        clients: vec![end("y", 1)],
    };
    let known = Known::of(first, 3, 0);
    let new = Stored {
        tokens: vec![token("d", 91), token("a", 90), token("c", 20)],
        clients: vec![end("y", 2), end("x", 3)],
    };
    let known = known.with(new, 5);
    let shown = |known: &Known| {
        let tokens = known
            .tokens
            .iter()
            .map(|it| (it.token.jti.clone(), it.token.expires_at.0));
        let clients = known
            .clients
            .iter()
            .map(|end| (end.client_id.clone(), end.until.0));
        (tokens.collect::<Vec<_>>(), clients.collect::<Vec<_>>())
    };
    let named = |named: &[(&str, i64)]| {
        named
            .iter()
            .map(|(name, number)| ((*name).to_owned(), *number))
            .collect::<Vec<_>>()
    };
    let tokens = [("a", 90), ("b", 10), ("c", 20), ("d", 90)];
    assert_eq!(
        shown(&known),
        (named(&tokens), named(&[("x", 3), ("y", 2)]))
    );
    assert_eq!((known.revision, known.generation), (5, 2));
    assert!(known.has("c") && !known.has("e"));
    assert!(known.without_expired(UnixTime(10)).is_none());
    let left = known.without_expired(UnixTime(60)).unwrap();
    assert_eq!(shown(&left), (named(&[("a", 90), ("d", 90)]), named(&[])));
    assert_eq!((left.revision, left.generation), (5, 3));
}

#[test]
fn a_client_that_revokes_too_many_tokens_ends_all_of_its_own_only() {
    let token = |client: &str, number: usize| RevokedToken {
        jti: format!("{client}-{number}"),
        client_id: client.to_owned(),
        expires_at: UnixTime(9000),
        revoked_at: UnixTime(1000 + i64::try_from(number).unwrap()),
    };
    let mut known = Stored::default();
    known
        .tokens
        .extend((0..MAX_PER_CLIENT).map(|number| token("busy", number)));
    known.tokens.push(token("calm", 1));
    let (single, clients) = publish(&known, &[], NOW);
    assert_eq!((single.len(), clients.len()), (MAX_PER_CLIENT + 1, 0));
    known.tokens.push(token("busy", MAX_PER_CLIENT));
    let (single, clients) = publish(&known, &[], NOW);
    assert_eq!(single, ["calm-1"]);
    let last = 1000 + i64::try_from(MAX_PER_CLIENT).unwrap();
    // The `iat` of a token that was issued in the moment of the last revocation.
    let bare = |until| ClientEnd {
        until: UnixTime(until),
        marked: None,
    };
    assert_eq!(
        clients,
        HashMap::from([("busy".to_owned(), bare(last - 10))])
    );
    // If the total is too large, the clients with the most are ended as a whole.
    let mut many = Stored::default();
    for (client, count) in [("a", 900), ("b", 1000), ("c", 999), ("d", 998), ("e", 997)] {
        many.tokens
            .extend((0..count).map(|number| token(client, number)));
    }
    let (single, clients) = publish(&many, &[], NOW);
    assert_eq!(
        (single.len(), clients.keys().collect::<Vec<_>>()),
        (3894, vec![&"b".to_owned()])
    );
    // A client that was ended as a whole; the later of two ends holds.
    for (client_id, until) in [("gone", 5), ("busy", 6)] {
        known.clients.push(ClientNotBefore {
            client_id: client_id.to_owned(),
            until: UnixTime(until),
            expires_at: UnixTime(9000),
            revoked_at: UnixTime(15),
            mark: EndMark::of(b"end"),
        });
    }
    let end = |until, marked| {
        let marked = Some(Marked {
            mark: EndMark::of(b"end"),
            until: UnixTime(marked),
        });
        ClientEnd {
            marked,
            ..bare(until)
        }
    };
    let ended = HashMap::from([
        ("busy".to_owned(), end(last - 10, last - 10)),
        ("gone".to_owned(), end(5, i64::MIN)),
    ]);
    assert_eq!(publish(&known, &[], NOW).1, ended);
}

#[test]
fn many_revocations_before_the_clock_was_set_back_do_not_end_what_the_client_is_issued_now() {
    let hours = 6 * 3600;
    let token = |number: usize, revoked_at: i64| RevokedToken {
        jti: number.to_string(),
        client_id: "busy".to_owned(),
        expires_at: UnixTime(NOW.0 + hours + 3600),
        revoked_at: UnixTime(revoked_at),
    };
    let mut known = Stored::default();
    known
        .tokens
        .extend((0..MAX_PER_CLIENT).map(|number| token(number, NOW.0 + hours)));
    known.tokens.push(token(MAX_PER_CLIENT, NOW.0));
    let (single, clients) = publish(&known, &[], NOW);
    assert_eq!((single.len(), clients.len()), (MAX_PER_CLIENT + 1, 0));
    known
        .tokens
        .extend((0..MAX_PER_CLIENT).map(|number| token(5000 + number, NOW.0)));
    let (single, clients) = publish(&known, &[], NOW);
    assert_eq!(
        (single.len(), clients["busy"].until),
        (MAX_PER_CLIENT, UnixTime(NOW.0 - 10))
    );
    // When the clock has come so far, they are counted with the others.
    let (single, clients) = publish(&known, &[], UnixTime(NOW.0 + hours));
    assert_eq!(
        (single.len(), clients["busy"].until),
        (0, UnixTime(NOW.0 + hours - 10))
    );
}
