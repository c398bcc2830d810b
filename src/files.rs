//! Small files: read whole and no further than a limit, and noticed when they change.
//!
//! Looked at every second rather than watched through the kernel: that way a file that is replaced
//! by rename, a link that is set anew (as Kubernetes does with mounted Secrets and ConfigMaps) and
//! a network file system are all the same.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::secret::{LineEnd, SecretString};

/// Far more than any secret or key; a file beyond it is the wrong file.
pub const MAX_SECRET: u64 = 64 * 1024;
/// Far more than the certificates of any platform, or than any key set.
pub const MAX_PUBLIC: u64 = 4 * 1024 * 1024;
/// How often watched files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a file is of no use. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system does not let us.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is a directory, a device or a pipe: reading it might never end.
    #[error("is a directory, a pipe or a device, and no ordinary file")]
    NotOrdinary,
    /// It is larger than it may be, in bytes.
    #[error("is larger than {} KiB", .0 / 1024)]
    TooLarge(u64),
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// It is no text.
    #[error("is not UTF-8 text")]
    NotText,
    /// It is text in another encoding, as PowerShell's `>` writes it.
    #[error("is UTF-16 text: save it as UTF-8 without a byte order mark")]
    Utf16,
    /// An editor put a mark in front of the text.
    #[error(
        "begins with a byte order mark, which would be part of the secret: save it as UTF-8 without one"
    )]
    ByteOrderMark,
    /// A secret has no line end in it, and only one behind it.
    #[error(
        "has more than one line: a secret is one line, with at most one line end (LF or CRLF) behind it"
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

/// The same for what may be a pipe, as a shell's `<(command)` is.
///
/// # Errors
/// [`ReadError`], also when it has more than `limit` bytes.
pub fn read_stream(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    read_any(File::open(path)?, limit)
}

fn read_any(file: File, limit: u64) -> Result<Vec<u8>, ReadError> {
    // Room for small files from the start, so that a secret is not left behind where the buffer
    // grew from.
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

/// The same for what may be a pipe.
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
/// [`ReadError`] when it is empty, or in a form in which it would be a secret that nobody meant.
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

/// Does blocking work, such as reading a file, where it delays nobody. A panic in it is one of the
/// caller.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending: nobody will look at it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What tells one edition of a file from the next: device, inode, size, and both times in
/// nanoseconds. `None`: there is no file.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// Of what the path leads to in the end, through all links.
fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    let (modified, changed) = (
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
    );
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        modified,
        changed,
    ))
}

/// Files that are looked at for changes.
#[derive(Debug)]
pub struct Watched {
    paths: Vec<PathBuf>,
    /// What they looked like when they were last noted.
    noted: Mutex<Vec<Stamp>>,
}

impl Watched {
    /// These files; nothing is noted of them yet.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            paths: paths.into_iter().collect(),
            noted: Mutex::default(),
        })
    }

    /// Notes what the files look like now. To be called before they are read: a change in between
    /// is then seen by the next look. Blocks.
    pub fn note(&self) {
        let now = self.stamps();
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Waits until one of the files looks otherwise than it was noted; for ever when there are
    /// none.
    pub async fn changed(self: &Arc<Self>) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.differ_now().await {
                return;
            }
        }
    }

    /// Whether one of the files looks otherwise than it was noted.
    pub async fn differ_now(self: &Arc<Self>) -> bool {
        let looked = self.clone();
        blocking(move || looked.differ()).await
    }

    fn differ(&self) -> bool {
        self.stamps() != *self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamps(&self) -> Vec<Stamp> {
        self.paths.iter().map(|path| stamp(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::ExposeSecret;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn one_line_end_behind_a_secret_is_not_part_of_it() {
        for (content, expected) in [
            ("s", "s"),
            ("s\n", "s"),
            ("s\r\n", "s"),
            (" s ", " s "),
            ("s\t\n", "s\t"),
            ("s\u{feff}\n", "s\u{feff}"),
        ] {
            let file = file(content.as_bytes());
            for read in [read_secret, read_secret_stream] {
                assert_eq!(
                    read(file.path()).unwrap().expose_secret(),
                    expected,
                    "{content:?}"
                );
            }
        }
    }

    #[test]
    fn what_nobody_means_by_a_secret_is_refused_with_its_own_words() {
        for (content, words) in [
            (&b"s\n\n"[..], "more than one line"),
            (b"s\r\n\r\n", "more than one line"),
            (b"s\r", "more than one line"),
            (b"a\nb\n", "more than one line"),
            (b"a\rb", "more than one line"),
            (b"\ns", "more than one line"),
            (b"\xef\xbb\xbfs\n", "byte order mark"),
            (b"\xff\xfes\0", "UTF-16"),
            (b"\xfe\xff\0s", "UTF-16"),
            (b"s\0", "NUL"),
            (b"a\0b\n", "NUL"),
            (b"s\xe4\n", "UTF-8"),
            (b"\n", "is empty"),
            (b"", "is empty"),
        ] {
            let error = read_secret(file(content).path()).unwrap_err().to_string();
            assert!(error.contains(words), "{content:?}: {error}");
        }
    }

    #[test]
    fn a_secret_of_several_lines_is_taken_as_it_is() {
        let pem = "-----BEGIN X-----\r\nAA==\r\n-----END X-----\r\n\r\n";
        assert_eq!(
            read_secret_lines(file(pem.as_bytes()).path())
                .unwrap()
                .expose_secret(),
            pem
        );
        for content in [&b"\xef\xbb\xbf-----BEGIN"[..], b"a\0", b"", b"\xff\xfea\0"] {
            assert!(
                read_secret_lines(file(content).path()).is_err(),
                "{content:?}"
            );
        }
    }

    #[test]
    fn empty_huge_binary_and_missing_secrets_are_refused() {
        assert!(matches!(
            read_secret(file(b"").path()),
            Err(ReadError::Empty)
        ));
        assert!(matches!(
            read_secret(file(b"\r\n").path()),
            Err(ReadError::Empty)
        ));
        assert!(matches!(
            read_secret(file(b"\xff").path()),
            Err(ReadError::NotText)
        ));
        assert!(read_secret(file(&vec![b'x'; 65_536]).path()).is_ok());
        assert!(matches!(
            read_secret(file(&vec![b'x'; 65_537]).path()),
            Err(ReadError::TooLarge(_))
        ));
        assert!(matches!(
            read_secret(Path::new("/nonexistent/x")),
            Err(ReadError::Unreadable(_))
        ));
        assert!(matches!(
            read_secret(Path::new("/")),
            Err(ReadError::NotOrdinary)
        ));
    }

    #[test]
    fn a_change_in_whatever_way_is_a_difference_and_a_look_at_it_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "one").unwrap();
        let watched = Watched::new([path.clone()]);
        assert!(watched.differ(), "nothing was noted yet");
        watched.note();
        let _ = read_secret(&path).unwrap();
        assert!(!watched.differ());
        let step = |change: &dyn Fn()| {
            change();
            assert!(watched.differ());
            watched.note();
            assert!(!watched.differ());
        };
        step(&|| std::fs::write(&path, "longer").unwrap());
        step(&|| {
            let other = dir.path().join("other");
            std::fs::write(&other, "longer").unwrap();
            std::fs::rename(&other, &path).unwrap();
        });
        step(&|| std::fs::remove_file(&path).unwrap());
        // As Kubernetes does it: a link to a link to a directory.
        for round in ["a", "b"] {
            std::fs::create_dir(dir.path().join(round)).unwrap();
            std::fs::write(dir.path().join(round).join("secret"), round).unwrap();
        }
        std::os::unix::fs::symlink("a", dir.path().join("data")).unwrap();
        step(&|| std::os::unix::fs::symlink("data/secret", &path).unwrap());
        step(&|| {
            std::os::unix::fs::symlink("b", dir.path().join("next")).unwrap();
            std::fs::rename(dir.path().join("next"), dir.path().join("data")).unwrap();
        });
        assert_eq!(read_secret(&path).unwrap().expose_secret(), "b");
    }
}
