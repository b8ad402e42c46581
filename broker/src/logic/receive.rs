//! From bytes to packets, and the packets to their handlers.
//!
//! Invariants: a packet is handled once, in the order of the bytes; whatever the reads cut, the outcome is the same.
//! The beginning of a packet is kept as it came, nothing is reserved for what it announces. QoS 0 publishes that need
//! nothing but passing on are gathered while they follow one another with one topic ([`Run`]) and passed on before
//! anything else is handled, so their order with everything else is kept.

use mqtt::frame::{Frame, PacketType};
use mqtt::packet::Publish;
use mqtt::{DecodeError, Packet, ProtocolVersion, QoS, ReasonCode};

use crate::limits;
use crate::logic::Shard;
use crate::logic::connection::{ConnectionId, ConnectionSlot, Stage};
use crate::logic::handle::Handler;
use crate::logic::handle::publish::is_as_indicated;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{RawPacket, Run};
use crate::logic::session::SessionSlot;
use crate::time::Timestamp;

/// How the bytes of a connection are to be read.
#[derive(Clone, Copy, Debug)]
struct PacketContext {
    version: ProtocolVersion,
    session: SessionSlot,
    packet_bytes_max: u32,
}

/// A run being gathered: where it lies in the bytes that are being read.
#[derive(Clone, Copy, Debug)]
struct Gathering<'a> {
    session: SessionSlot,
    version: ProtocolVersion,
    topic: &'a str,
    start: usize,
    end: usize,
    count: u32,
    packet_bytes_max: u32,
    payload_bytes: u64,
}

impl Shard {
    /// Parses and handles every whole packet; an incomplete tail is kept inside, at most `max_packet_size` of it.
    /// What breaks the protocol makes the connection [`Shard::closing`].
    ///
    /// [MQTT3-7.1.1-1], [MQTT3-7.0.0-2], [MQTT-4.2.0-1]
    pub fn receive(&mut self, now: Timestamp, id: ConnectionId, bytes: &[u8]) {
        self.begin(now);
        let Some(connection) = self.delivery.by_id(id) else {
            // Its last bytes came when it was gone.
            return;
        };
        if connection.stage == Stage::Closing {
            return;
        }
        connection.last_received = now;
        self.begin_flow();
        let Some(connection) = self.delivery.by_id(id) else {
            return unreachable_state("a connection that was just there");
        };
        let partial = std::mem::take(&mut connection.partial);
        self.delivery.counters().bytes_received.add(bytes.len() as u64);
        let (partial, bytes) = self.complete(id.slot, partial, bytes);
        let consumed = if partial.is_empty() {
            self.consume(id.slot, bytes)
        } else {
            0
        };
        self.pause_publisher(id);
        let Some(connection) = self.delivery.by_id(id) else {
            return unreachable_state("a connection that was just there");
        };
        if connection.stage != Stage::Closing {
            connection.partial = partial;
            connection
                .partial
                .extend_from_slice(bytes.get(consumed..).unwrap_or_default());
            if connection.partial.is_empty() && connection.partial.capacity() > limits::PARTIAL_KEPT_BYTES_MAX
            {
                connection.partial = Vec::new();
            }
        }
    }

    /// Handles the packet whose beginning is in `partial`, if `bytes` end it; returns what is left of both.
    fn complete<'a>(
        &mut self,
        slot: ConnectionSlot,
        mut partial: Vec<u8>,
        mut bytes: &'a [u8],
    ) -> (Vec<u8>, &'a [u8]) {
        while !partial.is_empty() {
            let missing = missing_bytes(&partial).min(bytes.len());
            let Some((taken, rest)) = bytes.split_at_checked(missing).filter(|_| missing > 0) else {
                break;
            };
            partial.extend_from_slice(taken);
            bytes = rest;
            if self.consume(slot, &partial) > 0 || !self.is_open(slot) {
                partial.clear();
            }
        }
        (partial, bytes)
    }

    /// Handles all whole packets at the front of `bytes`; returns how many bytes they were.
    fn consume(&mut self, slot: ConnectionSlot, bytes: &[u8]) -> usize {
        let mut at = 0;
        let mut run: Option<Gathering<'_>> = None;
        let mut packets = 0;
        let mounted = self
            .delivery
            .connection(slot)
            .is_some_and(|connection| connection.mounted);
        while let Some(PacketContext {
            version,
            session,
            packet_bytes_max,
        }) = self.reading(slot)
        {
            let rest = bytes.get(at..).unwrap_or_default();
            let frame = match mqtt::frame::split(rest, packet_bytes_max) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    self.pass_on(slot, bytes, run.take());
                    self.refuse_bytes(slot, error);
                    break;
                }
            };
            let (start, end) = (at, at + frame.wire_bytes);
            at = end;
            packets += 1;
            if frame.packet_type == PacketType::Publish {
                let publish = match mqtt::decode::publish(&frame, version) {
                    Ok(publish) => publish,
                    Err(error) => {
                        self.pass_on(slot, bytes, run.take());
                        self.refuse_bytes(slot, error);
                        break;
                    }
                };
                if !mounted && goes_on_as_it_is(&publish) && self.payload_fits(&publish) {
                    match &mut run {
                        Some(run) if run.topic == publish.topic && run.end == start => run.add(end, &publish),
                        _ => {
                            self.pass_on(slot, bytes, run.take());
                            run = Some(Gathering::new(session, version, start, end, &publish));
                        }
                    }
                    continue;
                }
                self.pass_on(slot, bytes, run.take());
                let raw = RawPacket {
                    version,
                    bytes: bytes.get(start..end).unwrap_or_default(),
                };
                self.delivery.journal.begin_packet();
                self.handler(slot, session).handle_publish(&publish, raw);
                continue;
            }
            if let Some(run) = run.take() {
                self.pass_on(slot, bytes, Some(run));
            }
            self.handle(slot, session, version, &frame);
        }
        self.pass_on(slot, bytes, run);
        self.delivery.counters().packets_received.add(packets);
        at
    }

    /// Passes a gathered run on.
    #[inline]
    fn pass_on(&mut self, slot: ConnectionSlot, bytes: &[u8], run: Option<Gathering<'_>>) {
        // Nothing was gathered since the last one.
        let Some(gathered) = run else { return };
        let run = Run {
            packets: bytes.get(gathered.start..gathered.end).unwrap_or_default(),
            version: gathered.version,
            count: gathered.count,
            packet_bytes_max: gathered.packet_bytes_max,
            payload_bytes: gathered.payload_bytes,
        };
        self.handler(slot, gathered.session)
            .handle_run(gathered.topic, &run);
    }

    #[inline]
    fn handler(&mut self, slot: ConnectionSlot, session: SessionSlot) -> Handler<'_> {
        Handler {
            shard: self,
            slot,
            session,
        }
    }

    /// How the connection is to be read, unless it is closing.
    #[inline]
    fn reading(&mut self, slot: ConnectionSlot) -> Option<PacketContext> {
        let packet_bytes_max = self.delivery.settings().packet_bytes_max;
        let connection = self.delivery.connection(slot)?;
        (connection.stage != Stage::Closing).then_some(PacketContext {
            version: connection.version,
            session: connection.session?,
            packet_bytes_max,
        })
    }

    fn is_open(&mut self, slot: ConnectionSlot) -> bool {
        self.reading(slot).is_some()
    }

    // [MQTT3-4.8.0-2]
    #[inline]
    fn payload_fits(&self, publish: &Publish<'_>) -> bool {
        let settings = self.delivery.settings();
        publish.payload.len() <= settings.payload_bytes_max as usize
            && (publish.properties.is_empty()
                || !settings.check_payload_format
                || is_as_indicated(publish.properties, publish.payload))
    }

    /// Everything but CONNECT and PUBLISH.
    ///
    /// [MQTT3-3.1.0-2]
    fn handle(
        &mut self,
        slot: ConnectionSlot,
        session: SessionSlot,
        version: ProtocolVersion,
        frame: &Frame<'_>,
    ) {
        let packet = match mqtt::decode::packet(frame, version) {
            Ok(packet) => packet,
            Err(error) => return self.refuse_bytes(slot, error),
        };
        self.delivery.journal.begin_packet();
        let mut handler = self.handler(slot, session);
        match packet {
            Packet::PubAck(ack) => handler.handle_puback(&ack),
            Packet::PubRec(ack) => handler.handle_pubrec(&ack),
            Packet::PubRel(ack) => handler.handle_pubrel(&ack),
            Packet::PubComp(ack) => handler.handle_pubcomp(&ack),
            Packet::Subscribe(subscribe) => handler.handle_subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => handler.handle_unsubscribe(&unsubscribe),
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
    }

    /// Bytes that are no packet: closes, in 5.0 with the reason [MQTT-4.13.1-1].
    fn refuse_bytes(&mut self, slot: ConnectionSlot, error: DecodeError) {
        let why = format!("{error} {}", error.statement());
        self.protocol_error(slot, error.reason(), &why);
    }
}

impl<'a> Gathering<'a> {
    fn new(
        session: SessionSlot,
        version: ProtocolVersion,
        start: usize,
        end: usize,
        publish: &Publish<'a>,
    ) -> Self {
        Self {
            session,
            version,
            topic: publish.topic,
            start,
            end,
            count: 1,
            packet_bytes_max: packet_bytes(start, end),
            payload_bytes: publish.payload.len() as u64,
        }
    }

    #[inline]
    fn add(&mut self, end: usize, publish: &Publish<'_>) {
        self.packet_bytes_max = self.packet_bytes_max.max(packet_bytes(self.end, end));
        self.end = end;
        self.count += 1;
        self.payload_bytes += publish.payload.len() as u64;
    }
}

fn packet_bytes(start: usize, end: usize) -> u32 {
    u32::try_from(end - start).unwrap_or(u32::MAX)
}

/// Whether a PUBLISH may go to subscribers as the bytes that came: QoS 0, not retained, and no property that is meant
/// for this hop alone.
#[inline]
fn goes_on_as_it_is(publish: &Publish<'_>) -> bool {
    publish.qos == QoS::AtMostOnce
        && !publish.retain
        && !publish.topic.is_empty()
        && (publish.properties.is_empty()
            || (publish.properties.topic_alias().is_none()
                && publish.properties.subscription_identifier().is_none()))
}

/// How many bytes a packet lacks whose beginning is `partial`; one if its length has not come whole.
fn missing_bytes(partial: &[u8]) -> usize {
    let mut body = 0_usize;
    for (at, &byte) in partial.iter().skip(1).enumerate().take(4) {
        body |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return (2 + at + body).saturating_sub(partial.len());
        }
    }
    1
}
