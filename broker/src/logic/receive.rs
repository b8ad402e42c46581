//! Takes the bytes that a connection received, keeps the beginning of an incomplete packet, and calls the handler of
//! each packet. The shell calls it, and passes bytes that were not taken again.
//!
//! Invariants: each packet is handled once, in the order of the bytes, and the result does not depend on how the reads
//! split them. The beginning of a packet is kept as it arrived; no memory is reserved for the announced length. When
//! the share of work is used up, nothing more is handled and the rest of the bytes stays with the caller, so a packet
//! that takes more than one turn keeps its place.

use mqtt::frame::{Frame, PacketType};
use mqtt::{DecodeError, Packet, ProtocolVersion, ReasonCode};

use crate::logic::Shard;
use crate::logic::connection::{ConnectionId, ConnectionSlot};
use crate::logic::consume::PacketContext;
use crate::logic::delivery::Delivery;
use crate::logic::filters_begun::FiltersBegun;
use crate::logic::handle::Handler;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::partial::{has_moved, is_whole, missing_bytes};
use crate::logic::session::SessionSlot;
use crate::time::Timestamp;

impl Shard {
    /// Parses and handles every complete packet; an incomplete tail is kept inside, at most `max_packet_size` of it. A
    /// violation of the protocol makes the connection [`crate::logic::Clients::closing`]. Returns how many bytes were
    /// taken: fewer than there are if the share of work ([`Shard::work`]) is used up; then the rest has to be passed
    /// again, see also [`crate::logic::Clients::is_unfinished`].
    ///
    /// [MQTT3-7.1.1-1], [MQTT3-7.0.0-2], [MQTT-4.2.0-1]
    pub fn receive(&mut self, now: Timestamp, id: ConnectionId, bytes: &[u8]) -> usize {
        self.begin(now);
        let Some(connection) = self.delivery.clients.by_id(id) else {
            // Its last bytes came when it was gone.
            return bytes.len();
        };
        if connection.is_closing() {
            return bytes.len();
        }
        self.begin_flow();
        let Some(connection) = self.delivery.clients.by_id(id) else {
            unreachable_state("a connection that was just there");
            return bytes.len();
        };
        let mut partial = self.partials.take(connection);
        let messages_before = self.delivery.messages_to_charge();
        let before = partial.len();
        let (rest, mut stopped) = self.complete(id.slot, &mut partial, bytes);
        let mut taken = bytes.len() - rest.len();
        let mut is_alive = stopped || before > 0 && partial.is_empty();
        if !stopped && partial.is_empty() {
            let consumed = self.consume(id.slot, rest);
            stopped = consumed.stopped;
            taken += consumed.bytes;
            is_alive |= stopped || consumed.bytes > 0;
        }
        if let Some(messages_before) = messages_before {
            self.charge_rate(id, messages_before, if stopped { taken } else { bytes.len() });
        }
        self.pause_publisher(id);
        let Some(connection) = self.delivery.clients.by_id(id) else {
            unreachable_state("a connection that was just there");
            return bytes.len();
        };
        let is_open = !connection.is_closing();
        if is_open {
            connection.keep_partial(partial);
        }
        if is_open && !stopped {
            connection.extend_partial(bytes.get(taken..).unwrap_or_default());
        }
        if is_alive || has_moved(before, connection.partial().len()) {
            connection.note_received(now);
        }
        self.partials.keep(connection);
        if !is_open || !stopped {
            taken = bytes.len();
        }
        self.delivery.counters().bytes_received.add(taken as u64);
        self.bound_partials();
        taken
    }

    /// Handles the packet whose beginning is in `partial`, if `bytes` complete it; returns the remaining bytes, and
    /// whether the share of work is used up.
    fn complete<'a>(
        &mut self,
        slot: ConnectionSlot,
        partial: &mut Vec<u8>,
        mut bytes: &'a [u8],
    ) -> (&'a [u8], bool) {
        while !partial.is_empty() {
            let missing = missing_bytes(partial);
            let Some((taken, rest)) = bytes.split_at_checked(missing.min(bytes.len())) else {
                break;
            };
            if taken.is_empty() && missing > 0 {
                break;
            }
            partial.extend_from_slice(taken);
            bytes = rest;
            let consumed = self.consume(slot, partial);
            if consumed.bytes > 0 || self.delivery.reading(slot).is_none() {
                partial.clear();
            }
            if consumed.stopped {
                return (bytes, true);
            }
        }
        (bytes, is_whole(partial))
    }

    #[inline]
    pub(super) fn handler(&mut self, slot: ConnectionSlot, session: SessionSlot) -> Handler<'_> {
        Handler {
            shard: self,
            slot,
            session,
        }
    }

    /// Handles every packet except CONNECT and PUBLISH. False if it continues when there is a new share of work.
    ///
    /// [MQTT3-3.1.0-2]
    pub(super) fn handle(
        &mut self,
        slot: ConnectionSlot,
        session: SessionSlot,
        version: ProtocolVersion,
        frame: &Frame<'_>,
    ) -> bool {
        let has_filters = matches!(frame.packet_type, PacketType::Subscribe | PacketType::Unsubscribe);
        if has_filters && self.delivery.clients.has_begun_filters(slot) {
            return self.handler(slot, session).continue_filters(frame, version);
        }
        self.work.spend(1 + (frame.wire_bytes / DECODED_BYTES) as u64);
        self.delivery.counters().count_received(frame.packet_type);
        if !frame.packet_type.is_acknowledgement() {
            return self.handle_seldom(slot, session, version, frame);
        }
        match mqtt::decode::ack(frame, version) {
            Ok(ack) => {
                self.delivery.journal.begin_packet();
                self.handler(slot, session).handle_ack(frame.packet_type, &ack);
            }
            Err(error) => self.refuse_bytes(slot, error),
        }
        true
    }

    /// Handles packets other than acknowledgements, as a [`Packet`], whose copies cost more than an acknowledgement
    /// does.
    #[inline(never)]
    fn handle_seldom(
        &mut self,
        slot: ConnectionSlot,
        session: SessionSlot,
        version: ProtocolVersion,
        frame: &Frame<'_>,
    ) -> bool {
        let packet = match mqtt::decode::packet(frame, version) {
            Ok(packet) => packet,
            Err(error) => {
                self.refuse_bytes(slot, error);
                return true;
            }
        };
        self.delivery.journal.begin_packet();
        let mut handler = self.handler(slot, session);
        match packet {
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
                unreachable_state("an acknowledgement, which is decoded as one");
            }
            Packet::Subscribe(subscribe) => {
                return handler.handle_subscribe(&subscribe, FiltersBegun::default());
            }
            Packet::Unsubscribe(unsubscribe) => {
                return handler.handle_unsubscribe(&unsubscribe, FiltersBegun::default());
            }
            Packet::PingReq => handler.handle_pingreq(),
            Packet::Disconnect(disconnect) => handler.handle_disconnect(&disconnect),
            // A second CONNECT [MQTT-3.1.0-2], or what only servers send.
            Packet::Connect(_) => handler.protocol_error(ReasonCode::ProtocolError, "a second CONNECT"),
            Packet::Auth(auth) => handler.handle_auth(&auth),
            Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Publish(_) => {
                handler.protocol_error(ReasonCode::ProtocolError, "a packet that only a server sends");
            }
        }
        true
    }

    /// Malformed bytes: closes, in 5.0 with the reason [MQTT-4.13.1-1].
    pub(super) fn refuse_bytes(&mut self, slot: ConnectionSlot, error: DecodeError) {
        let (reason, why) = (error.reason(), format!("{error} {}", error.statement()));
        let most = self.delivery.settings().packet_bytes_max;
        let limit = match reason {
            ReasonCode::PacketTooLarge => format!(": max_packet_size is {most}"),
            _ => String::new(),
        };
        self.protocol_error_with(slot, reason, &why, &format!("{why}{limit}"));
    }
}

impl Delivery {
    /// Messages that came so far, if what clients send is to be charged.
    #[inline]
    fn messages_to_charge(&self) -> Option<u64> {
        let received = &self.counters().publishes_received;
        self.flow.has_rates().then(|| received.get())
    }

    /// How the connection is to be read, unless it is closing.
    #[inline]
    pub(super) fn reading(&mut self, slot: ConnectionSlot) -> Option<PacketContext> {
        let packet_bytes_max = self.settings().packet_bytes_max;
        let connection = self.clients.connection(slot)?;
        (!connection.is_closing()).then_some(PacketContext {
            version: connection.version(),
            session: connection.session()?,
            packet_bytes_max,
        })
    }
}

/// Bytes that cost about one unit of work to decode.
const DECODED_BYTES: usize = 64;
