//! The schema, and generated texts.

use proptest::prelude::*;

use super::{Files, small};
use crate::config::{formats, json_schema, parse};

#[test]
fn the_schema_describes_every_key() {
    fn undescribed(schema: &serde_json::Value, at: &str, found: &mut Vec<String>) {
        for (name, member) in schema
            .get("properties")
            .and_then(|p| p.as_object())
            .into_iter()
            .flatten()
        {
            if member.get("description").is_none() {
                found.push(format!("{at}.{name}"));
            }
        }
    }
    let schema = json_schema();
    let mut found = Vec::new();
    undescribed(&schema, "", &mut found);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        undescribed(definition, name, &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
    assert!(
        !schema.to_string().contains("null"),
        "a key without a value is accepted somewhere"
    );
    assert_eq!(
        schema["$defs"]["Inbound"]["properties"]["identityHeaders"]["default"]["x-m2m-subject"],
        "sub"
    );
    assert_eq!(
        schema["$defs"]["Credential"]["properties"]["refreshAt"]["default"],
        "75%"
    );
}

#[test]
fn every_format_of_the_schema_has_its_check() {
    fn walk(schema: &serde_json::Value) {
        match schema {
            serde_json::Value::Object(members) => {
                let text = members.get("type").is_none_or(|kind| kind == "string");
                if let (true, Some(serde_json::Value::String(format))) =
                    (text, members.get("format"))
                {
                    assert!(formats::find(format).is_some(), "{format}");
                }
                members.values().for_each(walk);
            }
            serde_json::Value::Array(items) => items.iter().for_each(walk),
            _ => {}
        }
    }
    walk(&json_schema());
}

/// Values that are plausible in some places and wrong in most.
fn arbitrary_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("~".to_owned()),
        Just("true".to_owned()),
        Just("-1".to_owned()),
        Just("1e99".to_owned()),
        Just("30s".to_owned()),
        Just("any".to_owned()),
        Just("127.0.0.1:0".to_owned()),
        Just("\"http://a\"".to_owned()),
        Just("\"${DIR}/secret\"".to_owned()),
        Just("[\"/**\"]".to_owned()),
        Just("[ES256]".to_owned()),
        "\"[ -!#-\\[\\]-~\u{e9}]{0,12}\"",
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = proptest::sample::select(
            "log level threads shutdown delay store url probes listen issuer clients id secretFile \
             signing algorithm \
             authorities self inbound name upstream audiences rules paths scopes access \
             identityHeaders credentials hub \
             clientID clientSecretFile tokenUrl outbound credential hosts upstreamTls caFile \
             insertTokenClaims x \
             extraParameters refreshAt maxBody"
                .split_whitespace()
                .collect::<Vec<_>>(),
        );
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::vec((key, inner), 0..5).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| {
                        format!(
                            "{key}: \
                    {value}"
                        )
                    })
                    .collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn garbage_never_panics(text in "[ -~\n\t\u{e9}]{0,200}") {
        let _ = parse(&text, "x", &|_| None);
    }

    #[test]
    fn yaml_punctuation_never_panics(text in "[\\[\\]{}:,\\-?!&*#|>'\"%@` \na$0~]{0,80}") {
        let _ = parse(&text, "x", &|_| Some("v".to_owned()));
    }

    /// The structs deserialize every value that the schema accepts.
    #[test]
    fn checked_sections_can_be_read(
        section in proptest::sample::select(vec![0_usize, 1, 2, 3, 4]), value in arbitrary_value(), at in 0_usize..40,
    ) {
        let mut text = small();
        // One value of the small configuration is replaced by another.
        let line = text.lines().filter(|line| line.contains(": ")).count().max(1);
        let index = (at + section) % line;
        let target = text.lines().filter(|line| line.contains(": ")).nth(index).unwrap_or_default().to_owned();
        if let Some((key, _)) = target.split_once(": ") {
            text = text.replacen(&target, &format!("{key}: {value}"), 1);
        }
        if let Err(problems) = Files::new().parse(&text) {
            let problems = problems.to_string();
            prop_assert!(!problems.contains("this section cannot"), "{}\n{}", text, problems);
        }
    }
}
