//! Signed revocation lists.

use super::*;

async fn with_list(max_age: &str, upstream: &Upstream) -> (Authority, Sidecar) {
    let authority = Authority::start();
    authority.advertise("revocation_list_uri", "/revocations");
    let sidecar = sidecar(&authority, &format!("{{ maxAge: {max_age} }}"), upstream).await;
    authority.wait_for_fetches(Endpoint::Revocations, 1).await;
    (authority, sidecar)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_revokes_single_tokens_and_all_of_a_client_up_to_a_time() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_list("3s", &upstream).await;
    let one = authority.token().claim("jti", "one").sign();
    let old = authority
        .token()
        .claim("jti", "two")
        .claim("client_id", "c")
        .claim("iat", now() - 100)
        .sign();
    let new = authority
        .token()
        .claim("jti", "three")
        .claim("client_id", "c")
        .claim("iat", now() - 10)
        .sign();
    let unnamed = authority.token().without("jti").sign();
    for token in [&one, &old, &new] {
        becomes(&sidecar, token, is(200, "-")).await;
    }
    assert_eq!(
        outcome_of(&sidecar, &unnamed).await,
        is(401, "malformed_claims")
    );
    let list = json!({"iss": authority.issuer(), "iat": now(), "revoked": ["one"], "not_before": {"c": now() - 50}});
    authority.publish_list(list);
    becomes(&sidecar, &one, is(401, "revoked")).await;
    assert_eq!(outcome_of(&sidecar, &old).await, is(401, "revoked"));
    assert_eq!(outcome_of(&sidecar, &new).await, is(200, "-"));
    // The same from an issuer that hides its client ids.
    let other = authority
        .token()
        .claim("jti", "4")
        .claim("client_id", "d")
        .claim("iat", now() - 100)
        .sign();
    becomes(&sidecar, &other, is(200, "-")).await;
    let hashed = ["c", "d"].map(|id| HashedClientId::of(id).to_string());
    let ends = json!({ (&hashed[0]): now() - 50, (&hashed[1]): now() - 50 });
    authority.publish_list(json!({
        "iss": authority.issuer(), "iat": now(), "revoked": [], "not_before": [], "not_before_sha256": ends,
    }));
    becomes(&sidecar, &other, is(401, "revoked")).await;
    assert_eq!(outcome_of(&sidecar, &old).await, is(401, "revoked"));
    assert_eq!(outcome_of(&sidecar, &new).await, is(200, "-"));
    becomes(&sidecar, &one, is(200, "-")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_list_of_the_issuer_itself_is_used() {
    let upstream = Upstream::start();
    let impostor = Authority::start();
    type Make = fn(&Authority, &Authority) -> String;
    fn list(of: &Authority) -> serde_json::Value {
        json!({"iss": of.issuer(), "iat": now(), "revoked": []})
    }
    fn typ(of: &Authority) -> crate::support::tokens::TokenBuilder {
        of.token().header("typ", "m2m-revocations+jwt")
    }
    let lists: [(Make, (u16, String)); 6] = [
        (|own, _| typ(own).sign_payload(&list(own)), is(200, "-")),
        (
            |own, impostor| typ(impostor).sign_payload(&list(own)),
            is(503, "revocation_unavailable"),
        ),
        (
            |own, _| own.token().sign_payload(&list(own)),
            is(503, "revocation_unavailable"),
        ),
        (
            |own, _| typ(own).unsigned().sign_payload(&list(own)),
            is(503, "revocation_unavailable"),
        ),
        (
            |own, impostor| typ(own).sign_payload(&list(impostor)),
            is(503, "revocation_unavailable"),
        ),
        (
            |_, _| "nonsense".to_owned(),
            is(503, "revocation_unavailable"),
        ),
    ];
    for (number, (make, expected)) in lists.into_iter().enumerate() {
        let fresh = Authority::start();
        fresh.advertise("revocation_list_uri", "/revocations");
        let bad = make(&fresh, &impostor);
        let raw = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{bad}",
            bad.len()
        );
        fresh.behave(Endpoint::Revocations, Behave::Raw(raw.into_bytes()));
        let other = sidecar(&fresh, "list", &upstream).await;
        assert_eq!(
            outcome_of(&other, &fresh.token().sign()).await,
            expected,
            "{number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_never_brings_a_revoked_token_back() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_list("3s", &upstream).await;
    let token = authority.token().claim("jti", "one").sign();
    let list = |iat: i64, revoked: &[&str]| json!({"iss": authority.issuer(), "iat": iat, "revoked": revoked});
    authority.publish_list(list(now(), &["one"]));
    becomes(&sidecar, &token, is(401, "revoked")).await;
    authority.publish_list(list(now() - 100, &[]));
    let seen = authority.fetches(Endpoint::Revocations);
    authority
        .wait_for_fetches(Endpoint::Revocations, seen + 2)
        .await;
    assert_ne!(outcome_of(&sidecar, &token).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_second_issuer_brings_no_revoked_token_back() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_list("3s", &upstream).await;
    let token = authority.token().claim("jti", "one").sign();
    let list = |iat: i64, revision: i64, revoked: &[&str]| {
        let issuer = authority.issuer();
        json!({"iss": issuer, "iat": iat, "revision": revision, "revoked": revoked})
    };
    authority.publish_list(list(now(), 8, &["one"]));
    becomes(&sidecar, &token, is(401, "revoked")).await;
    // Signed later, by a server that read the store before the revocation.
    authority.publish_list(list(now(), 7, &[]));
    let seen = authority.fetches(Endpoint::Revocations);
    authority
        .wait_for_fetches(Endpoint::Revocations, seen + 2)
        .await;
    assert_eq!(outcome_of(&sidecar, &token).await, is(401, "revoked"));
    // Signed earlier, by a server that read the store later.
    authority.publish_list(list(now() - 5, 9, &["two"]));
    becomes(&sidecar, &token, is(200, "-")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_the_answer_is_503_unless_on_failure_accepts() {
    let upstream = Upstream::start();
    for behave in [
        Behave::Status(500),
        Behave::Reset,
        Behave::EmptyBody,
        Behave::InvalidJson,
        Behave::Truncated,
    ] {
        let authority = Authority::start();
        authority.advertise("revocation_list_uri", "/revocations");
        authority.behave(Endpoint::Revocations, behave.clone());
        let strict = sidecar(&authority, "auto", &upstream).await;
        assert_eq!(
            outcome_of(&strict, &authority.token().sign()).await,
            is(503, "revocation_unavailable"),
            "{behave:?}"
        );
        let lenient = sidecar(&authority, "{ onFailure: accept }", &upstream).await;
        assert_eq!(
            outcome_of(&lenient, &authority.token().sign()).await,
            is(200, "-"),
            "{behave:?}"
        );
    }
}

/// The age of the list in the metrics.
async fn age(sidecar: &Sidecar) -> Option<u64> {
    let metrics = get(sidecar.address("probes"), "/metrics", &[]).await.text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("m2m_revocation_age_seconds{authority=\"users\"}"));
    line.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_list_is_used_during_an_outage_until_it_is_too_old() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_list("1s, maxStale: 4s", &upstream).await;
    let (revoked, good) = revoked_and_good(&authority, &sidecar).await;
    let mark = logs::mark();
    authority.down().await;
    until("the list is older than maxAge", async || {
        age(&sidecar).await >= Some(2)
    })
    .await;
    assert_eq!(outcome_of(&sidecar, &good).await, is(200, "-"));
    assert_eq!(outcome_of(&sidecar, &revoked).await, is(401, "revoked"));
    logs::wait_for_line(
        mark,
        &[
            "WARN",
            "cannot fetch which tokens are revoked",
            "serves_for=\"4s\"",
        ],
    )
    .await;
    becomes(&sidecar, &good, is(503, "revocation_unavailable")).await;
    assert!(age(&sidecar).await >= Some(4));
    authority.up();
    becomes(&sidecar, &good, is(200, "-")).await;
    assert_eq!(outcome_of(&sidecar, &revoked).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_list_is_used_after_a_restart_during_an_outage() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("revocation_list_uri", "/revocations");
    authority.revoke("one");
    let yaml = yaml_of(&authority, "auto", &upstream);
    let second = Sidecar::builder()
        .secret_file("secret", "res:server", "a secret of 16 bytes: %+")
        .start(&yaml)
        .await;
    let (revoked, good) = revoked_and_good(&authority, &second).await;
    let state = second.path("state");
    until("keys and list are kept", async || {
        let kept = std::fs::read_dir(&state).map_or(0, |dir| {
            dir.filter(|file| {
                file.as_ref()
                    .is_ok_and(|file| file.path().extension() == Some("json".as_ref()))
            })
            .count()
        });
        kept == 2
    })
    .await;
    authority.down().await;
    let clock = MovableClock::now();
    let third = second
        .stop_keeping_state()
        .await
        .clock(clock.clone())
        .start(&yaml)
        .await;
    assert_eq!(outcome_of(&third, &revoked).await, is(401, "revoked"));
    assert_eq!(outcome_of(&third, &good).await, is(200, "-"));
    // After `maxStale`, 15 minutes by default, it is no longer used.
    let builder = third.stop_keeping_state().await;
    clock.forward(Duration::from_secs(16 * 60));
    let fourth = builder.clock(clock).start(&yaml).await;
    assert_eq!(
        outcome_of(&fourth, &good).await,
        is(503, "revocation_unavailable")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_list_of_another_signer_or_too_old_is_not_used() {
    let (upstream, impostor) = (Upstream::start(), Authority::start());
    for (by_impostor, signed_ago) in [(true, 0), (false, 2000)] {
        let (authority, sidecar) = with_list("30s", &upstream).await;
        assert_eq!(
            outcome_of(&sidecar, &authority.token().sign()).await,
            is(200, "-")
        );
        let state = sidecar.path("state");
        let kept = || {
            let files = std::fs::read_dir(&state)
                .into_iter()
                .flatten()
                .flatten()
                .map(|file| file.path());
            let mut lists =
                files.filter(|file| file.display().to_string().contains("revocations-"));
            lists.find(|file| file.extension() == Some("json".as_ref()))
        };
        until("the list is kept", async || kept().is_some()).await;
        let file = kept().expect("just seen");
        let mut text: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        // The date of the fetch stays: it is not signed.
        let payload = json!({"iss": authority.issuer(), "iat": now() - signed_ago, "revoked": []});
        let signer = if by_impostor { &impostor } else { &authority };
        text["list"] = signer
            .token()
            .header("typ", "m2m-revocations+jwt")
            .sign_payload(&payload)
            .into();
        std::fs::write(&file, text.to_string()).unwrap();
        authority.down().await;
        let builder = sidecar.stop_keeping_state().await;
        let again = builder.start(&yaml_of(&authority, "auto", &upstream)).await;
        let outcome = outcome_of(&again, &authority.token().sign()).await;
        assert_eq!(
            outcome,
            is(503, "revocation_unavailable"),
            "{by_impostor} {signed_ago}"
        );
    }
}

/// Regression: the list was fetched before the keys that verify it, and then not for a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_the_list() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    let gate = Gate::closed();
    authority.behave_next(Endpoint::Jwks, [Behave::Hold(gate.clone())]);
    let list = format!(
        "{{ kind: list, endpoint: \"{}/revocations\" }}",
        authority.issuer()
    );
    let yaml = yaml_of(&authority, &list, &upstream).replace(
        "revocation:",
        &format!("jwksUri: \"{}\", revocation:", authority.jwks_url()),
    );
    let builder =
        Sidecar::builder().secret_file("secret", "res:server", "a secret of 16 bytes: %+");
    let sidecar = builder.start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let token = authority.token().sign();
    let (answer, ()) = tokio::join!(outcome_of(&sidecar, &token), async { gate.open() });
    assert_eq!(answer, is(200, "-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_by_authorities_waits_for_the_list_too() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("revocation_list_uri", "/revocations");
    authority.behave(Endpoint::Revocations, Behave::Status(500));
    let yaml = format!(
        "readiness: [authorities]\n{}",
        yaml_of(&authority, "{ maxAge: 1s }", &upstream)
    );
    let builder =
        Sidecar::builder().secret_file("secret", "res:server", "a secret of 16 bytes: %+");
    let sidecar = builder.start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Revocations, 1).await;
    let ready = get(sidecar.address("probes"), "/readyz", &[]).await;
    assert!(
        ready.status == 503 && ready.text().contains("authorities (users)"),
        "{}",
        ready.text()
    );
    authority.behave(Endpoint::Revocations, Behave::Normal);
    until("it is ready", async || {
        get(sidecar.address("probes"), "/readyz", &[]).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_another_time_is_not_used() {
    let upstream = Upstream::start();
    for (iat, reason) in [
        (now() - 7200, "revocation_unavailable"),
        (now() + 7200, "revocation_unavailable"),
        (now(), "-"),
    ] {
        let authority = Authority::start();
        authority.advertise("revocation_list_uri", "/revocations");
        authority.publish_list(json!({"iss": authority.issuer(), "iat": iat, "revoked": []}));
        let sidecar = sidecar(&authority, "auto", &upstream).await;
        assert_eq!(
            outcome_of(&sidecar, &authority.token().sign()).await.1,
            reason,
            "{iat}"
        );
    }
}
