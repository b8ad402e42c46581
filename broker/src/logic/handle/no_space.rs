//! PUBLISH packets for which the store has no space, because the disk is full or `store_size_max` is reached.
//!
//! A 5.0 client is refused with Quota exceeded (0x97). A 3.x client has no such answer: its packet waits for a while,
//! and its other packets are handled, because its acknowledgements free space. Then the connection is closed, and the
//! client has to send the message again.
//!
//! Invariants: only messages that must be stored are refused or wait, and packets at QoS 1 and 2 that the same client
//! sends after them. Packets of a client are handled in order [MQTT-4.6.0-6]. The waiting packets are bounded for each
//! client, which is not read above that, and in total.

use std::collections::VecDeque;

use mqtt::packet::Publish;
use mqtt::property::Properties;
use mqtt::{ProtocolVersion, QoS, ReasonCode};

use crate::limits;
use crate::logic::Shard;
use crate::logic::connection::ConnectionId;
use crate::logic::counters::DropReason;
use crate::logic::delivery::Delivery;
use crate::logic::flow::Reason;
use crate::logic::handle::Handler;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::RawPacket;
use crate::logic::retained::is_own_to_broker;
use crate::logic::routing::Routing;
use crate::logic::routing::route::RouteSlot;
use crate::logic::timer::{Timer, Timers};
use crate::time::Timestamp;

/// A PUBLISH at QoS 1 or 2 that waits for space.
#[derive(Debug)]
struct Unstored {
    id: ConnectionId,
    came: Timestamp,
    packet: Vec<u8>,
}

/// The packets that wait for space, in the order in which they came.
#[derive(Debug, Default)]
pub(in crate::logic) struct UnstoredPackets(VecDeque<Unstored>);

impl UnstoredPackets {
    pub(in crate::logic) fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a packet; the first one of all sets the timer.
    fn push(&mut self, timers: &mut Timers, unstored: Unstored) {
        if self.0.is_empty() {
            timers.set(unstored.came.plus_ns(limits::UNSTORED_RETRY_NS), Timer::Unstored);
        }
        self.0.push_back(unstored);
    }

    /// Takes all packets out, to be handled one after the other.
    fn take(&mut self) -> VecDeque<Unstored> {
        std::mem::take(&mut self.0)
    }

    /// The remaining packets continue to wait, behind those that still found no space.
    fn keep(&mut self, now: Timestamp, timers: &mut Timers, mut left: VecDeque<Unstored>) {
        self.0.append(&mut left);
        if !self.0.is_empty() {
            timers.set(now.plus_ns(limits::UNSTORED_RETRY_NS), Timer::Unstored);
        }
    }
}

/// Whether there is no space for a message that would have to be stored.
#[inline]
pub(in crate::logic) fn lacks_space(
    delivery: &Delivery,
    routing: &Routing,
    route: RouteSlot,
    publish: &Publish<'_>,
    topic: &str,
) -> bool {
    delivery.journal.is_full() && is_to_be_stored(delivery, routing, route, publish, topic)
}

#[cold]
fn is_to_be_stored(
    delivery: &Delivery,
    routing: &Routing,
    route: RouteSlot,
    publish: &Publish<'_>,
    topic: &str,
) -> bool {
    let settings = delivery.settings();
    let is_retained = publish.retain && settings.retained_persistence && !is_own_to_broker(topic);
    if is_retained && !publish.payload.is_empty() {
        return true;
    }
    let Some(route) = routing.route(route) else {
        unreachable_state("a route that is gone while its message is handled");
        return false;
    };
    let is_stored = |session| {
        let session = delivery.clients.session(session);
        session.is_some_and(|session| session.is_stored())
    };
    (publish.qos > QoS::AtMostOnce || settings.upgrade_outgoing_qos)
        && (!route.shards.is_empty()
            || !route.groups.is_empty()
            || route
                .targets
                .iter()
                .any(|target| target.qos > QoS::AtMostOnce && is_stored(target.session)))
}

impl Handler<'_> {
    /// Whether a PUBLISH has to wait because an earlier one waits; if so, it is added.
    #[inline]
    pub(super) fn waits_behind_others(&mut self, publish: &Publish<'_>) -> bool {
        !self.shard.unstored.is_empty() && self.waits_behind_own(publish)
    }

    #[cold]
    fn waits_behind_own(&mut self, publish: &Publish<'_>) -> bool {
        let connection = self.shard.delivery.clients.connection(self.slot);
        let has_unstored = connection.is_some_and(|connection| connection.unstored_bytes() > 0);
        let waits = publish.qos > QoS::AtMostOnce && has_unstored;
        if waits {
            self.wait_for_space(publish);
        }
        waits
    }

    /// Refuses a message for which there is no space, or defers it.
    #[cold]
    pub(super) fn refuse_or_defer_without_space(&mut self, publish: &Publish<'_>) {
        let connection = self.shard.delivery.clients.connection(self.slot);
        let version = connection.map(|connection| connection.version());
        if publish.qos > QoS::AtMostOnce && version != Some(ProtocolVersion::V5) {
            return self.wait_for_space(publish);
        }
        self.shard
            .delivery
            .drop_for(self.session, publish.topic, DropReason::NoSpace);
        self.acknowledge(publish, ReasonCode::QuotaExceeded);
    }

    fn wait_for_space(&mut self, publish: &Publish<'_>) {
        let shard = &mut *self.shard;
        let slot = self.slot;
        let Some(connection) = shard.delivery.clients.connection(slot) else {
            // An earlier packet has ended the connection.
            return;
        };
        let mut packet = Vec::new();
        if publish.encode(connection.version(), &mut packet).is_err() {
            return unreachable_state("a PUBLISH that was received and cannot be encoded");
        }
        let bytes = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let id = connection.id(slot);
        let is_over = connection.add_unstored(bytes) > limits::UNSTORED_BYTES_MAX;
        let came = shard.now;
        shard
            .unstored
            .push(&mut shard.timers, Unstored { id, came, packet });
        if is_over || shard.unstored.len() > limits::UNSTORED_PACKETS_MAX {
            shard.delivery.flow.note_reason(Reason::Space { slot });
        }
    }

    /// Handles a PUBLISH that has waited. False if that takes more work than is left.
    fn publish_again(&mut self, packet: &[u8], version: ProtocolVersion) -> bool {
        let frame = mqtt::frame::split(packet, limits::PACKET_BYTES_MAX);
        let publish = frame.as_ref().ok().and_then(Option::as_ref);
        let Some(Ok(publish)) = publish.map(|frame| mqtt::decode::publish(frame, version)) else {
            unreachable_state("a PUBLISH that was encoded here and cannot be decoded");
            return true;
        };
        let raw = RawPacket {
            version,
            bytes: packet,
        };
        self.shard.delivery.journal.begin_packet();
        self.publish_from(&publish, publish.topic, Properties::EMPTY, Some(raw))
    }
}

impl Shard {
    /// Packets wait for space: they are handled if there is some.
    pub(in crate::logic) fn unstored_timer_due(&mut self) {
        let mut waiting = self.unstored.take();
        // Packets that still found no space come before the others again.
        while self.unstored.is_empty()
            && !self.work.is_spent()
            && let Some(first) = waiting.pop_front()
        {
            if self.publish_unstored(&first) {
                self.stop_waiting(&first);
            } else {
                waiting.push_front(first);
                break;
            }
        }
        self.unstored.keep(self.now, &mut self.timers, waiting);
    }

    /// Handles a packet that has waited; false if it has to wait further.
    fn publish_unstored(&mut self, unstored: &Unstored) -> bool {
        let id = unstored.id;
        let is_over = self.now >= unstored.came.plus_ns(limits::UNSTORED_WAIT_NS);
        let is_full = self.delivery.journal.is_full();
        let connection = self.delivery.clients.by_id(id);
        let connection = connection.filter(|connection| connection.is_connected());
        let Some((session, version)) = connection.and_then(|it| Some((it.session()?, it.version()))) else {
            // Its client is gone.
            return true;
        };
        if is_full && is_over {
            let why = "there is no space on the disk for what it publishes";
            self.disconnect(id.slot, ReasonCode::QuotaExceeded, why);
            return true;
        }
        if is_full {
            return false;
        }
        self.begin_flow();
        let done = self
            .handler(id.slot, session)
            .publish_again(&unstored.packet, version);
        self.pause_publisher(id);
        done
    }

    /// A packet no longer waits; its client may have been paused because of it.
    fn stop_waiting(&mut self, unstored: &Unstored) {
        let slot = unstored.id.slot;
        let Some(connection) = self.delivery.clients.by_id(unstored.id) else {
            // Its client is gone.
            return;
        };
        let bytes = u32::try_from(unstored.packet.len()).unwrap_or(u32::MAX);
        if connection.sub_unstored(bytes) == 0 {
            self.flow_events().end_reason(Reason::Space { slot });
        }
    }
}
