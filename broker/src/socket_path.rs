//! The files of Unix sockets: where one can be created, and its creation. The start and `--test-config` make the same
//! checks.
//!
//! Invariants: nobody can connect before the mode of the file is what was asked for, as the socket does not listen
//! before. The file goes when the broker ends, if its folder is the broker's. It is made before the broker gives up
//! root, so it may be where root alone may write. A socket that another broker serves is not taken from it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::privileges::SystemUser;

/// Why a socket cannot be created at a path, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketPathError {
    /// The kernel does not accept longer paths.
    #[error("its path has {0} bytes; fix: choose one of {SOCKET_PATH_BYTES_MAX} at most")]
    TooLong(usize),
    /// A folder, or a file of another kind; it is left unchanged.
    #[error("{0} is at this path; fix: choose another path, or remove it")]
    Taken(&'static str),
    /// A process answers there.
    #[error("another broker uses it; fix: stop that broker, or choose another path")]
    Served,
    /// The operating system refuses it.
    #[error("{0}; fix: create its folder, and make it writable for the broker's user")]
    System(#[from] io::Error),
}

/// Checks whether a socket could be created there; returns whether one exists already.
///
/// # Errors
/// It could not be created.
pub(crate) fn check(path: &Path) -> Result<bool, SocketPathError> {
    check_length(path)?;
    let Ok(there) = std::fs::symlink_metadata(path) else {
        return Ok(false);
    };
    match there.file_type() {
        kind if kind.is_socket() => Ok(true),
        kind if kind.is_dir() => Err(SocketPathError::Taken("a folder")),
        _ => Err(SocketPathError::Taken("a file of another kind")),
    }
}

/// Checks whether the kernel takes the path, whatever is there.
///
/// # Errors
/// It does not.
pub(crate) fn check_length(path: &Path) -> Result<(), SocketPathError> {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(SocketPathError::TooLong(bytes));
    }
    // What else is wrong with it: a byte 0, for one.
    SocketAddrUnix::new(path).map_err(io::Error::from)?;
    Ok(())
}

/// The file of a Unix socket; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already; in a folder of root's it stays, and the next start replaces it.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes a socket with a file of this mode that does not listen yet, in place of one that a broker which was killed has
/// left behind. If the broker is to become another user, the file becomes that one's.
///
/// # Errors
/// It cannot be made, or another broker serves it.
pub(crate) fn bind(
    path: &Path,
    mode: u32,
    user: Option<&SystemUser>,
) -> Result<(OwnedFd, SocketFile), SocketPathError> {
    if check(path)? {
        if UnixStream::connect(path).is_ok() {
            return Err(SocketPathError::Served);
        }
        std::fs::remove_file(path)?;
    }
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket =
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(io::Error::from)?;
    let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
    rustix::net::bind(&socket, &address).map_err(io::Error::from)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    if let Some(user) = user {
        std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok((socket, file))
}

/// Bytes of the path of a Unix socket, without the terminating NUL (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_is_what_the_kernel_takes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |bytes: usize| {
            let begin = folder.path().join("s").display().to_string();
            std::path::PathBuf::from(format!("{begin:s<bytes$}"))
        };
        assert!(!check(&path(107)).unwrap());
        std::os::unix::net::UnixListener::bind(path(107)).unwrap();
        assert!(check(&path(107)).unwrap());
        assert!(matches!(check(&path(108)), Err(SocketPathError::TooLong(108))));
        assert!(std::os::unix::net::UnixListener::bind(path(108)).is_err());
    }
}
