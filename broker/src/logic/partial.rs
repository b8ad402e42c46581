//! Incomplete packets: their effect on the Keep Alive, and their bytes in total.
//!
//! Invariant: `PartialPackets::bytes` is the sum of the memory that all connections keep for such packets.

use mqtt::ReasonCode;

use crate::limits;
use crate::logic::Shard;
use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::time::Timestamp;

/// Whether a client counts as active when this many bytes of an incomplete packet have arrived, and this many before:
/// mosquitto's tolerance for large packets, of which 1,000 bytes have to arrive in time. A small packet has to be
/// complete [MQTT-3.1.2-22].
pub(super) fn has_moved(before: usize, now: usize) -> bool {
    now / MOVED_BYTES > before / MOVED_BYTES
}

/// The incomplete packets of a shard; each is in its [`Connection`].
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

    /// The connection keeps the beginning of a packet, or memory for one, until that is taken.
    #[inline]
    pub(super) fn keep(&mut self, connection: &Connection) {
        self.bytes += connection.partial_capacity();
    }

    /// The connection no longer keeps the beginning of a packet.
    pub(super) fn forget(&mut self, clients: &mut Clients, slot: ConnectionSlot) {
        if let Some(connection) = clients.connection(slot) {
            drop(self.take(connection));
        }
    }

    /// Connections in the order in which they are closed if all together keep too much: first those with the largest
    /// product of bytes and time since the last ones arrived.
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
    /// Closes connections while all together keep too much memory for incomplete packets.
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
            let why = "incomplete packets keep too much memory, and this one the most for its age";
            self.disconnect(slot, ReasonCode::QuotaExceeded, why);
        }
    }
}

/// Whether the packet is complete: it was not handled to its end.
pub(super) fn is_whole(partial: &[u8]) -> bool {
    !partial.is_empty() && missing_bytes(partial) == 0
}

/// Number of missing bytes of a packet whose beginning is `partial`; one if its length is incomplete.
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

/// Bytes of a large packet that count as activity.
const MOVED_BYTES: usize = 1000;
