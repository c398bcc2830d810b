//! The modules that a source names: every path through `crate`, `super` or `self`, nested or not.

use std::collections::HashMap;

use super::source::Token;

/// A path to something of this crate.
#[derive(Debug, PartialEq, Eq)]
pub struct Edge {
    /// The names after the crate's root. Empty: the root itself is named, renamed or globbed.
    pub to: Vec<String>,
    pub line: usize,
}

/// The module of a file below `src`: `a/b.rs` and `a/b/mod.rs` are both `a`, `b`.
pub fn module_of(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    if matches!(stem, "lib") {
        Vec::new()
    } else {
        stem.split('/').map(str::to_owned).collect()
    }
}

/// Every edge of a file.
pub fn edges(file: &str, tokens: &[Token<'_>]) -> Vec<Edge> {
    let inline = inline_modules(tokens);
    let mut module = module_of(file);
    let mut open = Vec::new();
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text {
            "{" => {
                open.push(inline.get(&at).is_some_and(|name| {
                    module.push((*name).to_owned());
                    true
                }));
            }
            "}" => {
                let was_module = open.pop() == Some(true);
                if was_module {
                    module.pop();
                }
            }
            _ if is_path_start(tokens, at) => {
                at = Paths {
                    tokens,
                    out: &mut out,
                    module: &module,
                }
                .read(at, None);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    out
}

/// The opening braces of `mod name {`, by place.
fn inline_modules<'a>(tokens: &[Token<'a>]) -> HashMap<usize, &'a str> {
    tokens
        .windows(3)
        .enumerate()
        .filter(|(_, three)| three[0].text == "mod" && three[2].text == "{")
        .map(|(at, three)| (at + 2, three[1].text))
        .collect()
}

fn is_path_start(tokens: &[Token<'_>], at: usize) -> bool {
    let word = tokens[at].text;
    let before = at.checked_sub(1).map_or("", |before| tokens[before].text);
    let after = tokens.get(at + 1).map_or("", |after| after.text);
    match word {
        // `pub(crate)` and `pub(in crate::a)` are no imports.
        "crate" | "super" if matches!(before, "(" | "in") && is_visibility(tokens, at) => false,
        "crate" | "super" => before != "::",
        "self" => before != "::" && after == "::",
        _ => false,
    }
}

fn is_visibility(tokens: &[Token<'_>], at: usize) -> bool {
    let back = if tokens[at - 1].text == "in" { 3 } else { 2 };
    at >= back && tokens[at - back].text == "pub"
}

struct Paths<'t, 's> {
    tokens: &'t [Token<'s>],
    out: &'t mut Vec<Edge>,
    module: &'t [String],
}

impl Paths<'_, '_> {
    /// Reads a path, or a tree of paths, below `base`; returns where it ends.
    fn read(&mut self, mut at: usize, base: Option<Vec<String>>) -> usize {
        let mut path = base;
        let line = self.tokens[at].line;
        loop {
            match self.text(at) {
                "crate" if path.is_none() => path = Some(Vec::new()),
                "self" if path.is_none() => path = Some(self.module.to_vec()),
                "self" => {}
                "super" => {
                    let mut up = path.unwrap_or_else(|| self.module.to_vec());
                    up.pop();
                    path = Some(up);
                }
                "{" => return self.read_tree(at, path),
                "*" => {
                    self.push(path, line);
                    return at + 1;
                }
                name if is_name(name) => path.get_or_insert_default().push(name.to_owned()),
                // `a::<T>`: the path ends, and T is read on its own.
                _ => {
                    self.push(path, line);
                    return at;
                }
            }
            at += 1;
            if self.text(at) != "::" {
                self.push(path, line);
                return at;
            }
            at += 1;
        }
    }

    fn read_tree(&mut self, open: usize, base: Option<Vec<String>>) -> usize {
        let mut at = open + 1;
        while at < self.tokens.len() {
            match self.text(at) {
                "}" => return at + 1,
                "," => at += 1,
                "as" => at += 2,
                _ => {
                    let end = self.read(at, base.clone());
                    // Step over a sign that begins no path.
                    at = end.max(at + 1);
                }
            }
        }
        at
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    fn push(&mut self, path: Option<Vec<String>>, line: usize) {
        if let Some(to) = path {
            self.out.push(Edge { to, line });
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}
