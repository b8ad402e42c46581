//! The sizes of a ring, and the error if a ring cannot be made.
//!
//! Invariants: none.

use std::io;

/// The sizes of a ring's queues and buffers.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Entries of the submission queue: requests that wait for the next submit.
    pub entries: u32,
    /// Entries of the completion queue: results that wait to be read.
    pub completions: u32,
    /// Provided receive buffers, at most: a power of two. A ring begins with a few and takes more when they ran out.
    pub buffers: u16,
    /// The size of one receive buffer.
    pub buffer_bytes: u32,
}

impl Default for RingOptions {
    fn default() -> Self {
        RingOptions {
            entries: 1024,
            completions: 8192,
            buffers: 256,
            buffer_bytes: 16 * 1024,
        }
    }
}

/// Why a ring could not be made, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The system or the container forbids `io_uring_setup`.
    #[error(
        "io_uring is not allowed here ({0}): set the sysctl kernel.io_uring_disabled to 0, and in a container \
         allow the system calls io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
    )]
    Forbidden(#[source] io::Error),
    /// The kernel lacks what the ring needs.
    #[error("this kernel's io_uring lacks what is needed ({0}): Linux 6.1 or newer is required")]
    TooOld(#[source] io::Error),
    /// The limit RLIMIT_MEMLOCK is too low.
    #[error(
        "not enough lockable memory for io_uring ({0}): raise the limit, for example `ulimit -l 8192` or \
         LimitMEMLOCK=8M in the systemd unit"
    )]
    LockedMemory(#[source] io::Error),
    /// The limit RLIMIT_NOFILE is too low, or the system's file table is full.
    #[error("no file descriptor is left for io_uring ({0}): raise the limit, for example `ulimit -n 65536`")]
    Descriptors(#[source] io::Error),
    /// Any other error of the operating system.
    #[error("cannot set up io_uring: {0}")]
    Other(#[source] io::Error),
}

impl From<io::Error> for RingError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => RingError::Forbidden(error),
            Some(libc::ENOSYS | libc::EINVAL) => RingError::TooOld(error),
            Some(libc::ENOMEM) => RingError::LockedMemory(error),
            Some(libc::EMFILE | libc::ENFILE) => RingError::Descriptors(error),
            _ => RingError::Other(error),
        }
    }
}
