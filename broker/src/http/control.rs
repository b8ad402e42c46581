//! The control socket: the same requests as on an `http_api` listener, for root and the broker's user only.
//!
//! Invariants: nobody else can connect at any time, as the mode of the file is 0600 before it listens.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::privileges::SystemUser;
use crate::socket_path::{self, SocketFile, SocketPathError};

/// A listening socket with its file.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    _file: SocketFile,
}

impl ControlSocket {
    /// Creates the file and listens. If the broker changes to another user, that user may connect too.
    ///
    /// # Errors
    /// It cannot be created, or another broker uses it.
    pub(crate) fn open(path: &Path, user: Option<&SystemUser>) -> Result<Self, SocketPathError> {
        let (socket, file) = socket_path::bind(path, 0o600, user)?;
        rustix::net::listen(&socket, BACKLOG).map_err(io::Error::from)?;
        Ok(Self {
            listener: UnixListener::from(socket),
            _file: file,
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

const BACKLOG: i32 = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
