//! Texts use plain words: no archaism, no sentence that begins with "What" or "Who" and asks
//! nothing.

use std::collections::HashMap;

use super::{File, Hit, files, ratchet};

/// Words and phrases that a reader stumbles over.
const ARCHAISMS: &str = "whoever|whomever|whatsoever|whom|nobody|somebody|anybody|everybody|\
    for ever|forever|all the same|be had|was had|is had|anew|hence|thereof|therein|thereby|herein|\
    wherein|whereby|thereupon|whereupon|henceforth|lest|ere|unto|hither|hitherto|nought|naught|\
    shall|amidst|amongst|whilst|afresh|in vain|but for|save for|of old|as it were|to and fro|\
    stranger|strangers|patience|learns|learnt|lives|knows|hears|forgets|judge|judges|judged|\
    remembers|dies|amiss|whence|thence|thus|notwithstanding|spelt|bidden";

/// How many hits each top folder still has.
const ALLOWED: &[(&str, usize)] = &[];

const TOPS: &[&str] = &[
    "src",
    "tests",
    "benches",
    "fuzz/fuzz_targets",
    "fuzz/Cargo.toml",
    "docs",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "conf",
    "examples",
    "scripts",
    ".ci",
    "Makefile",
    "Dockerfile",
    "docker-compose.yml",
    "Cargo.toml",
];
const EXTENSIONS: &[&str] = &[
    "", "rs", "md", "yaml", "yml", "toml", "sh", "sql", "py", "mjs", "go", "java", "lua",
];

/// A word of a text.
struct Word<'a> {
    text: &'a str,
    line: usize,
    /// Where it ends in the text.
    end: usize,
    /// Whether only spaces lie between it and the word before.
    follows: bool,
}

/// The words of a text. `snake_case` and `CamelCase` are several words; a comment continues on its
/// next line.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut found = Vec::new();
    let (mut line, mut follows, mut start) = (1, false, None);
    let (mut is_upper, mut is_line_start) = (false, true);
    for (at, c) in text.char_indices().chain([(text.len(), '\n')]) {
        let is_letter = c.is_alphabetic() || c == '\'' && start.is_some();
        let is_hump = c.is_uppercase() && !is_upper;
        if let Some(from) = start.filter(|_| !is_letter || is_hump) {
            let text = &text[from..at];
            found.push(Word {
                text,
                line,
                end: at,
                follows,
            });
            (start, follows) = (None, true);
        }
        if is_letter {
            start = start.or(Some(at));
        } else if c == '\n' {
            // An empty line ends a sentence.
            follows &= !is_line_start;
            line += 1;
        } else if !(c.is_whitespace() || "_\\".contains(c) || is_line_start && "/!#".contains(c)) {
            follows = false;
        }
        is_upper = c.is_uppercase();
        is_line_start = c == '\n' || is_line_start && (c.is_whitespace() || "/!#".contains(c));
    }
    found
}

fn check(file: &File) -> Vec<Hit> {
    let words = words(&file.text);
    let mut phrases = HashMap::<&str, Vec<Vec<&str>>>::new();
    for phrase in ARCHAISMS.split('|') {
        let parts: Vec<_> = phrase.split(' ').collect();
        phrases.entry(parts[0]).or_default().push(parts);
    }
    let mut hits = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let is_here = |phrase: &&Vec<&str>| {
            let rest = phrase.iter().enumerate().skip(1);
            rest.into_iter().all(|(n, part)| {
                let word = words.get(at + n).filter(|it| it.follows);
                word.is_some_and(|it| it.text.eq_ignore_ascii_case(part))
            })
        };
        // Methods of pingora and Python.
        let before = &file.text[..word.end];
        let is_foreign = ["run_forever", "serve_forever"]
            .iter()
            .any(|it| before.ends_with(it));
        let candidates = phrases.get(word.text.to_lowercase().as_str());
        let found = match candidates.into_iter().flatten().find(is_here) {
            _ if is_foreign => continue,
            Some(phrase) => phrase.join(" "),
            None if is_clause(&words, at, &file.text) => format!("{} …", word.text),
            None => continue,
        };
        let text = file.text.lines().nth(word.line - 1).unwrap_or_default();
        hits.push(Hit {
            path: file.path.clone(),
            line: word.line,
            what: format!("\"{found}\" in: {}", text.trim()),
        });
    }
    hits
}

/// Whether "What" or "Who" begins a clause that is no question, also as a function's name.
fn is_clause(words: &[Word<'_>], at: usize, text: &str) -> bool {
    let Some(next) = words.get(at + 1).filter(|it| it.follows) else {
        return false;
    };
    let is_lower = next.text.starts_with(char::is_lowercase);
    match words[at].text {
        // A heading is no sentence.
        "What" | "Who" if is_lower && !is_heading(text, words[at].end) => {
            let rest = &text[words[at].end..];
            let end = rest
                .find(['?', '.', ';', '!', '"', '|', '`'])
                .unwrap_or(rest.len());
            !rest[end..].starts_with('?') || rest[..end].contains("\n\n")
        }
        "what" | "who" => at > 0 && words[at - 1].text == "fn" && words[at].follows,
        _ => false,
    }
}

/// Whether this place is in a heading of Markdown.
fn is_heading(text: &str, at: usize) -> bool {
    let line = text[..at].rsplit('\n').next().unwrap_or_default();
    line.trim_end_matches(char::is_alphabetic).ends_with("## ")
}

#[test]
fn texts_use_plain_words() {
    let mut hits = Vec::new();
    for top in TOPS {
        for file in files(top, EXTENSIONS) {
            // Recorded and foreign texts, and the list above.
            let is_foreign = [
                "tests/vectors/",
                "tests/it/golden/",
                "tests/it/tidy/words.rs",
            ];
            let is_foreign = is_foreign.iter().any(|it| file.path.starts_with(it))
                || file.path.contains("/node_modules/");
            if !is_foreign {
                hits.extend(check(&file));
            }
        }
    }
    ratchet("words", &hits, ALLOWED);
}

#[test]
fn words_are_found_in_every_notation() {
    for (text, found) in [
        ("// It is sent to whom it may concern.", 1),
        ("/// Kept for\n    /// ever.", 1),
        ("let a = \"kept for \\\n    ever\";", 1),
        ("fn nobody_is_told() {}\nstruct NotJudged;", 2),
        ("What is not listed is refused.", 1),
        ("- What is not listed\n  is refused.", 1),
        ("fn what_is_not_listed() {}", 1),
        ("// What is\n// it?", 0),
        ("| What | Who |", 0),
        ("What::Is, then.", 0),
        (
            "It is kept for, ever so long. The store forgot forevermore.",
            0,
        ),
        ("Wait for\n\never", 0),
    ] {
        let file = File {
            path: "a".to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(check(&file).len(), found, "{text}: {:?}", check(&file));
    }
}
