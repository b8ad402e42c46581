//! Lowers the priority of the threads beside the shards.
//!
//! Invariants: none.

/// Lowers the calling thread's priority: shards share the cores with it and take precedence. The reduction is small,
/// or on a busy machine a password check would take longer than a client waits.
pub(crate) fn give_way_to_shards() {
    const NICE: i32 = 5;
    // If it fails, the priority stays that of the shards, which slows these down but is still correct.
    let _failed = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}
