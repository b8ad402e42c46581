//! The broker is asked to end: it does what it has begun, writes all of it, and starts again.
//!
//! Invariants: all that was handled is there after the start, acknowledged or not; a Will that was published is not.

use super::connection::Place;
use super::world::World;
use crate::model::{Checked, Moment};

impl World {
    /// Ends as by SIGTERM, and starts again after a while.
    pub(super) fn stop(&mut self) -> Checked {
        self.note(|| "it is to end".to_owned());
        self.drop_pending();
        self.come_to_rest()?;
        if !self.is_exchanged() || self.waits_for_store() {
            // It would be cut off.
            return self.crash();
        }
        self.ran.stops += 1;
        for shard in 0..self.shards.len() {
            let now = self.shards[shard].now;
            self.shards[shard].logic.shut_down(now);
            let at = Moment {
                now: now.0,
                cause: self.step,
            };
            self.model.shut_down(shard, at);
            self.observe(shard)?;
        }
        self.come_to_rest()?;
        self.model.stopped();
        self.start_again()
    }

    /// Connections whose CONNECT has not come whole are closed.
    fn drop_pending(&mut self) {
        for shard in &mut self.shards {
            for number in shard.pending.drain(..) {
                self.connections[number].place = Place::Gone;
            }
        }
    }

    /// The shards and the disk go on until nothing is left to do; the clients do nothing.
    fn come_to_rest(&mut self) -> Checked {
        for _ in 0..REST_ROUNDS_MAX {
            self.moved = false;
            for shard in 0..self.shards.len() {
                self.run_turn(shard)?;
            }
            self.moved |= self.complete_answers();
            self.moved |= self.step_store()?;
            if !self.moved {
                return Ok(());
            }
        }
        Err("it does not come to rest before it ends".to_owned())
    }
}

/// Rounds after which whatever goes on would go on for ever.
const REST_ROUNDS_MAX: usize = 2_000;
