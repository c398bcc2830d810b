//! Files whose content is a part of the configuration: a change of one makes a new generation.
//!
//! Parts whose configuration stays the same are taken over. The text of the configuration itself is
//! not read again.

use std::time::Duration;

use super::Running;
use crate::config::{Config, ResolvedFile};
use crate::files::{Watched, blocking};

/// Pauses between tries to take over a changed file: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

impl Running {
    /// Takes over changed files until the future is dropped. `resolve` reads them, and may block.
    ///
    /// A failure is tried again without a further change, because another file of the
    /// configuration may be the reason.
    pub async fn follow_files(
        &mut self,
        resolve: impl Fn() -> Result<Config, String> + Clone + Send + 'static,
    ) {
        let (mut pause, mut reported) = (PAUSES.0, None);
        loop {
            let changed = self.next_change().await;
            let keys: Vec<_> = changed.iter().map(|file| file.key.as_str()).collect();
            let keys = keys.join(", ");
            match self.take_over(resolve.clone()).await {
                Ok(()) => {
                    tracing::info!(keys, "took over a changed file");
                    (pause, reported) = (PAUSES.0, None);
                }
                Err(error) => {
                    if reported.as_ref() != Some(&error) {
                        tracing::warn!(
                            keys,
                            error,
                            "a changed file cannot be used; the old content stays, and the file \
                             is tried again"
                        );
                        (pause, reported) = (PAUSES.0, Some(error));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    async fn take_over(
        &mut self,
        resolve: impl Fn() -> Result<Config, String> + Send + 'static,
    ) -> Result<(), String> {
        let config = blocking(resolve).await?;
        let replaced = self.replace(&config).await;
        replaced.map_err(|errors| errors.to_string())
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
}
