//! The form of a page: a reader can copy each block whole, and can follow pages one after the
//! other.

use std::collections::BTreeMap;

use super::markdown::{Block, Script};
use super::{blocks_of, pages, read};

/// Pages that `make docs` writes, and those for maintainers.
const NOT_PROSE: [&str; 6] = [
    "configuration.md",
    "commands.md",
    "reason-codes.md",
    "decisions.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
];

const MAX_WORDS: usize = 25;

#[test]
fn each_file_is_named_above_its_block_and_on_one_page_only() {
    let mut page_of = BTreeMap::new();
    for page in pages() {
        let text = read(&page);
        for (above, name) in files(&text) {
            let place = format!("{}: {name}", page.display());
            assert!(above.contains(&format!("`{name}`")), "{place}: not named");
            let earlier = page_of.insert(name.to_owned(), place.clone());
            assert_eq!(earlier, None, "{place}: another page saves the same file");
        }
    }
    assert!(page_of.len() > 10, "{page_of:?}");
}

/// The files of a page: the paragraph above each block, and the file's name.
fn files(text: &str) -> Vec<(String, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut files = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let info = line.trim_start().strip_prefix("```");
        if let Some((_, name)) = info.and_then(|info| info.split_once(" file=")) {
            let above = lines[..number].join("\n");
            let paragraph = above.trim_end().rsplit("\n\n").next().unwrap_or("");
            files.push((paragraph.to_owned(), name));
        }
    }
    files
}

#[test]
fn blocks_can_be_copied_whole() {
    for page in pages() {
        for script in scripts(&page) {
            for line in script.commands.lines() {
                let is_prompt = line.starts_with("$ ") || line.starts_with("> ");
                assert!(!is_prompt, "{}: {line}", page.display());
            }
        }
    }
}

#[test]
fn each_page_ends_the_processes_that_it_starts_by_their_pids() {
    for page in pages() {
        let commands: String = scripts(&page).map(|it| it.commands + "\n").collect();
        let started: Vec<&str> = pid_names(&commands).collect();
        let in_background = commands
            .lines()
            .filter(|line| line.trim_end().ends_with('&'));
        assert_eq!(
            in_background.count(),
            0,
            "{}: a pid is not kept",
            page.display()
        );
        for name in started {
            let ends = |line: &&str| line.contains("kill ") && line.contains(&format!("${name}"));
            let is_ended = commands.lines().any(|line| ends(&line));
            assert!(is_ended, "{}: {name} is not ended", page.display());
        }
    }
}

/// `SIDECAR` of `… & SIDECAR=$!`.
fn pid_names(commands: &str) -> impl Iterator<Item = &str> {
    let names = commands.split("& ").skip(1);
    names.filter_map(|rest| rest.split_once("=$!").map(|(name, _)| name))
}

fn scripts(page: &std::path::Path) -> impl Iterator<Item = Script> {
    blocks_of(page).into_iter().filter_map(|block| match block {
        Block::Commands(script) => Some(script),
        _ => None,
    })
}

#[test]
fn sentences_have_at_most_25_words() {
    let is_prose = |page: &std::path::PathBuf| !NOT_PROSE.iter().any(|name| page.ends_with(name));
    for page in pages().into_iter().filter(is_prose) {
        for sentence in sentences(&read(&page)) {
            let words = sentence.split_whitespace().count();
            assert!(
                words <= MAX_WORDS,
                "{}: {words} words: {sentence}",
                page.display()
            );
        }
    }
}

/// The sentences of paragraphs and list items, without code; lists of links are none.
fn sentences(text: &str) -> Vec<String> {
    let mut units = vec![String::new()];
    let mut is_code = false;
    for line in text.lines().map(str::trim) {
        let is_item = line.starts_with("- ") || line.starts_with(|c: char| c.is_ascii_digit());
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code && !line.starts_with(['|', '#', '<', '!']) {
            if line.is_empty() || is_item {
                units.push(String::new());
            }
            let unit = units.last_mut().expect("never empty");
            unit.push_str(line);
            unit.push(' ');
        }
    }
    let prose = units.iter().filter(|unit| unit.matches("](").count() < 4);
    prose.flat_map(|unit| split(&without_code(unit))).collect()
}

/// The text with one word for each code span.
fn without_code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(n, part)| if n % 2 == 1 { "code" } else { part })
        .collect()
}

fn split(text: &str) -> Vec<String> {
    let marked = [". ", "? ", "! ", ": ", ".* ", ".** ", ".) "]
        .iter()
        .fold(text.to_owned(), |text, end| text.replace(end, "\n"));
    marked.lines().map(str::to_owned).collect()
}
