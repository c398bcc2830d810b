//! The pages, tested as they are: the output of their commands is compared, their configurations
//! are loaded, and their links have targets.
//!
//! The commands of the `sh` blocks of a page are run in one shell, in a directory with the
//! repository's `conf` and `examples`. A `text output` block holds what the `sh` block above it
//! prints; `…` stands for anything. A page that starts nginx is left out where nginx is missing.

mod form;
mod markdown;
mod transcript;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use self::markdown::{Block, Script, blocks};
use self::transcript::matches;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files of the top level, of `docs` and of `docs/dev`.
fn pages() -> Vec<PathBuf> {
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
    assert!(found.len() > 20, "{found:?}");
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks_of(path: &Path) -> Vec<Block> {
    blocks(&read(path)).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

/// A step of a page's reader.
enum Step {
    Save { name: String, content: String },
    Run(Script),
}

impl Step {
    fn starts_nginx(&self) -> bool {
        let Self::Run(script) = self else {
            return false;
        };
        script
            .commands
            .lines()
            .any(|line| line.starts_with("nginx "))
    }

    /// The step as shell commands.
    fn to_shell(&self) -> String {
        match self {
            Self::Save { name, content } => format!("cat > '{name}' <<'@END@'\n{content}@END@"),
            Self::Run(script) if script.commands.starts_with("grep ") => repeated(script),
            Self::Run(script) => script.commands.clone(),
        }
    }
}

fn steps(blocks: Vec<Block>) -> Vec<Step> {
    blocks
        .into_iter()
        .filter_map(|block| match block {
            Block::Commands(script) => Some(Step::Run(script)),
            Block::File { name, content } => Some(Step::Save { name, content }),
            _ => None,
        })
        .collect()
}

/// A directory like a clone after `make build`.
fn clone_after_build() -> TempDir {
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

/// Runs a page and compares its outputs; returns the number of its `sh` blocks.
fn run_page(path: &Path) -> usize {
    let steps = steps(blocks_of(path));
    if steps.iter().any(Step::starts_nginx) && !is_installed("nginx") {
        eprintln!("{}: not run, nginx is not installed", path.display());
        return 0;
    }
    let is_script = |step: &&Step| matches!(step, Step::Run(_));
    let scripts = steps.iter().filter(is_script).count();
    if scripts == 0 {
        return 0;
    }
    let dir = clone_after_build();
    let commands: Vec<String> = steps.iter().map(Step::to_shell).collect();
    for (step, actual) in std::iter::zip(&steps, transcript::run(dir.path(), &commands)) {
        let Step::Run(Script { commands, output }) = step else {
            continue;
        };
        let actual = actual.trim_matches('\n');
        assert!(
            output.is_empty() || matches(output, actual),
            "{}\n{commands}\nthe page shows:\n{output}\nthe output is:\n{actual}",
            path.display(),
        );
    }
    scripts
}

/// Whether a program is on the PATH, or in the directory of root's programs on Debian.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .any(|dir| dir.join(program).exists())
}

/// Repeats a search in a log until it prints as many lines as the page shows, for at most 10 s: the
/// sidecar writes an access line shortly after its answer.
fn repeated(script: &Script) -> String {
    let (commands, lines) = (&script.commands, script.output.lines().count());
    format!(
        "for _ in $(seq 100); do found=$({commands}); \
         [ -n \"$found\" ] && [ $(wc -l <<< \"$found\") -ge {lines} ] && break; \
         sleep 0.1; done; echo \"$found\""
    )
}

#[test]
fn the_commands_of_each_page_print_the_shown_output() {
    let scripts: usize = pages().iter().map(|path| run_page(path)).sum();
    assert!(scripts > 50, "{scripts} blocks were found");
}

#[test]
fn ci_runs_the_make_targets_of_the_pages() {
    let ci = read(&root().join(".ci/run"));
    for path in pages() {
        for block in blocks_of(&path) {
            let Block::CommandsOfCi(commands) = block else {
                continue;
            };
            for command in commands {
                let is_run = ci.contains(&command);
                assert!(is_run, "{}: `.ci/run` lacks `{command}`", path.display());
            }
        }
    }
}

/// Keys that a page describes as missing, as in "no `caFile` for credentials yet".
fn keys_described_as_missing(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let missing = line
            .split("no `")
            .skip(1)
            .filter(|rest| rest.contains(" yet"));
        missing.filter_map(|rest| rest.split_once('`').map(|(key, _)| key))
    })
}

#[test]
fn no_page_describes_an_existing_key_as_missing() {
    let schema = read(&root().join("docs/m2m-sidecar.schema.json"));
    assert_eq!(
        keys_described_as_missing("There is no `caFile` for credentials yet.").collect::<Vec<_>>(),
        ["caFile"]
    );
    let mut pages = pages();
    pages.extend(
        [
            "conf/plgd.yaml",
            "conf/plgd-hub.yaml",
            "conf/sidecar.yaml",
            "examples/kubernetes/sidecar.yaml",
        ]
        .map(|it| root().join(it)),
    );
    for path in pages {
        for key in keys_described_as_missing(&read(&path)) {
            let exists = schema.contains(&format!("\"{key}\": {{"));
            assert!(!exists, "{}: `{key}` exists", path.display());
        }
    }
}

/// An excerpt may lack what other sections define; every other problem is an error.
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
    for path in pages() {
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

/// The text of every Rust source below a directory.
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
fn links_have_targets() {
    for path in pages() {
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
            assert!(target.exists(), "{}: {link} has no target", path.display());
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
                assert!(found, "{}: {link} has no heading", path.display());
            }
        }
    }
}

#[test]
fn files_that_contributors_are_sent_to_exist() {
    let folders = ["src/", "tests/", "conf/", "docs/", "benches/", "fuzz/"];
    for page in [
        "CONTRIBUTING.md",
        "docs/dev/benches.md",
        "docs/dev/configuration-key.md",
    ] {
        let text = read(&root().join(page));
        let code_spans = text.split('`').skip(1).step_by(2);
        let is_path = |span: &&str| folders.iter().any(|folder| span.starts_with(folder));
        for path in code_spans.filter(is_path) {
            assert!(root().join(path).exists(), "{page}: there is no `{path}`");
        }
    }
}

/// The anchor of a heading in a rendered page: lower case, hyphens for spaces, no punctuation.
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
