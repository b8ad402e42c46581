//! Checks that the process may use io_uring, and forbids core dumps and huge pages.
//!
//! Invariants: what is missing is reported before the first shard starts.

use rustix::process::{Resource, Rlimit, setrlimit};
use transport::ring::{Ring, RingOptions};

use super::error::ServerError;

/// Forbids what a broker must not have.
pub(super) fn forbid_core_dumps_and_huge_pages() {
    forbid_core_dumps();
    forbid_huge_pages();
}

/// Forbids core dumps: keys and passwords are in memory.
fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Where limits are forbidden, the system's own rule for core dumps holds.
    let _ = setrlimit(Resource::Core, none);
}

/// Forbids transparent huge pages, which the allocator asks for. With them the kernel clears megabytes for a table that
/// grows by a little, while clients wait, and freed memory stays where one byte of two megabytes is in use: an idle
/// broker took 33 MB, and 10 MB without them.
fn forbid_huge_pages() {
    // Where it is forbidden to forbid them, they cost memory and time and harm nothing.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Makes a ring: glommio would panic where io_uring is missing.
///
/// # Errors
/// io_uring is missing or forbidden.
pub(super) fn check_io_uring() -> Result<(), ServerError> {
    Ring::new(&RingOptions {
        entries: 8,
        completions: 16,
        buffers: 1,
        buffer_bytes: 4096,
    })?;
    Ok(())
}
