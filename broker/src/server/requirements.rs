//! Checks that the process may use io_uring, and forbids core dumps, access to its memory, and huge pages.
//!
//! Invariants: what is missing is reported before the first shard starts.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use transport::ring::{Ring, RingOptions};

use super::error::ServerError;

/// Sets these properties of the process.
pub(super) fn forbid_core_dumps_and_huge_pages() {
    forbid_core_dumps();
    forbid_looks_into_memory();
    forbid_huge_pages();
}

/// Forbids core dumps: keys and passwords are in memory.
fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // If limits are forbidden, the system's own rule for core dumps applies.
    let _ = setrlimit(Resource::Core, none);
}

/// Prevents other programs of the same user from tracing the broker and reading its memory (prctl(2),
/// PR_SET_DUMPABLE), which contains keys and passwords. The files of `/proc/self` that the broker reads itself stay
/// readable for it.
pub(super) fn forbid_looks_into_memory() {
    // It succeeds on every kernel that has io_uring.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Forbids transparent huge pages, which the allocator requests. With them the kernel clears megabytes for a table
/// that grows by a little, while clients wait, and freed memory stays allocated if one byte of two megabytes is in
/// use: an idle broker took 33 MB, and 10 MB without them.
fn forbid_huge_pages() {
    // If this fails, huge pages cost memory and time but do no harm.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Creates a ring, because glommio would panic without io_uring.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_looks_into_the_memory_and_the_broker_reads_what_it_needs() {
        forbid_looks_into_memory();
        let is_dumpable = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(is_dumpable, DumpableBehavior::NotDumpable);
        for name in ["status", "stat", "statm", "limits", "cgroup", "uid_map"] {
            assert!(std::fs::read(format!("/proc/self/{name}")).is_ok(), "{name}");
        }
        assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() > 0);
    }
}
