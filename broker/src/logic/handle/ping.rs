//! PINGREQ.

use crate::logic::Shard;
use crate::logic::connection::ConnectionSlot;

impl Shard {
    /// Answers PINGREQ [MQTT-3.12.4-1].
    ///
    /// [MQTT3-3.12.4-1], [MQTT-4.9.0-3]
    pub(in crate::logic) fn handle_pingreq(&mut self, slot: ConnectionSlot) {
        self.delivery.send(slot, |out, _| mqtt::encode::pingresp(out));
    }
}
