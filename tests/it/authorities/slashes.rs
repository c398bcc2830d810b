//! Issuers that differ by slashes only: they are equal with `profile: plgd`. Otherwise they differ,
//! and the sidecar reports it.

use serde_json::{Value, json};

use super::{ask, outcome, yaml};
use crate::commands::{ended, sidecar as command};
use crate::support::authority::Authority;
use crate::support::client::get;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;
use crate::support::{logs, now};

/// `members` are the other members of the metadata.
fn of(issuer: &str, members: &str, upstream: &Upstream) -> String {
    yaml(&format!("{{ issuer: \"{issuer}\"{members} }}"), upstream)
}

fn with_admin(builder: SidecarBuilder) -> SidecarBuilder {
    builder.secret_file("admin-token", "admin", "0123456789abcdef-admin")
}

async fn status(sidecar: &Sidecar) -> Value {
    let headers = [("Authorization", "Bearer 0123456789abcdef-admin")];
    get(sidecar.address("admin"), "/status", &headers)
        .await
        .json()["authorities"][0]
        .clone()
}

const ADMIN: &str = "admin: { listen: 127.0.0.1:0, tokenFile: \"@DIR@/admin-token\" }\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_plgd_profile_ignores_slashes_at_the_end_of_an_issuer() {
    let upstream = Upstream::start();
    for path in ["", "/realms/iot"] {
        let authority = Authority::start_at_path(path);
        let bare = authority.issuer();
        let slash = format!("{bare}/");
        let double = format!("{bare}//");
        for (written, published) in [
            (&bare, &slash),
            (&slash, &bare),
            (&slash, &slash),
            (&bare, &double),
        ] {
            authority.advertise_value("issuer", published.as_str());
            let headers =
                "audiences: any, identityHeaders: { x-m2m-issuer: iss, x-m2m-subject: sub }";
            let start =
                of(written, ", profile: plgd", &upstream).replace("audiences: any", headers);
            let sidecar = Sidecar::start(&start).await;
            for iss in [&bare, &slash, &double] {
                let token = authority.token().claim("iss", iss.as_str()).sign();
                assert_eq!(
                    outcome(&ask(&sidecar, &token).await),
                    (200, "-"),
                    "{written} {published} {iss}"
                );
                // The service gets the configured issuer for every spelling.
                let seen = upstream.received().pop().expect("a request");
                assert_eq!(seen.header("x-m2m-issuer"), Some(written.as_str()));
            }
            for other in [
                bare.replace("http:", "https:"),
                format!("{bare}/x"),
                bare.to_uppercase(),
            ] {
                let token = authority.token().claim("iss", other.as_str()).sign();
                assert_eq!(
                    outcome(&ask(&sidecar, &token).await),
                    (401, "unknown_issuer"),
                    "{other}"
                );
            }
            sidecar.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_names_the_issuer_fits_each_spelling_of_it() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let (bare, slash) = (authority.issuer(), format!("{}/", authority.issuer()));
    for named in [&bare, &slash] {
        let rule = format!("{{ paths: [\"/**\"], claims: {{ iss: [\"{named}\"] }} }}");
        let start = of(&bare, ", profile: plgd", &upstream).replace("{ paths: [\"/**\"] }", &rule);
        let sidecar = Sidecar::start(&start).await;
        for iss in [&bare, &slash] {
            let token = authority.token().claim("iss", iss.as_str()).sign();
            assert_eq!(
                outcome(&ask(&sidecar, &token).await),
                (200, "-"),
                "{named} {iss}"
            );
        }
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_profile_refuses_metadata_that_differ_by_a_slash() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let slash = format!("{}/", authority.issuer());
    authority.advertise_value("issuer", slash.as_str());
    let mark = logs::mark();
    let start = of(&authority.issuer(), "", &upstream) + ADMIN;
    let sidecar = with_admin(Sidecar::builder()).start(&start).await;
    let said = [
        "cannot fetch the key set",
        &format!("`{slash}` instead of"),
        "differ by slashes only",
        "`profile: plgd`",
    ];
    logs::wait_for_line(mark, &said).await;
    assert_eq!(
        outcome(&ask(&sidecar, &authority.token().sign()).await),
        (503, "keys_unavailable")
    );
    let last_error = status(&sidecar).await["last_error"].to_string();
    assert!(
        last_error.contains("differ by slashes only"),
        "{last_error}"
    );
    // `explain` reports it too.
    let token = authority.token().sign();
    let out = explained(&start, &token).await;
    assert!(out.contains("differ by slashes only"), "{out}");
    // Other differences are not reported as slashes.
    let mark = logs::mark();
    authority.advertise_value("issuer", "https://other.example/");
    let _other = Sidecar::start(&of(&authority.issuer(), "", &upstream)).await;
    let line = logs::wait_for_line(mark, &["cannot fetch the key set", "other.example"]).await;
    assert!(!line.contains("slashes"), "{line}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_profile_refuses_tokens_that_differ_by_a_slash() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let slash = format!("{}/", authority.issuer());
    let start = of(&authority.issuer(), "", &upstream) + ADMIN;
    let sidecar = with_admin(Sidecar::builder()).start(&start).await;
    assert_eq!(status(&sidecar).await["refused_issuer"], Value::Null);
    let other = authority
        .token()
        .claim("iss", "http://elsewhere.test/")
        .sign();
    assert_eq!(
        outcome(&ask(&sidecar, &other).await),
        (401, "unknown_issuer")
    );
    assert_eq!(
        status(&sidecar).await["refused_issuer"],
        Value::Null,
        "it differs by more"
    );
    let mark = logs::mark();
    let token = authority.token().claim("iss", slash.as_str()).sign();
    assert_eq!(
        outcome(&ask(&sidecar, &token).await),
        (401, "unknown_issuer")
    );
    let said = [
        "WARN",
        "authority=\"users\"",
        "differs from the authority's issuer by slashes only",
        &format!("iss=\"{slash}\""),
    ];
    logs::wait_for_line(mark, &said).await;
    assert_eq!(
        status(&sidecar).await["refused_issuer"],
        json!({"iss": slash, "tokens": 1})
    );
    // A flood of such tokens does not fill the log, and a long `iss` is shortened.
    for _ in 0..31 {
        ask(&sidecar, &token).await;
    }
    let long = authority
        .token()
        .claim("iss", format!("{}{}", authority.issuer(), "/".repeat(3000)))
        .sign();
    assert_eq!(
        outcome(&ask(&sidecar, &long).await),
        (401, "unknown_issuer")
    );
    let refused = status(&sidecar).await["refused_issuer"].clone();
    assert_eq!(refused["tokens"], 33);
    assert!(
        refused["iss"].as_str().expect("a text").len() < 300,
        "{refused}"
    );
    assert_eq!(
        logs::lines_since(mark, &["by slashes only", &slash]).len(),
        6,
        "at 1, 2, 4, 8, 16 and 32"
    );
    let out = explained(&start, &token).await;
    assert!(
        out.contains("the issuer of `users`, by slashes only"),
        "{out}"
    );
    sidecar.stop().await;
}

/// The output of `explain` for a request with this token.
async fn explained(start: &str, token: &str) -> String {
    let dir = tempfile::TempDir::new().expect("a directory");
    let text = start
        .replace(ADMIN, "")
        .replace("@DIR@", &dir.path().display().to_string());
    std::fs::write(dir.path().join("c.yaml"), text).expect("a writable directory");
    std::fs::write(dir.path().join("token"), token).expect("a writable directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (config, token) = (path("c.yaml"), path("token"));
    let arguments = [
        "explain",
        "--config",
        &config,
        "--listener",
        "api",
        "--path",
        "/",
        "--token-file",
        &token,
    ];
    let output = command(&arguments).output();
    let (code, out, err) = ended(&output.expect("the binary runs"));
    assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_plgd_profile_explain_reads_a_token_of_either_spelling() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let slash = format!("{}/", authority.issuer());
    let start = of(&slash, ", profile: plgd", &upstream);
    let expired = authority.token().expires_in(-600).sign();
    let out = explained(&start, &expired).await;
    assert!(
        out.contains("ok: `iss` is that of the authority `users`") && out.contains("REFUSED: exp"),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_plgd_profile_kept_keys_serve_under_either_spelling() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let (bare, slash) = (authority.issuer(), format!("{}/", authority.issuer()));
    let first = Sidecar::start(&of(&slash, ", profile: plgd", &upstream)).await;
    assert_eq!(
        outcome(&ask(&first, &authority.token().sign()).await),
        (200, "-")
    );
    let builder = first.stop_keeping_state().await;
    authority.down().await;
    let second = builder
        .start(&of(&bare, ", profile: plgd", &upstream))
        .await;
    let token = authority.token().claim("iss", slash.as_str()).sign();
    assert_eq!(
        outcome(&ask(&second, &token).await),
        (200, "-"),
        "from the kept file"
    );
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_plgd_profile_ignores_slashes_in_a_revocation_list() {
    let upstream = Upstream::start();
    for (profile, expected) in [
        ("plgd", (401, "revoked")),
        ("standard", (503, "revocation_unavailable")),
    ] {
        let authority = Authority::start();
        authority.advertise("revocation_list_uri", "/revocations");
        let iss = format!("{}/", authority.issuer());
        authority.publish_list(json!({"iss": iss, "iat": now(), "revoked": ["gone"]}));
        let mark = logs::mark();
        let start = of(
            &authority.issuer(),
            &format!(", profile: {profile}"),
            &upstream,
        );
        let sidecar = Sidecar::start(&start).await;
        let token = authority.token().claim("jti", "gone").sign();
        assert_eq!(outcome(&ask(&sidecar, &token).await), expected, "{profile}");
        if profile == "standard" {
            logs::wait_for_line(
                mark,
                &["another issuer, whose name differs from `issuer` by slashes only"],
            )
            .await;
        }
        sidecar.stop().await;
    }
}
