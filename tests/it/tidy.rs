//! The house rules that no compiler knows: floors, where pingora may be named, documentation,
//! secrets, size.
//!
//! Reads every source, so a rule that is broken anywhere fails here with file and line. The rules
//! themselves are tested on small sources that break them.

mod edges;
mod source;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use edges::{edges, module_of};
use source::{Token, blank, closing, test_modules, tokens};

/// The floors, as the table in `src/lib.rs` shows them. `main` is a crate of its own above `cli`.
const FLOORS: &[(u8, &[&str])] = &[
    (7, &["main", "cli"]),
    (6, &["app"]),
    (5, &["config"]),
    (4, &["proxy"]),
    (3, &["endpoints"]),
    (2, &["issuer", "verifier", "token_source"]),
    (
        1,
        &[
            "jose",
            "store",
            "http_client",
            "files",
            "telemetry",
            "limits",
        ],
    ),
    (0, &["domain"]),
];

/// A file with more lines than this, its tests not counted, is two files.
const MAX_LINES: usize = 600;

/// Crates that do I/O: the words of floor 0 are plain values.
const IO_CRATES: &[&str] = &["tokio", "tokio_util", "sqlx", "reqwest", "axum", "hyper"];

/// Macros whose result is text that somebody may print.
const TEXT_MACROS: &[&str] = &[
    "format",
    "print",
    "println",
    "eprint",
    "eprintln",
    "write",
    "writeln",
    "panic",
    "anyhow",
    "bail",
    "ensure",
    "dbg",
    "todo",
    "unreachable",
    "trace",
    "debug",
    "info",
    "warn",
    "error",
    "event",
    "span",
    "trace_span",
    "debug_span",
    "info_span",
    "warn_span",
    "error_span",
    "log",
];

/// One file below `src`.
struct Source {
    /// Its path from there, with `/`.
    file: String,
    text: String,
}

impl Source {
    fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
        }
    }
}

fn floor_of(room: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(_, rooms)| rooms.contains(&room))
        .map(|(floor, _)| *floor)
}

/// Everything that breaks a rule, as `file:line: what`.
fn check(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(check_file).collect()
}

fn check_file(source: &Source) -> Vec<String> {
    let blanked = blank(&source.text);
    let tokens = tokens(&blanked);
    let mut found = Vec::new();
    check_documentation(source, &mut found);
    match module_of(&source.file).first() {
        None => check_root(&tokens, &mut found),
        Some(room) => match floor_of(room) {
            Some(floor) => {
                check_edges(&source.file, room, floor, &tokens, &mut found);
                check_crates(room, &tokens, &mut found);
            }
            None => found.push((1, format!("`{room}` is on no floor: put it into the table"))),
        },
    }
    check_secrets(&tokens, &mut found);
    check_size(source, &tokens, &mut found);
    // `a::{self, B}` names a room twice; once is enough said.
    found.sort();
    found.dedup();
    found
        .into_iter()
        .map(|(line, what)| format!("src/{}:{line}: {what}", source.file))
        .collect()
}

type Found = Vec<(usize, String)>;

fn check_documentation(source: &Source, found: &mut Found) {
    let first = source
        .text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    if first
        .strip_prefix("//!")
        .is_none_or(|text| text.trim().is_empty())
    {
        found.push((
            1,
            "a module begins with a `//!` that says what it is for".to_owned(),
        ));
    }
}

/// A re-export at the root would be a door past the floors.
fn check_root(tokens: &[Token<'_>], found: &mut Found) {
    for pair in tokens.windows(2) {
        if pair[0].text == "mod" && floor_of(pair[1].text).is_none() {
            found.push((
                pair[1].line,
                format!("`{}` is on no floor: put it into the table", pair[1].text),
            ));
        }
        if matches!(
            pair[0].text,
            "use" | "fn" | "struct" | "enum" | "trait" | "impl" | "macro_rules"
        ) {
            found.push((
                pair[0].line,
                format!("the crate's root holds modules only, no `{}`", pair[0].text),
            ));
        }
    }
}

fn check_edges(file: &str, room: &str, floor: u8, tokens: &[Token<'_>], found: &mut Found) {
    for edge in edges(file, tokens) {
        let Some(target) = edge.to.first() else {
            found.push((
                edge.line,
                "the crate's root is named as a whole: name the room".to_owned(),
            ));
            continue;
        };
        if target == room || (room == "main" && target == "cli") {
            continue;
        }
        let what = match floor_of(target) {
            None => format!("`crate::{target}` is on no floor"),
            Some(_) if target == "config" && floor < 5 => {
                format!("`config` is read below floor 5: `{room}` gets its own Config handed down")
            }
            Some(to) if to > floor => {
                format!("upward: `{room}` (floor {floor}) → `{target}` (floor {to})")
            }
            Some(to) if to == floor => {
                format!("sideways: `{room}` → `{target}`, both on floor {floor}")
            }
            Some(_) => continue,
        };
        found.push((edge.line, what));
    }
}

fn check_crates(room: &str, tokens: &[Token<'_>], found: &mut Found) {
    for token in tokens {
        if token.text.starts_with("pingora") && !matches!(room, "proxy" | "app") {
            found.push((
                token.line,
                format!("`{}` outside `proxy` and `app`", token.text),
            ));
        }
        if room == "domain" && IO_CRATES.contains(&token.text) {
            found.push((
                token.line,
                format!("`{}` in `domain`, which does no I/O", token.text),
            ));
        }
    }
}

fn check_secrets(tokens: &[Token<'_>], found: &mut Found) {
    let tests = test_modules(tokens);
    for (at, three) in tokens.windows(3).enumerate() {
        let is_macro = TEXT_MACROS.contains(&three[0].text)
            && three[1].text == "!"
            && matches!(three[2].text, "(" | "[" | "{")
            && !tests.iter().any(|range| range.contains(&at));
        if !is_macro {
            continue;
        }
        let inside = &tokens[at + 2..=closing(tokens, at + 2)];
        if let Some(exposed) = inside.iter().find(|token| token.text == "expose_secret") {
            found.push((
                exposed.line,
                format!("a secret is exposed inside `{}!`", three[0].text),
            ));
        }
    }
}

fn check_size(source: &Source, tokens: &[Token<'_>], found: &mut Found) {
    let in_tests: usize = test_modules(tokens)
        .iter()
        .map(|range| tokens[*range.end()].line - tokens[*range.start()].line + 1)
        .sum();
    let lines = source.text.lines().count() - in_tests;
    if lines > MAX_LINES {
        found.push((
            1,
            format!("{lines} lines without tests; {MAX_LINES} are the most"),
        ));
    }
}

fn read_sources(directory: &Path, root: &Path, out: &mut Vec<Source>) {
    let entries = fs::read_dir(directory).expect("the source directory");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_sources(&path, root, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).expect("below the root");
            let file = relative.to_str().expect("a UTF-8 path").replace('\\', "/");
            out.push(Source {
                file,
                text: fs::read_to_string(&path).expect("UTF-8"),
            });
        }
    }
}

fn all_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    read_sources(&root, &root, &mut out);
    out
}

#[test]
fn the_house_is_tidy() {
    let broken = check(&all_sources());
    assert!(
        broken.is_empty(),
        "{} broken rules:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn the_map_in_the_crate_documentation_is_the_one_enforced() {
    let sources = all_sources();
    let exists = |room: &str| {
        sources
            .iter()
            .any(|s| module_of(&s.file).first().is_some_and(|m| m == room))
    };
    let enforced: HashSet<(u8, &str)> = FLOORS
        .iter()
        .flat_map(|(floor, rooms)| rooms.iter().map(|room| (*floor, *room)))
        .filter(|(_, room)| exists(room))
        .collect();
    let root = &sources
        .iter()
        .find(|s| s.file == "lib.rs")
        .expect("src/lib.rs")
        .text;
    let mut shown = HashSet::new();
    for line in root.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((floor, rooms)) = line.split_once(" | ") else {
            continue;
        };
        let (Ok(floor), Some((names, _))) = (floor.parse::<u8>(), rooms.split_once(": ")) else {
            continue;
        };
        // Names stand between backticks, so every second piece is one.
        shown.extend(
            names
                .split('`')
                .skip(1)
                .step_by(2)
                .map(|name| (floor, name)),
        );
    }
    assert_eq!(shown, enforced);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with one documented file of this content.
    fn broken(file: &str, code: &str) -> Vec<String> {
        let all = check(&[Source::new(file, &format!("//! Doc.\n{code}\n"))]);
        all.into_iter()
            .map(|line| {
                line.strip_prefix(&format!("src/{file}:"))
                    .expect("the file")
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn upward_edges_are_found_however_they_are_written() {
        let up = |line: usize, to: &str, floor: u8| {
            format!("{line}: upward: `jose` (floor 1) → `{to}` (floor {floor})")
        };
        for code in [
            "use crate::issuer::Issuer;",
            "use crate::{domain::scope::ScopeSet, issuer::{self, Config}};",
            "use crate::{issuer as someone};",
            "pub use crate::issuer::*;",
            "fn a() { crate::issuer::issue() }",
            "type A = Vec<crate::issuer::Config>;",
            "use super::super::issuer;",
            "use super::{verify, super::issuer};",
            "use super::super::{issuer::Config};",
            "use self::super::super::issuer;",
            "mod inner { use super::super::super::issuer; }",
            "macro_rules! m { () => { $crate::issuer::x } }",
            "fn a() -> m2m_sidecar::for_tests::issuer::Config {}",
        ] {
            assert_eq!(broken("jose/sign.rs", code), [up(2, "issuer", 2)], "{code}");
        }
        assert_eq!(
            broken(
                "jose/mod.rs",
                "use crate::{\n    proxy::{a, b},\n    app,\n};"
            ),
            [up(3, "proxy", 4), up(4, "app", 6)]
        );
        assert_eq!(broken("http_client.rs", "use super::app;").len(), 1);
    }

    #[test]
    fn siblings_do_not_know_each_other() {
        assert_eq!(
            broken(
                "issuer/grants/refresh_token.rs",
                "use crate::verifier::Gate;"
            ),
            ["2: sideways: `issuer` → `verifier`, both on floor 2"]
        );
        assert_eq!(broken("store/mod.rs", "use super::jose;").len(), 1);
        assert_eq!(broken("cli/mod.rs", "use crate::main;").len(), 1);
    }

    #[test]
    fn downward_edges_and_those_within_a_room_are_free() {
        for (file, code) in [
            (
                "issuer/mod.rs",
                "use crate::{domain::scope, jose::Algorithm, store};",
            ),
            (
                "issuer/grants/mod.rs",
                "use super::clients::Client; use crate::issuer::Issuer;",
            ),
            (
                "issuer/mod.rs",
                "mod tests { use super::*; use super::grants; }",
            ),
            (
                "proxy/inbound.rs",
                "use super::upstream; pub(crate) fn a() {} pub(in crate::proxy) fn b() {}",
            ),
            ("proxy/inbound.rs", "use pingora::prelude::*;"),
            (
                "app.rs",
                "use crate::config::Config; use pingora_core::server; use crate::proxy;",
            ),
            ("main.rs", "fn main() { m2m_sidecar::cli::run() }"),
            (
                "domain/scope.rs",
                "use super::secret::matches; // use crate::issuer; pingora",
            ),
            (
                "jose/sign.rs",
                "fn a(&self) { self.b(); let c = \"crate::issuer\"; }",
            ),
        ] {
            assert_eq!(broken(file, code), Vec::<String>::new(), "{file}: {code}");
        }
    }

    #[test]
    fn the_root_is_no_door_past_the_floors() {
        for code in [
            "use crate as all;",
            "use crate::*;",
            "use super::super::*;",
            "use crate::{self as all};",
        ] {
            assert_eq!(broken("jose/sign.rs", code).len(), 1, "{code}");
        }
        assert_eq!(
            broken("jose/sign.rs", "use crate::Reexported;"),
            ["2: `crate::Reexported` is on no floor"]
        );
        assert_eq!(
            broken("lib.rs", "pub mod app;\npub use app::start;").len(),
            1
        );
        assert_eq!(broken("lib.rs", "pub mod utils;").len(), 1);
        assert_eq!(broken("utils.rs", "").len(), 1);
    }

    #[test]
    fn configuration_is_read_on_high_floors_only() {
        for file in [
            "proxy/inbound.rs",
            "endpoints/mod.rs",
            "issuer/mod.rs",
            "domain/mod.rs",
        ] {
            let found = broken(file, "use crate::config::Config;");
            assert!(
                found.len() == 1 && found[0].contains("below floor 5"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn pingora_stays_on_its_floor() {
        for (file, code) in [
            ("endpoints/oauth.rs", "use pingora::http::RequestHeader;"),
            ("config/mod.rs", "fn a(_: pingora_core::upstreams::Peer) {}"),
            ("domain/mod.rs", "use tokio::sync::watch;"),
        ] {
            assert_eq!(broken(file, code).len(), 1, "{file}: {code}");
        }
    }

    #[test]
    fn a_module_says_what_it_is_for() {
        for text in [
            "",
            "//!\n",
            "use std::fmt;\n//! Late.\n",
            "// Not a doc.\n",
            "/// Of the next item.\nfn a() {}\n",
        ] {
            assert_eq!(
                check(&[Source::new("domain/a.rs", text)]).len(),
                1,
                "{text}"
            );
        }
        assert!(check(&[Source::new("domain/a.rs", "\n//! Doc.\n")]).is_empty());
    }

    #[test]
    fn secrets_are_not_exposed_inside_texts() {
        for code in [
            "fn a() { format!(\"{}\", s.expose_secret()) }",
            "fn a() { tracing::info!(\n    token = s.expose_secret(),\n    \"x\"\n) }",
            "fn a() { println!(\"{}\", b(c[s.expose_secret()])) }",
            "fn a() { return Err(anyhow!(\"{}\", s.expose_secret())) }",
        ] {
            assert_eq!(broken("token_source/mod.rs", code).len(), 1, "{code}");
        }
        for code in [
            "fn a() { info!(\"x\"); s.expose_secret() }",
            "fn a() { if x != y { s.expose_secret() } }",
            "#[cfg(test)]\nmod tests { fn a() { format!(\"{}\", s.expose_secret()) } }",
            "fn a() { info!(\"s.expose_secret()\") }",
        ] {
            assert_eq!(
                broken("token_source/mod.rs", code),
                Vec::<String>::new(),
                "{code}"
            );
        }
    }

    #[test]
    fn long_files_are_found_and_tests_do_not_count() {
        let long = "fn a() {}\n".repeat(MAX_LINES);
        assert_eq!(broken("domain/a.rs", &long).len(), 1);
        let tested = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}");
        assert_eq!(broken("domain/a.rs", &tested), Vec::<String>::new());
    }
}
