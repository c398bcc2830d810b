//! The problems of a file with a token.

/// Why a file has no usable token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFileFault {
    #[error("there is no token file: the program that writes it has not done so")]
    Missing,
    #[error("the token file is empty: the program that writes it has not finished")]
    Empty,
    #[error("the token file cannot be read")]
    Unreadable,
    /// The two readings differ, or the end of a JWT is missing.
    #[error("the token file is being written")]
    Changing,
    #[error("the token file does not have one token of printable ASCII characters")]
    Malformed,
    #[error("the token in the file has expired: the program that renews it has not done so")]
    Expired,
}

impl TokenFileFault {
    /// A stable code for metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            _ => "token_file",
        }
    }
}
