//! Gives back memory that was only kept for use again, when the shards are asked to.
//!
//! Invariants: once each time that they are asked.

use super::ShardLoop;

/// Where the shard is with giving memory back.
#[derive(Default)]
pub(super) struct GiveBack {
    /// How often it had been asked when it last looked.
    asked: u64,
    /// The receive buffers are still to be given back.
    buffers_due: bool,
}

impl ShardLoop {
    /// Gives back what was only kept for use again, once each time that the shards are asked to. The receive buffers
    /// may have to wait for a turn that handles all completions.
    pub(super) fn give_memory_back(&mut self) {
        let asked = self.health.give_backs();
        if asked != self.give_back.asked {
            self.give_back.asked = asked;
            self.give_back.buffers_due = true;
            self.logic.drop_spare();
            self.connections.drop_spare();
            self.exchange.drop_spare();
            transport::memory::give_back();
        }
        if self.give_back.buffers_due && self.ring.give_back_buffers() {
            self.give_back.buffers_due = false;
        }
    }
}
