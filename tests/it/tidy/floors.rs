//! Modules import only from floors below theirs, and pingora stays in `proxy` and `app`.

use super::edges::{edges, module_of};
use super::source::{Token, blank, tokens};
use super::{File, Hit, ratchet, sources};

/// The floors, as the table in `src/lib.rs` shows them.
const FLOORS: &[(u8, &[&str])] = &[
    (8, &["main", "cli"]),
    (7, &["app"]),
    (6, &["config"]),
    (5, &["proxy"]),
    (4, &["endpoints"]),
    (3, &["issuer", "verifier", "token_source"]),
    (2, &["jose", "store", "http_client", "telemetry", "limits"]),
    (1, &["files"]),
    (0, &["domain"]),
];

/// Crates that do I/O: floor 0 holds plain values.
const IO_CRATES: &[&str] = &["tokio", "tokio_util", "sqlx", "reqwest", "axum", "hyper"];

fn floor_of(room: &str) -> Option<u8> {
    let floor = FLOORS.iter().find(|(_, rooms)| rooms.contains(&room));
    floor.map(|(floor, _)| *floor)
}

fn check(file: &File) -> Vec<Hit> {
    let module = module_of(&file.path);
    let Some(room) = module.first().filter(|room| *room != "for_tests") else {
        return Vec::new();
    };
    let blanked = blank(&file.text);
    let tokens = tokens(&blanked);
    let mut found = match floor_of(room) {
        Some(floor) => wrong_edges(&file.path, room, floor, &tokens),
        None => vec![(1, format!("`{room}` is on no floor: add it to FLOORS"))],
    };
    found.extend(wrong_crates(room, &tokens));
    // `a::{self, B}` names a room twice.
    found.dedup();
    let hit = |(line, what)| Hit {
        path: format!("src/{}", file.path),
        line,
        what,
    };
    found.into_iter().map(hit).collect()
}

fn wrong_edges(path: &str, room: &str, floor: u8, tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for edge in edges(path, tokens) {
        let Some(target) = edge.to.first() else {
            found.push((edge.line, "`crate` as a whole: name the room".to_owned()));
            continue;
        };
        let what = match floor_of(target) {
            _ if target == room => continue,
            None => format!("`crate::{target}` is on no floor"),
            Some(6) if floor < 6 => {
                format!("`config` is read below floor 6: hand `{room}` a Config of its own")
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
    found
}

fn wrong_crates(room: &str, tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let wrong = |token: &&Token<'_>| {
        token.text.starts_with("pingora") && !matches!(room, "proxy" | "app")
            || room == "domain" && IO_CRATES.contains(&token.text)
    };
    let say = |token: &Token<'_>| (token.line, format!("`{}` in `{room}`", token.text));
    tokens.iter().filter(wrong).map(say).collect()
}

#[test]
fn no_module_imports_from_its_floor_or_above() {
    let hits: Vec<Hit> = sources().iter().flat_map(check).collect();
    ratchet("floors", &hits, &[]);
}

#[test]
fn the_map_in_the_crate_documentation_matches_the_floors() {
    let sources = sources();
    let root = sources.iter().find(|it| it.path == "lib.rs");
    let mut shown = Vec::new();
    for line in root.expect("src/lib.rs").text.lines() {
        let Some((floor, rooms)) = line
            .strip_prefix("//! | ")
            .and_then(|row| row.split_once(" | "))
        else {
            continue;
        };
        let (Ok(floor), Some((names, _))) = (floor.parse::<u8>(), rooms.split_once(": ")) else {
            continue;
        };
        // Names are between backticks, so every second piece is one.
        shown.push((floor, names.split('`').skip(1).step_by(2).collect()));
    }
    let mut enforced: Vec<(u8, Vec<&str>)> = FLOORS
        .iter()
        .map(|(floor, rooms)| (*floor, rooms.to_vec()))
        .collect();
    for (_, rooms) in enforced.iter_mut().chain(&mut shown) {
        rooms.sort_unstable();
    }
    assert_eq!(shown, enforced);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, code: &str) -> Vec<String> {
        let file = File {
            path: path.to_owned(),
            text: code.to_owned(),
        };
        let say = |hit: Hit| format!("{}: {}", hit.line, hit.what);
        check(&file).into_iter().map(say).collect()
    }

    #[test]
    fn upward_edges_are_found_in_every_notation() {
        for code in [
            "use crate::issuer::Issuer;",
            "use crate::{domain::scope::ScopeSet, issuer::{self, Config}};",
            "use crate::{issuer as other};",
            "pub use crate::issuer::*;",
            "fn a() { crate::issuer::issue() }",
            "type A = Vec<crate::issuer::Config>;",
            "use super::super::issuer;",
            "use super::{verify, super::issuer};",
            "use super::super::{issuer::Config};",
            "use self::super::super::issuer;",
            "mod inner { use super::super::super::issuer; }",
            "macro_rules! m { () => { $crate::issuer::x } }",
        ] {
            let expected = ["1: upward: `jose` (floor 2) → `issuer` (floor 3)"];
            assert_eq!(broken("jose/sign.rs", code), expected, "{code}");
        }
        let code = "use crate::{\n    proxy::{a, b},\n    app,\n};";
        assert_eq!(broken("jose/mod.rs", code).len(), 2);
        assert_eq!(broken("http_client.rs", "use super::app;").len(), 1);
    }

    #[test]
    fn each_kind_of_wrong_edge_is_found_once() {
        for (path, code, expected) in [
            ("issuer/a.rs", "use crate::verifier::V;", "sideways"),
            ("store/mod.rs", "use super::jose;", "sideways"),
            ("jose/sign.rs", "use crate as all;", "as a whole"),
            ("jose/sign.rs", "use crate::*;", "as a whole"),
            ("jose/sign.rs", "use super::super::*;", "as a whole"),
            ("jose/sign.rs", "use crate::{self as all};", "as a whole"),
            ("jose/sign.rs", "use crate::Reexported;", "on no floor"),
            ("tools.rs", "", "on no floor"),
            ("proxy/a.rs", "use crate::config::Config;", "below floor 6"),
            (
                "domain/mod.rs",
                "use crate::config::Config;",
                "below floor 6",
            ),
            ("endpoints/a.rs", "use pingora::http::Header;", "`pingora`"),
            (
                "config/mod.rs",
                "fn a(_: pingora_core::Peer) {}",
                "`pingora_core`",
            ),
            ("domain/mod.rs", "use tokio::sync::watch;", "`tokio`"),
        ] {
            let found = broken(path, code);
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{code}: {found:?}"
            );
        }
    }

    #[test]
    fn edges_downward_and_within_a_room_are_allowed() {
        for (path, code) in [
            (
                "issuer/mod.rs",
                "use crate::{domain::scope, jose::Algorithm, store};",
            ),
            (
                "issuer/a/mod.rs",
                "use super::clients::Client; use crate::issuer::Issuer;",
            ),
            (
                "issuer/mod.rs",
                "mod tests { use super::*; use super::grants; }",
            ),
            (
                "proxy/a.rs",
                "use super::upstream; pub(in crate::proxy) fn b() {}",
            ),
            ("proxy/a.rs", "use pingora::prelude::*;"),
            (
                "app.rs",
                "use crate::config::Config; use pingora_core::server; use crate::proxy;",
            ),
            (
                "domain/scope.rs",
                "use super::secret::matches; // use crate::issuer; pingora",
            ),
            (
                "jose/sign.rs",
                "fn a(&self) { self.b(); let c = \"crate::issuer\"; }",
            ),
        ] {
            assert_eq!(broken(path, code), Vec::<String>::new(), "{path}: {code}");
        }
    }
}
