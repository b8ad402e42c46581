//! Packets of which only the beginning has come: what keeps a connection alive meanwhile, and their bytes in sum.
//!
//! Invariant: `PartialPackets::bytes` is the sum of the memory that all connections keep for such packets.

use mqtt::ReasonCode;

use crate::limits;
use crate::logic::Shard;
use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::time::Timestamp;

/// Whether a client of whose packet so many bytes have come, and so many before, counts as one that sends: mosquitto's
/// tolerance for large packets, of which 1,000 bytes have to come in time. A small packet has to come whole
/// [MQTT-3.1.2-22].
pub(super) fn has_moved(before: usize, now: usize) -> bool {
    now / MOVED_BYTES > before / MOVED_BYTES
}

/// The packets of a shard of which only the beginning has come; each is in its [`Connection`].
#[derive(Debug, Default)]
pub(super) struct PartialPackets {
    /// The memory that all connections keep for them.
    bytes: usize,
}

impl PartialPackets {
    /// Takes the beginning of a packet out of its connection.
    #[inline]
    pub(super) fn take(&mut self, connection: &mut Connection) -> Vec<u8> {
        let partial = connection.take_partial();
        self.bytes -= partial.capacity();
        partial
    }

    /// The connection has the beginning of a packet, or memory for one, until that is taken.
    #[inline]
    pub(super) fn keep(&mut self, connection: &Connection) {
        self.bytes += connection.partial_capacity();
    }

    /// The connection keeps no beginning of a packet any more.
    pub(super) fn forget(&mut self, clients: &mut Clients, slot: ConnectionSlot) {
        if let Some(connection) = clients.connection(slot) {
            drop(self.take(connection));
        }
    }

    /// Connections in the order in which they are to be closed if all together keep too much: those first that keep
    /// the most times the time since they last brought some of it.
    fn heaviest(clients: &Clients, now: Timestamp) -> Vec<ConnectionSlot> {
        let weight = |connection: &Connection| {
            let age_ns = now.since_ns(connection.last_received()).max(1);
            connection.partial_capacity() as u128 * u128::from(age_ns)
        };
        let connections = clients.connections().iter();
        let mut keep: Vec<_> = connections
            .map(|(slot, connection)| (weight(connection), slot))
            .filter(|(weight, _)| *weight > 0)
            .collect();
        keep.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        keep.into_iter().map(|(_, slot)| slot).collect()
    }
}

impl Shard {
    /// Closes connections while all together keep too much for packets that have not come whole.
    #[inline]
    pub(super) fn bound_partials(&mut self) {
        if self.partials.bytes > limits::PARTIAL_BYTES_MIN {
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
        if self.partials.bytes <= most {
            return;
        }
        for slot in PartialPackets::heaviest(&self.delivery.clients, self.now) {
            if self.partials.bytes <= most / 4 * 3 {
                return;
            }
            let why =
                "packets that have not come whole keep too much memory, and this one the most for its age";
            self.disconnect(slot, ReasonCode::QuotaExceeded, why);
        }
    }
}

/// Whether that is a whole packet: it was not handled to its end.
pub(super) fn is_whole(partial: &[u8]) -> bool {
    !partial.is_empty() && missing_bytes(partial) == 0
}

/// How many bytes a packet lacks whose beginning is `partial`; one if its length has not come whole.
pub(super) fn missing_bytes(partial: &[u8]) -> usize {
    let mut body = 0_usize;
    for (at, &byte) in partial.iter().skip(1).enumerate().take(4) {
        body |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return (2 + at + body).saturating_sub(partial.len());
        }
    }
    1
}

/// Bytes of a large packet that count as a sign of life.
const MOVED_BYTES: usize = 1000;
