//! Handles PINGREQ.
//!
//! Invariants: none.

use crate::logic::handle::Handler;

impl Handler<'_> {
    /// Answers PINGREQ [MQTT-3.12.4-1].
    ///
    /// [MQTT3-3.12.4-1], [MQTT-4.9.0-3]
    pub(in crate::logic) fn handle_pingreq(&mut self) {
        self.shard
            .delivery
            .send_independent(self.slot, |out, _| mqtt::encode::pingresp(out));
    }
}
