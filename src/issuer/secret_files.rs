//! Secret files of the configuration's clients that change while the sidecar runs.
//!
//! The files are checked every second, and when a client presents a wrong secret: it may have read
//! the changed file first. The earlier secret stays valid for a while, for clients that read the
//! file later.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::client_secret::MIN_BYTES;
use super::clients::Clients;
use crate::domain::clock::SharedClock;
use crate::domain::secret::{ExposeSecret, LineEnd, SecretString};
use crate::files::{LOOK_EVERY, ReadError, Watched, blocking, read_secret_with_line_end};

/// The least time between two looks: wrong secrets must not keep the disk busy.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
/// How long a request with a wrong secret waits for a look.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Which client has its secret in which file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretFiles {
    /// Client id and file.
    pub files: Vec<(String, PathBuf)>,
    /// How long the earlier secret of a changed file stays valid.
    pub grace: Duration,
}

/// How many looks have begun and ended.
#[derive(Clone, Copy, Default)]
struct Looks {
    begun: u64,
    ended: u64,
}

/// The watched files.
pub(super) struct LiveSecretFiles {
    config: SecretFiles,
    watched: Arc<Watched>,
    asked: Notify,
    looks: watch::Sender<Looks>,
    clients: Arc<Clients>,
    clock: SharedClock,
}

impl LiveSecretFiles {
    /// The files are already read; the first look finds a later change.
    pub(super) fn new(config: SecretFiles, clients: Arc<Clients>, clock: SharedClock) -> Self {
        let watched = Watched::new(config.files.iter().map(|(_, file)| file.clone()));
        Self {
            config,
            watched,
            asked: Notify::new(),
            looks: watch::Sender::new(Looks::default()),
            clients,
            clock,
        }
    }

    /// Waits for a look that begins after this call, if any client has a file.
    pub(super) async fn look(&self) {
        if self.config.files.is_empty() {
            return;
        }
        let mut looks = self.looks.subscribe();
        let begun = looks.borrow_and_update().begun;
        self.asked.notify_one();
        let _ =
            tokio::time::timeout(LONGEST_WAIT, looks.wait_for(|looks| looks.ended > begun)).await;
    }

    /// Reads the secrets when their files change, until the future is dropped.
    pub(super) async fn watch(&self) {
        if self.config.files.is_empty() {
            return;
        }
        loop {
            self.looks.send_modify(|looks| looks.begun += 1);
            if self.watched.differ_now().await {
                self.read_changed().await;
            }
            self.looks.send_modify(|looks| looks.ended = looks.begun);
            tokio::time::sleep(LEAST_PAUSE).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.asked.notified() => {}
            }
        }
    }

    /// Reads every file. One that cannot be used changes nothing.
    async fn read_changed(&self) {
        let (files, watched) = (self.config.files.clone(), self.watched.clone());
        let read = blocking(move || {
            watched.note();
            files
                .into_iter()
                .map(|(id, file)| (id, read_secret_with_line_end(&file), file))
                .collect::<Vec<_>>()
        })
        .await;
        for (client_id, secret, file) in read {
            let file = file.display();
            match secret {
                Ok(secret) => self.replace(&client_id, secret),
                Err(error) => {
                    let error: ReadError = error;
                    tracing::warn!(
                        client_id,
                        %file,
                        %error,
                        "a changed secret file cannot be used; the old secret stays"
                    );
                }
            }
        }
    }

    fn replace(&self, client_id: &str, secret: (SecretString, LineEnd)) {
        let is_short = secret.0.expose_secret().len() < MIN_BYTES;
        let (now, grace) = (self.clock.now(), self.config.grace);
        if !self
            .clients
            .replace_secret(client_id, secret, now, now.plus(grace))
        {
            return;
        }
        let old_counts_until = now.plus(grace).to_rfc3339();
        tracing::info!(
            target: "audit",
            action = "take_secret_file",
            client_id,
            old_counts_until,
            outcome = "done",
            "secret file"
        );
        if is_short {
            tracing::warn!(
                client_id,
                "the new secret is shorter than {MIN_BYTES} bytes, so it can be guessed"
            );
        }
    }
}
