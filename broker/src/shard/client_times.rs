//! Measures the CPU time that a client costs: what the shard does with the bytes that it sent, to whomever they lead in
//! this shard, and the sending of what is for it.
//!
//! Invariants: while nothing is measured, a read or a flush costs one look at a flag.

use transport::clock::thread_cpu_ns;

use super::ShardLoop;
use crate::logic::ConnectionId;

impl ShardLoop {
    /// Work for a connection begins: the CPU time of the thread, if that is measured.
    #[inline]
    pub(super) fn begin_work(&mut self) -> Option<u64> {
        self.logic.client_times().is_measured().then(thread_cpu_ns)
    }

    /// Work for a connection ends.
    #[inline]
    pub(super) fn end_work(&mut self, id: ConnectionId, begun: Option<u64>) {
        if let Some(begun) = begun {
            self.logic.worked_for(id, thread_cpu_ns().saturating_sub(begun));
        }
    }
}
