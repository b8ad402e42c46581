//! Where the file of a Unix socket can be: the start and `--test-config` find the same wrong.
//!
//! Invariants: nothing is changed here.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::net::SocketAddrUnix;

/// Why there is no socket at a path, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketPathError {
    /// The kernel takes no longer ones.
    #[error("its path has {0} bytes; fix: choose one of {SOCKET_PATH_BYTES_MAX} at most")]
    TooLong(usize),
    /// A folder, or a file of another kind: it is left alone.
    #[error("{0} is there; fix: choose another path, or remove that")]
    Taken(&'static str),
    /// A process answers there.
    #[error("another broker serves it; fix: end that one, or choose another path")]
    Served,
    /// The system does not make it.
    #[error("{0}; fix: make its folder, and make that writable for the broker's user")]
    System(#[from] io::Error),
}

/// Checks whether a socket could be made there; whether one is there already.
///
/// # Errors
/// It could not.
pub(crate) fn check(path: &Path) -> Result<bool, SocketPathError> {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(SocketPathError::TooLong(bytes));
    }
    // What else is wrong with it: a byte 0, for one.
    SocketAddrUnix::new(path).map_err(io::Error::from)?;
    let Ok(there) = std::fs::symlink_metadata(path) else {
        return Ok(false);
    };
    match there.file_type() {
        kind if kind.is_socket() => Ok(true),
        kind if kind.is_dir() => Err(SocketPathError::Taken("a folder")),
        _ => Err(SocketPathError::Taken("a file of another kind")),
    }
}

/// Bytes of the path of a Unix socket, without the 0 at its end (unix(7)).
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
