//! The files of `conf/` against the schema: every key is shown, and the schema that editors get
//! accepts them all.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::problem::Findings;
use crate::config::{editor_schema, json_schema, yaml};

/// A file as a tree; `#key: …` without a space is a setting that can be uncommented, and counts
/// too.
fn read(text: &str, uncomment: bool) -> Value {
    let lines = text.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        match line[indent..].strip_prefix('#') {
            Some(setting)
                if uncomment && setting.starts_with(|c: char| c.is_ascii_alphabetic()) =>
            {
                format!("{}{setting}\n", &line[..indent])
            }
            _ => format!("{line}\n"),
        }
    });
    // A key that an alternative repeats is reported there; the order does not matter.
    yaml::parse(&lines.collect::<String>(), &mut Findings::default())
        .expect("YAML")
        .to_json()
}

fn follow<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|it| it.strip_prefix('#'));
    pointer
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(schema)
}

/// The keys of a schema that none of the values has.
fn missing(root: &Value, schema: &Value, values: &[&Value], path: &str, out: &mut Vec<String>) {
    let schema = follow(root, schema);
    if let Some(items) = schema.get("items") {
        let values: Vec<_> = values
            .iter()
            .filter_map(|value| value.as_array())
            .flatten()
            .collect();
        missing(root, items, &values, &format!("{path}[]"), out);
    }
    if let Some(members) = schema.get("additionalProperties") {
        let values: Vec<_> = values
            .iter()
            .filter_map(|value| value.as_object())
            .flat_map(|it| it.values())
            .collect();
        missing(root, members, &values, &format!("{path}.*"), out);
    }
    for (key, member) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = format!("{path}.{key}");
        let values: Vec<_> = values.iter().filter_map(|value| value.get(key)).collect();
        if values.is_empty() {
            out.push(path);
        } else {
            missing(root, member, &values, &path, out);
        }
    }
}

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

fn files(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("conf/") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, out);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            out.push(path);
        }
    }
}

#[test]
fn sidecar_yaml_shows_every_key() {
    let text = std::fs::read_to_string(conf().join("sidecar.yaml")).expect("conf/sidecar.yaml");
    let schema = json_schema();
    let mut out = Vec::new();
    missing(&schema, &schema, &[&read(&text, true)], "", &mut out);
    // The keys of `tls` are the same on every listener and are shown once.
    out.retain(|key| key.starts_with(".inbound") || !key.contains(".tls."));
    // So are those of rules and limits, which `inbound` shows.
    let is_shown = |key: &str| [".rules[].", ".limits."].iter().any(|it| key.contains(it));
    out.retain(|key| !(key.starts_with(".decisions") && is_shown(key)));
    assert_eq!(
        out,
        Vec::<String>::new(),
        "keys that conf/sidecar.yaml does not show"
    );
    missing(
        &schema,
        &schema,
        &[&json!({ "inbound": [{ "rules": [{ "paths": ["/"] }] }] })],
        "",
        &mut out,
    );
    assert!(
        out.contains(&".inbound[].rules[].scopes".to_owned()) && out.contains(&".log".to_owned()),
        "{out:?}"
    );
}

/// Checked by an independent validator that asserts formats: none of our formats may clash with a
/// standard one.
#[test]
fn the_schema_for_editors_accepts_what_we_accept() {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    compiler
        .add_resource("http://m2m.test/schema.json", editor_schema())
        .expect("a resource");
    let schema = compiler
        .compile("http://m2m.test/schema.json", &mut schemas)
        .expect("a valid schema");
    let mut paths = Vec::new();
    files(&conf(), &mut paths);
    assert!(paths.len() >= 6, "{paths:?}");
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        for uncomment in [false, true] {
            let value = read(&text, uncomment);
            if let Err(why) = schemas.validate(&value, schema) {
                panic!("{}: {why}", path.display());
            }
        }
    }
    let is_valid = |text: &str| schemas.validate(&read(text, false), schema).is_ok();
    for good in [
        "threads: ${THREADS}",
        "log: { level: \"${LEVEL}\" }",
        "inbound: [{ name: a, listen: \"${L}\", upstream: x, authorities: [a], audiences: \
         \"${A}\", issuer: \"${I}\", rules: [{ paths: [/] }] }]",
        "issuer: { url: x, clients: [{ id: a, secretFile: b, expiresAt: \"${WHEN}\" }] }",
    ] {
        assert!(is_valid(good), "{good}");
    }
    for bad in [
        "threads: many",
        "threads: -1",
        "log: { level: loud }",
        "lgo: {}",
        "stateDir: 1",
        "probes: {}",
        "inbound: [{ name: a }]",
        "issuer: { url: x, clients: [{ id: a, secretFile: b, expiresAt: tomorrow }] }",
        "issuer: { url: x, clients: [{ id: a, secretFile: b, disabled: no }] }",
    ] {
        assert!(!is_valid(bad), "{bad}");
    }
}
