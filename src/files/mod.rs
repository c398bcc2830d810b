//! Small files: read whole up to a limit, noticed when they change, and the private ones of this
//! program, which are replaced as a whole.

pub mod accounts;
pub mod private;
mod watched;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::domain::secret::{LineEnd, SecretString};
pub use watched::{LOOK_EVERY, Watched};

/// Far more than any secret or key needs.
pub const MAX_SECRET: u64 = 64 * 1024;
/// Far more than the certificates of any platform or any key set need.
pub const MAX_PUBLIC: u64 = 4 * 1024 * 1024;

/// Why a file cannot be used. Never shows its content.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refuses to open or read it.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Reading a directory, a device or a pipe might never end.
    #[error("is a directory, a pipe or a device, not an ordinary file")]
    NotOrdinary,
    /// It is larger than it may be, in bytes.
    #[error("is larger than {} KiB", .0 / 1024)]
    TooLarge(u64),
    #[error("is empty")]
    Empty,
    #[error("is not UTF-8 text")]
    NotText,
    /// PowerShell's `>` writes this encoding.
    #[error("is UTF-16 text: save it as UTF-8 without a byte order mark")]
    Utf16,
    #[error(
        "begins with a byte order mark, which would be part of the secret: save it as UTF-8 \
         without one"
    )]
    ByteOrderMark,
    /// A secret is one line.
    #[error(
        "has more than one line: a secret is one line, with at most one line end (LF or CRLF) \
         behind it"
    )]
    SeveralLines,
    /// No header and no form can carry it.
    #[error("has a NUL character in it")]
    Nul,
}

/// The whole file. Blocks.
///
/// # Errors
/// [`ReadError`], also when it has more than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    // Before it is opened: opening a pipe waits for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::NotOrdinary);
    }
    read_any(File::open(path)?, limit)
}

/// The same for a file that may be a pipe, such as a shell's `<(command)`.
///
/// # Errors
/// [`ReadError`], also when it has more than `limit` bytes.
pub fn read_stream(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    read_any(File::open(path)?, limit)
}

fn read_any(file: File, limit: u64) -> Result<Vec<u8>, ReadError> {
    // Large enough from the start: a buffer that grows leaves a copy of the secret behind.
    let mut bytes = Vec::with_capacity(if limit == MAX_SECRET {
        64 * 1024 + 1
    } else {
        8192
    });
    let read = file.take(limit + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > limit {
        Err(ReadError::TooLarge(limit))
    } else {
        Ok(bytes)
    }
}

/// A secret of one line, without the line end (LF or CRLF) behind it. Blocks.
///
/// # Errors
/// [`ReadError`], also when there is more than one line.
pub fn read_secret(path: &Path) -> Result<SecretString, ReadError> {
    one_line(&Zeroizing::new(read(path, MAX_SECRET)?))
}

/// The same, with the line end that was left out. Blocks.
///
/// # Errors
/// As [`read_secret`].
pub fn read_secret_with_line_end(path: &Path) -> Result<(SecretString, LineEnd), ReadError> {
    let bytes = Zeroizing::new(read(path, MAX_SECRET)?);
    let line_end = if bytes.ends_with(b"\r\n") {
        LineEnd::CrLf
    } else if bytes.ends_with(b"\n") {
        LineEnd::Lf
    } else {
        LineEnd::None
    };
    Ok((one_line(&bytes)?, line_end))
}

/// The same for a file that may be a pipe.
///
/// # Errors
/// As [`read_secret`].
pub fn read_secret_stream(path: &Path) -> Result<SecretString, ReadError> {
    one_line(&Zeroizing::new(read_stream(path, MAX_SECRET)?))
}

/// A secret of several lines, such as a key in PEM form, as it is. Blocks.
///
/// # Errors
/// [`ReadError`].
pub fn read_secret_lines(path: &Path) -> Result<SecretString, ReadError> {
    Ok(SecretString::from(text(&Zeroizing::new(read(
        path, MAX_SECRET,
    )?))?))
}

/// The secret that a file with these bytes holds: its one line, without the line end (LF or CRLF)
/// behind it.
///
/// # Errors
/// [`ReadError`].
pub fn one_line(bytes: &[u8]) -> Result<SecretString, ReadError> {
    let text = text(bytes)?;
    let line = text
        .strip_suffix('\n')
        .map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    match line {
        "" => Err(ReadError::Empty),
        _ if line.contains(['\n', '\r']) => Err(ReadError::SeveralLines),
        _ => Ok(SecretString::from(line)),
    }
}

/// The text of a file of secrets.
///
/// # Errors
/// [`ReadError`] when it is empty, or in an encoding that would change the secret.
pub fn text(bytes: &[u8]) -> Result<&str, ReadError> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(ReadError::Utf16);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ReadError::NotText)?;
    match text {
        "" => Err(ReadError::Empty),
        _ if text.starts_with('\u{feff}') => Err(ReadError::ByteOrderMark),
        _ if text.contains('\0') => Err(ReadError::Nul),
        _ => Ok(text),
    }
}

/// Runs blocking work, such as reading a file, on a thread of its own. A panic in it continues in
/// the caller.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending, and the result is not needed.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests;
