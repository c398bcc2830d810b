//! Listening sockets in the file system: their files, permissions and owners.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::domain::listen::UnixSocket;
use crate::files::accounts;

/// Length of the queue of connections that wait for `accept`.
const BACKLOG: i32 = 1024;
/// The mode of a socket whose configuration has none: its user and group can connect.
const MODE: u32 = 0o660;

/// The file of a listening socket. It is removed with this value, if it still is the same file.
#[derive(Debug)]
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor may have replaced it.
        if id(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at a path. Replaces a file that an ended process has left.
///
/// # Errors
/// Those of the system. [`io::ErrorKind::AddrInUse`] when a process listens there, or the path has
/// another kind of file.
pub(super) fn listen(socket: &UnixSocket) -> io::Result<(SocketFile, UnixListener)> {
    let path = &socket.path;
    check_free(path)?;
    let mut next = path.clone().into_os_string();
    next.push(".new");
    let next = PathBuf::from(next);
    let _ = fs::remove_file(&next);
    let bound = bind(&next, path, socket);
    if bound.is_err() {
        let _ = fs::remove_file(&next);
    }
    bound
}

/// Binds at `next` and moves the file to `path`. No client can connect before the permissions are
/// set, because the socket does not listen until then.
fn bind(
    next: &Path,
    path: &Path,
    permissions: &UnixSocket,
) -> io::Result<(SocketFile, UnixListener)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(next)?)?;
    permit(next, permissions)?;
    socket.listen(BACKLOG)?;
    fs::rename(next, path)?;
    let file = SocketFile {
        path: path.to_owned(),
        id: id(path)?,
    };
    Ok((file, UnixListener::from(OwnedFd::from(socket))))
}

/// Sets mode and owner of a socket's file.
///
/// # Errors
/// Those of the system, and [`io::ErrorKind::NotFound`] for an unknown user or group.
pub(super) fn permit(path: &Path, socket: &UnixSocket) -> io::Result<()> {
    let user = socket.user.as_deref().map(accounts::user).transpose()?;
    let group = socket.group.as_deref().map(accounts::group).transpose()?;
    let mode = socket.mode.unwrap_or(MODE);
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if user.is_some() || group.is_some() {
        chown(path, user, group)?;
    }
    Ok(())
}

fn check_free(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let message = "another kind of file is there: remove it, or choose another path";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Also when it is not permitted to connect: the socket is another user's.
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        )),
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
#[path = "unix_socket_tests.rs"]
mod tests;
