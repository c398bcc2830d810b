//! The automatic renewal of a secret.

use std::path::PathBuf;
use std::time::Duration;

use super::Resolver;
use crate::config::files;
use crate::config::raw;
use crate::config::resolve::connections::is_open;
use crate::config::tree::KeyPath;
use crate::token_source::RotationConfig;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Resolves `rotateSecret`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Credential,
    rotate: &raw::RotateSecret,
    note_file: PathBuf,
) -> Option<RotationConfig> {
    resolver.duration(&path.key("every"), rotate.every, HOUR, DAY * 366);
    resolver.duration(&path.key("grace"), rotate.grace, Duration::ZERO, DAY * 30);
    if rotate.grace.0 >= rotate.every.0 {
        resolver.error(&path.key("grace"), "it must be shorter than `every`");
    }
    if is_open(&rotate.admin.0) {
        let message = "plain http to another machine: an attacker on the network can read the \
                       admin token and the new secret";
        resolver.warn(&path.key("admin"), message);
    }
    let token_path = path.key("adminTokenFile");
    resolver.secret(&token_path, &rotate.admin_token_file, files::read_secret)?;
    Some(RotationConfig {
        admin: rotate.admin.0.clone(),
        admin_token_file: rotate.admin_token_file.0.clone(),
        secret_file: raw.client_secret_file.as_ref()?.0.clone(),
        every: rotate.every.0,
        grace: rotate.grace.0,
        note_file,
    })
}
