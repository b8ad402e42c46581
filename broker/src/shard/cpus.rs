//! Chooses the CPU that a shard runs on.
//!
//! Invariants: none.

use glommio::Placement;
use rustix::thread::{CpuSet, sched_getaffinity};

/// The CPUs that the process may use, ascending; at least one.
pub fn allowed_cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// A shard is pinned if there is one for each CPU; with fewer or more, the scheduler decides better.
pub(crate) fn placement(shard: u16, shards: u16, cpus: &[usize]) -> Placement {
    match cpus.get(usize::from(shard)) {
        Some(cpu) if usize::from(shards) == cpus.len() => Placement::Fixed(*cpu),
        _ => Placement::Unbound,
    }
}
