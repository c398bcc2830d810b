//! A configuration of plgd's m2m-oauth-server → one of ours, and what could not be carried over.
//!
//! `source` reads plgd's keys and remembers which were looked at, so that none is lost without a
//! word; `server`, `clients`, `authorities` and `signing` say what each means here; `written` makes
//! the text. Files that the configuration names are only read to warn: a configuration is imported
//! just as well on a machine without them.

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

/// What became of one of plgd's configurations.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Ours, as YAML; or every reason why there is none: the file is no YAML, is something else, or
    /// says what plgd itself would refuse.
    pub yaml: Result<String, Problems>,
    /// What plgd's says and ours does not, by the lines of plgd's file.
    pub lost: Vec<Problem>,
}

/// Reads a file that plgd's configuration names, if it can be read here.
type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<SecretString>;

/// Makes our configuration from the one of an m2m-oauth-server (plgd hub 2.x); `-` is standard
/// input. It may be one of several YAML documents, stand in a Kubernetes ConfigMap, or be values of
/// plgd's Helm chart.
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
            let message = "it looks like a Helm template: import what `helm template` makes of it";
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
    // Of a file that is something else no key is known, and that need not be said of each.
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

/// Ours, in so far as plgd's has something to say of it.
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
