//! Bounds of the pages of `http_dir`.
//!
//! Invariants: those of [`crate::limits`].

/// Requests for pages that wait to be served. Full: the connection is closed.
pub const PAGE_REQUESTS_MAX: usize = 64;

/// Requests for pages that are served at the same time, each by a thread. Full: they wait.
pub const PAGE_THREADS_MAX: usize = 8;

/// Nanoseconds that a client has to take a page. Over: it is cut.
pub const PAGE_NS_MAX: u64 = 30_000_000_000;

/// Bytes a second that a reader of a page takes at least. Fewer, after a second: it is cut.
pub const PAGE_BYTES_A_SECOND_MIN: u64 = 16 * 1024;
