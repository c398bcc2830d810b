//! `schema`: prints the JSON Schema of a configuration file.

use crate::config;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
An editor with the YAML language server checks and completes a configuration that begins with the
line # yaml-language-server: $schema=m2m-sidecar.schema.json

Examples:
  m2m-sidecar schema > m2m-sidecar.schema.json";

pub fn schema() -> anyhow::Result<()> {
    super::print(&serde_json::to_string_pretty(&config::editor_schema())?)
}
