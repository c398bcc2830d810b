//! Group commit: writes that wait at the same time share one transaction, and each answer waits for
//! its commit.
//!
//! SQLite has one writer at a time, and a commit waits for the disk. Together, fifty writes cost
//! one such wait. Each runs in its own savepoint, so that a failure affects no other write.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{BoxFuture, Failure, StoreError, in_time};

/// The most writes of one transaction: what a reader may have to wait for on the one connection of
/// a memory store.
const MOST_TOGETHER: usize = 128;
/// The most writes that wait. Further callers wait for a place, within the time-out of every call.
const QUEUE: usize = 1024;

/// Gives a write's answer, once it is known whether the commit succeeded.
type Deliver = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs a write, and returns its result and how to deliver it. `None`: its caller no longer waits.
type Job = Box<
    dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Option<(End, Deliver)>> + Send,
>;

/// How a write ended, before its commit.
#[derive(Clone, Copy)]
struct End {
    succeeded: bool,
    /// Why nothing can be written.
    fault: Option<&'static str>,
}

/// The treatment of a connection whose transaction failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// Close it. After a full disk SQLite may have rolled back by itself while the driver still
    /// assumes a transaction. The next user would read old content and write nothing.
    Close,
    /// Keep it: it is the database itself, in memory.
    Keep,
}

/// Passes writes to the one task that runs them.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// Why the last transaction was not kept.
    fault: Fault,
}

type Fault = Arc<Mutex<Option<&'static str>>>;

impl Writer {
    /// A writer on a pool. Its task is the database driver's own: it ends with the writer.
    pub(super) fn new(pool: SqlitePool, after_failure: AfterFailure) -> Self {
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE);
        let fault = Fault::default();
        let noted = fault.clone();
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(MOST_TOGETHER);
            while waiting.recv_many(&mut batch, MOST_TOGETHER).await > 0 {
                // A panic fails only the writes of this batch.
                let commit = commit(&pool, after_failure, batch.drain(..), &noted);
                if AssertUnwindSafe(commit).catch_unwind().await.is_err() {
                    tracing::error!("a write of the store panicked");
                }
            }
        });
        Self { jobs, fault }
    }

    /// Why the last transaction was not kept; none when it was.
    pub(super) fn fault(&self) -> Option<&'static str> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a transaction and returns its result after the commit. An error of `work` is
    /// rolled back. A caller that is cancelled before its write starts leaves no trace.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Failure>>
            + Send
            + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, StoreError>>();
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                if answer.is_closed() {
                    return None;
                }
                let result = work(connection).await.map_err(|Failure(error)| error);
                let fault = match &result {
                    Err(StoreError::Unwritable(why)) => Some(*why),
                    _ => None,
                };
                let end = End {
                    succeeded: result.is_ok(),
                    fault,
                };
                let deliver: Deliver = Box::new(move |committed| {
                    let _ = answer.send(result.and_then(|value| committed.map(|()| value)));
                });
                Some((end, deliver))
            })
        });
        let gone = |_| Failure(StoreError::Unavailable("the write was not done".to_owned()));
        in_time(async {
            self.jobs.send(job).await.map_err(|_| gone(()))?;
            answered.await.map_err(|_| gone(()))?.map_err(Failure)
        })
        .await
    }
}

/// Runs the jobs in one transaction, then delivers every result. A job that is not reached is
/// dropped, and its caller gets an error.
async fn commit(
    pool: &SqlitePool,
    after_failure: AfterFailure,
    jobs: impl Iterator<Item = Job>,
    fault: &Fault,
) {
    let mut answers = Vec::new();
    let committed = run(pool, after_failure, jobs, &mut answers)
        .await
        .map_err(|Failure(error)| error);
    let met = answers.iter().find_map(|(end, _)| end.fault);
    *fault.lock().unwrap_or_else(PoisonError::into_inner) = match &committed {
        Ok(()) => met,
        Err(StoreError::Unwritable(why)) => Some(why),
        Err(_) => met.or(Some("the database does not answer")),
    };
    for (_, deliver) in answers {
        deliver(match &committed {
            Ok(()) => Ok(()),
            Err(StoreError::Unwritable(why)) => Err(StoreError::Unwritable(why)),
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        });
    }
}

async fn run(
    pool: &SqlitePool,
    after_failure: AfterFailure,
    jobs: impl Iterator<Item = Job>,
    answers: &mut Vec<(End, Deliver)>,
) -> Result<(), Failure> {
    let mut connection = pool.acquire().await?;
    let done = transact(&mut connection, jobs, answers).await;
    if done.is_err() && after_failure == AfterFailure::Close {
        connection.close_on_drop();
    }
    done
}

async fn transact(
    connection: &mut SqliteConnection,
    jobs: impl Iterator<Item = Job>,
    answers: &mut Vec<(End, Deliver)>,
) -> Result<(), Failure> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for job in jobs {
        let mut savepoint = transaction.begin().await?;
        let Some((end, deliver)) = job(&mut savepoint).await else {
            continue;
        };
        answers.push((end, deliver));
        if end.succeeded {
            savepoint.commit().await?;
        } else {
            savepoint.rollback().await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}
