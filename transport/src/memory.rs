//! Returns freed memory to the operating system.
//!
//! mimalloc keeps freed pages for a while, and returns them when it is asked for memory again. A process that was
//! attacked and is idle now would keep them for ever.
//!
//! Invariants: none.
#![allow(unsafe_code, reason = "a call into the allocator")]

/// Returns freed memory of this thread, and memory that all threads share, to the system.
///
/// A call takes time in proportion to the pages of the calling thread, about a millisecond for a gigabyte. In a process
/// with another allocator it does nothing.
pub fn give_back() {
    // SAFETY: `mi_collect` may be called by any thread at any time, and touches no block that is in use.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
