//! Foreign files in the state directory are not used, and the start log names the remedy
//! it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::sidecar::{Sidecar, SidecarBuilder};

const YAML: &str = r#"
stateDir: "@DIR@/state"
store: { url: "sqlite:@DIR@/store/m2m.db" }
issuer: { url: "http://issuer.test", listen: "127.0.0.1:0" }
admin: { listen: "127.0.0.1:0" }
"#;
/// An unused user id.
const OTHER_USER: u32 = 4_000_000;

/// A directory that a sidecar has used before.
async fn used() -> SidecarBuilder {
    Sidecar::start(YAML).await.stop_keeping_state().await
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file of ours");
}

/// The error of the start.
async fn refused(builder: SidecarBuilder) -> String {
    let start = tokio::time::timeout(Duration::from_secs(30), builder.try_start(YAML));
    start
        .await
        .expect("nothing is waited for")
        .err()
        .expect("it does not start")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_or_directory_that_others_may_write_is_refused() {
    for (name, bad, good) in [
        ("state/admin-token", 0o666, 0o600),
        ("state", 0o777, 0o700),
        ("state", 0o1777, 0o755),
        ("store", 0o770, 0o700),
        ("store/m2m.db", 0o660, 0o644),
    ] {
        let builder = used().await;
        let path = builder.path(name);
        chmod(&path, bad);
        let said = refused(builder).await;
        assert!(
            said.contains(&format!("`chmod go-w {}`", path.display())),
            "{name}: {said}"
        );
        let builder = used().await;
        chmod(&builder.path(name), good);
        builder.start(YAML).await.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_user_is_refused_with_the_repairing_command() {
    for name in [
        "state/admin-token",
        "state",
        "store",
        "store/m2m.db",
        "store/m2m.db-wal",
    ] {
        let builder = used().await;
        let path = builder.path(name);
        if name.ends_with("-wal") {
            fs::write(&path, "planted").expect("a writable directory");
        }
        // Only root can give a file away.
        if chown(&path, Some(OTHER_USER), None).is_err() {
            return;
        }
        let said = refused(builder).await;
        assert!(
            said.contains("belongs to user 4000000") && said.contains("`chown "),
            "{name}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_pipes_are_refused_and_no_start_waits_for_them() {
    for name in ["state/admin-token", "store/m2m.db"] {
        for kind in ["link", "pipe"] {
            let builder = used().await;
            let path = builder.path(name);
            let elsewhere = builder.path("elsewhere");
            fs::rename(&path, &elsewhere).expect("it is there");
            match kind {
                "link" => {
                    std::os::unix::fs::symlink(&elsewhere, &path).expect("a writable directory")
                }
                _ => assert!(
                    Command::new("mkfifo")
                        .arg(&path)
                        .status()
                        .expect("mkfifo")
                        .success()
                ),
            }
            let said = refused(builder).await;
            assert!(
                said.contains(&format!("`rm -r {}`", path.display())),
                "{name} {kind}: {said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_links_and_pipes_are_neither_followed_nor_waited_for() {
    let builder = used().await;
    let (note, elsewhere) = (builder.path("state/last-store"), builder.path("elsewhere"));
    fs::write(&elsewhere, "untouched").expect("a writable directory");
    fs::remove_file(&note).expect("it is there");
    std::os::unix::fs::symlink(&elsewhere, &note).expect("a writable directory");
    let builder = builder.start(YAML).await.stop_keeping_state().await;
    assert_eq!(fs::read_to_string(&elsewhere).expect("a file"), "untouched");
    let note = builder.path("state/last-store");
    fs::remove_file(&note).expect("it is there");
    assert!(
        Command::new("mkfifo")
            .arg(&note)
            .status()
            .expect("mkfifo")
            .success()
    );
    builder.start(YAML).await.stop().await;
}

/// As the kubelet leaves a volume with `fsGroup`: its group may write everything in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_kubernetes_gives_to_the_pods_group_is_used() {
    let builder = used().await;
    for (name, mode) in [
        ("state", 0o2775),
        ("store", 0o2770),
        ("state/admin-token", 0o660),
        ("state/last-store", 0o660),
        ("store/m2m.db", 0o660),
    ] {
        chmod(&builder.path(name), mode);
    }
    builder.start(YAML).await.stop().await;
}
