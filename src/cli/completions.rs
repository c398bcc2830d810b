//! `completions`: prints a script that completes commands and options in a shell.

use clap::Args;
use clap_complete::Shell;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Examples:
  m2m-sidecar completions bash > /etc/bash_completion.d/m2m-sidecar
  m2m-sidecar completions zsh > /usr/local/share/zsh/site-functions/_m2m-sidecar
  m2m-sidecar completions fish > ~/.config/fish/completions/m2m-sidecar.fish";

#[derive(Args)]
pub struct Options {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub fn completions(options: &Options, command: &mut clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, command, "m2m-sidecar", &mut script);
    // The bash script of clap_complete 4.6 spells a hyphen in the program's name in two ways, and
    // then completes no option of a command.
    let script = String::from_utf8(script)?.replace("m2m__subcmd__sidecar", "m2m__sidecar");
    super::print(script.trim_end())
}
