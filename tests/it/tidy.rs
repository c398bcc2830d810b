//! House rules that the compiler cannot check: floors, secrets, sizes, words, circles.
//!
//! Each rule reads the sources and lists what breaks it with file and line. A rule with a table
//! `ALLOWED` is a ratchet: a folder fails when it has more hits than the table says.

mod circles;
mod edges;
mod floors;
mod secrets;
mod sizes;
mod source;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One file of the repository.
struct File {
    /// Its path from the repository's root, with `/`.
    path: String,
    text: String,
}

/// One place that breaks a rule, and how.
#[derive(Debug)]
struct Hit {
    path: String,
    line: usize,
    what: String,
}

/// Every text file below `top` that has one of these extensions; `""` is a file without one.
fn files(top: &str, extensions: &[&str]) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    read(root, &root.join(top), extensions, &mut found);
    found.sort_by(|a: &File, b| a.path.cmp(&b.path));
    found
}

fn read(root: &Path, path: &Path, extensions: &[&str], found: &mut Vec<File>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            read(root, &entry.expect("an entry").path(), extensions, found);
        }
        return;
    }
    let extension = path.extension().and_then(|it| it.to_str()).unwrap_or("");
    if extensions.contains(&extension) {
        let relative = path.strip_prefix(root).expect("below the root");
        found.push(File {
            path: relative.to_str().expect("a UTF-8 path").to_owned(),
            text: fs::read_to_string(path).expect("UTF-8"),
        });
    }
}

/// The sources of the crate, with paths from `src/`.
fn sources() -> Vec<File> {
    let mut files = files("src", &["rs"]);
    for file in &mut files {
        file.path = file.path.split_off("src/".len());
    }
    files
}

/// Fails when a top folder has more hits than `allowed` names for it; no entry means none.
fn ratchet(rule: &str, hits: &[Hit], allowed: &[(&str, usize)]) {
    let mut by_folder = BTreeMap::<&str, Vec<&Hit>>::new();
    for hit in hits {
        let folder = hit.path.split('/').next().expect("a path");
        by_folder.entry(folder).or_default().push(hit);
    }
    let mut failed = String::new();
    for (folder, hits) in by_folder {
        let limit = allowed.iter().find(|(name, _)| *name == folder);
        let limit = limit.map_or(0, |(_, limit)| *limit);
        eprintln!("{rule}: {folder} has {} of {limit}", hits.len());
        if hits.len() > limit {
            for Hit { path, line, what } in hits {
                failed.push_str(&format!("{path}:{line}: {what}\n"));
            }
        }
    }
    assert!(failed.is_empty(), "{rule}:\n{failed}");
}
