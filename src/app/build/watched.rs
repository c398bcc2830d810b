//! Files that the configuration names and that change while the process runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::part::Life;
use crate::files::{Watched, blocking};

impl Life {
    /// Applies a file whenever it changes: [`watch_files`](Self::watch_files).
    pub(super) fn watch_file(
        &self,
        what: String,
        file: &Path,
        apply: impl Fn() -> Result<bool, String> + Send + Sync + 'static,
    ) {
        self.watch_files(what, &[file.to_owned()], apply);
    }

    /// Applies files whenever one of them changes. `apply` reads them (it may block) and gives
    /// whether their content is new; an error changes nothing. `what` names their purpose in the
    /// log.
    pub(super) fn watch_files(
        &self,
        what: String,
        files: &[PathBuf],
        apply: impl Fn() -> Result<bool, String> + Send + Sync + 'static,
    ) {
        let (watched, apply) = (Watched::new(files.to_vec()), Arc::new(apply));
        let shown: Vec<_> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let shown = shown.join(", ");
        self.tasks.spawn(what.clone(), move || {
            let (what, shown, watched, apply) =
                (what.clone(), shown.clone(), watched.clone(), apply.clone());
            async move {
                loop {
                    let (noted, apply) = (watched.clone(), apply.clone());
                    // The file was read before this task began, and may have changed since.
                    let applied = blocking(move || {
                        noted.note();
                        apply()
                    });
                    match applied.await {
                        Ok(true) => tracing::info!(what, file = shown, "took over a changed file"),
                        Ok(false) => {}
                        Err(error) => {
                            tracing::warn!(
                                what,
                                file = shown,
                                error,
                                "a changed file cannot be used; the old content stays"
                            );
                        }
                    }
                    watched.changed().await;
                }
            }
        });
    }
}
