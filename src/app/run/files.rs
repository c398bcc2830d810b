//! Files whose content is a part of the configuration: a change of one makes a new generation.
//!
//! Parts whose configuration stays the same are taken over. The text of the configuration itself is
//! not read again.

use super::Running;
use crate::config::{Config, ResolvedFile};
use crate::files::{Watched, blocking};

impl Running {
    /// Takes over changed files until the future is dropped. `resolve` reads them, and may block.
    pub async fn follow_files(
        &mut self,
        resolve: impl Fn() -> Result<Config, String> + Clone + Send + 'static,
    ) {
        loop {
            let changed = self.next_change().await;
            let keys: Vec<_> = changed.iter().map(|file| file.key.as_str()).collect();
            let keys = keys.join(", ");
            let resolve = resolve.clone();
            let replaced = match blocking(resolve).await {
                Ok(config) => {
                    let replaced = self.replace(&config).await;
                    replaced.map_err(|errors| errors.to_string())
                }
                Err(error) => Err(error),
            };
            match replaced {
                Ok(()) => tracing::info!(keys, "took over a changed file"),
                Err(error) => {
                    tracing::warn!(
                        keys,
                        error,
                        "a changed file cannot be used; the old content stays"
                    );
                    // Only the next change is tried again.
                    self.note(&changed);
                }
            }
        }
    }

    /// Waits until files differ from the configuration in use, and gives them.
    async fn next_change(&self) -> Vec<ResolvedFile> {
        let watched = Watched::new(self.files.iter().map(|file| file.file.clone()));
        loop {
            let (noted, files) = (watched.clone(), self.files.clone());
            let changed = blocking(move || {
                noted.note();
                let now = files.iter().map(ResolvedFile::again);
                let pairs = files.iter().zip(now);
                let changed = pairs.filter(|(before, now)| *before != now);
                changed.map(|(_, now)| now).collect::<Vec<_>>()
            })
            .await;
            if !changed.is_empty() {
                return changed;
            }
            watched.changed().await;
        }
    }

    fn note(&mut self, changed: &[ResolvedFile]) {
        for file in &mut self.files {
            if let Some(now) = changed.iter().find(|now| now.key == file.key) {
                file.clone_from(now);
            }
        }
    }
}
