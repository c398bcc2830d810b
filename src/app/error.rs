//! Why a configuration cannot be started.

use std::fmt;
use std::io;

use crate::domain::listen::BoundAddress;
use crate::store;

/// Every reason at once.
#[derive(Debug)]
pub struct StartErrors(pub Vec<StartError>);

impl fmt::Display for StartErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StartErrors {}

impl From<StartError> for StartErrors {
    fn from(error: StartError) -> Self {
        Self(vec![error])
    }
}

/// One reason.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be bound.
    #[error("listener {listener}: cannot listen on {address}: {error}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// The address of the configuration.
        address: BoundAddress,
        /// The system's error, for instance that the address is in use.
        error: io::Error,
    },
    /// The system gives no thread or no event queue.
    #[error("cannot start the workers: {0}")]
    Workers(io::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The store does not exist, and must.
    #[error(
        "there is no store at {0}, and `store.mustExist` does not allow a new one: \
         correct `store.url`, or restore a backup"
    )]
    StoreMissing(String),
    /// The issuer cannot be opened.
    #[error("cannot start the issuer: {0}")]
    Issuer(String),
    /// A part of the configuration is unusable.
    #[error("{part}: {problem}")]
    Part {
        /// Its name or key in the configuration.
        part: String,
        /// The problem.
        problem: String,
    },
}

/// Makes a [`StartError::Part`] of an error.
pub(super) fn unusable<E: ToString>(part: impl Into<String>) -> impl FnOnce(E) -> StartError {
    let part = part.into();
    move |problem| StartError::Part {
        part,
        problem: problem.to_string(),
    }
}
