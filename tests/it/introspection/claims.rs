//! The members of the answer are the claims of the token.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn rules_headers_and_the_log_see_the_answer() {
    let world = world("cache: 20s").await;
    let members = json!({ "sub": "anna", "client_id": "reader", "ext": { "tenant": "blue" } });
    world.authority.opaque(TOKEN, members);
    let mark = logs::mark();
    assert_eq!(world.outcome("/blue/1", TOKEN).await, is(200, "-"));
    let issuer = world.authority.issuer();
    let received = world.upstream.received();
    for (header, expected) in [
        ("x-m2m-subject", "anna"),
        ("x-m2m-client-id", "reader"),
        ("x-m2m-issuer", &issuer),
        ("x-m2m-tenant", "blue"),
    ] {
        assert_eq!(received[0].header(header), Some(expected), "{header}");
    }
    logs::wait_for_line(mark, &["permitted", "client_id=\"reader\"", "/blue/1"]).await;
    assert_eq!(world.outcome("/write/1", TOKEN).await, is(403, "scope"));

    let green = "opaque-green-token";
    world
        .authority
        .opaque(green, json!({ "ext": { "tenant": "green" }, "iss": null }));
    assert_eq!(world.outcome("/blue/1", green).await, is(403, "claim"));
    assert_eq!(world.outcome("/x", green).await, is(200, "-"));
    let received = world.upstream.received();
    let last = received.last().expect("a request");
    assert_eq!(last.header("x-m2m-issuer"), Some(issuer.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_token_is_refused_by_every_other_check() {
    let world = world("cache: 20s").await;
    let now = crate::support::now();
    for (number, (members, reason)) in [
        (json!({ "aud": ["https://other.example"] }), "audience"),
        (json!({ "aud": null }), "audience"),
        (json!({ "exp": now - 100 }), "expired"),
        (json!({ "nbf": now + 100 }), "not_yet_valid"),
        (json!({ "exp": "soon" }), "malformed_claims"),
        (json!({ "scope": ["a"], "scp": ["b"] }), "malformed_claims"),
        (json!({ "iss": "https://other.example" }), "unknown_issuer"),
        (json!({ "token_use": "refresh_token" }), "token_type"),
        (json!({ "typ": "Refresh" }), "token_type"),
        (
            json!({ "cnf": { "x5t#S256": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0" } }),
            "certificate_binding",
        ),
        (json!({ "cnf": { "jwk": {} } }), "sender_constrained"),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("opaque-refused-{number}");
        world.authority.opaque(&token, members.clone());
        assert_eq!(
            world.outcome("/", &token).await,
            is(401, reason),
            "{members}"
        );
    }
    // The authority can end a token without `exp`, so that one is accepted.
    world.authority.opaque(TOKEN, json!({ "exp": null }));
    assert_eq!(world.outcome("/", TOKEN).await, is(200, "-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn jwts_are_verified_by_their_keys_and_never_introspected() {
    let world = world("cache: 20s").await;
    world.authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let good = world.authority.token();
    assert_eq!(world.outcome("/", &good.clone().sign()).await, is(200, "-"));
    let unsigned = good.clone().unsigned().sign();
    for forged in [unsigned.as_str(), "a.b.c"] {
        let malformed = is(401, "malformed_token");
        assert_eq!(world.outcome("/", forged).await, malformed, "{forged}");
    }
    assert_eq!(world.questions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_chooses_the_authority_and_other_opaque_tokens_are_refused() {
    let (hydra, vendor, upstream) = (Authority::start(), Authority::start(), Upstream::start());
    let one = |authority: &Authority, prefix: &str| {
        authority.register_client(CLIENT, SECRET);
        let issuer = authority.issuer();
        format!(
            "{{ issuer: \"{issuer}\", introspection: {{ url: \"{issuer}/introspect\", prefix: \
             {prefix}, {OWN_CLIENT} }} }}"
        )
    };
    let yaml = format!(
        r#"
stateDir: "@DIR@/state"
authorities: {{ hydra: {}, vendor: {} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [hydra, vendor], audiences: any,
       rules: [{{ paths: ["/hydra"], authorities: [hydra] }}, {{ paths: ["/**"] }}] }}
"#,
        one(&hydra, "ory_"),
        one(&vendor, "ory_at_vendor_"),
        upstream.url()
    );
    let sidecar = builder().start(&yaml).await;
    let of_vendor = "ory_at_vendor_0123456789";
    hydra.opaque(TOKEN, json!({}));
    vendor.opaque(of_vendor, json!({}));
    for (path, token, expected) in [
        ("/hydra", TOKEN, is(200, "-")),
        ("/hydra", of_vendor, is(403, "authority")),
        ("/", of_vendor, is(200, "-")),
        ("/", "opaque-of-neither", is(401, "malformed_token")),
    ] {
        assert_eq!(
            outcome(&ask(&sidecar, path, token).await),
            expected,
            "{token}"
        );
    }
    assert_eq!(hydra.fetches(Endpoint::Introspection), 1);
    assert_eq!(vendor.fetches(Endpoint::Introspection), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_or_no_credentials_authenticate_the_question_too() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.register_client(CLIENT, SECRET);
    authority.opaque(TOKEN, json!({}));
    let with_credential = format!(
        "{}credentials: {{ me: {{ tokenUrl: \"{}\", clientID: \"{CLIENT}\", clientSecretFile: \
         \"@DIR@/secret\", authMethod: client_secret_post }} }}\n",
        yaml(&authority, &upstream.url(), "credential: me"),
        authority.token_url()
    );
    let sidecar = builder().start(&with_credential).await;
    assert_eq!(outcome(&ask(&sidecar, "/", TOKEN).await), is(200, "-"));

    let anonymous = yaml(&authority, &upstream.url(), "cache: 5s");
    let sidecar = builder().start(&anonymous).await;
    let answer = ask(&sidecar, "/", TOKEN).await;
    assert_eq!(outcome(&answer), is(503, "introspection_credentials"));
    let body = json!({ "active": true, "aud": AUDIENCE }).to_string();
    authority.behave(Endpoint::Introspection, Behave::Body(body));
    until("it is answered without credentials", async || {
        outcome(&ask(&sidecar, "/", TOKEN).await) == is(200, "-")
    })
    .await;
    let questions = authority.revocation_questions();
    let last = questions.last().expect("a question");
    let has_credentials = last
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    assert!(!has_credentials && last.form.len() == 2, "{last:?}");
}
