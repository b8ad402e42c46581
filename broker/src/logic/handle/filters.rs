//! SUBSCRIBE and UNSUBSCRIBE packets with so many filters that they take more than one turn.
//!
//! Invariants: the caller keeps the bytes of the packet, and no later packet of the connection is handled before it.
//! The connection keeps the results so far, so each filter is handled once. The packet is answered once, after its last
//! filter.

use mqtt::frame::{Frame, variable_byte_integer_bytes};
use mqtt::{Packet, ProtocolVersion, ReasonCode};

use crate::logic::delivery::Delivery;
use crate::logic::handle::Handler;
use crate::logic::ids::ConnectionSlot;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::retained::RetainedRequest;

/// What was done of a packet with many filters.
#[derive(Debug, Default)]
pub(in crate::logic) struct FiltersBegun {
    /// Bytes of the filters that were handled.
    pub(super) bytes: usize,
    /// So many of them were handled when it was continued last.
    bytes_before: usize,
    /// The reason codes of the filters that were handled so far.
    pub(super) reasons: Vec<u8>,
    /// Those whose retained messages are to be found, the last one first once the packet is answered.
    pub(super) requests: Vec<RetainedRequest>,
    pub(super) is_answered: bool,
    /// Whether the store has something to keep of it.
    changed: bool,
}

impl FiltersBegun {
    /// Whether it may go on later here: a packet with few filters does not, unless they are long.
    pub(super) fn may_stop(&self) -> bool {
        let is_much = self.bytes - self.bytes_before >= FILTERS_BYTES_AT_ONCE;
        !self.reasons.is_empty() && (is_much || self.reasons.len().is_multiple_of(FILTERS_AT_ONCE))
    }
}

impl Delivery {
    /// Whether the packet that comes next was begun.
    #[inline]
    pub(in crate::logic) fn has_begun_filters(&mut self, slot: ConnectionSlot) -> bool {
        let connection = self.connection(slot);
        let rare = connection.and_then(|connection| connection.rare.as_ref());
        rare.is_some_and(|rare| rare.filters_begun.is_some())
    }
}

impl Handler<'_> {
    /// Continues the packet that was begun; false if its end is not reached.
    pub(in crate::logic) fn continue_filters(&mut self, frame: &Frame<'_>, version: ProtocolVersion) -> bool {
        let connection = self.shard.delivery.connection(self.slot);
        let rare = connection.and_then(|connection| connection.rare.as_mut());
        let Some(mut begun) = rare.and_then(|rare| rare.filters_begun.take()) else {
            unreachable_state("a packet that was not begun");
            return true;
        };
        begun.bytes_before = begun.bytes;
        let delivery = &mut self.shard.delivery;
        delivery.journal.continue_packet(begun.changed);
        match mqtt::decode::decoded_before(frame, version) {
            Ok(Packet::Subscribe(subscribe)) => self.handle_subscribe(&subscribe, *begun),
            Ok(Packet::Unsubscribe(unsubscribe)) => self.handle_unsubscribe(&unsubscribe, *begun),
            _ => {
                unreachable_state("a packet that is another one than before");
                true
            }
        }
    }

    /// Whether the client takes a SUBACK or UNSUBACK for so many filters; if not, its connection ends, as such a packet
    /// cannot be answered and nothing of it is to be done.
    pub(super) fn answer_fits(&mut self, filters: usize) -> bool {
        let Some(connection) = self.shard.delivery.connection(self.slot) else {
            unreachable_state("a packet of a connection that is gone");
            return false;
        };
        // Type and length, the Packet Identifier, and the length of the properties.
        let bytes_max = connection.packet_bytes_max as usize;
        let length = ANSWER_BYTES + filters;
        let length_bytes = variable_byte_integer_bytes(u32::try_from(length).unwrap_or(u32::MAX));
        let fits = 1 + length_bytes + length <= bytes_max;
        if !fits {
            let why = "the answer to its packet is larger than the Maximum Packet Size that it has set";
            self.shard.disconnect(self.slot, ReasonCode::PacketTooLarge, why);
        }
        fits
    }

    /// The share of work is used up: keeps what was done until [`Self::continue_filters`].
    pub(super) fn keep_unfinished(&mut self, mut begun: FiltersBegun) -> bool {
        begun.changed = self.shard.delivery.journal.has_changed();
        if let Some(connection) = self.shard.delivery.connection(self.slot) {
            connection.rare().filters_begun = Some(Box::new(begun));
        }
        false
    }
}

/// Units of work that a filter costs that comes or goes: its look-ups in the tables, and what other shards learn of it.
pub(super) fn filter_work(filter: &str, shards: u16) -> u64 {
    FILTER_WORK + u64::from(shards) + (filter.len() / FILTER_BYTES) as u64
}

/// Bytes of a SUBACK or UNSUBACK behind its fixed header, beside its reason codes.
const ANSWER_BYTES: usize = 3;

/// Filters of a packet that are handled together.
pub(super) const FILTERS_AT_ONCE: usize = 8;

/// Bytes of filters that are handled together.
const FILTERS_BYTES_AT_ONCE: usize = 1024;

const FILTER_WORK: u64 = 24;

/// Bytes of a filter that cost a unit: about a level.
const FILTER_BYTES: usize = 4;
