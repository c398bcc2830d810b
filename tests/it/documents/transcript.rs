//! Commands run one after the other in one shell, with what each wrote.

use std::path::Path;
use std::process::Stdio;

use crate::support::logs;
use crate::support::network::isolated;

/// After this long the shell is ended: a command that waits for something that never comes must not
/// hang the tests.
const LIMIT: &str = "120";

/// Runs each command in the same bash, in `dir`, and gives what each wrote to its two streams,
/// joined as a terminal joins them; no command of the documents writes to both.
pub fn run(dir: &Path, commands: &[String]) -> Vec<String> {
    // Job control, as in the shell of a person; what is still running at the end goes with the
    // shell.
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
    let (out, err) = (said(&done.stdout), said(&done.stderr));
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

/// A line on both streams; an answer need not end with a line's end.
const MARK: &str = "printf '\\n@@\\n' | tee /dev/stderr\n";

/// What was written before the first mark, between each two, and after the last; without what the
/// shell says of its jobs, which comes when it comes.
fn said(stream: &[u8]) -> Vec<String> {
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

/// As in `[1]  4711` and `[2]+  Terminated`.
fn is_job_message(line: &str) -> bool {
    let rest = line
        .strip_prefix('[')
        .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.is_some_and(|rest| rest.starts_with(']')) && !line.starts_with("[]")
}

/// Whether a text has the parts between the `…` of a pattern, in order, from its beginning to its
/// end.
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
fn each_command_gets_its_own_output() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let commands =
        ["printf one", "echo two >&2", "sleep 100 & sleep 0", "false"].map(str::to_owned);
    let said = run(dir.path(), &commands);
    assert_eq!(
        said.iter().map(|text| text.trim()).collect::<Vec<_>>(),
        ["one", "two", "", ""]
    );
}
