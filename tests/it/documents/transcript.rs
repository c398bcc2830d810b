//! Runs commands in one shell, and returns the output of each.

use std::path::Path;
use std::process::Stdio;

use crate::support::logs;
use crate::support::network::isolated;

/// Seconds until the shell is ended, so that a command that waits in error does not hang the tests.
const LIMIT: &str = "120";

/// Runs the commands in one bash, in `dir`. Returns standard output and standard error of each, in
/// this order.
pub fn run(dir: &Path, commands: &[String]) -> Vec<String> {
    // Job control, as in an interactive shell. Jobs that still run at the end are killed.
    let bin = Path::new(env!("CARGO_BIN_EXE_m2m-sidecar"))
        .parent()
        .expect("a directory")
        .display();
    let mut script =
        format!("set -m\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\nPATH='{bin}':$PATH\n");
    for command in commands {
        script.push_str(&format!("{MARK}{command}\n"));
    }
    script.push_str(MARK);
    let done = isolated("timeout")
        .args(["--foreground", "-k", "5", LIMIT, "bash", "-c", &script])
        .current_dir(dir)
        .env_remove("M2M_SIDECAR_CONFIG")
        .stdin(Stdio::null())
        .output()
        .expect("timeout (coreutils) and bash are installed");
    let (out, err) = (parts(&done.stdout), parts(&done.stderr));
    for text in &err {
        logs::note(text);
    }
    let expected = commands.len() + 2;
    assert_eq!(
        (out.len(), err.len()),
        (expected, expected),
        "the shell ended early ({}), the last command was:\n{}\nits errors: {}",
        done.status,
        commands
            .get(out.len().saturating_sub(2))
            .map_or("", String::as_str),
        err.last().map_or("", String::as_str)
    );
    std::iter::zip(&out[1..], &err[1..])
        .take(commands.len())
        .map(|(out, err)| format!("{out}{err}"))
        .collect()
}

/// Writes a mark to both streams. The output before it may lack a final newline.
const MARK: &str = "printf '\\n@@\\n' | tee /dev/stderr\n";

/// The parts of a stream between the marks, without the shell's messages about jobs.
fn parts(stream: &[u8]) -> Vec<String> {
    // Header lines end in CRLF.
    let text = String::from_utf8_lossy(stream).replace('\r', "");
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if line == "@@" {
            parts.push(String::new());
        } else if !is_job_message(line) {
            let part = parts.last_mut().expect("never empty");
            part.push_str(line);
            part.push('\n');
        }
    }
    parts
}

/// Such as `[1]  4711` and `[2]+  Terminated`.
fn is_job_message(line: &str) -> bool {
    let rest = line
        .strip_prefix('[')
        .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.is_some_and(|rest| rest.starts_with(']')) && !line.starts_with("[]")
}

/// Whether a text matches a pattern as a whole; `…` stands for any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
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
fn a_pattern_matches_the_whole_text() {
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
fn each_command_has_its_own_output() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let commands =
        ["printf one", "echo two >&2", "sleep 100 & sleep 0", "false"].map(str::to_owned);
    let outputs = run(dir.path(), &commands);
    assert_eq!(
        outputs.iter().map(|text| text.trim()).collect::<Vec<_>>(),
        ["one", "two", "", ""]
    );
}
