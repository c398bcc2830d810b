//! The method: from the configuration, from the metadata, and its absence.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_endpoint_is_not_the_same_as_none() {
    let upstream = Upstream::start();
    for (member, value) in [
        ("revocation_list_uri", json!("ftp://x/")),
        ("revocation_list_uri", json!(7)),
        ("plgd_tokens_endpoint", json!("not a url")),
        ("plgd_tokens_endpoint", json!(null)),
    ] {
        let authority = Authority::start();
        authority.advertise_value(member, value.clone());
        let auto = sidecar(&authority, "auto", &upstream).await;
        assert_eq!(
            outcome_of(&auto, &authority.token().sign()).await,
            is(503, "revocation_unavailable"),
            "{value}"
        );
        let none = sidecar(&authority, "none", &upstream).await;
        assert_eq!(
            outcome_of(&none, &authority.token().sign()).await,
            is(200, "-")
        );
    }
    // Configured, but the metadata names no endpoint.
    let silent = Authority::start();
    for kind in [
        "list",
        "plgd",
        "{ kind: introspection, credential: introspector }",
    ] {
        let sidecar = sidecar(&silent, kind, &upstream).await;
        assert_eq!(
            outcome_of(&sidecar, &silent.token().sign()).await,
            is(503, "revocation_unavailable"),
            "{kind}"
        );
    }
    let auto = sidecar(&silent, "auto", &upstream).await;
    assert_eq!(
        outcome_of(&auto, &silent.token().sign()).await,
        is(200, "-")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_status_name_the_method() {
    let upstream = Upstream::start();
    let admin = "admin: { listen: 127.0.0.1:0, tokenFile: \"@DIR@/admin\" }\n";
    let token = "an-admin-token-of-enough-bytes-0123456789";
    for (member, revocation, with_uri, level, method, said) in [
        (
            "revocation_list_uri",
            "auto",
            false,
            "INFO",
            "list",
            "list at ",
        ),
        (
            "plgd_tokens_endpoint",
            "auto",
            false,
            "INFO",
            "plgd",
            "plgd's tokens endpoint at ",
        ),
        (
            "nothing_of_interest",
            "auto",
            false,
            "INFO",
            "none",
            "none (the issuer's metadata names neither",
        ),
        (
            "nothing_of_interest",
            "none",
            false,
            "INFO",
            "none",
            "none (the configuration says so)",
        ),
        (
            "revocation_list_uri",
            "auto",
            true,
            "WARN",
            "none",
            "none (`jwksUri` or `jwksFile` names the keys",
        ),
    ] {
        let authority = Authority::start();
        authority.advertise(member, "/revocations");
        let mut yaml = yaml_of(&authority, revocation, &upstream) + admin;
        let name = format!("users-{}", authority.address().port());
        yaml = yaml.replace("users", &name);
        if with_uri {
            yaml = yaml.replace(
                "revocation:",
                &format!("jwksUri: \"{}\", revocation:", authority.jwks_url()),
            );
        }
        let mark = logs::mark();
        let builder = Sidecar::builder()
            .secret_file("secret", "res:server", "a secret of 16 bytes: %+")
            .secret_file("admin", "admin", token);
        let sidecar = builder.start(&yaml).await;
        logs::wait_for_line(mark, &[level, &name, "revocation=", said]).await;
        let headers = [("Authorization", format!("Bearer {token}"))];
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let status = get(sidecar.address("admin"), "/status", &headers)
            .await
            .json();
        let shown = &status["authorities"][0]["revocation"];
        assert_eq!(shown["method"], method, "{shown}");
        assert!(
            shown["description"].as_str().unwrap().starts_with(said),
            "{shown}"
        );
        if method == "list" {
            until("the list is there", async || {
                let status = get(sidecar.address("admin"), "/status", &headers)
                    .await
                    .json();
                status["authorities"][0]["revocation"]["age_seconds"].is_u64()
            })
            .await;
            assert_eq!(shown["max_stale_seconds"], 900, "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_name_less_than_before_do_not_end_the_queries() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    authority.revoke(UUIDS[0]);
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    assert_eq!(outcome_of(&sidecar, &token).await, is(401, "revoked"));
    // A temporary failure of the first URL is no reason to try the second.
    let seen = authority.fetches(Endpoint::AuthorizationServer);
    authority.behave(Endpoint::OpenidConfiguration, Behave::Status(503));
    let impostor = authority
        .token()
        .header("kid", "unknown")
        .claim("jti", UUIDS[1])
        .sign();
    becomes(&sidecar, &impostor, is(503, "keys_unavailable")).await;
    assert_eq!(authority.fetches(Endpoint::AuthorizationServer), seen);
    assert_eq!(outcome_of(&sidecar, &token).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_exp_needs_a_revocation_check() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    let endless = authority
        .token()
        .without("exp")
        .claim("jti", UUIDS[0])
        .sign();
    // The metadata names no endpoint.
    let mark = logs::mark();
    let alone = sidecar(&authority, "auto, requireExpiry: false", &upstream).await;
    assert_eq!(outcome_of(&alone, &endless).await, is(401, "no_expiry"));
    assert_eq!(
        outcome_of(&alone, &authority.token().sign()).await,
        is(200, "-")
    );
    logs::wait_for_line(
        mark,
        &[
            "tokens without `exp` are refused",
            "with `revocation: none` they are accepted",
        ],
    )
    .await;
    // Unless the configuration says `revocation: none`.
    let mark = logs::mark();
    let unasked = sidecar(&authority, "none, requireExpiry: false", &upstream).await;
    assert_eq!(outcome_of(&unasked, &endless).await, is(200, "-"));
    logs::wait_for_line(
        mark,
        &["tokens without `exp` are accepted and revocations are not checked"],
    )
    .await;
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let asking = sidecar(
        &authority,
        "{ maxAge: 1s }, requireExpiry: false",
        &upstream,
    )
    .await;
    assert_eq!(outcome_of(&asking, &endless).await, is(200, "-"));
    authority.revoke(UUIDS[0]);
    becomes(&asking, &endless, is(401, "revoked")).await;
    // Not even with `onFailure: accept`.
    let lenient = sidecar(
        &authority,
        "{ onFailure: accept }, requireExpiry: false",
        &upstream,
    )
    .await;
    authority.behave(Endpoint::PlgdTokens, Behave::Status(500));
    let endless = authority
        .token()
        .without("exp")
        .claim("jti", UUIDS[1])
        .sign();
    assert_eq!(
        outcome_of(&lenient, &endless).await,
        is(503, "revocation_unavailable")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_method_is_a_configuration_error() {
    for (authority, expected) in [
        (
            r#"{ issuer: "https://a.example", revocation: introspection }"#,
            "introspection needs a `credential`",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: { kind: introspection, credential: none } }"#,
            "no credential",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: { endpoint: "https://a.example/x" } }"#,
            "set `kind`",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: { kind: list, maxAge: 0s } }"#,
            "it must be from 1s to 10m",
        ),
        (
            r#"{ issuer: "https://a.example", jwksUri: "https://a.example/jwks", revocation: list }"#,
            "set `endpoint`",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: statusList }"#,
            "not supported yet",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: sometimes }"#,
            "revocation",
        ),
        (
            r#"{ issuer: "https://a.example", requireExpiry: false, jwksUri: "https://a.example/k" }"#,
            "need a revocation check",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: { kind: list, credential: c } }"#,
            "only introspection",
        ),
    ] {
        let yaml = format!(
            "authorities: {{ a: {authority} }}\ncredentials: {{ c: {{ tokenUrl: \
             \"https://a.example/t\", clientID: c, \
             clientSecretFile: \"@DIR@/s\" }} }}\ninbound: [{{ name: api, listen: 127.0.0.1:0, \
             upstream: \
             \"http://127.0.0.1:9\", authorities: [a], audiences: any, rules: [{{ paths: [\"/**\"] \
             }}] }}]\n"
        );
        let builder = Sidecar::builder().secret_file("s", "c", "0123456789abcdef");
        let problems = builder
            .try_start(&yaml)
            .await
            .err()
            .unwrap_or_else(|| panic!("{authority} was accepted"));
        assert!(problems.contains(expected), "{authority}: {problems}");
    }
}
