//! Generates pages of `docs/` from the code; `golden` compares them.

pub mod configuration;
pub mod reasons;

/// A cell of a Markdown table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
