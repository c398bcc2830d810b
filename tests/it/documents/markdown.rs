//! The fenced blocks of a document, and what each is for.

/// One fenced block.
pub enum Block {
    /// Commands and their output, run as they stand there.
    Console(Vec<Step>),
    /// Commands that need Docker, Kubernetes or systemd; the tests have none of them.
    ConsoleElsewhere,
    /// `make` targets and the clone before them, which `.ci/run` runs.
    ConsoleContinuousIntegration(Vec<Step>),
    /// The output of the commands in the nearest `sh` block above.
    Output(Vec<String>),
    /// A configuration that the page tells the reader to save under this name.
    File { name: String, content: String },
    /// An excerpt of a configuration.
    ConfigurationPart(String),
    /// What is only shown.
    Shown,
}

/// One command, and what the page shows as its output; empty when it shows none.
pub struct Step {
    pub command: String,
    pub output: Vec<String>,
}

/// The blocks of a document in their order.
///
/// # Errors
/// Names the line of a fence whose purpose is not said: commands and configurations must not go
/// untested.
pub fn blocks(markdown: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        // A block in a list is indented; its lines are, too.
        let indent = &line[..line.len() - line.trim_start().len()];
        let content: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line.strip_prefix(indent).unwrap_or(line))
            .take_while(|line| *line != "```")
            .collect();
        let words: Vec<&str> = info.split_whitespace().collect();
        let at_line = |problem| format!("line {}: {problem}", number + 1);
        match block(&words, &content).map_err(at_line)? {
            Block::Output(output) => attach(&mut blocks, output).map_err(at_line)?,
            block => blocks.push(block),
        }
    }
    Ok(blocks)
}

/// Gives an output to the nearest commands above it.
fn attach(blocks: &mut [Block], output: Vec<String>) -> Result<(), String> {
    let is_file = |block: &&mut Block| !matches!(block, Block::File { .. } | Block::Shown);
    match blocks.iter_mut().rev().find(is_file) {
        Some(Block::Console(steps)) => match steps.last_mut() {
            Some(step) if step.output.is_empty() => step.output = output,
            _ => return Err("these commands have their output already".to_owned()),
        },
        Some(Block::ConsoleElsewhere) => {}
        _ => return Err("output without a block of commands above it".to_owned()),
    }
    Ok(())
}

fn block(words: &[&str], content: &[&str]) -> Result<Block, String> {
    let text = || {
        content
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    match words {
        ["console"] => Ok(Block::Console(steps(content)?)),
        ["console", "ci"] => Ok(Block::ConsoleContinuousIntegration(steps(content)?)),
        ["console" | "sh", "docker" | "kubernetes" | "systemd"] => Ok(Block::ConsoleElsewhere),
        ["sh"] => Ok(Block::Console(vec![Step {
            command: content.join("\n"),
            output: Vec::new(),
        }])),
        ["sh", "ci"] => Ok(Block::ConsoleContinuousIntegration(
            content
                .iter()
                .map(|line| Step {
                    command: (*line).to_owned(),
                    output: Vec::new(),
                })
                .collect(),
        )),
        ["text", "output"] => Ok(Block::Output(
            content.iter().map(|line| (*line).to_owned()).collect(),
        )),
        ["yaml", "part"] => Ok(Block::ConfigurationPart(text())),
        ["yaml", "compose" | "kubernetes"] | ["json" | "text" | "rust" | "http" | "mermaid"] => {
            Ok(Block::Shown)
        }
        ["yaml" | "json" | "text", file] => match file.strip_prefix("file=") {
            Some(name) => Ok(Block::File {
                name: name.to_owned(),
                content: text(),
            }),
            None => Err(format!("`{file}` says nothing about a block")),
        },
        _ => Err(format!(
            "nothing is known of a block that begins with ```{}",
            words.join(" ")
        )),
    }
}

/// Lines after `$ ` are commands, those after `> ` continue one, the others are output.
fn steps(content: &[&str]) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for line in content {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                command: command.to_owned(),
                output: Vec::new(),
            });
            continue;
        }
        let last = steps
            .last_mut()
            .ok_or("output stands before the first command")?;
        match line.strip_prefix("> ").or((*line == ">").then_some("")) {
            Some(more) if last.output.is_empty() => {
                last.command.push('\n');
                last.command.push_str(more);
            }
            _ => last.output.push((*line).to_owned()),
        }
    }
    Ok(steps)
}

#[test]
fn a_block_without_a_purpose_is_refused() {
    for text in [
        "```\nls\n```",
        "```bash\nls\n```",
        "```yaml\na: 1\n```",
        "```console nowhere\n$ ls\n```",
    ] {
        assert!(blocks(text).is_err(), "{text}");
    }
    assert!(blocks("```console\nls\n```").is_err());
    assert_eq!(
        blocks("```text\nls\n```\n\n```console\n$ ls\n```").map(|blocks| blocks.len()),
        Ok(2)
    );
}

#[test]
fn a_block_in_a_list_is_read_without_its_indent() {
    let found = blocks("1. Do:\n\n   ```console\n   $ ls\n     x\n   ```\n").expect("blocks");
    let [Block::Console(steps)] = found.as_slice() else {
        panic!("not one block")
    };
    assert_eq!(
        (steps[0].command.as_str(), steps[0].output[0].as_str()),
        ("ls", "  x")
    );
}

#[test]
fn a_block_of_commands_is_one_step_with_the_output_below_it() {
    let text = "```sh\ncd /tmp\nls\n```\n\nThis prints:\n\n```text output\nx\n```\n";
    let found = blocks(text).expect("blocks");
    let [Block::Console(steps)] = found.as_slice() else {
        panic!("not one block")
    };
    assert_eq!(steps[0].command, "cd /tmp\nls");
    assert_eq!(steps[0].output, ["x"]);
}

#[test]
fn output_without_commands_is_refused() {
    for text in [
        "```text output\nx\n```",
        "```sh\nls\n```\n```text output\nx\n```\n```text output\ny\n```",
    ] {
        assert!(blocks(text).is_err(), "{text}");
    }
}

#[test]
fn a_command_may_span_lines() {
    let steps = steps(&["$ cat <<X", "> one", ">", "> X", "one", "", "$ true"]).expect("steps");
    assert_eq!(steps[0].command, "cat <<X\none\n\nX");
    assert_eq!(steps[0].output, ["one", ""]);
    assert_eq!(steps[1].command, "true");
}
