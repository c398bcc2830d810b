use std::sync::Arc;

use super::*;
use crate::verifier::CLIENT_ID_CLAIMS;

fn read(claims: &str, forwarded: &[&str]) -> Result<TokenFacts, Reason> {
    read_compared(claims, forwarded, &[])
}

fn read_compared(
    claims: &str,
    forwarded: &[&str],
    compared: &[&str],
) -> Result<TokenFacts, Reason> {
    let claims = Claims::parse(claims.as_bytes()).unwrap();
    let owned = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let (forwarded, compared) = (owned(forwarded), owned(compared));
    let (require_expiry, profile) = (true, Profile::Standard);
    let now = UnixTime(0);
    let client_id = &owned(&CLIENT_ID_CLAIMS);
    let issuer = &IssuerName::exact("https://idp.example/");
    let reading = Reading {
        forwarded: &forwarded,
        compared: &compared,
        client_id,
        require_expiry,
        profile,
        issuer,
        now,
    };
    TokenFacts::read(
        &claims,
        KeyedDigest::of(b"1"),
        3,
        Proof::Key([2; 16]),
        &reading,
    )
}

fn read_plgd(claims: &str, now: i64) -> Result<TokenFacts, Reason> {
    let claims = Claims::parse(claims.as_bytes()).unwrap();
    let (require_expiry, profile, now) = (false, Profile::Plgd, UnixTime(now));
    let issuer = &IssuerName::as_plgd_compares("https://idp.example");
    let (forwarded, compared) = (&["iss".to_owned()][..], &["iss".to_owned()][..]);
    let reading = Reading {
        forwarded,
        compared,
        client_id: &[],
        require_expiry,
        profile,
        issuer,
        now,
    };
    TokenFacts::read(
        &claims,
        KeyedDigest::of(b"1"),
        3,
        Proof::Key([2; 16]),
        &reading,
    )
}

/// The facts of a token with this digest.
pub fn facts(digest: KeyedDigest) -> Arc<TokenFacts> {
    Arc::new(TokenFacts {
        digest,
        ..read(r#"{"exp":1}"#, &[]).unwrap()
    })
}

/// The facts of a token with this claim, which is the only one that rules compare.
pub fn facts_comparing(name: &str, claim: &serde_json::Value) -> TokenFacts {
    let claims = serde_json::json!({ "exp": 1, name: claim });
    read_compared(&claims.to_string(), &[], &[name]).unwrap()
}

fn one_of(audiences: &[&str]) -> Audiences {
    Audiences::OneOf(audiences.iter().map(|aud| (*aud).to_owned()).collect())
}

#[test]
fn facts_agree_with_the_claims() {
    let facts = read(
        r#"{"exp":9,"nbf":5,"client_id":"a","sub":"ab","scope":"r w","aud":["x","","\u00e9\n"],"n":1,"e":"","l":["p","q"]}"#,
        &["sub", "none", "scope", "n", "e", "l", "client_id"],
    )
    .unwrap();
    let forwarded: Vec<_> = facts.forwarded().collect();
    let expected: [Option<&[u8]>; 7] = [
        Some(b"ab"),
        None,
        Some(b"r w"),
        Some(b"1"),
        Some(b""),
        Some(b"p q"),
        Some(b"a"),
    ];
    assert_eq!(forwarded, expected);
    assert_eq!((facts.client_id(), facts.authority()), (Some("a"), 3));
    for accepted in ["x", "", "\u{e9}\n"] {
        assert!(facts.is_for(&one_of(&["other", accepted])), "{accepted:?}");
    }
    // Forwarded, and scopes, but no audiences.
    assert!(
        !facts.is_for(&one_of(&["ab", "a", "r", "p q", "x\u{e9}"]))
            && facts.is_for(&Audiences::Any)
    );
    for (needed, has) in [
        ("", true),
        ("w", true),
        ("w r", true),
        ("r x", false),
        ("ab", false),
    ] {
        assert_eq!(
            facts.has_scopes(&ScopeSet::parse(needed).unwrap()),
            has,
            "{needed}"
        );
    }
}

#[test]
fn claims_are_compared_by_the_texts_of_their_items() {
    let names = ["t", "l", "n", "b", "f", "o", "z", "none", "e", "s"];
    let facts = read_compared(
        r#"{"exp":9,"sub":"blue","aud":"green","scope":"r w","t":"blue","l":["x","blue","",{"y":1},7],"n":12,"b":true,"f":1.5,
           "o":{"blue":1},"z":["a\u0000blue"],"e":[],"s":"blue green"}"#,
        &["sub", "t"],
        &names,
    )
    .unwrap();
    let has = |name: &str, value: &str| {
        let place = names.iter().position(|it| *it == name).unwrap();
        facts.claim_is_one_of(place, &["other".to_owned(), value.to_owned()])
    };
    for (name, value, expected) in [
        ("t", "blue", true),
        ("t", "Blue", false),
        ("t", "blu", false),
        ("l", "blue", true),
        ("l", "7", true),
        ("l", "x blue", false),
        ("l", "y", false),
        ("n", "12", true),
        ("n", "1", false),
        ("b", "true", true),
        ("f", "1.5", true),
        ("o", "blue", false),
        ("z", "blue", false),
        ("z", "a", false),
        ("none", "blue", false),
        ("e", "blue", false),
        ("s", "blue", false),
        ("s", "green", false),
    ] {
        assert_eq!(has(name, value), expected, "{name} {value}");
    }
    assert!(
        !facts.claim_is_one_of(names.len(), &["green".to_owned()]),
        "an audience is no claim that was asked for"
    );
    assert!(facts.is_for(&one_of(&["green"])) && !facts.is_for(&one_of(&["blue"])));
    assert_eq!(
        facts.forwarded().collect::<Vec<_>>(),
        [Some(b"blue".as_slice()), Some(b"blue")]
    );
    assert_eq!(facts.subject(), Some("blue"));
    let any = |wanted: &str| facts.has_any_scope(&ScopeSet::parse(wanted).unwrap());
    assert!(any("x w") && !any("x") && !any(""));
}

#[test]
fn the_first_of_the_claims_that_name_the_client_does() {
    for (claims, client) in [
        (
            r#"{"exp":9,"appid":"entra","cid":"okta","azp":"oidc","client_id":"rfc"}"#,
            Some("rfc"),
        ),
        (
            r#"{"exp":9,"appid":"entra","cid":"okta","azp":"oidc"}"#,
            Some("oidc"),
        ),
        (r#"{"exp":9,"appid":"entra","cid":"okta"}"#, Some("okta")),
        (r#"{"exp":9,"appid":"entra","client_id":""}"#, Some("entra")),
        (r#"{"exp":9,"appid":"entra","cid":7}"#, Some("entra")),
        (r#"{"exp":9,"sub":"s"}"#, None),
    ] {
        assert_eq!(read(claims, &[]).unwrap().client_id(), client, "{claims}");
    }
}

#[test]
fn claims_inside_of_others_are_forwarded_and_asked_for_by_dotted_names() {
    let facts = read_compared(
        r#"{"exp":9,"realm_access":{"roles":["a","b"]},"resource_access":{"my.api":{"roles":["c"]}},"x.y":"literal","x":{"y":"z"}}"#,
        &["realm_access.roles", "x.y", "realm_access"],
        &["realm_access.roles", "resource_access.my.api.roles", "x.y", "realm_access.none"],
    )
    .unwrap();
    let forwarded: Vec<_> = facts.forwarded().collect();
    assert_eq!(forwarded, [Some(b"a b".as_slice()), Some(b"literal"), None]);
    let has = |place, value: &str| facts.claim_is_one_of(place, &[value.to_owned()]);
    assert!(has(0, "b") && has(1, "c") && has(2, "literal") && !has(2, "z") && !has(3, "a"));
}

#[test]
fn missing_claims_are_not_kept() {
    let facts = read(r#"{"exp":9}"#, &["sub"]).unwrap();
    assert_eq!(
        (facts.client_id(), facts.forwarded().collect::<Vec<_>>()),
        (None, vec![None])
    );
    assert!(!facts.is_for(&one_of(&["", "x"])));
    assert!(!facts.has_scopes(&ScopeSet::parse("r").unwrap()));
    assert_eq!(
        facts.check_times(UnixTime(i64::MIN), Duration::ZERO),
        Ok(())
    );
    assert_eq!(
        facts.check_times(UnixTime(9), Duration::ZERO),
        Err(Reason::Expired)
    );
}

#[test]
fn texts_that_are_too_long_make_a_token_unusable() {
    let long = |n| format!(r#"{{"exp":9,"sub":"{}"}}"#, "s".repeat(n));
    assert!(read(&long(60_000), &["sub"]).is_ok());
    assert!(matches!(
        read(&long(66_000), &["sub"]),
        Err(Reason::MalformedClaims)
    ));
}

#[test]
fn a_token_without_exp_is_cached_for_half_a_minute() {
    let facts = read_plgd("{}", 1000).unwrap();
    assert_eq!(
        facts.check_times(UnixTime(i64::MAX), Duration::ZERO),
        Ok(())
    );
    let remembered =
        [999, 1000, 1029, 1030, i64::MAX].map(|now| facts.may_be_cached(UnixTime(now)));
    assert_eq!(remembered, [false, true, true, false, false]);
    let facts = read_plgd(r#"{"exp":9}"#, 1000).unwrap();
    assert_eq!(
        facts.check_times(UnixTime(9), Duration::ZERO),
        Err(Reason::Expired)
    );
    assert!(facts.may_be_cached(UnixTime(i64::MAX)));
    for broken in ["null", "\"\"", "[]", "false", "1e300"] {
        let claims = format!(r#"{{"exp":{broken}}}"#);
        assert!(
            matches!(read_plgd(&claims, 1000), Err(Reason::MalformedClaims)),
            "{broken}"
        );
    }
}

#[test]
fn joined_audiences_are_taken_apart_for_plgd_only() {
    for (aud, parts) in [
        (r#""x y""#, true),
        (r#"["x  y"]"#, true),
        (r#"["x y","z"]"#, false),
    ] {
        let claims = format!(r#"{{"exp":9,"aud":{aud}}}"#);
        let plgd = read_plgd(&claims, 0).unwrap();
        assert_eq!(plgd.is_for(&one_of(&["y"])), parts, "{aud}");
        let standard = read(&claims, &[]).unwrap();
        assert!(!standard.is_for(&one_of(&["x", "y"])), "{aud}");
    }
    let no_audience = read_plgd(r#"{"aud":[""]}"#, 0).unwrap();
    assert!(!no_audience.is_for(&one_of(&["", " "])));
}

/// White space of Unicode where an upstream would cut it off, or split a list.
const BLANK: [&str; 10] = [
    r#""admin\u00a0""#,
    r#""\u00a0admin""#,
    r#""admin\u2003""#,
    r#""admin\u3000""#,
    r#""\u2028admin""#,
    r#""admin\u0085""#,
    r#""\ufeffadmin""#,
    r#""admin\u200b""#,
    r#"["user\u00a0admin"]"#,
    r#"["a","\u2009"]"#,
];

#[test]
fn an_ambiguous_header_claim_makes_a_token_unusable() {
    for bad in [
        r#"" admin""#,
        r#""admin ""#,
        r#""admin\t""#,
        r#""a\nb""#,
        r#"["user admin"]"#,
        r#"["a",""]"#,
    ]
    .into_iter()
    .chain(BLANK)
    {
        let claims = format!(r#"{{"exp":9,"role":{bad}}}"#);
        assert!(
            matches!(read(&claims, &["role"]), Err(Reason::MalformedClaims)),
            "{bad}"
        );
        assert!(read(&claims, &["other"]).is_ok(), "{bad}");
    }
    for good in [r#""a\u00a0b""#, r#""Voil\u00e0""#, r#""\u05d0\u05d1""#] {
        assert!(
            read(&format!(r#"{{"exp":9,"role":{good}}}"#), &["role"]).is_ok(),
            "{good}"
        );
    }
    let scopes = read(r#"{"exp":9,"scope":["a  b","a"," c"]}"#, &["scope"]).unwrap();
    assert_eq!(scopes.forwarded().next(), Some(Some(&b"a b c"[..])));
}
