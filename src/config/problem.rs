//! The problems of a configuration, with their positions.

use std::fmt;

use super::tree::{KeyPath, Node, Position};

/// An error, or a warning about a probable mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file, as the caller named it.
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// The key, as in `inbound[0].rules[1].scopes`; empty for the file as a whole.
    pub key_path: String,
    /// The problem. It never contains a secret or a value from the environment.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.key_path.is_empty() {
            write!(f, "{}: ", self.key_path)?;
        }
        f.write_str(&self.message)
    }
}

/// All errors of a configuration, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A problem at a key, without its line.
struct Finding {
    path: KeyPath,
    /// The position, if the path does not lead there: a repeated key, a syntax error.
    at: Option<Position>,
    message: String,
    /// Whether the later stages can skip the key and check the rest of its section.
    is_skipped: bool,
}

impl Finding {
    fn new(path: &KeyPath, message: impl Into<String>) -> Self {
        Self {
            path: path.clone(),
            at: None,
            message: message.into(),
            is_skipped: false,
        }
    }
}

/// Collects problems from every stage, so that one run reports all of them.
#[derive(Default)]
pub(super) struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Findings {
    pub fn error(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.errors.push(Finding::new(path, message));
    }

    /// Adds an error at a key that the later stages skip, so that they still check its section.
    pub fn error_skipped(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.errors.push(Finding {
            is_skipped: true,
            ..Finding::new(path, message)
        });
    }

    /// Adds an error at a position that the key path does not identify.
    pub fn error_at(&mut self, at: Position, path: &KeyPath, message: impl Into<String>) {
        self.errors.push(Finding {
            at: Some(at),
            ..Finding::new(path, message)
        });
    }

    pub fn extend(&mut self, others: Self) {
        self.errors.extend(others.errors);
        self.warnings.extend(others.warnings);
    }

    pub fn warning(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.warnings.push(Finding::new(path, message));
    }

    /// Whether there is an error at or below a key.
    pub fn any_under(&self, path: &KeyPath) -> bool {
        self.errors
            .iter()
            .any(|finding| finding.path.starts_with(path))
    }

    /// Whether there is an error at or below a key that prevents checking its section.
    pub fn any_broken_under(&self, path: &KeyPath) -> bool {
        self.errors
            .iter()
            .any(|finding| !finding.is_skipped && finding.path.starts_with(path))
    }

    /// Adds the lines. Returns errors and warnings, each in the order of the file.
    pub fn locate(self, file: &str, tree: Option<&Node>) -> (Vec<Problem>, Vec<Problem>) {
        let problems = |findings: Vec<Finding>| {
            let mut problems: Vec<Problem> = findings
                .into_iter()
                .map(
                    |Finding {
                         path, at, message, ..
                     }| {
                        let at = at
                            .or_else(|| tree.map(|tree| tree.position(&path)))
                            .unwrap_or_default();
                        Problem {
                            file: file.to_owned(),
                            line: at.line,
                            column: at.column,
                            key_path: path.to_string(),
                            message,
                        }
                    },
                )
                .collect();
            problems.sort_by_key(|problem| (problem.line, problem.column));
            problems
        };
        (problems(self.errors), problems(self.warnings))
    }
}
