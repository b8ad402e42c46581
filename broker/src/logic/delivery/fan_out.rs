//! Delivers a message, or a run of messages, to all local sessions of a route.
//!
//! Invariants: a message goes to each session once. A run is sent to a subscriber unchanged if its protocol version
//! and subscription allow that; otherwise in the other version's encoding, which is made once for all subscribers;
//! otherwise packet by packet.

use mqtt::ProtocolVersion;
use mqtt::packet::Publish;

use crate::limits;
use crate::logic::delivery::Delivery;
use crate::logic::delivery::journal::StoredPublication;
use crate::logic::message::{Message, Publisher, Run};
use crate::logic::routing::route::{Route, Target};
use crate::logic::session::SessionSlot;

impl Delivery {
    /// Delivers a run to the local subscribers of a route; returns how many of them got it packet by packet.
    #[inline]
    pub(in crate::logic) fn fan_out_run(
        &mut self,
        route: &Route,
        run: &Run<'_>,
        publisher: Option<SessionSlot>,
    ) -> u32 {
        let mut translated = None;
        let mut one_by_one = 0;
        for target in &route.targets {
            if target.no_local && Some(target.session) == publisher {
                continue;
            }
            if self.deliver_run(target, run) {
                continue;
            }
            one_by_one +=
                u32::from(!self.deliver_run_otherwise(route, target, run, publisher, &mut translated));
        }
        if let Some(withheld) = &route.withheld {
            self.note_withheld_run(withheld, run, publisher);
        }
        let payload_bytes = run.payload_bytes;
        let packets = u64::from(run.count.max(1));
        self.count_deliveries(|sent| sent * payload_bytes / packets);
        one_by_one
    }

    /// Delivers a message to the local subscribers of a route.
    #[inline]
    pub(in crate::logic) fn fan_out(
        &mut self,
        route: &Route,
        message: &Message<'_>,
        kept: StoredPublication,
    ) {
        self.encodings.begin();
        self.journal.begin(kept.publication);
        if let Some(message) = kept.message {
            self.encodings.set_stored(message);
        }
        for target in &route.targets {
            self.deliver(target, route.via(target), message);
        }
        if let Some(withheld) = &route.withheld {
            self.note_withheld(withheld, message, 1);
        }
        self.note_delivered_to_all();
        let payload_bytes = message.payload.len() as u64;
        self.count_deliveries(|sent| sent * payload_bytes);
    }

    /// Delivers in the other encoding, which is made if there is none yet, or packet by packet; false in the latter
    /// case.
    fn deliver_run_otherwise(
        &mut self,
        route: &Route,
        target: &Target,
        run: &Run<'_>,
        publisher: Option<SessionSlot>,
        translated: &mut Option<Run<'static>>,
    ) -> bool {
        let mut packets = std::mem::take(&mut self.translated);
        let shape = *translated.get_or_insert_with(|| translate(run, &mut packets));
        let other = Run {
            packets: &packets,
            ..shape
        };
        let delivered = self.deliver_run(target, &other);
        self.translated = packets;
        if delivered {
            return true;
        }
        for (publish, _) in packets_of(run) {
            let message = message_of(&publish, publisher);
            self.begin_message();
            self.deliver(target, route.via(target), &message);
            self.note_delivered_to_all();
        }
        false
    }
}

/// The message of a packet.
pub(in crate::logic) fn message_of<'a>(publish: &Publish<'a>, session: Option<SessionSlot>) -> Message<'a> {
    Message {
        topic: publish.topic,
        qos: publish.qos,
        retain: publish.retain,
        properties: publish.properties,
        payload: publish.payload,
        publisher: Publisher { session, identity: 0 },
    }
}

/// The packets of a run, each with its bytes.
pub(in crate::logic) fn packets_of<'a>(
    run: &Run<'a>,
) -> impl Iterator<Item = (Publish<'a>, &'a [u8])> + use<'a> {
    let (mut rest, version) = (run.packets, run.version);
    std::iter::from_fn(move || {
        let frame = mqtt::frame::split(rest, limits::PACKET_BYTES_MAX).ok()??;
        let (packet, behind) = rest.split_at_checked(frame.wire_bytes)?;
        rest = behind;
        Some((mqtt::decode::publish(&frame, version).ok()?, packet))
    })
}

/// Writes the run in the other encoding into `translated`: 5.0 without properties, or 3.x. Returns everything except
/// the bytes.
fn translate(run: &Run<'_>, translated: &mut Vec<u8>) -> Run<'static> {
    let version = match run.version {
        ProtocolVersion::V5 => ProtocolVersion::V3_1_1,
        _ => ProtocolVersion::V5,
    };
    translated.clear();
    let (mut count, mut packet_bytes_max, payload_bytes) = (0, 0, run.payload_bytes);
    for (publish, _) in packets_of(run) {
        let start = translated.len();
        // Encoding a decoded packet succeeds, unless its last byte makes it larger than the largest possible one.
        if publish.encode(version, translated).is_ok() {
            count += 1;
            packet_bytes_max =
                packet_bytes_max.max(u32::try_from(translated.len() - start).unwrap_or(u32::MAX));
        }
    }
    Run {
        packets: &[],
        version,
        count,
        packet_bytes_max,
        payload_bytes,
    }
}
