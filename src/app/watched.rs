//! Files that the configuration names and that change while we run.

use std::path::Path;
use std::sync::Arc;

use super::Parts;
use crate::files::{Watched, blocking};

impl Parts {
    /// Takes a file over whenever it changes. `take` reads it (it may block) and gives whether its
    /// content is another; what it refuses changes nothing. `what` says in the log what the file is
    /// for.
    pub(super) fn watch_file(
        &self,
        what: String,
        file: &Path,
        take: impl Fn() -> Result<bool, String> + Send + Sync + 'static,
    ) {
        let (watched, take) = (Watched::new([file.to_owned()]), Arc::new(take));
        let shown = file.display().to_string();
        self.tasks.spawn(what.clone(), move || {
            let (what, shown, watched, take) =
                (what.clone(), shown.clone(), watched.clone(), take.clone());
            async move {
                loop {
                    let (noted, take) = (watched.clone(), take.clone());
                    // It was read before this began, and may have changed since.
                    let taken = blocking(move || {
                        noted.note();
                        take()
                    });
                    match taken.await {
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

    /// Says when a file changes that is read at the start only.
    pub(super) fn warn_of_changes(&self, key: String, file: &Path) {
        let (watched, shown) = (Watched::new([file.to_owned()]), file.display().to_string());
        self.tasks.spawn(format!("changes of {key}"), move || {
            let (key, shown, watched) = (key.clone(), shown.clone(), watched.clone());
            async move {
                loop {
                    let noted = watched.clone();
                    blocking(move || noted.note()).await;
                    watched.changed().await;
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
