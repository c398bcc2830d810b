//! Long-running work.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The pause before a task that ended by a panic is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Long-running work, started again when it panics, ended together.
#[derive(Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Runs what `make` makes until it ends or the process does; starts it again after a panic.
    pub(super) fn spawn<F>(&self, name: String, make: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            loop {
                let mut run = tokio::spawn(make());
                tokio::select! {
                    ended = &mut run => match ended {
                        Ok(()) => return,
                        Err(_) => tracing::error!(task = name, "a task failed and is started again"),
                    },
                    () = stop.cancelled() => return run.abort(),
                }
                tokio::select! {
                    () = tokio::time::sleep(RESTART_PAUSE) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }

    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
