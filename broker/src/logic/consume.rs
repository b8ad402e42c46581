//! Splits received bytes into packets and handles them, until the bytes or the connection's share of work are used up.
//!
//! QoS 0 publishes that only need forwarding are gathered into a [`Run`] while they follow one another with the same
//! topic, and are published together.
//!
//! Invariants: a run is published before any other packet is handled, so the order of packets is kept. Bytes of a
//! packet that was not handled are not consumed. If a run could not be published, its bytes are not consumed either,
//! and the caller passes them in again.

use std::ops::Range;

use mqtt::frame::{Frame, PacketType};
use mqtt::packet::Publish;
use mqtt::{DecodeError, ProtocolVersion, QoS};

use crate::limits;
use crate::logic::Shard;
use crate::logic::connection::ConnectionSlot;
use crate::logic::delivery::Delivery;
use crate::logic::handle::publish::is_as_indicated;
use crate::logic::message::{RawPacket, Run};
use crate::logic::session::SessionSlot;

/// The state of a connection that determines how its bytes are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketContext {
    pub(super) version: ProtocolVersion,
    pub(super) session: SessionSlot,
    pub(super) packet_bytes_max: u32,
}

/// How far [`Shard::consume`] got, and why it stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsumeResult {
    pub(super) bytes: usize,
    /// The share of work is used up: there may be more packets.
    pub(super) stopped: bool,
}

/// Where a later call has to continue.
#[derive(Clone, Copy, Debug)]
struct Stopped {
    at: usize,
    /// Packets after that place that were gathered but not handled.
    packets: u64,
}

impl Stopped {
    fn before(at: usize) -> Self {
        Self { at, packets: 0 }
    }
}

/// A run being gathered: its place in the bytes that are being read.
#[derive(Clone, Copy, Debug)]
struct RunInProgress<'a> {
    session: SessionSlot,
    version: ProtocolVersion,
    topic: &'a str,
    start: usize,
    end: usize,
    count: u32,
    packet_bytes_max: u32,
    payload_bytes: u64,
    /// The most bytes it may have: the share of work allows this many to be copied.
    bytes_max: usize,
}

/// A packet that is not gathered, its place, and what was gathered before it.
struct SinglePacket<'a, 'p> {
    context: PacketContext,
    frame: &'p Frame<'a>,
    publish: Option<&'p Publish<'a>>,
    start: usize,
    end: usize,
    run: Option<RunInProgress<'a>>,
}

impl Shard {
    /// Handles complete packets at the front of `bytes`: all, or as many as the share of work allows. Gathering
    /// changes nothing, so the connection's state is read again only after packets were handled.
    pub(super) fn consume(&mut self, slot: ConnectionSlot, bytes: &[u8]) -> ConsumeResult {
        let (mut at, mut packets, mut stopped, mut run) = (0, 0, None, None::<RunInProgress<'_>>);
        let mounted = self.delivery.clients.is_mounted(slot);
        let mut reading = self.delivery.reading(slot);
        while let Some(context) = reading {
            let rest = bytes.get(at..).unwrap_or_default();
            let frame = match mqtt::frame::split(rest, context.packet_bytes_max) {
                Ok(Some(frame)) if self.is_too_much_now(&frame) => {
                    stopped = self
                        .pass_on(slot, bytes, run.take(), at)
                        .or(Some(Stopped::before(at)));
                    break;
                }
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    stopped = self.pass_on_then_refuse(slot, bytes, run.take(), at, error);
                    break;
                }
            };
            let decoded;
            let publish = if frame.packet_type == PacketType::Publish {
                decoded = mqtt::decode::publish(&frame, context.version);
                match &decoded {
                    Ok(publish) => Some(self.spend_on_properties(publish)),
                    Err(error) => {
                        stopped = self.pass_on_then_refuse(slot, bytes, run.take(), at, *error);
                        break;
                    }
                }
            } else {
                None
            };
            let (start, end) = (at, at + frame.wire_bytes);
            if let Some(publish) = publish
                && !mounted
                && is_forwarded_unchanged(publish)
                && self.delivery.payload_fits(publish)
            {
                if !run.as_mut().is_some_and(|run| run.add(publish, start, end)) {
                    stopped = self.pass_on(slot, bytes, run.take(), start);
                    if stopped.is_some() {
                        break;
                    }
                    let bytes_max = self.run_bytes_max(slot, publish.topic);
                    run = Some(RunInProgress::new(context, start..end, publish, bytes_max));
                    reading = self.delivery.reading(slot);
                }
                (at, packets) = (end, packets + 1);
                continue;
            }
            let alone = SinglePacket {
                context,
                frame: &frame,
                publish,
                start,
                end,
                run: run.take(),
            };
            stopped = self.consume_alone(slot, bytes, alone);
            if stopped.is_none_or(|stopped| stopped.at == end) {
                (at, packets) = (end, packets + 1);
            }
            if stopped.is_some() || at == bytes.len() {
                break;
            }
            reading = self.delivery.reading(slot);
        }
        self.end_consuming(slot, bytes, run, at, packets, stopped)
    }

    /// Passes on the last gathered run, and counts the packets that were handled.
    #[inline(always)]
    fn end_consuming(
        &mut self,
        slot: ConnectionSlot,
        bytes: &[u8],
        run: Option<RunInProgress<'_>>,
        at: usize,
        packets: u64,
        mut stopped: Option<Stopped>,
    ) -> ConsumeResult {
        if let Some(left) = self.pass_on(slot, bytes, run, at).filter(|left| left.at < at) {
            stopped = Some(left);
        }
        let Stopped { at, packets: left } = stopped.unwrap_or(Stopped::before(at));
        self.delivery.counters().packets_received.add(packets - left);
        ConsumeResult {
            bytes: at,
            stopped: stopped.is_some(),
        }
    }

    /// Handles a packet that is not gathered; returns where to continue later, if the share of work is used up.
    #[inline]
    fn consume_alone(
        &mut self,
        slot: ConnectionSlot,
        bytes: &[u8],
        alone: SinglePacket<'_, '_>,
    ) -> Option<Stopped> {
        let SinglePacket {
            context,
            frame,
            publish,
            start,
            end,
            run,
        } = alone;
        let PacketContext { version, session, .. } = context;
        if let Some(run) = run {
            let stopped = self.pass_on(slot, bytes, Some(run), start);
            if stopped.is_some() {
                return stopped;
            }
        }
        let done = match publish {
            Some(publish) => {
                let bytes = bytes.get(start..end).unwrap_or_default();
                let raw = RawPacket { version, bytes };
                self.delivery.journal.begin_packet();
                self.handler(slot, session).handle_publish(publish, raw)
            }
            None => self.handle(slot, session, version, frame),
        };
        if !done {
            return Some(Stopped::before(start));
        }
        self.work.is_spent().then_some(Stopped::before(end))
    }

    /// Passes a gathered run on. Returns where to continue later, if the share of work is used up: before the run if
    /// the share did not suffice for it, otherwise at `next`.
    #[inline]
    fn pass_on(
        &mut self,
        slot: ConnectionSlot,
        bytes: &[u8],
        run: Option<RunInProgress<'_>>,
        next: usize,
    ) -> Option<Stopped> {
        let gathered = run?;
        let run = Run {
            packets: bytes.get(gathered.start..gathered.end).unwrap_or_default(),
            version: gathered.version,
            count: gathered.count,
            packet_bytes_max: gathered.packet_bytes_max,
            payload_bytes: gathered.payload_bytes,
        };
        let done = self
            .handler(slot, gathered.session)
            .handle_run(gathered.topic, &run);
        if !done {
            return Some(Stopped {
                at: gathered.start,
                packets: u64::from(gathered.count),
            });
        }
        // A connection that was ended by it is read no further.
        (self.work.is_spent() || self.delivery.reading(slot).is_none()).then_some(Stopped::before(next))
    }

    /// The same before malformed bytes, which are refused unless handling continues later.
    #[cold]
    fn pass_on_then_refuse(
        &mut self,
        slot: ConnectionSlot,
        bytes: &[u8],
        run: Option<RunInProgress<'_>>,
        at: usize,
        error: DecodeError,
    ) -> Option<Stopped> {
        let stopped = self.pass_on(slot, bytes, run, at);
        if stopped.is_none() {
            self.refuse_bytes(slot, error);
        }
        stopped
    }
}

impl Shard {
    /// Whether the turn is over, and the packet may cost more than the allowance that a client gets nevertheless: it
    /// is not decoded before the next turn.
    #[inline]
    fn is_too_much_now(&self, frame: &Frame<'_>) -> bool {
        frame.wire_bytes > limits::MEAGER_PACKET_BYTES && self.work.is_meager()
    }

    /// Properties are read several times, and there may be very many.
    #[inline]
    fn spend_on_properties<'a, 'p>(&mut self, publish: &'p Publish<'a>) -> &'p Publish<'a> {
        if !publish.properties.is_empty() {
            let bytes = publish.properties.as_bytes().len();
            self.work.spend((bytes / limits::PROPERTY_BYTES) as u64);
        }
        publish
    }

    /// Bytes of messages of a topic that may be passed on together: as many as the share of work allows to be copied.
    /// The first message of a topic is passed on alone, because the number of its receivers is not known yet.
    #[inline]
    fn run_bytes_max(&self, slot: ConnectionSlot, topic: &str) -> usize {
        let connection = self.delivery.clients.connections().get(slot);
        let last = connection.and_then(|connection| self.routing.route(connection.last_route()?));
        let bytes = last.and_then(|route| route.run_bytes(topic, self.work.left()));
        bytes.unwrap_or(0)
    }
}

impl Delivery {
    // [MQTT3-4.8.0-2]
    #[inline]
    fn payload_fits(&self, publish: &Publish<'_>) -> bool {
        let settings = self.settings();
        publish.payload.len() <= settings.payload_bytes_max as usize
            && (publish.properties.is_empty()
                || !settings.check_payload_format
                || is_as_indicated(publish.properties, publish.payload))
    }
}

impl<'a> RunInProgress<'a> {
    fn new(
        context: PacketContext,
        Range { start, end }: Range<usize>,
        publish: &Publish<'a>,
        bytes_max: usize,
    ) -> Self {
        Self {
            session: context.session,
            version: context.version,
            topic: publish.topic,
            start,
            end,
            count: 1,
            packet_bytes_max: packet_bytes(start, end),
            payload_bytes: publish.payload.len() as u64,
            bytes_max,
        }
    }

    /// Adds a packet that follows it; false if it does not belong to it.
    #[inline]
    fn add(&mut self, publish: &Publish<'_>, start: usize, end: usize) -> bool {
        let takes = self.topic == publish.topic && self.end == start && end - self.start <= self.bytes_max;
        if takes {
            self.packet_bytes_max = self.packet_bytes_max.max(packet_bytes(start, end));
            self.end = end;
            self.count += 1;
            self.payload_bytes += publish.payload.len() as u64;
        }
        takes
    }
}

fn packet_bytes(start: usize, end: usize) -> u32 {
    u32::try_from(end - start).unwrap_or(u32::MAX)
}

/// Whether a PUBLISH may be sent to subscribers unchanged: QoS 0, not retained, and without properties that are meant
/// for this hop only.
#[inline]
fn is_forwarded_unchanged(publish: &Publish<'_>) -> bool {
    publish.qos == QoS::AtMostOnce
        && !publish.retain
        && !publish.topic.is_empty()
        && (publish.properties.is_empty()
            || (publish.properties.topic_alias().is_none()
                && publish.properties.subscription_identifier().is_none()))
}
