//! PINGREQ.

use super::super::Shard;
use super::super::connection::ConnectionSlot;

impl Shard {
    /// Answers PINGREQ [MQTT-3.12.4-1].
    ///
    /// [MQTT3-3.12.4-1], [MQTT-4.9.0-3]
    pub(in crate::logic) fn handle_pingreq(&mut self, slot: ConnectionSlot) {
        self.clients.send(slot, |out, _| mqtt::encode::pingresp(out));
    }
}
