//! Slow subscribers. They read like the others, then stop reading, and read again after the end of the load, so that
//! messages that the broker kept for them can be distinguished from messages that it dropped.
//!
//! Invariant: all of them stop and resume together, at the times of the timeline.

use super::{Client, Worker};
use crate::connection::SlotToken;
use crate::connection::opening::{Opening, Stage};
use crate::generator::identity::Who;

impl Worker<'_> {
    /// Makes the slow subscribers stop or resume reading.
    pub(super) fn stall_slow(&mut self, now_ns: u64) {
        let Some(times) = self.load.times.filter(|_| self.run.scenario.slow_subscribers > 0) else {
            return;
        };
        let stalled = (times.stall_from_ns()..times.stop_ns).contains(&now_ns);
        if std::mem::replace(&mut self.stalled, stalled) == stalled {
            return;
        }
        for (slot, client) in self.clients.iter_mut().enumerate() {
            let Client {
                who: Who::Slow(_),
                opening: Opening {
                    stage: Stage::Ready, ..
                },
                ..
            } = client
            else {
                continue;
            };
            client.stalled = stalled;
            if stalled {
                self.ring.cancel(SlotToken::new(slot, client.generation).into());
            } else {
                client.connection.receive(&mut self.ring);
            }
        }
    }
}
