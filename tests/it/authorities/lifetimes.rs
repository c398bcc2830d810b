//! `maxTokenLifetime`: a token may not expire too late.

use tempfile::TempDir;

use super::*;
use crate::commands::{ended, run};

const DAY: i64 = 24 * 3600;

fn limited(authority: &Authority, upstream: &Upstream) -> String {
    let keys = format!(
        "{{ issuer: \"{}\", maxTokenLifetime: 24h, clockSkew: 10s }}",
        authority.issuer()
    );
    yaml(&keys, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_too_late_is_refused_and_by_the_clock() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let clock = MovableClock::now();
    let builder = Sidecar::builder().clock(clock.clone());
    let sidecar = builder.start(&limited(&authority, &upstream)).await;
    let token = |seconds| authority.token().expires_in(seconds).sign();
    for accepted in [60, DAY, DAY + 5] {
        assert_eq!(outcome(&ask(&sidecar, &token(accepted)).await), (200, "-"));
    }
    let year_2100 = authority.token().claim("exp", 4_102_444_800_i64).sign();
    let late = token(DAY + 60);
    for refused in [&year_2100, &late] {
        let answer = ask(&sidecar, refused).await;
        assert_eq!(outcome(&answer), (401, "lifetime_too_long"));
    }
    // The same token is accepted when its end is near enough.
    clock.forward(Duration::from_secs(120));
    assert_eq!(outcome(&ask(&sidecar, &late).await), (200, "-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_recommends_a_limit_and_explain_shows_it() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let dir = TempDir::new().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let write = |name: &str, text: &str| {
        let text = text.replace("@DIR@", &dir.path().display().to_string());
        std::fs::write(path(name), text).expect("a writable directory");
    };
    write("limited.yaml", &limited(&authority, &upstream));
    let open = format!("{{ issuer: \"{}\" }}", authority.issuer());
    write("open.yaml", &yaml(&open, &upstream));
    let check = |more: &[&str], name: &str| {
        let file = path(name);
        let (code, out, err) = ended(&run(&[&["check", "--config", &file][..], more].concat()));
        assert_eq!(code, Some(0), "{err}");
        out
    };
    let hint = "tokens of `users` may live for any time: set `maxTokenLifetime`";
    assert!(check(&[], "open.yaml").contains(&format!("\nhint: {hint}")));
    assert!(!check(&[], "limited.yaml").contains("hint"));
    let json: serde_json::Value =
        serde_json::from_str(&check(&["--json"], "open.yaml")).expect("JSON");
    let said = json["hints"][0].as_str().unwrap_or_default();
    assert!(said.starts_with(hint), "{json}");

    write("token", &authority.token().expires_in(2 * DAY).sign());
    let (config, token) = (path("limited.yaml"), path("token"));
    let arguments = [
        "explain",
        "--config",
        &config,
        "--listener",
        "api",
        "--path",
        "/",
    ];
    let explained = run(&[&arguments[..], &["--token-file", &token]].concat());
    let (code, out, _) = ended(&explained);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("REFUSED: exp in") && out.contains("skew 10 s, exp at most 24h away"),
        "{out}"
    );
}
