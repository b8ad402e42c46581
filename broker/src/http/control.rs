//! The control socket: the same requests as on an `http_api` listener, for root and the broker's user only.
//!
//! Invariants: nobody can connect before the mode of the file is 0600. The file is removed when the broker ends, if
//! its folder belongs to the broker's user. It is created before the broker gives up root, so it may be in a folder
//! where only root may write. A socket that another broker uses is not replaced.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::privileges::SystemUser;
use crate::socket_path::{self, SocketPathError};

/// A listening socket with its file.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Creates the file and listens. If the broker changes to another user, that user may connect too.
    ///
    /// # Errors
    /// It cannot be created, or another broker uses it.
    pub(crate) fn open(path: &Path, user: Option<&SystemUser>) -> Result<Self, SocketPathError> {
        remove_left_behind(path)?;
        Ok(Self {
            listener: listen(path, user)?,
            path: path.to_owned(),
        })
    }

    /// A descriptor to accept on.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        Ok(UnixListener::from(OwnedFd::from(self.listener.try_clone()?)))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // It may be gone already; in a folder of root it stays, and the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn listen(path: &Path, user: Option<&SystemUser>) -> io::Result<UnixListener> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    if let Some(user) = user {
        std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Removes the socket of a broker that was killed.
fn remove_left_behind(path: &Path) -> Result<(), SocketPathError> {
    if !socket_path::check(path)? {
        return Ok(());
    }
    if UnixStream::connect(path).is_ok() {
        return Err(SocketPathError::Served);
    }
    Ok(std::fs::remove_file(path)?)
}

const BACKLOG: i32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_for_its_owner_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        // What a killed broker leaves behind.
        drop(UnixListener::bind(&path).unwrap());
        let control = ControlSocket::open(&path, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = ControlSocket::open(&path, None).unwrap_err();
        assert!(matches!(taken, SocketPathError::Served));
        drop(control);
        assert!(!path.exists());
        std::fs::write(&path, "x").unwrap();
        assert!(
            ControlSocket::open(&path, None).is_err(),
            "a file of another kind stays"
        );
        assert!(path.exists());
    }
}
