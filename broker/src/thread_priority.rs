//! Lowers the priority of the threads beside the shards.
//!
//! Invariants: none.

/// Lowers the calling thread's priority: shards share the cores with it, and one that has something to do goes first.
/// Not by more, or on a busy machine a password check would take longer than a client waits.
pub(crate) fn give_way_to_shards() {
    const NICE: i32 = 5;
    // Where it fails the priority stays that of the shards, which is slower for them and right all the same.
    let _failed = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}
