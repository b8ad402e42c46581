//! Handles packets from the broker: acknowledgements for publishers, messages for subscribers, answers to the
//! handshake.
//!
//! Invariant: a delivery is counted once, by the ledger of its subscriber. Its intended time decides whether it is
//! measured.

use mqtt::decode;
use mqtt::encode;
use mqtt::frame::{Frame, PacketType};
use mqtt::packet::{Ack, Packet};
use mqtt::reason::ReasonCode;
use mqtt::version::ProtocolVersion;
use transport::clock::real_ns;

use super::{Client, LoadState, Role};
use crate::connection::opening::Stage;
use crate::connection::{Broken, Scratch, login};
use crate::generator::handshake;
use crate::generator::identity::Who;
use crate::generator::measure::window_of;
use crate::generator::publisher::Publisher;
use crate::generator::state::Run;
use crate::generator::subscriber::Subscriber;
use crate::scenario::Scenario;
use crate::scenario::payload::Stamp;

/// The origin and time of a packet.
#[derive(Clone, Copy)]
struct Arrived<'a> {
    run: &'a Run,
    who: Who,
    slot: u32,
    now_ns: u64,
}

impl Client {
    /// Takes received bytes and handles each complete packet.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        scratch: &mut Scratch,
        load: &mut LoadState,
        run: &Run,
        slot: u32,
        now_ns: u64,
    ) -> Result<(), Broken> {
        let Client {
            connection,
            role,
            opening,
            who,
            ..
        } = self;
        let arrived = Arrived {
            run,
            who: *who,
            slot,
            now_ns,
        };
        connection.take(bytes, scratch, |frame, out| {
            match (&mut *role, frame.packet_type) {
                (Role::Subscriber(subscriber), PacketType::Publish) => {
                    message(subscriber, frame, out, load, arrived)
                }
                (Role::Subscriber(_), PacketType::PubRel) => release(frame, out, run.scenario.version),
                (
                    Role::Publisher(publisher),
                    PacketType::PubAck | PacketType::PubRec | PacketType::PubComp,
                ) => acknowledged(publisher, frame, out, load, arrived),
                _ => {
                    let next = other(role, opening.stage, frame, out, arrived)?;
                    if opening.stage == Stage::ConnAck {
                        opening.accepted(next, now_ns, &mut load.measurements.stages);
                    }
                    opening.stage = next;
                    Ok(())
                }
            }
        })
    }
}

/// A PUBLISH arrived at a subscriber.
#[inline]
fn message(
    subscriber: &mut Subscriber,
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
    load: &mut LoadState,
    arrived: Arrived<'_>,
) -> Result<(), Broken> {
    let publish = decode::publish(frame, arrived.run.scenario.version)?;
    let overtaken = subscriber.overtaken();
    match subscriber.receive(&publish, arrived.run, &mut load.differences, out) {
        Some(_) if subscriber.is_slow() => load.slow_received += 1,
        Some(stamp) => {
            let change = subscriber.overtaken().wrapping_sub(overtaken);
            load.overtaken = load.overtaken.wrapping_add(change);
            load.count(&stamp, arrived);
        }
        None => {}
    }
    Ok(())
}

impl LoadState {
    /// Bytes were read that the kernel has had since then, CLOCK_REALTIME ns.
    pub(super) fn count_read(&mut self, arrived_ns: u64, now_ns: u64) {
        if self.times.is_some_and(|times| times.is_measured(now_ns)) {
            let waited_ns = real_ns().saturating_sub(arrived_ns);
            self.measurements.read_delay.record(waited_ns);
        }
    }

    /// A message was received for the first time.
    #[inline]
    fn count(&mut self, stamp: &Stamp, arrived: Arrived<'_>) {
        self.received += 1;
        let intended_ns = arrived.run.epoch_ns + stamp.intended_ns;
        let latency_ns = arrived.now_ns.saturating_sub(intended_ns);
        self.interval.latency.record(latency_ns);
        let window = self
            .times
            .and_then(|times| window_of(&times, self.window_ns, intended_ns));
        let delivery = arrived.run.windows.get(stamp.publisher as usize);
        if let Some(window) = window {
            // Without a schedule a message is sent at its intended time: one histogram covers both.
            let lag_ns = stamp.lag_ns.filter(|_| self.scheduled);
            self.measurements.received(window, latency_ns, lag_ns);
        }
        match delivery {
            Some(delivery) if delivery.has_many_subscribers() => {
                self.tally.count(delivery, stamp.publisher, stamp.sequence);
            }
            Some(delivery) if delivery.received(stamp.sequence, 1) => {
                note_room(&mut self.announced, arrived.run, stamp.publisher);
            }
            _ => {}
        }
    }

    /// At the end of a turn: received messages make room in the windows.
    pub(super) fn flush_windows(&mut self, run: &Run) {
        let announced = &mut self.announced;
        self.tally
            .flush(&run.windows, |publisher| note_room(announced, run, publisher));
    }
}

/// Records that the publisher's thread has to be notified of room.
fn note_room(announced: &mut [Vec<u32>], run: &Run, publisher: u32) {
    if let Some(announced) = announced.get_mut(run.thread_of(publisher)) {
        announced.push(publisher);
    }
}

/// A PUBREL arrived at a subscriber: always answered, known or not [MQTT-4.3.3-11].
fn release(frame: &Frame<'_>, out: &mut Vec<u8>, version: ProtocolVersion) -> Result<(), Broken> {
    if let Packet::PubRel(Ack {
        packet_identifier, ..
    }) = decode::packet(frame, version)?
    {
        encode::ack(
            PacketType::PubComp,
            packet_identifier,
            ReasonCode::Success,
            version,
            out,
        );
    }
    Ok(())
}

/// An acknowledgement arrived at a publisher.
#[inline]
fn acknowledged(
    publisher: &mut Publisher,
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
    load: &mut LoadState,
    arrived: Arrived<'_>,
) -> Result<(), Broken> {
    let version = arrived.run.scenario.version;
    let ack = match decode::packet(frame, version)? {
        Packet::PubRec(ack) if !ack.reason.is_error() => {
            encode::ack(
                PacketType::PubRel,
                ack.packet_identifier,
                ReasonCode::Success,
                version,
                out,
            );
            return Ok(());
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => ack,
        _ => return Ok(()),
    };
    let Some(left_at_ns) = publisher
        .flights
        .as_mut()
        .and_then(|flights| flights.finish(ack.packet_identifier))
    else {
        return Err(Broken::Refused(format!(
            "the broker acknowledged packet identifier {}, which is not in flight",
            ack.packet_identifier
        )));
    };
    load.in_flight = load.in_flight.saturating_sub(1);
    load.refused += u64::from(ack.reason.is_error());
    if load.times.is_some_and(|times| times.is_measured(left_at_ns)) {
        load.measurements
            .acknowledged
            .record(arrived.now_ns.saturating_sub(left_at_ns));
    }
    if publisher.blocked {
        load.resumed.push(arrived.slot);
    }
    Ok(())
}

/// Handles all rare packets; returns the next stage.
fn other(
    role: &mut Role,
    stage: Stage,
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
    arrived: Arrived<'_>,
) -> Result<Stage, Broken> {
    match (stage, frame.packet_type) {
        (Stage::ConnAck, _) => accepted(role, frame, out, arrived),
        (Stage::SubAck(due), PacketType::SubAck) => {
            let Scenario { version, qos, .. } = arrived.run.scenario;
            login::suback(frame, version, qos)?;
            Ok(if due > 1 {
                Stage::SubAck(due - 1)
            } else {
                Stage::Ready
            })
        }
        (_, PacketType::PingResp) => Ok(stage),
        (_, PacketType::Disconnect) => Err(ended(frame, arrived.run.scenario.version)),
        (_, packet_type) => Err(Broken::Refused(format!(
            "the broker sent an unexpected {packet_type:?}"
        ))),
    }
}

fn accepted(
    role: &mut Role,
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
    arrived: Arrived<'_>,
) -> Result<Stage, Broken> {
    let publish_bytes = match role {
        Role::Publisher(publisher) => publisher.packet_bytes(),
        Role::Subscriber(_) => 0,
    };
    let granted = login::connack(frame, arrived.run.scenario.version)?;
    let bytes_max = granted.packet_bytes_max;
    if publish_bytes > bytes_max as usize {
        return Err(Broken::Refused(format!(
            "the broker accepts packets of {bytes_max} bytes, but a PUBLISH has {publish_bytes}"
        )));
    }
    match (role, arrived.who) {
        (Role::Publisher(publisher), _) => {
            if let Some(flights) = publisher.flights.as_mut() {
                flights.restrict(granted.receive_maximum);
            }
            publisher.begin_aliases(granted.topic_alias_maximum);
            Ok(Stage::Ready)
        }
        (Role::Subscriber(_), who) => {
            let number = match who {
                Who::Slow(number) => arrived.run.scenario.model_of(number),
                who => who.number(),
            };
            let due = handshake::subscribe(arrived.run, number, out)?;
            Ok(if due > 0 { Stage::SubAck(due) } else { Stage::Ready })
        }
    }
}

fn ended(frame: &Frame<'_>, version: ProtocolVersion) -> Broken {
    match decode::packet(frame, version) {
        Ok(Packet::Disconnect(disconnect)) => login::disconnected(&disconnect),
        Ok(_) => Broken::Closed,
        Err(error) => Broken::Packet(error),
    }
}
