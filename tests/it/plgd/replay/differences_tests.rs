//! Every kind of difference is found, and no rule covers it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::differences::{Known, differences};
use super::vectors::Vector;
use super::without_rules;
use crate::support::client::RawAnswer;

const NOW: i64 = 1_700_000_000;

fn vector() -> Vector {
    let claims = json!({
        "aud": ["https://a.example"], "client_id": "c", "iat": "<now-1>", "exp": "<now+3599>", "jti": "<uuid>", "scope": "r", "sub": "1",
    });
    let plgd = json!({
        "status": 200,
        "headers": { "content-type": "application/json" },
        "json": { "access_token": "<token>", "expires_in": 3599, "scope": "r", "token_type": "Bearer" },
        "token": { "header": { "alg": "ES256", "kid": "<kid>", "typ": "JWT" }, "claims": claims },
    });
    let request = json!({ "method": "POST", "path": "/m2m-oauth-server/oauth/token", "headers": [], "body": null });
    serde_json::from_value(json!({ "id": "X", "name": "x", "request": request, "plgd": plgd }))
        .expect("a vector")
}

/// Our answer as plgd would give it.
struct Ours {
    status: u16,
    headers: Vec<(String, String)>,
    json: Value,
    header: Value,
    claims: Value,
}

impl Ours {
    fn new() -> Self {
        Self {
            status: 200,
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            json: json!({ "expires_in": 3599, "scope": "r", "token_type": "Bearer" }),
            header: json!({ "alg": "ES256", "kid": "k", "typ": "JWT" }),
            claims: json!({
                "aud": ["https://a.example"], "client_id": "c", "iat": NOW - 1, "exp": NOW + 3599,
                "jti": "9c2dfc23-e7eb-4c0b-8143-5f2d3c1b0a99", "scope": "r", "sub": "1",
            }),
        }
    }

    /// The differences that no rule covers.
    fn found(mut self) -> Vec<String> {
        if self.json.get("access_token").is_none() {
            let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
            self.json["access_token"] =
                format!("{}.{}.c2ln", part(&self.header), part(&self.claims)).into();
        }
        let body = self.json.to_string().into_bytes();
        let answer = RawAnswer {
            status: self.status,
            headers: self.headers,
            body,
            interim: Vec::new(),
        };
        let known = Known {
            now: NOW,
            started: NOW,
            issued: &BTreeMap::new(),
            assertion: None,
            users: "http://users.test".to_owned(),
            recorded: None,
            through_nginx: false,
        };
        let vector = vector();
        without_rules(
            &vector,
            &differences(&vector, &answer, &known),
            &mut BTreeSet::new(),
        )
    }
}

/// Where a difference is, and what makes it.
type Change = (&'static str, fn(&mut Ours));

#[test]
fn every_kind_of_difference_is_found_and_no_rule_covers_it() {
    assert_eq!(Ours::new().found(), [""; 0]);
    let changes: [Change; 17] = [
        ("status ", |it| it.status = 201),
        ("header x-new ", |it| {
            it.headers.push(("X-New".to_owned(), "1".to_owned()))
        }),
        ("header content-type ", |it| {
            it.headers[0].1 = "text/plain".to_owned()
        }),
        ("header content-type ", |it| it.headers.clear()),
        ("header cache-control ", |it| {
            it.headers
                .push(("Cache-Control".to_owned(), "public".to_owned()))
        }),
        ("json.new ", |it| it.json["new"] = 1.into()),
        ("json.scope ", |it| it.json["scope"] = "r w".into()),
        ("json.expires_in ", |it| it.json["expires_in"] = 7200.into()),
        ("json.expires_in ", |it| {
            it.json["expires_in"] = "3599".into()
        }),
        ("token.header.alg ", |it| it.header["alg"] = "none".into()),
        ("token.header.typ ", |it| it.header["typ"] = "at+jwt".into()),
        ("token.claims.sub ", |it| it.claims["sub"] = "2".into()),
        ("token.claims.exp ", |it| {
            it.claims["exp"] = (NOW + 3660).into()
        }),
        ("token.claims.iat ", |it| {
            it.claims["iat"] = (NOW + 10).into()
        }),
        ("token.claims.admin ", |it| it.claims["admin"] = true.into()),
        ("token.claims.aud[0] ", |it| {
            it.claims["aud"] = json!(["https://b.example"])
        }),
        ("token.claims.jti ", |it| it.claims["jti"] = "1".into()),
    ];
    for (place, change) in changes {
        let mut ours = Ours::new();
        change(&mut ours);
        let found = ours.found();
        assert!(
            found.len() == 1 && found[0].starts_with(place),
            "{place}: {found:?}"
        );
    }
}
