//! Checks what the process needs from the system (io_uring, memory that may be locked) and forbids core dumps.
//!
//! Invariants: what is missing is reported before the first shard starts.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use transport::ring::{Ring, RingOptions};

use super::error::ServerError;

/// The RLIMIT_MEMLOCK that glommio needs.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// Forbids core dumps: keys and passwords are in memory.
pub(super) fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Where limits are forbidden, the system's own rule for core dumps holds.
    let _ = setrlimit(Resource::Core, none);
}

/// Raises the limit of locked memory as far as it goes, and makes a ring: glommio would panic where io_uring is
/// missing.
///
/// # Errors
/// io_uring is missing or forbidden, or too little memory may be locked.
pub(super) fn check_io_uring() -> Result<(), ServerError> {
    let limit = getrlimit(Resource::Memlock);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Only what is allowed is asked for, so this fails only where limits are forbidden; the check below stands.
    let _ = setrlimit(Resource::Memlock, raised);
    if let Some(bytes) = getrlimit(Resource::Memlock).current
        && bytes < MEMLOCK_BYTES_MIN
    {
        return Err(ServerError::LockedMemory {
            bytes,
            needed: MEMLOCK_BYTES_MIN,
        });
    }
    Ring::new(&RingOptions {
        entries: 8,
        completions: 16,
        buffers: 1,
        buffer_bytes: 4096,
    })?;
    Ok(())
}
