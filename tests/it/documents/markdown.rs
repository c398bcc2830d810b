//! The fenced blocks of a page, and how the tests treat each kind.

/// One fenced block.
pub enum Block {
    /// Commands, run as one script in the shell of the page.
    Commands(Script),
    /// Commands that need Docker, Kubernetes or systemd, which the tests do not have.
    CommandsElsewhere,
    /// `make` targets, which `.ci/run` runs.
    CommandsOfCi(Vec<String>),
    /// A file that the reader saves under this name.
    File { name: String, content: String },
    /// An excerpt of a configuration.
    ConfigurationPart(String),
    /// Text without a test.
    Shown,
}

/// The commands of one block, and the output that the page shows; empty without one.
pub struct Script {
    pub commands: String,
    pub output: String,
}

/// The blocks of a page, in order.
///
/// # Errors
/// Names the line of a fence of an unknown kind: no command or configuration may go untested.
pub fn blocks(markdown: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        // The lines of a block in a list are indented like its fence.
        let indent = &line[..line.len() - line.trim_start().len()];
        let content: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line.strip_prefix(indent).unwrap_or(line))
            .take_while(|line| *line != "```")
            .collect();
        let words: Vec<&str> = info.split_whitespace().collect();
        let added = match words.as_slice() {
            ["text", "output"] => add_output(&mut blocks, &content.join("\n")),
            words => block(words, &content).map(|block| blocks.push(block)),
        };
        added.map_err(|problem| format!("line {}: {problem}", number + 1))?;
    }
    Ok(blocks)
}

/// Adds an output to the nearest commands above it.
fn add_output(blocks: &mut [Block], output: &str) -> Result<(), String> {
    let is_command = |block: &&mut Block| !matches!(block, Block::File { .. } | Block::Shown);
    match blocks.iter_mut().rev().find(is_command) {
        Some(Block::Commands(script)) if script.output.is_empty() => {
            output.clone_into(&mut script.output);
            Ok(())
        }
        Some(Block::Commands(_)) => Err("the commands above have an output already".to_owned()),
        Some(Block::CommandsElsewhere) => Ok(()),
        _ => Err("there is no `sh` block above this output".to_owned()),
    }
}

fn block(words: &[&str], content: &[&str]) -> Result<Block, String> {
    let text = || content.iter().map(|line| format!("{line}\n")).collect();
    match words {
        ["sh"] => Ok(Block::Commands(Script {
            commands: content.join("\n"),
            output: String::new(),
        })),
        ["sh", "docker" | "kubernetes" | "systemd"] => Ok(Block::CommandsElsewhere),
        ["sh", "ci"] => Ok(Block::CommandsOfCi(
            content.iter().map(|line| (*line).to_owned()).collect(),
        )),
        ["yaml", "part"] => Ok(Block::ConfigurationPart(text())),
        ["yaml", "compose" | "kubernetes"] | ["json" | "text" | "rust" | "http"] => {
            Ok(Block::Shown)
        }
        ["yaml" | "json" | "text", file] => match file.strip_prefix("file=") {
            Some(name) => Ok(Block::File {
                name: name.to_owned(),
                content: text(),
            }),
            None => Err(format!("`{file}` is not a known kind of block")),
        },
        _ => Err(format!(
            "```{} is not a known kind of block; CONTRIBUTING.md lists them",
            words.join(" ")
        )),
    }
}

#[test]
fn a_block_of_an_unknown_kind_is_refused() {
    for text in [
        "```\nls\n```",
        "```bash\nls\n```",
        "```console\n$ ls\n```",
        "```yaml\na: 1\n```",
        "```sh nowhere\nls\n```",
    ] {
        assert!(blocks(text).is_err(), "{text}");
    }
    let known = blocks("```text\nls\n```\n\n```sh\nls\n```");
    assert_eq!(known.map(|blocks| blocks.len()), Ok(2));
}

#[test]
fn a_block_in_a_list_is_read_without_its_indent() {
    let found = blocks("1. Do:\n\n   ```sh\n   ls\n     -l\n   ```\n").expect("blocks");
    let [Block::Commands(script)] = found.as_slice() else {
        panic!("not one block")
    };
    assert_eq!(script.commands, "ls\n  -l");
}

#[test]
fn an_output_belongs_to_the_commands_above_it() {
    let text = "```sh\ncd /tmp\nls\n```\n\nThis prints:\n\n```text output\nx\n\ny\n```\n";
    let found = blocks(text).expect("blocks");
    let [Block::Commands(script)] = found.as_slice() else {
        panic!("not one block")
    };
    assert_eq!(script.commands, "cd /tmp\nls");
    assert_eq!(script.output, "x\n\ny");
}

#[test]
fn an_output_without_commands_is_refused() {
    for text in [
        "```text output\nx\n```",
        "```sh\nls\n```\n```text output\nx\n```\n```text output\ny\n```",
    ] {
        assert!(blocks(text).is_err(), "{text}");
    }
}
