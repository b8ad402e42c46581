//! Where a Unix socket can be created: the start and `--test-config` make the same checks.
//!
//! Invariants: nothing is changed.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::net::SocketAddrUnix;

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
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(SocketPathError::TooLong(bytes));
    }
    // Other mistakes, such as a NUL byte.
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
