use serde_json::json;

use super::super::MEMBERS;
use super::*;

fn translated(body: Value) -> Translated {
    translate(body.as_object().unwrap(), &MEMBERS)
}

#[test]
fn members_without_effect_are_kept_and_unsupported_ones_refused_with_their_reason() {
    let kept = json!({
        "redirect_uris": [], "client_uri": "https://a.example/", "client_uri#de-CH": "https://a.example/de",
        "client_name#ja": "x", "contacts": ["a@example"], "software_id": "s", "metadata": { "a": [1] },
        "subject_type": "public", "publicClient": false, "access_token_strategy": "jwt", "skip_consent": true,
        "implicit_grant_access_token_lifespan": "1h", "policy_uri": "", "contacts#de": null,
    });
    let read = translated(kept);
    assert_eq!(
        read.own.keys().collect::<Vec<_>>(),
        ["contacts#de"],
        "unknown"
    );
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    assert_eq!(read.kept.len(), 13);
    for (body, word) in [
        (
            json!({ "redirect_uris": ["https://a.example/cb"] }),
            "redirects",
        ),
        (
            json!({ "callbacks": ["https://a.example/cb"] }),
            "redirects",
        ),
        (json!({ "standardFlowEnabled": true }), "login"),
        (json!({ "implicitFlowEnabled": true }), "implicit"),
        (json!({ "directAccessGrantsEnabled": true }), "password"),
        (json!({ "publicClient": true }), "without a secret"),
        (json!({ "subject_type": "pairwise" }), "subject"),
        (
            json!({ "require_proof_of_possession": true }),
            "bound to a key",
        ),
        (json!({ "access_token_strategy": "opaque" }), "JWT"),
        (json!({ "protocolMappers": [{}] }), "claims"),
        (json!({ "client_uri": "javascript:alert(1)" }), "URL"),
        (json!({ "contacts": "a@example" }), "list"),
        (json!({ "metadata": [1] }), "object"),
        (json!({ "software_id": 7 }), "text"),
        (json!({ "software_statement": "eyJ" }), "not verified"),
    ] {
        let read = translated(body.clone());
        assert_eq!(read.problems.len(), 1, "{body}");
        assert!(
            read.problems[0].problem.contains(word),
            "{body}: {:?}",
            read.problems
        );
        assert!(read.kept.is_empty() && read.own.is_empty(), "{body}");
    }
}

#[test]
fn other_names_of_our_members_are_read_as_ours() {
    let read = translated(
        json!({ "clientId": "a", "name": "n", "enabled": false, "secret": "", "app_type": null }),
    );
    let own =
        json!({ "client_id": "a", "client_name": "n", "disabled": true, "client_type": null });
    assert_eq!(Value::Object(read.own), own);
    assert!(
        translated(json!({ "clientId": "a", "client_id": "a" }))
            .problems
            .is_empty()
    );
    for both in [
        json!({ "client_id": "a", "clientId": "b" }),
        json!({ "name": "a", "clientName": "b" }),
    ] {
        assert_eq!(translated(both.clone()).problems.len(), 1, "{both}");
    }
}

#[test]
fn no_member_is_both_ours_and_of_another_server() {
    let mut own = MEMBERS.iter().chain(&READ_ONLY);
    assert!(own.all(|name| meaning(name).is_none()));
}
