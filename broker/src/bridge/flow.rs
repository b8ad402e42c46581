//! What goes to one of the two brokers of a bridge: what it takes, and which exchanges the bridge has by itself.
//!
//! Invariants: a message that goes at a lower QoS than it came is acknowledged where it came from by the bridge, for
//! the packets of that are missing on the other side. An identifier that the receiver may remember from an exchange
//! that the sender has forgotten is released before it is used for another message at QoS 2, which would be taken for
//! the older one otherwise.

use std::collections::{HashMap, HashSet};

use mqtt::frame::PacketType;
use mqtt::packet::{Ack, PacketIdentifier, Publish};
use mqtt::{ProtocolVersion, QoS};

use super::connect::{BrokerTerms, STATE};
use super::pipe::success;

/// Messages on their way to a broker.
pub(super) struct Flow {
    pub(super) version: ProtocolVersion,
    pub(super) qos_max: QoS,
    pub(super) retain_available: bool,
    packet_bytes_max: usize,
    /// Came at QoS 2 and went at QoS 1.
    lowered: HashSet<PacketIdentifier>,
    /// Came at QoS 2, and their sender has or gets a PUBREC of the bridge: their PUBREL is answered here.
    expected_releases: HashSet<PacketIdentifier>,
    /// Those that were released before use, if they are to be.
    released: Option<HashSet<PacketIdentifier>>,
    /// PUBCOMPs that come for those.
    unasked: HashMap<PacketIdentifier, u32>,
    /// The message of the bridge itself is not acknowledged yet.
    own: bool,
}

/// Whose acknowledgement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckOwner {
    /// Of a message that was carried as it came.
    Carried,
    /// A PUBACK of a message that came at QoS 2.
    AsOnce,
    /// Of something that the bridge has sent by itself.
    Own,
}

impl Flow {
    pub(super) fn new(version: ProtocolVersion, accepted: &BrokerTerms) -> Self {
        Self {
            version,
            qos_max: accepted.qos_max,
            retain_available: accepted.retain_available,
            packet_bytes_max: accepted
                .packet_bytes_max
                .map_or(usize::MAX, |bytes| bytes as usize),
            lowered: HashSet::new(),
            expected_releases: HashSet::new(),
            released: None,
            unasked: HashMap::new(),
            own: false,
        }
    }

    /// Packets may have so many bytes at most.
    pub(super) fn bound_packets(&mut self, bytes_max: Option<u32>) {
        if let Some(bytes_max) = bytes_max {
            self.packet_bytes_max = self.packet_bytes_max.min(bytes_max as usize);
        }
    }

    /// The receiver may remember identifiers that the sender has forgotten.
    pub(super) fn release_before_use(&mut self) {
        self.released = Some(HashSet::new());
    }

    /// The bridge has sent a message of its own, before all others.
    pub(super) fn awaits_own(&mut self) {
        self.own = true;
    }

    /// Appends a message that came at QoS `came`; false if it is too large.
    pub(super) fn append(&mut self, publish: &Publish<'_>, came: QoS, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let released = self.release_first(publish, out);
        let begin = out.len();
        let is_encoded = publish.encode(self.version, out).is_ok();
        if !is_encoded || out.len() - begin > self.packet_bytes_max {
            out.truncate(before);
            if let (Some(identifier), Some(all)) = (released, &mut self.released) {
                all.remove(&identifier);
            }
            return false;
        }
        if let Some(identifier) = released {
            *self.unasked.entry(identifier).or_default() += 1;
        }
        if let (QoS::ExactlyOnce, QoS::AtLeastOnce, Some(identifier)) =
            (came, publish.qos, publish.packet_identifier)
        {
            self.lowered.insert(identifier);
        }
        true
    }

    /// Whether it is the first use of an identifier that has to be released before: then it is.
    fn release_first(&mut self, publish: &Publish<'_>, out: &mut Vec<u8>) -> Option<PacketIdentifier> {
        let identifier = publish
            .packet_identifier
            .filter(|_| publish.qos == QoS::ExactlyOnce)?;
        if !self.released.as_mut()?.insert(identifier) {
            return None;
        }
        success(identifier).encode(PacketType::PubRel, self.version, out);
        Some(identifier)
    }

    /// A PUBREL for this identifier is answered by the bridge.
    pub(super) fn expect_release(&mut self, identifier: PacketIdentifier) {
        self.expected_releases.insert(identifier);
    }

    /// A PUBREL came: its answer, if it is for the bridge.
    pub(super) fn release(&mut self, identifier: PacketIdentifier) -> Option<Ack<'static>> {
        let is_expected = self.expected_releases.remove(&identifier);
        is_expected.then(|| success(identifier))
    }

    /// An acknowledgement came from the broker that this goes to.
    pub(super) fn acknowledged(&mut self, packet_type: PacketType, identifier: PacketIdentifier) -> AckOwner {
        match packet_type {
            // What was sent first is acknowledged first.
            PacketType::PubAck if self.own && identifier == STATE => {
                self.own = false;
                AckOwner::Own
            }
            PacketType::PubAck if self.lowered.remove(&identifier) => {
                self.expect_release(identifier);
                AckOwner::AsOnce
            }
            PacketType::PubComp if self.takes_unasked(identifier) => AckOwner::Own,
            _ => AckOwner::Carried,
        }
    }

    fn takes_unasked(&mut self, identifier: PacketIdentifier) -> bool {
        let Some(count) = self.unasked.get_mut(&identifier) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.unasked.remove(&identifier);
        }
        true
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.lowered.is_empty() && self.expected_releases.is_empty() && self.unasked.is_empty() && !self.own
    }
}
