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
pub(in crate::app) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(in crate::app) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Tasks of a part: they end with the part, or with all others.
    pub(in crate::app) fn child(&self) -> Self {
        Self {
            tracker: self.tracker.clone(),
            stop: self.stop.child_token(),
        }
    }

    /// Ends these tasks, without waiting for them.
    pub(in crate::app) fn stop(&self) {
        self.stop.cancel();
    }

    /// Runs what `make` makes until it ends or the process does; starts it again after a panic.
    pub(in crate::app) fn spawn<F>(&self, name: String, make: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.keep_running(name, Duration::ZERO, move |_| make());
    }

    /// The same for a task with last work: the token tells it to end, and it has [`LAST_WORK`] for
    /// that.
    pub(in crate::app) fn spawn_with_end<F>(
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
                        Err(_) => {
                            tracing::error!(task = name, "a task failed and is started again");
                        }
                    },
                    () = stop.cancelled() => {
                        let ended = tokio::time::timeout(last_work, &mut run);
                        if last_work.is_zero() || ended.await.is_err() {
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

    pub(in crate::app) async fn end(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
