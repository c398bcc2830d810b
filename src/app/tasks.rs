//! Long-running work.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The pause before a task that ended by a panic is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a task may take for its last work.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Long-running work, started again when it panics, ended together.
#[derive(Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Runs what `make` makes until it ends or the process does; starts it again after a panic.
    pub(super) fn spawn<F>(&self, name: String, make: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.keep_running(name, Duration::ZERO, move |_| make());
    }

    /// The same for what has something to do at the end: it is told by the token, and has
    /// [`LAST_WORK`] for it.
    pub(super) fn spawn_with_end<F>(
        &self,
        name: String,
        make: impl Fn(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.keep_running(name, LAST_WORK, make);
    }

    fn keep_running<F>(
        &self,
        name: String,
        last_work: Duration,
        make: impl Fn(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            loop {
                let mut run = tokio::spawn(make(stop.clone()));
                tokio::select! {
                    ended = &mut run => match ended {
                        Ok(()) => return,
                        Err(_) => tracing::error!(task = name, "a task failed and is started again"),
                    },
                    () = stop.cancelled() => {
                        if last_work.is_zero() || tokio::time::timeout(last_work, &mut run).await.is_err() {
                            run.abort();
                        }
                        return;
                    }
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
