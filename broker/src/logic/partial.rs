//! Packets of which only the beginning has come: what keeps a connection alive meanwhile, and their bytes in sum.
//!
//! Invariant: `Shard::partial_bytes` is the sum of the memory that all connections keep for such packets.

use mqtt::ReasonCode;

use crate::limits;
use crate::logic::Shard;
use crate::logic::connection::{Connection, ConnectionSlot};

/// Whether a client of whose packet so many bytes have come, and so many before, counts as one that sends: mosquitto's
/// tolerance for large packets, of which 1,000 bytes have to come in time. A small packet has to come whole
/// [MQTT-3.1.2-22].
pub(super) fn has_moved(before: usize, now: usize) -> bool {
    now / MOVED_BYTES > before / MOVED_BYTES
}

impl Shard {
    /// The connection keeps no beginning of a packet any more.
    pub(super) fn drop_partial(&mut self, slot: ConnectionSlot) {
        if let Some(connection) = self.delivery.connection(slot) {
            self.partial_bytes -= std::mem::take(&mut connection.partial).capacity();
        }
    }

    /// Closes connections while all together keep too much for packets that have not come whole, those first that keep
    /// the most times the time since they last brought some of it.
    #[inline]
    pub(super) fn bound_partials(&mut self) {
        if self.partial_bytes > limits::PARTIAL_BYTES_MIN {
            self.cut_partials();
        }
    }

    fn cut_partials(&mut self) {
        let settings = self.delivery.settings();
        let most = limits::partial_bytes(
            settings.memory_bytes_max,
            self.outboxes.shards(),
            settings.packet_bytes_max,
        );
        if self.partial_bytes <= most {
            return;
        }
        let now = self.now;
        let weight = |connection: &Connection| {
            let age_ns = now.since_ns(connection.last_received).max(1);
            connection.partial.capacity() as u128 * u128::from(age_ns)
        };
        let connections = self.delivery.connections().iter();
        let mut keep: Vec<_> = connections
            .map(|(slot, connection)| (weight(connection), slot))
            .filter(|(weight, _)| *weight > 0)
            .collect();
        keep.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        for (_, slot) in keep {
            if self.partial_bytes <= most / 4 * 3 {
                return;
            }
            let why =
                "packets that have not come whole keep too much memory, and this one the most for its age";
            self.disconnect(slot, ReasonCode::QuotaExceeded, why);
        }
    }
}

/// Bytes of a large packet that count as a sign of life.
const MOVED_BYTES: usize = 1000;
