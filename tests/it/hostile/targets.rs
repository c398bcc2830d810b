//! Path confusion: `/public` is open, `/admin` is not, and no spelling confuses them.

use super::{BAD, Case, NO_TOKEN, OK, PATH, World};

/// Targets of a GET without a token.
pub const TARGETS: &[Case<'static>] = &[
    ("dot segments", "/public/../admin/smuggled", &[NO_TOKEN]),
    (
        "dot segments behind two slashes",
        "/public//../admin/smuggled",
        &[NO_TOKEN],
    ),
    (
        "dot segments through the root",
        "/public/../../../admin/smuggled",
        &[NO_TOKEN],
    ),
    ("a dot", "/./admin/smuggled", &[NO_TOKEN]),
    ("encoded dots", "/public/%2e%2e/admin/smuggled", &[PATH]),
    (
        "encoded dots in capitals",
        "/public/%2E%2E/admin/smuggled",
        &[PATH],
    ),
    ("one encoded dot", "/public/.%2e/admin/smuggled", &[PATH]),
    ("an encoded dot alone", "/public/{m}/%2e", &[PATH]),
    ("an encoded slash", "/public/..%2fadmin/smuggled", &[PATH]),
    (
        "an encoded slash in capitals",
        "/public/..%2Fadmin/smuggled",
        &[PATH],
    ),
    (
        "encoded slash and dots",
        "/public/%2e%2e%2fadmin/smuggled",
        &[PATH],
    ),
    ("an encoded slash in front", "/%2fadmin/smuggled", &[PATH]),
    (
        "an encoded slash as separator",
        "/admin%2fsmuggled",
        &[PATH],
    ),
    ("a backslash", "/public/..\\admin/smuggled", &[PATH]),
    ("backslashes all over", "\\admin\\smuggled", &[BAD]),
    (
        "an encoded backslash",
        "/public/..%5cadmin/smuggled",
        &[PATH],
    ),
    ("two slashes", "//admin/smuggled", &[NO_TOKEN]),
    ("two slashes, as a host", "//a/public/{m}", &[NO_TOKEN]),
    ("three slashes", "///admin///smuggled", &[NO_TOKEN]),
    ("a parameter", "/public;x/../admin/smuggled", &[PATH]),
    (
        "a dot segment with a parameter",
        "/public/..;/admin/smuggled",
        &[PATH],
    ),
    (
        "an encoded semicolon",
        "/public/..%3b/admin/smuggled",
        &[PATH],
    ),
    ("matrix parameters", "/public/{m};a=b;c=d", &[PATH]),
    ("an encoded NUL", "/public/{m}%00.html", &[PATH]),
    (
        "an encoded line end",
        "/public/{m}%0d%0aX-M2M-Subject:%20forged",
        &[PATH],
    ),
    ("an encoded tab", "/public/{m}%09", &[PATH]),
    ("an encoded DEL", "/public/{m}%7f", &[PATH]),
    (
        "doubly encoded dots",
        "/public/%252e%252e/admin/smuggled",
        &[PATH],
    ),
    (
        "doubly encoded slash",
        "/public/..%252fadmin/smuggled",
        &[PATH],
    ),
    (
        "trebly encoded slash",
        "/public/..%25252fadmin/smuggled",
        &[PATH],
    ),
    (
        "doubly encoded, the second half encoded too",
        "/public/..%25%32%66admin/smuggled",
        &[PATH],
    ),
    (
        "doubly encoded backslash",
        "/public/..%255cadmin/smuggled",
        &[PATH],
    ),
    (
        "overlong dots",
        "/public/%c0%ae%c0%ae/admin/smuggled",
        &[PATH],
    ),
    ("overlong slash", "/public/..%c0%afadmin/smuggled", &[PATH]),
    (
        "overlong slash of three bytes",
        "/public/..%e0%80%afadmin/smuggled",
        &[PATH],
    ),
    ("half a character", "/public/{m}%ff", &[PATH]),
    ("a surrogate", "/public/{m}%ed%a0%80", &[PATH]),
    ("raw bytes", "/public/{m}{ff}", &[PATH]),
    ("raw bytes in the query", "/public/{m}?{e9}", &[OK]),
    ("raw UTF-8", "/public/{m}\u{e9}", &[OK]),
    ("raw UTF-8 in the query", "/public/{m}?\u{e9}", &[OK]),
    ("PromQL", "/public/{m}?query=up{job=\"a\",b<1}`", &[OK]),
    ("a backslash in the query", "/public/{m}?a\\b", &[OK]),
    (
        "a quote before dots",
        "/public/\"/../../admin/smuggled",
        &[NO_TOKEN],
    ),
    ("%u", "/public/%u002e%u002e/admin/smuggled", &[PATH]),
    ("half an escape", "/public/{m}%2", &[PATH]),
    ("a percent sign", "/public/{m}%", &[PATH]),
    ("an escape that is none", "/public/{m}%zz", &[PATH]),
    ("a fragment", "/public/{m}#/../admin", &[PATH]),
    ("a fragment behind a query", "/public/{m}?a#b", &[PATH]),
    ("a tab", "/public/{m}\t/admin", &[BAD]),
    ("another case", "/Public/{m}", &[NO_TOKEN]),
    ("a prefix of another word", "/publicity/{m}", &[NO_TOKEN]),
    ("an encoded number sign", "/public/{m}%23/x", &[OK]),
    ("an encoded question mark", "/public/{m}%3f/x", &[OK]),
    ("a query with a path", "/public/{m}?x=/../admin", &[OK]),
    ("two question marks", "/public/{m}?a?b", &[OK]),
    ("an empty query", "/public/{m}?", &[OK]),
    ("encoded letters", "/%70%75blic/{m}", &[OK]),
    ("a dot at the end", "/public/{m}/.", &[OK]),
    ("three dots", "/public/{m}/...", &[OK]),
    ("a dot in a name", "/public/{m}/.hidden/a.b", &[OK]),
    ("there and back", "/admin/../public/{m}", &[OK]),
    ("an encoded space", "/public/{m}%20x", &[OK]),
    ("marks that should be encoded", "/public/{m}|^x", &[OK]),
    ("angle brackets", "/public/{m}<x>\"y\"", &[OK]),
    ("encoded UTF-8", "/public/{m}%c3%a9", &[OK]),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_open_path_reaches_a_closed_one() {
    let mut world = World::new("").await;
    let wires: Vec<_> = TARGETS
        .iter()
        .map(|(_, target, _)| format!("GET {target} HTTP/1.1\r\n{{h}}\r\n"))
        .collect();
    let rows = TARGETS
        .iter()
        .zip(&wires)
        .map(|((name, _, expected), wire)| (*name, wire.as_str(), *expected));
    world.run(&rows.collect::<Vec<_>>()).await;
    for request in world.recorder.requests() {
        assert!(request.target.starts_with("/public/"), "{}", request.target);
    }
}
