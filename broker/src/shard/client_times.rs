//! Measures the CPU time of a client: the shard's work with the bytes that it sent, including deliveries to others in
//! this shard, and the sending of its messages.
//!
//! Invariants: while nothing is measured, a read or a flush costs the check of a flag.

use transport::clock::thread_cpu_ns;

use super::ShardLoop;
use crate::logic::ConnectionId;

impl ShardLoop {
    /// Work for a connection begins: returns the CPU time of the thread, if it is measured.
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
