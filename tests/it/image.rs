//! Checks the Dockerfile's assumptions about the sources.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Every file that a source includes when it is compiled, from the top of the repository.
fn included() -> Vec<String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut included = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("UTF-8");
        for after in text
            .split("include_str!(\"")
            .chain(text.split("include_bytes!(\""))
            .skip(1)
        {
            let Some((name, _)) = after.split_once("\")") else {
                continue;
            };
            let Ok(path) = file
                .parent()
                .expect("a directory")
                .join(name)
                .canonicalize()
            else {
                continue;
            };
            let path = path
                .strip_prefix(root().canonicalize().expect("it exists"))
                .expect("in the repository");
            included.push(path.display().to_string());
        }
    }
    included
}

#[test]
fn included_files_reach_the_image_build() {
    let ignore = fs::read_to_string(root().join(".dockerignore")).expect(".dockerignore");
    let kept: Vec<_> = ignore
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let is_kept = |file: &str| kept.iter().any(|kept| Path::new(file).starts_with(kept));
    let included = included();
    assert!(
        included.iter().any(|file| file == "conf/quickstart.yaml"),
        "{included:?}"
    );
    let lost: Vec<_> = included.iter().filter(|file| !is_kept(file)).collect();
    assert!(
        lost.is_empty(),
        ".dockerignore keeps out what the sources include: {lost:?}"
    );
    assert!(
        [".cargo/config.toml", "Cargo.toml", "Cargo.lock", "src"]
            .iter()
            .all(|file| is_kept(file))
            && !is_kept("secrets/legacy")
    );
}

#[test]
fn the_image_has_the_rust_and_the_version_of_the_manifest() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).expect("Dockerfile");
    let value = |before: &str| {
        let line = dockerfile
            .lines()
            .find_map(|line| line.strip_prefix(before));
        line.unwrap_or_else(|| panic!("{before} in the Dockerfile"))
            .to_owned()
    };
    assert_eq!(value("ARG VERSION="), env!("CARGO_PKG_VERSION"));
    let minor = |version: &str| {
        version
            .split('.')
            .nth(1)
            .and_then(|minor| minor.parse::<u32>().ok())
    };
    let (image, needed) = (value("FROM rust:"), env!("CARGO_PKG_RUST_VERSION"));
    let image = image.split('-').next().and_then(minor);
    assert!(
        image.is_some() && image >= minor(needed),
        "{image:?} {needed}"
    );
}
