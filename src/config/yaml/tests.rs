//! Tests of `yaml`.

use super::*;

fn read(text: &str) -> Result<Node, String> {
    let mut findings = Findings::default();
    let tree = parse(text, &mut findings);
    let (errors, _) = findings.locate("f", tree.as_ref());
    match tree {
        Some(tree) if errors.is_empty() => Ok(tree),
        _ => Err(errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")),
    }
}

#[test]
fn scalars_follow_the_core_schema() {
    let tree =
        read("[1, 0x10, -3, 1.5, true, no, ~, '1', !!str 1, 2027-01-01T00:00:00Z, \"\", nan, 1e3]")
            .unwrap();
    assert_eq!(
        tree.to_json().to_string(),
        r#"[1,16,-3,1.5,true,"no",null,"1","1","2027-01-01T00:00:00Z","","nan",1000.0]"#
    );
}

#[test]
fn keys_know_their_lines() {
    let tree = read("a: 1\nb:\n  - c: x\n    d:\n      - y\n      - z\n").unwrap();
    let at = |path: &KeyPath| (tree.position(path).line, tree.position(path).column);
    let b0 = KeyPath::root("b").index(0);
    assert_eq!(at(&KeyPath::root("b")), (2, 1));
    assert_eq!(at(&b0.key("d")), (4, 5));
    assert_eq!(at(&b0.key("d").index(1)), (6, 9));
    assert_eq!(at(&b0.key("missing")), (3, 5));
}

#[test]
fn every_repeated_key_is_reported() {
    assert_eq!(
        read("a: 1\nb: {c: 1, c: 2}\na: 2\n").unwrap_err(),
        "f:2:11: b.c: the key is repeated; it is first used in line 2\nf:3:1: a: the key is \
         repeated; it is first used in line 1"
    );
}

#[test]
fn anchors_work_and_cannot_explode() {
    let tree = read("a: &x {k: [1, 2]}\nb: *x\n").unwrap();
    assert_eq!(
        tree.to_json().to_string(),
        r#"{"a":{"k":[1,2]},"b":{"k":[1,2]}}"#
    );
    let mut bomb = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
    for i in 1..9 {
        let items = vec![format!("*a{}", i - 1); 10].join(",");
        bomb += &format!("a{i}: &a{i} [{items}]\n");
    }
    assert!(read(&bomb).unwrap_err().contains("too many values"));
    assert!(read("a: &a [*a]").unwrap_err().contains("alias"));
}

#[test]
fn common_slips_are_explained() {
    for (text, hint) in [
        ("a:\n\tb: 1\n", "spaces"),
        ("a:\n  b: 1\n   c: 2\n", "indent the line"),
        ("a:\n  b: 1\n c: 2\n", "indent the line"),
        ("a:\n  - b\n c: 2\n", "indent the line"),
        ("a: b: c\n", "quotes"),
        ("a: [*, b]\n", "`*`"),
        ("a:\n  - **\n", "`*`"),
        ("a: *b\n", "`*`"),
        ("a: { b: ${C} }\n", "`${NAME}`"),
        ("a: \"b\n", "quote is not closed"),
        ("a: 'b\n", "quote is not closed"),
        ("a:\n  b: \"c\nd: e\n", "quote is not closed"),
        ("a: {\n  - b\n", "close the bracket"),
        ("a: [b\nc: d\n", "close the bracket"),
        ("a: {b: c\nd: e\n", "close the bracket"),
    ] {
        let message = read(text).unwrap_err();
        let (_, after) = message.split_once("; ").unwrap_or_default();
        assert!(after.contains(hint), "{text}: {message}");
    }
}

#[test]
fn unsupported_documents_are_refused() {
    for (text, why) in [
        ("a: [", "not valid YAML"),
        ("a: *nowhere", "not valid YAML"),
        ("a: 1\n---\nb: 2", "second YAML document"),
        ("? [a]\n: b", "a key must be"),
        ("a: !secret x", "tags"),
    ] {
        assert!(
            read(text).unwrap_err().contains(why),
            "{text}: {:?}",
            read(text)
        );
    }
    assert!(read(&"[".repeat(5000)).is_err());
    assert!(read(&"- ".repeat(5000)).is_err());
    assert!(read(&"? ".repeat(5000)).is_err());
    assert!(read("").is_ok());
    assert!(read("\u{feff}a: 1").is_ok());
}
