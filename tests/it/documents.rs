//! The documents, run as they stand there: commands with their output compared, configurations
//! loaded, links followed.
//!
//! The commands of the `sh` blocks of a page are run in one shell, in a directory with the
//! repository's `conf` and `examples`. A `text output` block holds what the `sh` block above it
//! prints; `…` stands for anything. A page that starts nginx is left out where nginx is missing.

mod markdown;
mod transcript;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use self::markdown::{Block, Step, blocks};
use self::transcript::matches;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of the top level, of `docs` and of `docs/dev`.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in ["", "docs", "docs/dev"].map(|dir| root().join(dir)) {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 8, "{found:?}");
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks_of(path: &Path) -> Vec<Block> {
    blocks(&read(path)).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

/// What a page would have its reader do: save files, and type commands.
enum Act {
    Save { name: String, content: String },
    Type(Step),
}

fn acts(blocks: Vec<Block>) -> Vec<Act> {
    let mut acts = Vec::new();
    for block in blocks {
        match block {
            Block::Console(steps) => acts.extend(steps.into_iter().map(Act::Type)),
            Block::File { name, content } => acts.push(Act::Save { name, content }),
            _ => {}
        }
    }
    acts
}

/// A directory like a clone's after `make build`.
fn workplace() -> TempDir {
    let dir = TempDir::new().expect("a directory");
    for name in ["conf", "examples"] {
        symlink(root().join(name), dir.path().join(name)).expect("a link");
    }
    std::fs::create_dir_all(dir.path().join("target/debug")).expect("a directory");
    symlink(
        env!("CARGO_BIN_EXE_m2m-sidecar"),
        dir.path().join("target/debug/m2m-sidecar"),
    )
    .expect("a link");
    dir
}

fn starts_nginx(act: &Act) -> bool {
    let Act::Type(step) = act else { return false };
    step.command.lines().any(|line| line.starts_with("nginx "))
}

fn play(path: &Path) -> usize {
    let acts = acts(blocks_of(path));
    if acts.iter().any(starts_nginx) && !is_installed("nginx") {
        eprintln!("{}: not played, there is no nginx", path.display());
        return 0;
    }
    let commands: Vec<String> = acts
        .iter()
        .map(|act| match act {
            Act::Save { name, content } => format!("cat > '{name}' <<'@END@'\n{content}@END@"),
            Act::Type(step) if step.command.starts_with("grep ") => patiently(step),
            Act::Type(step) => step.command.clone(),
        })
        .collect();
    let typed = acts
        .iter()
        .filter(|act| matches!(act, Act::Type(_)))
        .count();
    if typed == 0 {
        return 0;
    }
    let dir = workplace();
    for (act, actual) in std::iter::zip(&acts, transcript::run(dir.path(), &commands)) {
        let Act::Type(step) = act else { continue };
        let (expected, actual) = (step.output.join("\n"), actual.trim_matches('\n'));
        assert!(
            expected.is_empty() || matches(&expected, actual),
            "{}\n$ {}\nthe page shows:\n{expected}\nbut it is:\n{actual}",
            path.display(),
            step.command
        );
    }
    typed
}

/// Whether a program is on the PATH, or where Debian has those of root.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .any(|dir| dir.join(program).exists())
}

/// A log's lines are written a moment after the answer: what looks for them is asked again until
/// there are as many as the page shows, or for ten seconds.
fn patiently(step: &Step) -> String {
    let (command, lines) = (&step.command, step.output.len());
    format!(
        "for _ in $(seq 100); do found=$({command}); \
         [ -n \"$found\" ] && [ $(wc -l <<< \"$found\") -ge {lines} ] && break; sleep 0.1; done; echo \"$found\""
    )
}

#[test]
fn the_commands_of_the_documents_do_what_is_shown() {
    let typed: usize = documents().iter().map(|path| play(path)).sum();
    assert!(typed > 50, "{typed} commands were found");
}

#[test]
fn what_only_make_does_is_done_by_ci() {
    let ci = read(&root().join(".ci/run"));
    for path in documents() {
        for block in blocks_of(&path) {
            let Block::ConsoleContinuousIntegration(steps) = block else {
                continue;
            };
            for step in steps {
                let command = step.command.as_str();
                let done = command.starts_with("git clone ") || ci.contains(command);
                assert!(
                    done,
                    "{}: `.ci/run` does not run `{command}`",
                    path.display()
                );
            }
        }
    }
}

/// Keys that a page says are missing, as "no `caFile` for credentials yet".
fn said_to_be_missing(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let said = line
            .split("no `")
            .skip(1)
            .filter(|rest| rest.contains(" yet"));
        said.filter_map(|rest| rest.split_once('`').map(|(key, _)| key))
    })
}

#[test]
fn no_page_says_of_a_key_that_there_is_none_yet() {
    let schema = read(&root().join("docs/m2m-sidecar.schema.json"));
    assert_eq!(
        said_to_be_missing("There is no `caFile` for credentials yet.").collect::<Vec<_>>(),
        ["caFile"]
    );
    let mut pages = documents();
    pages.extend(
        [
            "conf/plgd.yaml",
            "conf/sidecar.yaml",
            "examples/kubernetes/sidecar.yaml",
        ]
        .map(|it| root().join(it)),
    );
    for path in pages {
        for key in said_to_be_missing(&read(&path)) {
            let is_served = schema.contains(&format!("\"{key}\": {{"));
            assert!(!is_served, "{}: `{key}` is there", path.display());
        }
    }
}

/// An excerpt lacks what other sections give; whatever else is wrong with it is wrong.
#[test]
fn excerpts_of_configurations_are_valid() {
    let lacking = [
        "is required",
        "is named",
        "the file `",
        "is not set",
        "nothing to run",
        "this section cannot be read",
    ];
    let mut seen = 0;
    for path in documents() {
        for block in blocks_of(&path) {
            let Block::ConfigurationPart(text) = block else {
                continue;
            };
            seen += 1;
            let name = path.display().to_string();
            let Err(problems) = m2m_sidecar::for_tests::config::parse(&text, &name, &|_| None)
            else {
                continue;
            };
            for problem in problems.0 {
                let lacks = lacking.iter().any(|word| problem.message.contains(word));
                assert!(lacks, "{problem}\nin the excerpt\n{text}");
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn the_tests_that_the_security_model_names_exist() {
    let mut sources = String::new();
    collect(&root().join("src"), &mut sources);
    collect(&root().join("tests/it"), &mut sources);
    let text = read(&root().join("docs/security.md"));
    let named: Vec<_> = text
        .split('`')
        .filter_map(|word| word.split_once("::"))
        .collect();
    assert!(named.len() > 15, "{named:?}");
    for (_, test) in named {
        assert!(
            sources.contains(&format!("fn {test}(")),
            "there is no test {test}"
        );
    }
}

/// Every Rust source below a directory, one after the other.
fn collect(dir: &Path, into: &mut String) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&read(&path));
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for path in documents() {
        let text = read(&path);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a directory").join(file)
            };
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            if !anchor.is_empty()
                && target
                    .extension()
                    .is_some_and(|extension| extension == "md")
            {
                let text = read(&target);
                let found = text.contains(&format!("<a id=\"{anchor}\">"))
                    || text
                        .lines()
                        .any(|line| heading_anchor(line).as_deref() == Some(anchor));
                assert!(found, "{}: {link} names no heading", path.display());
            }
        }
    }
}

/// The anchor that a heading gets when the page is shown: its text in lower case, spaces as
/// hyphens, punctuation gone.
fn heading_anchor(line: &str) -> Option<String> {
    let text = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(
        kept.flat_map(char::to_lowercase)
            .map(|c| if c == ' ' { '-' } else { c })
            .collect(),
    )
}
