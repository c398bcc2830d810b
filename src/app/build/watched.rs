//! Files that the configuration names and that change while the process runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::part::{Life, Part};
use super::Build;
use crate::config::FixedFile;
use crate::files::{Watched, blocking};

impl Build<'_> {
    /// Warns when a file changes that is read at the start only.
    pub(super) fn watch_fixed_files(&mut self) {
        let fixed = &mut self.parts.fixed_files;
        for file in &self.config.fixed_files {
            let part = self.before.fixed_files.find(file).unwrap_or_else(|| {
                let (watched, changing) = (Watched::new([file.file.clone()]), file.clone());
                // Noted before the file is read, so that no later change is missed.
                watched.note();
                Part::new((), move |life| life.warn_of_changes(&changing, watched))
            });
            fixed.put(file.clone(), part);
        }
    }
}

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

    fn warn_of_changes(&self, file: &FixedFile, watched: Arc<Watched>) {
        let (key, shown) = (file.key.clone(), file.file.display().to_string());
        self.tasks.spawn(format!("changes of {key}"), move || {
            let (key, shown, watched) = (key.clone(), shown.clone(), watched.clone());
            async move {
                loop {
                    watched.changed().await;
                    let noted = watched.clone();
                    blocking(move || noted.note()).await;
                    tracing::warn!(
                        key,
                        file = shown,
                        "a file has changed that is read at the start only: restart to use it"
                    );
                }
            }
        });
    }
}
