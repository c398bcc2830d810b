//! Persistence: what must outlive the process, behind one trait.

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// A SQLite database in a file; the path is as configured.
    SqliteFile(std::path::PathBuf),
    /// A SQLite database in memory: gone with the process.
    SqliteMemory,
}
