use serde_json::json;

use super::*;

#[test]
fn columns_line_up_under_wide_characters() {
    let clients = json!({ "clients": [
        { "client_id": "a", "scope": "x", "client_name": "n" },
        { "client_id": "計測器", "scope": "y", "client_name": "水道メーター" },
        { "client_id": "e\u{301}t", "scope": "z", "client_name": "" },
    ] });
    let shown = clients_lines(&clients);
    let place = |line: &str, of: &str| line.find(of).map(|at| line[..at].width());
    let places: Vec<_> = shown
        .iter()
        .zip(["SCOPE", "x", "y", "z"])
        .map(|(line, of)| place(line, of))
        .collect();
    assert!(
        places
            .windows(2)
            .all(|two| two[0] == two[1] && two[0].is_some()),
        "{shown:#?}"
    );
}

fn clients_lines(answer: &Value) -> Vec<String> {
    clients(answer).lines().map(str::to_owned).collect()
}

#[test]
fn a_secret_stands_first_and_nothing_stands_twice() {
    let answer = json!({
        "audience": ["x"], "client_id": "a", "client_id_issued_at": 1, "client_secret": "s", "created_at": "t",
        "client_secret_expires_at": 0, "scope": "a b", "scopes": ["a", "b"], "owner": null,
    });
    let names: Vec<_> = members(&answer)
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "client_secret",
            "client_id",
            "audience",
            "created_at",
            "scope"
        ]
    );
}

#[test]
fn a_name_does_not_move_the_cursor() {
    assert_eq!(text(&json!("a\u{1b}[2Jb")), "a\\u{1b}[2Jb");
}

#[test]
fn a_client_is_enabled_disabled_or_expired() {
    let now = UnixTime::from_rfc3339("2027-01-01T00:00:00Z").unwrap();
    for (expiry, disabled, expected) in [
        (json!(null), false, "enabled"),
        (json!("2027-01-01T00:00:01Z"), false, "enabled"),
        (json!("2027-01-01T00:00:00Z"), false, "expired"),
        (json!("2026-01-01T00:00:00Z"), true, "disabled"),
    ] {
        assert_eq!(
            state(&json!({ "expiry": expiry, "disabled": disabled }), now),
            expected,
            "{expiry}"
        );
    }
    let clients = json!({ "clients": [{ "client_id": "a", "expiry": "2020-01-01T00:00:00Z" }, { "client_id": "b" }] });
    let lines: Vec<_> = super::clients(&clients)
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect();
    assert_eq!(
        lines,
        [
            "a          expired  2020-01-01T00:00:00Z",
            "b          enabled  never"
        ]
    );
}
