//! The README's commands, run as they stand there, with their output compared.
//!
//! Every line of a `console` block that begins with `$ ` is run, all in one shell, in a directory that holds the
//! repository's `conf`, `examples` and `target`. What follows a command is its output; `…` stands for anything.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::commands::FIXED_PORTS;
use crate::support::lock;

struct Step {
    command: String,
    output: Vec<String>,
}

fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.to_owned(), output: Vec::new() }),
                None => steps.last_mut().expect("output follows a command").output.push(line.to_owned()),
            },
        }
    }
    steps
}

/// Whether a text has the parts between the `…` of a pattern, in order, from its beginning to its end.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[test]
fn the_pattern_is_compared_from_end_to_end() {
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "ab", true),
        ("…b", "ab", true),
        ("…c", "ab", false),
        ("a…c", "abc", true),
        ("a…b…d", "axbxcxd", true),
        ("a…b…d", "axcxd", false),
        ("…", "", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn the_commands_of_the_readme_do_what_it_shows() {
    let _ports = lock(&FIXED_PORTS);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let steps = steps(&readme);
    assert!(steps.len() > 10, "{} commands found", steps.len());
    let dir = TempDir::new().expect("a directory");
    for name in ["conf", "examples"] {
        symlink(root.join(name), dir.path().join(name)).expect("a link");
    }
    std::fs::create_dir_all(dir.path().join("target/debug")).expect("a directory");
    symlink(env!("CARGO_BIN_EXE_m2m-sidecar"), dir.path().join("target/debug/m2m-sidecar")).expect("a link");

    // Job control, as in the shell of a person; what is still running at the end goes with the shell.
    let mut script = "set -m\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n".to_owned();
    for (number, step) in steps.iter().enumerate() {
        script.push_str(&format!("{}{}\n", marker(number), step.command));
    }
    script.push_str(&marker(steps.len()));
    let done = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir.path())
        .env("DATA_DIR", "data")
        .env_remove("M2M_SIDECAR_CONFIG")
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    let (shown, errors) = (said(&done.stdout), said(&done.stderr));
    assert_eq!((shown.len(), errors.len()), (steps.len() + 2, steps.len() + 2), "{errors:?}");
    for (number, step) in steps.iter().enumerate() {
        // The README shows both streams as a terminal does; no command here writes to both.
        let actual = format!("{}{}", shown[number + 1], errors[number + 1]);
        let (expected, actual) = (step.output.join("\n"), actual.trim_matches('\n'));
        assert!(
            expected.is_empty() || matches(&expected, actual),
            "$ {}\nthe README shows:\n{expected}\nbut it is:\n{actual}",
            step.command
        );
    }
}

/// A line on both streams; an answer need not end with a line's end.
fn marker(number: usize) -> String {
    format!("printf '\\n@@{number}@@\\n' | tee /dev/stderr\n")
}

/// What was written before the first marker, between each two, and after the last; without what the shell says of its
/// jobs, which comes when it comes.
fn said(stream: &[u8]) -> Vec<String> {
    // Header lines end in CRLF.
    let text = String::from_utf8_lossy(stream).replace('\r', "");
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if line.starts_with("@@") && line.ends_with("@@") {
            parts.push(String::new());
        } else if !(line.starts_with('[') && line.contains("]")) {
            let part = parts.last_mut().expect("never empty");
            part.push_str(line);
            part.push('\n');
        }
    }
    parts
}
