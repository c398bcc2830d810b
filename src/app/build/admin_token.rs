//! The management API's token: the operator's own, or one that is generated once and stored.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::part::{Life, Part};
use super::Build;
use crate::app::error::{StartError, unusable};
use crate::config::AdminRole;
use crate::domain::secret::{ExposeSecret, SecretString, generate};
use crate::endpoints::admin::{Guard, is_admin_token};
use crate::files::private::{self, Trusted};
use crate::files::{self, MAX_SECRET};

/// The prefix by which people and scanners recognize a generated token.
const PREFIX: &str = "m2ma_";

/// How long an admin token is accepted after its file has changed.
const GRACE: Duration = Duration::from_mins(10);

/// The file of a generated token.
#[must_use]
pub fn token_file(state_dir: &Path) -> PathBuf {
    state_dir.join("admin-token")
}

/// The stored token, for a command that a user runs beside the sidecar. The directory's owner is
/// trusted.
///
/// # Errors
/// There is no file, others can have written it, or it holds no token.
pub fn kept_token(state_dir: &Path) -> io::Result<SecretString> {
    kept_token_of(state_dir, &Trusted::owner_of(state_dir)?)
}

fn kept_token_of(state_dir: &Path, trusted: &Trusted) -> io::Result<SecretString> {
    let read = trusted
        .read(&token_file(state_dir), MAX_SECRET)
        .map_err(io::Error::other)?;
    let bytes = read.ok_or(io::ErrorKind::NotFound)?;
    let token =
        files::one_line(&bytes).map_err(|error| io::Error::other(format!("the file {error}")))?;
    if is_admin_token(&token) {
        Ok(token)
    } else {
        Err(io::Error::other("the file holds no token"))
    }
}

/// The guard is known by its hosts and by the place of its token.
#[derive(PartialEq)]
pub(super) struct AdminIdentity {
    hosts: Vec<String>,
    token_file: Option<PathBuf>,
    state_dir: PathBuf,
    /// Whether a socket in the file system needs no token.
    needs_none: bool,
}

impl Build<'_> {
    /// The guard of the management API.
    pub(super) fn guard(&mut self, role: &AdminRole) -> Option<Arc<Guard>> {
        let key = AdminIdentity {
            hosts: role.hosts.clone(),
            token_file: role.token_file.clone(),
            state_dir: self.config.state_dir.clone(),
            needs_none: role.listen.unix().is_some() && role.token_file.is_none(),
        };
        let make = |key: &AdminIdentity| match key.needs_none {
            true => Ok(Part::new(
                Arc::new(Guard::new(None, key.hosts.clone())),
                |_| {},
            )),
            false => new_guard(role, &key.state_dir),
        };
        let part = self.parts.admin.take(&self.before.admin, key, make);
        Some((**self.note(part)?).clone())
    }
}

fn new_guard(role: &AdminRole, state_dir: &Path) -> Result<Arc<Part<Arc<Guard>>>, StartError> {
    let token = match &role.token {
        Some(token) => token.clone(),
        None => kept_or_new_token(state_dir).map_err(unusable("the admin token in stateDir"))?,
    };
    let guard = Arc::new(Guard::new(token, role.hosts.clone()));
    let (role, state_dir, tokens) = (role.clone(), state_dir.to_owned(), guard.tokens());
    let begin = move |life: &mut Life| {
        let file = role.token_file.clone();
        let file = file.unwrap_or_else(|| token_file(&state_dir));
        life.watch_file("admin token".to_owned(), &file, move || {
            Ok(tokens.replace(read_token(&role, &state_dir)?, GRACE))
        });
    };
    Ok(Part::new(guard, begin))
}

/// Reads the token again, for [`Guard::tokens`]. Blocks.
///
/// # Errors
/// The file cannot be read, or holds no token.
fn read_token(role: &AdminRole, state_dir: &Path) -> Result<SecretString, String> {
    let Some(file) = &role.token_file else {
        return kept_token_of(state_dir, &Trusted::ourselves()).map_err(|error| error.to_string());
    };
    let token = files::read_secret(file).map_err(|error| format!("the file {error}"))?;
    if is_admin_token(&token) {
        Ok(token)
    } else {
        Err("the file holds no token".to_owned())
    }
}

/// The stored token, or a new one.
fn kept_or_new_token(state_dir: &Path) -> io::Result<SecretString> {
    match kept_token_of(state_dir, &Trusted::ourselves()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        kept => return kept,
    }
    private::make_dir(state_dir)?;
    let token = generate(PREFIX);
    let line = Zeroizing::new([token.expose_secret(), "\n"].concat());
    // Of two processes that start at once, both use the token that is stored first.
    match private::create(&token_file(state_dir), line.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    kept_token_of(state_dir, &Trusted::ourselves())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_user_only() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("state");
        let first = kept_or_new_token(&dir).unwrap();
        assert_eq!(first.expose_secret().len(), 5 + 43);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&token_file(&dir))), (0o700, 0o600));
        assert_eq!(
            kept_or_new_token(&dir).unwrap().expose_secret(),
            first.expose_secret()
        );
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_kept_file_that_holds_no_token_or_that_others_could_have_written_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = token_file(dir.path());
        let token = kept_or_new_token(dir.path()).unwrap();
        for text in [
            "",
            "\n",
            "a",
            "fifteen-bytes-x",
            "sixteen bytes and blanks",
            "sixteen-bytes-\u{e9}\u{e9}",
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(kept_or_new_token(dir.path()).is_err(), "{text:?}");
        }
        std::fs::write(&path, token.expose_secret()).unwrap();
        assert!(kept_or_new_token(dir.path()).is_ok());
        for mode in [0o620, 0o602] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(kept_or_new_token(dir.path()).is_err(), "{mode:o}");
        }
    }
}
