//! Imports a configuration of plgd's m2m-oauth-server, and lists settings that cannot be imported.
//!
//! `source` reads plgd's keys and records them, so that every other key is reported. `server`,
//! `clients`, `authorities` and `signing` translate them, and `written` generates the text. Files
//! of the configuration are read only for warnings, so the import also works on a machine without
//! them.

mod authorities;
mod clients;
mod documents;
mod helm;
mod merge;
mod server;
mod signing;
mod source;
mod written;

#[cfg(test)]
mod tests;

use std::path::Path;

use super::files;
use super::problem::{Findings, Problem, Problems};
use super::tree::KeyPath;
use crate::domain::secret::SecretString;
use source::Source;

/// The result of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The imported YAML, or all reasons why there is none: invalid YAML, another kind of file, or
    /// values that plgd refuses.
    pub yaml: Result<String, Problems>,
    /// Settings that were not imported, by the lines of plgd's file.
    pub lost: Vec<Problem>,
}

/// Reads a file of plgd's configuration, if it is readable here.
type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<SecretString>;

/// Imports the configuration of an m2m-oauth-server (plgd hub 2.x); `-` is standard input. It may
/// be one of several YAML documents, part of a Kubernetes ConfigMap, or values of plgd's Helm
/// chart.
#[must_use]
pub fn import_plgd(path: &Path) -> Imported {
    let (path, name) = if path == Path::new("-") {
        (Path::new("/dev/stdin"), "standard input".to_owned())
    } else {
        (path, path.display().to_string())
    };
    match super::read(path) {
        Ok(text) => import(&text, &name, &|file| files::read_verbatim(file).ok()),
        Err(problems) => Imported {
            yaml: Err(problems),
            lost: Vec::new(),
        },
    }
}

fn import(text: &str, file_name: &str, read: ReadFile<'_>) -> Imported {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut findings = Findings::default();
    let Some(found) = documents::find(text, &mut findings) else {
        if text.contains("{{") {
            let message = "this looks like a Helm template: import the output of `helm template`";
            findings.error(&KeyPath::default(), message);
        }
        let (errors, lost) = findings.locate(file_name, None);
        return Imported {
            yaml: Err(Problems(errors)),
            lost,
        };
    };
    let documents::Found {
        tree,
        text,
        place,
        of_values,
    } = found;
    let file_name = place.map_or_else(
        || file_name.to_owned(),
        |place| format!("{file_name} ({place})"),
    );
    let mut source = Source::new(&tree, &text, findings);
    let target = server::target(&mut source, of_values, read);
    // In another kind of file no key is known, so unknown keys are not reported.
    let findings = if target.is_some() {
        source.finish()
    } else {
        source.into_findings()
    };
    let (errors, lost) = findings.locate(&file_name, Some(&tree));
    let yaml = match target {
        Some(target) if errors.is_empty() => Ok(written::yaml(&target)),
        _ => Err(Problems(errors)),
    };
    Imported { yaml, lost }
}

/// The settings that plgd's configuration determines.
struct Target {
    log_level: Option<&'static str>,
    log_encoding: Option<&'static str>,
    /// `issuer.url`.
    url: String,
    /// `issuer.listen`.
    listen: String,
    owner_claim: String,
    device_id_claim: Option<String>,
    /// `issuer.signing`.
    algorithm: Option<&'static str>,
    private_key_file: Option<String>,
    /// The names of `issuer.authorities`.
    trusted: Vec<String>,
    clients: Vec<clients::Client>,
    authorities: Vec<authorities::Authority>,
}
