//! The files that packages generate with the binary: shell completions, manual page, schema.

use std::process::{Command, Stdio};

use crate::commands::{ended, run, text};

fn script(shell: &str) -> String {
    let (code, out, err) = ended(&run(&["completions", shell]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{shell}");
    out
}

/// Completes a line in bash, as pressing Tab at its end does.
fn complete(words: &[&str]) -> Vec<String> {
    let (last, before) = words.split_last().expect("a word");
    let previous = before.last().expect("the command");
    let lines = format!(
        "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_m2m__sidecar m2m-sidecar '{last}' '{previous}'\n\
        printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        script("bash"),
        words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" "),
        before.len(),
    );
    let done = Command::new("bash")
        .args(["--norc", "-c", &lines])
        .output()
        .expect("bash");
    assert_eq!(text(&done.stderr), "");
    text(&done.stdout)
        .split_whitespace()
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(complete(&["m2m-sidecar", "ch"]), ["check"]);
    assert_eq!(
        complete(&["m2m-sidecar", "token", "--cr"]),
        ["--credential"]
    );
    assert_eq!(
        complete(&["m2m-sidecar", "keygen", "--algorithm", "Ed"]),
        ["EdDSA"]
    );
    assert!(complete(&["m2m-sidecar", "completions", ""]).contains(&"fish".to_owned()));
}

/// Where a shell is installed it reads its script; bash always is.
#[test]
fn each_shell_can_read_its_script() {
    for (shell, no_run) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = script(shell);
        assert!(script.contains("healthcheck"), "{shell}");
        let dir = tempfile::TempDir::new().expect("a directory");
        let file = dir.path().join("script");
        std::fs::write(&file, script).expect("a file");
        match Command::new(shell).arg(no_run).arg(&file).output() {
            Ok(done) => {
                assert!(
                    done.status.success() && done.stderr.is_empty(),
                    "{shell}: {}",
                    text(&done.stderr)
                )
            }
            Err(error) => assert!(shell != "bash", "{error}"),
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn the_manual_page_names_every_command_and_is_clean_roff() {
    let (code, page, err) = ended(&run(&["man"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [
        ".TH M2M-SIDECAR 1",
        ".SH NAME",
        ".SH SYNOPSIS",
        ".SS \"m2m-sidecar check\"",
        ".SS \"m2m-sidecar token\"",
        "M2M_SIDECAR_CONFIG",
        ".SH \"EXIT STATUS\"",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("m2m-sidecar help"), "{page}");
    let groff = Command::new("groff")
        .args(["-man", "-ww", "-Tutf8", "-z"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    // Only where groff is installed.
    let Ok(mut groff) = groff else { return };
    std::io::Write::write_all(&mut groff.stdin.take().expect("piped"), page.as_bytes())
        .expect("it reads");
    let done = groff.wait_with_output().expect("it ends");
    assert!(
        done.status.success() && done.stderr.is_empty(),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn schema_prints_what_is_kept_in_docs() {
    let (code, out, err) = ended(&run(&["schema"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(schema, m2m_sidecar::for_tests::config::editor_schema());
}
