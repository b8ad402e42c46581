//! The sizes of a ring, and the error if a ring cannot be created.
//!
//! Invariants: none.

use std::io;

use super::Ring;

/// The sizes of a ring's queues and buffers.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Entries of the submission queue: requests that wait for the next submit.
    pub entries: u32,
    /// Entries of the completion queue: results that wait to be read.
    pub completions: u32,
    /// Largest number of provided receive buffers: a power of two. A ring starts with a few and adds more when they
    /// have run out.
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

impl RingOptions {
    /// The sizes of the smallest ring that is sufficient for a thread.
    #[must_use]
    pub fn smallest() -> Self {
        RingOptions {
            entries: ENTRIES_MIN,
            completions: 8 * ENTRIES_MIN,
            ..Self::default()
        }
    }

    /// The same with half of the entries, if that is not too small.
    #[must_use]
    pub fn smaller(&self) -> Option<Self> {
        let options = RingOptions {
            entries: self.entries / 2,
            completions: self.completions / 2,
            ..*self
        };
        (options.entries >= ENTRIES_MIN).then_some(options)
    }

    /// A ring of the calling thread, with fewer entries if the limit of locked memory is too low for all of them.
    ///
    /// # Errors
    /// Those of [`Ring::new`].
    pub fn ring_or_smaller(&self) -> Result<Ring, RingError> {
        match (Ring::new(self), self.smaller()) {
            (Err(RingError::LockedMemory(_)), Some(smaller)) => smaller.ring_or_smaller(),
            (made, _) => made,
        }
    }

    /// The bytes that the ring adds to what RLIMIT_MEMLOCK limits, for a user without CAP_IPC_LOCK. Kernels from 6.14
    /// on count the ring itself and its buffer ring; older ones count less.
    #[must_use]
    pub fn locked_bytes(&self) -> u64 {
        let pages = |bytes: u64| bytes.next_multiple_of(PAGE_BYTES);
        let entries = u64::from(self.entries.next_power_of_two());
        let completions = u64::from(self.completions.next_power_of_two());
        let requests = pages(entries * REQUEST_BYTES);
        let rings = pages(RINGS_HEADER_BYTES + completions * COMPLETION_BYTES + entries * INDEX_BYTES);
        requests + rings + pages(u64::from(self.buffers) * BUFFER_ENTRY_BYTES)
    }
}

/// Entries of the smallest ring.
const ENTRIES_MIN: u32 = 64;
/// The sizes of `struct io_uring_sqe`, `io_uring_cqe` and `io_uring_buf`, and of an index of the submission ring.
const REQUEST_BYTES: u64 = 64;
const COMPLETION_BYTES: u64 = 16;
const BUFFER_ENTRY_BYTES: u64 = 16;
const INDEX_BYTES: u64 = 4;
/// Largest size of the kernel's `struct io_rings`, with its alignment.
const RINGS_HEADER_BYTES: u64 = 512;
const PAGE_BYTES: u64 = 4096;

/// Why a ring could not be created, with what to do about it.
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
        "not enough lockable memory for io_uring ({0}): other programs of this user lock memory too; raise \
         the limit, as root with `ulimit -l 65536` before the start or with LimitMEMLOCK=64M in the systemd unit"
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
