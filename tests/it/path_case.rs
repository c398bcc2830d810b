//! Letter case and format endings: a service may read a path as one that a stricter rule protects.

use crate::rules::{World, world};
use crate::support::client::{RawAnswer, get};
use crate::support::logs;

const RULES: &str = r#"
      - { paths: ["/admin/**", /reports, "/files/%C3%A9/*"], scopes: [admin] }
      - { paths: ["/open/**"], access: public }
      - { paths: [/logo.png, "/pkg.Devices/Get"], scopes: [read] }
      - { paths: ["/**"], scopes: [read] }"#;

impl World {
    async fn read(&self, target: &str) -> RawAnswer {
        self.send_token("GET", target, self.token().claim("scope", "read"))
            .await
    }
}

fn outcome(answer: &RawAnswer) -> (u16, &str) {
    (answer.status, answer.header("x-m2m-reason").unwrap_or("-"))
}

/// Paths that a service which ignores letter case takes for one of a stricter or an open rule.
const OTHER_CASE: &[&str] = &[
    "/ADMIN/users",
    "/%41dmin/users",
    "/Admin",
    "/aDMIN/",
    "//Admin/./users",
    "/Reports",
    "/REPORTS/?x=1",
    "/adm%c4%b1n/users",
    "/report%C5%BF",
    "/files/%C3%89/x",
    "/FILES/%c3%a9/x",
    "/Open/door",
];

/// Paths that a service takes for one of the strict rule in some format.
const FORMATS: &[&str] = &[
    "/reports.json",
    "/reports.tar.gz",
    "/admin.xml",
    "/reports.",
    "/reports%2Ejson",
    "/Reports.json",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_in_another_letter_case_meets_an_earlier_rule_is_refused() {
    let world = world("", RULES).await;
    let mark = logs::mark();
    for target in OTHER_CASE.iter().chain(FORMATS) {
        assert_eq!(
            outcome(&world.read(target).await),
            (400, "ambiguous_path"),
            "{target}"
        );
        let answer = get(world.sidecar.address("api"), target, &[]).await;
        assert_eq!(
            outcome(&answer),
            (400, "ambiguous_path"),
            "{target} without a token"
        );
    }
    assert!(world.upstream.received().is_empty());
    let answer = world.read("/ADMIN/users").await;
    assert!(
        answer.json()["error_description"]
            .as_str()
            .unwrap()
            .contains("pathCase"),
        "{}",
        answer.text()
    );
    logs::wait_for_line(
        mark,
        &["access", "ambiguous_path", "upper and lower case only"],
    )
    .await;
    logs::wait_for_line(
        mark,
        &["access", "ambiguous_path", "ending of its last segment"],
    )
    .await;

    for (target, expected) in [
        ("/admin/users", (403, "scope")),
        ("/open/Door", (200, "-")),
        ("/Devices/7", (200, "-")),
        ("/devices/7.json", (200, "-")),
        ("/logo.png", (200, "-")),
        ("/pkg.Devices/Get", (200, "-")),
        ("/files/%C3%A9/x.json", (403, "scope")),
    ] {
        assert_eq!(outcome(&world.read(target).await), expected, "{target}");
    }
    let targets: Vec<_> = world
        .upstream
        .received()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert_eq!(
        targets,
        [
            "/open/Door",
            "/Devices/7",
            "/devices/7.json",
            "/logo.png",
            "/pkg.Devices/Get"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn insensitive_rules_match_any_letter_case_and_leave_the_path() {
    let world = world("    pathCase: insensitive", RULES).await;
    for target in [
        "/ADMIN/users",
        "/%41dmin/users",
        "/Admin",
        "/Reports",
        "/files/%C3%89/x",
        "/FILES/%c3%a9/x",
    ] {
        assert_eq!(
            outcome(&world.read(target).await),
            (403, "scope"),
            "{target}"
        );
    }
    // Only some services take these letters for those of ASCII.
    for target in [
        "/adm%c4%b1n/users",
        "/report%C5%BF",
        "/reports.json",
        "/REPORTS.JSON",
    ] {
        assert_eq!(
            outcome(&world.read(target).await),
            (400, "ambiguous_path"),
            "{target}"
        );
    }
    let admin = world.token().claim("scope", "admin");
    assert_eq!(
        outcome(&world.send_token("GET", "/ADMIN/%55sers?Q=X", admin).await),
        (200, "-")
    );
    assert_eq!(
        outcome(&world.send("GET", "/OPEN/Door", &[]).await),
        (200, "-")
    );
    assert_eq!(outcome(&world.read("/Devices/7").await), (200, "-"));
    let targets: Vec<_> = world
        .upstream
        .received()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert_eq!(targets, ["/ADMIN/Users?Q=X", "/OPEN/Door", "/Devices/7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sensitive_rules_match_exactly_and_format_endings_are_refused() {
    let world = world("    pathCase: sensitive", RULES).await;
    for target in OTHER_CASE {
        assert_eq!(outcome(&world.read(target).await), (200, "-"), "{target}");
    }
    for target in FORMATS.iter().filter(|target| !target.starts_with("/R")) {
        assert_eq!(
            outcome(&world.read(target).await),
            (400, "ambiguous_path"),
            "{target}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_a_path_with_two_readings_passes_and_is_counted() {
    let world = world("    mode: shadow", RULES).await;
    assert_eq!(outcome(&world.read("/ADMIN/users").await), (200, "-"));
    let seen = &world.upstream.received()[0];
    assert_eq!(
        (seen.target.as_str(), seen.header("x-m2m-scope")),
        ("/ADMIN/users", Some("read"))
    );
    world.wait_for_count("shadow", "ambiguous_path", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_another_method_is_no_earlier_one() {
    let rules = r#"
      - { paths: [/things], methods: [PUT], scopes: [write] }
      - { paths: ["/**"], scopes: [read] }"#;
    let world = world("", rules).await;
    assert_eq!(outcome(&world.read("/Things").await), (200, "-"));
    let answer = world
        .send_token("PUT", "/Things", world.token().claim("scope", "read"))
        .await;
    assert_eq!(outcome(&answer), (400, "ambiguous_path"));
}
