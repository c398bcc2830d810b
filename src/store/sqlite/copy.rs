//! Copies of a database file. A copy is made by SQLite itself (`VACUUM INTO`), into one file
//! without `-wal`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::fs;

use super::{MIGRATIONS, is_busy};
use crate::files::{blocking, private};
use crate::store::backup::{BackupError, Contents, beside};

/// How long a copy waits for a writer. Readers of a database in WAL mode wait for none.
const BUSY: Duration = Duration::from_secs(5);

/// Copies `source` to `target`, and gives what the copy holds. A file at `target` is replaced in
/// one step.
pub(in crate::store) async fn copy(source: &Path, target: &Path) -> Result<Contents, BackupError> {
    let made = Unfinished::beside(target);
    let contents = made.fill_from(source).await?;
    made.rename_to(target).await?;
    Ok(contents)
}

/// Replaces `target`, which no process may have open, with a copy of `source`.
pub(in crate::store) async fn replace(
    source: &Path,
    target: &Path,
) -> Result<Contents, BackupError> {
    make_directory(target).await?;
    let made = Unfinished::beside(target);
    let contents = made.fill_from(source).await?;
    // Held until the new file has its name: a sidecar that starts meanwhile waits for the lock.
    let locked = lock(target).await?;
    for suffix in ["-wal", "-shm", "-journal"] {
        remove(&beside(target, suffix)).await?;
    }
    made.rename_to(target).await?;
    if let Some(connection) = locked {
        // Its file no longer has a name.
        let _ = connection.close().await;
    }
    for suffix in ["-wal", "-shm", "-journal"] {
        remove(&beside(target, suffix)).await?;
    }
    Ok(contents)
}

/// The content of an intact database.
pub(in crate::store) async fn verify(path: &Path) -> Result<Contents, BackupError> {
    let mut connection = open_to_read(path).await?;
    let contents = contents(&mut connection, path).await;
    let _ = connection.close().await;
    contents
}

async fn contents(connection: &mut SqliteConnection, path: &Path) -> Result<Contents, BackupError> {
    let unusable = |why: String| BackupError::Unusable {
        path: path.to_owned(),
        why,
    };
    let failed = |error: sqlx::Error| unusable(said(&error));
    let checked: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if checked != "ok" {
        return Err(unusable(
            "its integrity check fails: it is damaged or was copied while it was written"
                .to_owned(),
        ));
    }
    check_version(connection).await.map_err(unusable)?;
    let [clients, signing_keys, tokens, revoked, ended] =
        count_rows(connection).await.map_err(failed)?;
    let bytes = fs::metadata(path)
        .await
        .map_err(|error| file(path, error))?
        .len();
    Ok(Contents {
        clients,
        signing_keys,
        tokens,
        revocations: revoked + ended,
        bytes,
    })
}

/// Whether this program supports the tables of a database; otherwise the reason.
async fn check_version(connection: &mut SqliteConnection) -> Result<(), String> {
    let known = MIGRATIONS.iter().map(|(version, ..)| *version).max();
    let newest = sqlx::query("SELECT max(version) AS version FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get::<Option<i64>, _>("version"));
    match newest {
        Ok(Some(version)) if Some(version) <= known => Ok(()),
        Ok(Some(_)) => Err("it was made by a later version of this program".to_owned()),
        Ok(None) | Err(_) => Err("it has none of this program's tables".to_owned()),
    }
}

/// Counts the rows of the tables. An earlier version may not have all of them.
async fn count_rows(connection: &mut SqliteConnection) -> Result<[u64; 5], sqlx::Error> {
    let tables = [
        "clients",
        "signing_keys",
        "tokens",
        "revoked_tokens",
        "client_not_before",
    ];
    let mut counts = [0; 5];
    for (table, count) in tables.into_iter().zip(&mut counts) {
        let exists = sqlx::query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")
            .bind(table)
            .fetch_optional(&mut *connection)
            .await?;
        if exists.is_some() {
            let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
            *count = u64::try_from(rows).unwrap_or(0);
        }
    }
    Ok(counts)
}

/// Opens a database to read it: with what its `-wal` holds, if there is one, else without touching
/// anything beside it.
async fn open_to_read(path: &Path) -> Result<SqliteConnection, BackupError> {
    match fs::metadata(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupError::Missing(path.to_owned()));
        }
        Err(error) => return Err(file(path, error)),
        Ok(found) if !found.is_file() => {
            return Err(BackupError::Unusable {
                path: path.to_owned(),
                why: "it is no file".to_owned(),
            });
        }
        Ok(_) => {}
    }
    let has_wal = fs::metadata(beside(path, "-wal"))
        .await
        .is_ok_and(|wal| wal.len() > 0);
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY);
    let options = if has_wal {
        options
    } else {
        options.read_only(true).immutable(!is_in_use(path).await)
    };
    connect(&options, path).await
}

/// A database that is open has a `-shm` beside it, even when its `-wal` is empty.
async fn is_in_use(path: &Path) -> bool {
    fs::try_exists(beside(path, "-shm")).await.unwrap_or(true)
}

async fn connect(
    options: &SqliteConnectOptions,
    path: &Path,
) -> Result<SqliteConnection, BackupError> {
    let connection = options.connect().await;
    connection.map_err(|error| BackupError::Unusable {
        path: path.to_owned(),
        why: said(&error),
    })
}

/// Locks a database against every other process, and moves its `-wal` into it. `None`: there is no
/// usable database, so no process has it open.
async fn lock(path: &Path) -> Result<Option<SqliteConnection>, BackupError> {
    if !fs::try_exists(path)
        .await
        .map_err(|error| file(path, error))?
    {
        return Ok(None);
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(Duration::ZERO);
    let mut connection = match options.connect().await {
        Ok(connection) => connection,
        Err(error) if is_busy(&error) => return Err(BackupError::InUse(path.to_owned())),
        Err(_) => return Ok(None),
    };
    // A connection in WAL mode holds a lock while it is open, and leaving WAL mode requires that
    // there is none.
    for sql in [
        "PRAGMA locking_mode = EXCLUSIVE",
        "PRAGMA journal_mode = DELETE",
        "BEGIN EXCLUSIVE",
    ] {
        match sqlx::raw_sql(sql).execute(&mut connection).await {
            Ok(_) => {}
            Err(error) if is_busy(&error) => return Err(BackupError::InUse(path.to_owned())),
            // Damaged: the reason for a restore.
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(connection))
}

/// A file that gets its name when it is complete, and is removed otherwise.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// In the directory of `target`: a file cannot be renamed from one file system to another.
    fn beside(target: &Path) -> Self {
        Self {
            path: beside(target, &format!(".{}.part", std::process::id())),
        }
    }

    async fn fill_from(&self, source: &Path) -> Result<Contents, BackupError> {
        let path = &self.path;
        let text = path.to_str().ok_or_else(|| {
            file(
                path,
                io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8"),
            )
        })?;
        let mut from = open_to_read(source).await?;
        // A crash may have left one behind.
        remove(path).await?;
        // SQLite fills an empty file, and does not change its mode.
        let new = path.clone();
        let made = blocking(move || private::new_file(&new)).await;
        made.map_err(|error| file(path, error))?;
        let copied = sqlx::query("VACUUM INTO ?1")
            .bind(text)
            .execute(&mut from)
            .await;
        let _ = from.close().await;
        copied.map_err(|error| BackupError::Unusable {
            path: source.to_owned(),
            why: said(&error),
        })?;
        let synced = async { fs::File::open(path).await?.sync_all().await };
        synced.await.map_err(|error| file(path, error))?;
        match verify(path).await {
            Err(BackupError::Unusable { why, .. }) => Err(BackupError::Unusable {
                path: source.to_owned(),
                why,
            }),
            other => other,
        }
    }

    async fn rename_to(&self, target: &Path) -> Result<(), BackupError> {
        fs::rename(&self.path, target)
            .await
            .map_err(|error| file(target, error))?;
        let directory = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let synced = async {
            fs::File::open(directory.unwrap_or(Path::new(".")))
                .await?
                .sync_all()
                .await
        };
        // Some file systems cannot do this; the file itself is on the disk.
        let _ = synced.await;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn make_directory(path: &Path) -> Result<(), BackupError> {
    let Some(directory) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    else {
        return Ok(());
    };
    let owned = directory.to_owned();
    let made = blocking(move || private::make_dir(&owned)).await;
    made.map_err(|error| file(directory, error))
}

async fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(path, error)),
        _ => Ok(()),
    }
}

fn file(path: &Path, error: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        error,
    }
}

/// SQLite's own texts name tables and columns, never values.
fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.kind().to_string(),
        _ => "the database driver failed".to_owned(),
    }
}

#[cfg(test)]
mod tests;
