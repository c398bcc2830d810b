//! Keys from files: a `jwksFile` that changes, and what an earlier process left in the state
//! directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::{ask, outcome, yaml};
use crate::support::authority::Authority;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::{eventually, until};

async fn sidecar(authority: &Authority, upstream: &Upstream, file: &str) -> Sidecar {
    let by_file = format!(
        "{{ issuer: \"{}\", jwksFile: \"@DIR@/{file}\" }}",
        authority.issuer()
    );
    let builder = Sidecar::builder().file("jwks.json", authority.jwks().to_string());
    fs::create_dir(builder.path("one")).expect("a directory");
    fs::write(builder.path("one/jwks.json"), authority.jwks().to_string()).expect("a file");
    symlink("one", builder.path("current")).expect("a link");
    builder.start(&yaml(&by_file, upstream)).await
}

/// Waits until a remembered token is refused because its key is gone. No unknown key is shown, so
/// nothing but the watching of the file can bring that about before the file is read again after 42
/// s.
async fn until_withdrawn(sidecar: &Sidecar, token: &str) {
    until("the change is noticed", async || {
        outcome(&ask(sidecar, token).await) == (401, "unknown_kid")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_jwks_file_takes_effect_however_it_is_changed() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let change_in_place = |sidecar: &Sidecar, keys: &str| {
        fs::write(sidecar.path("jwks.json"), keys).expect("a file");
    };
    let change_by_rename = |sidecar: &Sidecar, keys: &str| {
        fs::write(sidecar.path("next"), keys).expect("a file");
        fs::rename(sidecar.path("next"), sidecar.path("jwks.json")).expect("renamed");
    };
    // As Kubernetes does it: the file is reached through a link to a directory, and the link is
    // replaced.
    let change_by_link = |sidecar: &Sidecar, keys: &str| {
        fs::create_dir(sidecar.path("two")).expect("a directory");
        fs::write(sidecar.path("two/jwks.json"), keys).expect("a file");
        symlink("two", sidecar.path("next")).expect("a link");
        fs::rename(sidecar.path("next"), sidecar.path("current")).expect("renamed");
    };
    type Change<'a> = &'a dyn Fn(&Sidecar, &str);
    let changes: [(&str, Change<'_>); 3] = [
        ("jwks.json", &change_in_place),
        ("jwks.json", &change_by_rename),
        ("current/jwks.json", &change_by_link),
    ];
    for (file, change) in changes {
        let sidecar = sidecar(&authority, &upstream, file).await;
        let old = authority.token().sign();
        assert_eq!(ask(&sidecar, &old).await.status, 200);
        authority.rotate();
        change(&sidecar, &authority.jwks().to_string());
        until_withdrawn(&sidecar, &old).await;
        assert_eq!(ask(&sidecar, &authority.token().sign()).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_empty_or_missing_jwks_file_leaves_the_last_good_keys() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let sidecar = sidecar(&authority, &upstream, "jwks.json").await;
    let old = authority.token().sign();
    let fetched =
        |result: &str| format!("m2m_jwks_fetch_total{{authority=\"users\",result=\"{result}\"}}");
    let failures = async || {
        let metrics = super::metrics(&sidecar).await;
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&fetched("error")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0)
    };
    assert_eq!(ask(&sidecar, &old).await.status, 200);
    for broken in [
        "",
        "{",
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
    ] {
        let before: u64 = failures().await;
        fs::write(sidecar.path("jwks.json"), broken).expect("a file");
        until("the change is noticed", async || failures().await != before).await;
        assert_eq!(ask(&sidecar, &old).await.status, 200, "{broken:?}");
        assert_eq!(
            ask(&sidecar, &authority.token().sign()).await.status,
            200,
            "{broken:?}"
        );
    }
    fs::remove_file(sidecar.path("jwks.json")).expect("it was there");
    assert_eq!(ask(&sidecar, &authority.token().sign()).await.status, 200);
    // It comes back, with other keys.
    authority.rotate();
    fs::write(sidecar.path("jwks.json"), authority.jwks().to_string()).expect("a file");
    until_withdrawn(&sidecar, &old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_file_that_others_may_write_is_not_used() {
    let (authority, impostor, upstream) =
        (Authority::start(), Authority::start(), Upstream::start());
    let first = super::sidecar(&authority, &upstream).await;
    assert_eq!(ask(&first, &authority.token().sign()).await.status, 200);
    let kept = || {
        let mut files = fs::read_dir(first.path("state"))
            .into_iter()
            .flatten()
            .flatten();
        files
            .find(|file| file.path().extension().is_some_and(|it| it == "json"))
            .map(|file| file.path())
    };
    let file = eventually("the keys are kept", async || kept()).await;
    let name = file
        .strip_prefix(first.dir())
        .expect("below the directory")
        .to_owned();
    authority.down().await;
    let state = first.stop_keeping_state().await;
    // Another user writes his keys into it.
    let file = state.path(name.to_str().expect("UTF-8"));
    let text = fs::read_to_string(&file).expect("a file");
    let mut set: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    set["document"] = impostor.jwks().to_string().into();
    fs::write(&file, set.to_string()).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("ours");
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let mark = crate::support::logs::mark();
    let second = state.start(&start).await;
    let forged = impostor.token().claim("iss", authority.issuer()).sign();
    assert_eq!(
        outcome(&ask(&second, &forged).await),
        (503, "keys_unavailable")
    );
    crate::support::logs::wait_for_line(
        mark,
        &["can be written by others (mode 0666): `chmod go-w"],
    )
    .await;
}
