//! `man`: the manual page, one for all commands.

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Examples:
  m2m-sidecar man > /usr/local/share/man/man1/m2m-sidecar.1
  m2m-sidecar man | man -l -";

const CONFIGURATION: &str = "The configuration is one YAML file. Its keys are described in \
    docs/configuration.md of \
                             the project and in the JSON Schema that the command schema prints.";

pub fn man(command: clap::Command) -> anyhow::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut out = Vec::new();
    let page = Man::new(command.clone())
        .title("M2M-SIDECAR")
        .manual("User Commands");
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    let mut rest = Roff::new();
    rest.control("SH", ["COMMANDS"]);
    for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        section(&mut rest, each);
    }
    rest.control("SH", ["CONFIGURATION"]);
    rest.text([roman(CONFIGURATION)]);
    if let Some(notes) = command.get_after_help() {
        rest.control("SH", ["EXIT STATUS"]);
        verbatim(&mut rest, &notes.to_string());
    }
    rest.to_writer(&mut out)?;
    super::print(String::from_utf8(out)?.trim_end())
}

/// A command and its subcommands.
fn section(page: &mut Roff, command: &clap::Command) {
    page.control(
        "SS",
        [command.get_bin_name().unwrap_or_else(|| command.get_name())],
    );
    one(page, command);
    for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        section(page, each);
    }
}

/// One command with its options, notes and examples.
fn one(page: &mut Roff, command: &clap::Command) {
    if let Some(about) = command.get_about() {
        page.text([roman(about.to_string())]);
    }
    for argument in command
        .get_arguments()
        .filter(|each| !matches!(each.get_id().as_str(), "help" | "version"))
    {
        page.control("TP", []);
        let name = argument
            .get_long()
            .map(|long| format!("--{long} "))
            .unwrap_or_default();
        let values = argument
            .get_num_args()
            .is_some_and(|count| count.takes_values());
        let value = argument
            .get_value_names()
            .filter(|_| values)
            .map(|names| names.join(" "));
        page.text([bold(name), roman(value.unwrap_or_default())]);
        let mut help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let known = argument.get_possible_values();
        if !known.is_empty() && values {
            let known: Vec<_> = known.iter().map(|each| each.get_name()).collect();
            help.push_str(&format!(". One of: {}", known.join(", ")));
        }
        if let Some(default) = argument.get_default_values().first().filter(|_| values) {
            help.push_str(&format!(". Default: {}", default.to_string_lossy()));
        }
        if let Some(variable) = argument.get_env() {
            help.push_str(&format!(
                ". May also be set by the environment variable {}",
                variable.to_string_lossy()
            ));
        }
        help.push('.');
        page.text([roman(help)]);
    }
    if let Some(notes) = command.get_after_help() {
        page.control("PP", []);
        verbatim(page, &notes.to_string());
    }
}

/// Lines without formatting.
fn verbatim(page: &mut Roff, text: &str) {
    page.control("nf", []);
    for line in text.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
}
