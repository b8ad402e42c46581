//! An application message that outlives its packet: it is queued, in flight in a session that is kept, or retained.
//!
//! Invariants: a message is one allocation that never changes and that is shared by all its users in all shards. The
//! properties of a single delivery (QoS, RETAIN, Subscription Identifiers) are not part of it. Its properties are
//! those that are forwarded to subscribers, without the Message Expiry Interval, which is computed from `expires_at`
//! at each delivery [MQTT-3.3.2-6].

mod foreign;

use std::sync::Arc;

use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS};

pub use self::foreign::{ForeignMessage, subscription_identifiers};
use crate::limits;
use crate::logic::ids::SessionSlot;
use crate::logic::owner_shard::identity;
use crate::logic::store::WallClock;
use crate::time::Timestamp;

/// A message that was published, or is about to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) topic: &'a str,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The properties for 5.0 subscribers: no Topic Alias, no Subscription Identifier.
    pub(super) properties: Properties<'a>,
    pub(super) payload: &'a [u8],
    /// For No Local, and for retained messages.
    pub(super) publisher: Publisher,
}

/// The packet in which a message arrived, to be forwarded unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawPacket<'a> {
    /// The protocol version in which the packet is encoded.
    pub(super) version: ProtocolVersion,
    pub(super) bytes: &'a [u8],
}

/// PUBLISH packets of one topic at QoS 0 that are forwarded unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<'a> {
    pub(super) packets: &'a [u8],
    /// The protocol version in which the packets are encoded.
    pub(super) version: ProtocolVersion,
    pub(super) count: u32,
    /// Length of the largest packet in bytes.
    pub(super) packet_bytes_max: u32,
    /// Payload bytes of all packets together.
    pub(super) payload_bytes: u64,
}

/// The publisher of a message, for No Local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Publisher {
    /// Its session, if that is in this shard.
    pub(super) session: Option<SessionSlot>,
    /// A hash of its client identifier; 0 for the broker itself.
    pub(super) identity: u64,
}

impl Publisher {
    /// The broker, or a client of another shard: no session of this shard.
    pub(super) const REMOTE: Self = Self {
        session: None,
        identity: 0,
    };
}

/// A stored message; cloning shares it.
///
/// Layout: expires_at (8 bytes), publisher's identity (8), property bytes (4), topic bytes (2), QoS and RETAIN (1),
/// then the topic, the properties and the payload.
#[derive(Clone, Debug)]
pub struct StoredMessage(Arc<[u8]>);

const HEADER_BYTES: usize = 23;
const EXPIRY_BYTES: usize = 8;
const RETAIN_FLAG: u8 = 0x80;

struct Header {
    expires_at: Timestamp,
    publisher: u64,
    topic_end: usize,
    properties_end: usize,
    flags: u8,
}

impl StoredMessage {
    /// Stores `message`, which arrived at `now`; `scratch` is overwritten.
    ///
    /// [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]
    pub(super) fn new(now: Timestamp, message: &Message<'_>, scratch: &mut Vec<u8>) -> Self {
        let mut kept = PropertiesBuf::new();
        let mut expires_at = Timestamp::NEVER;
        let properties = match message.properties.message_expiry_interval_s() {
            None => message.properties,
            Some(interval_s) => {
                expires_at = now.plus_s(u64::from(interval_s));
                without_expiry(message.properties, &mut kept);
                kept.as_properties()
            }
        };
        let properties = properties.as_bytes();
        scratch.clear();
        scratch.extend_from_slice(&expires_at.0.to_le_bytes());
        scratch.extend_from_slice(&message.publisher.identity.to_le_bytes());
        scratch.extend_from_slice(&u32::try_from(properties.len()).unwrap_or(0).to_le_bytes());
        scratch.extend_from_slice(&u16::try_from(message.topic.len()).unwrap_or(0).to_le_bytes());
        scratch.push(message.qos as u8 | if message.retain { RETAIN_FLAG } else { 0 });
        scratch.extend_from_slice(message.topic.as_bytes());
        scratch.extend_from_slice(properties);
        scratch.extend_from_slice(message.payload);
        Self(Arc::from(scratch.as_slice()))
    }

    /// The Topic Name, with the mount point of its publisher's listener.
    #[must_use]
    pub fn topic(&self) -> &str {
        let bytes = self
            .0
            .get(HEADER_BYTES..self.header().topic_end)
            .unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The Application Message, as it was published.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0.get(self.header().properties_end..).unwrap_or_default()
    }

    /// The forwarded properties, without the Message Expiry Interval.
    #[must_use]
    pub fn properties(&self) -> Properties<'_> {
        let header = self.header();
        Properties::from_validated(
            self.0
                .get(header.topic_end..header.properties_end)
                .unwrap_or_default(),
        )
    }

    /// The QoS at which it was published.
    #[must_use]
    pub fn qos(&self) -> QoS {
        match self.header().flags & !RETAIN_FLAG {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// Whether it was published with RETAIN.
    #[must_use]
    pub fn retain(&self) -> bool {
        self.header().flags & RETAIN_FLAG != 0
    }

    /// When it expires; [`Timestamp::NEVER`] without a Message Expiry Interval.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.header().expires_at
    }

    /// The same with another expiry; the copy is a new allocation.
    #[cfg(test)]
    pub(super) fn expiring(&self, at: Timestamp) -> Self {
        let mut bytes = self.0.to_vec();
        if let Some(field) = bytes.first_chunk_mut::<8>() {
            *field = at.0.to_le_bytes();
        }
        Self(Arc::from(bytes))
    }

    /// Whether a client published it, as far as is known.
    #[must_use]
    pub fn is_from(&self, client_identifier: &str) -> bool {
        self.publisher() == identity(client_identifier)
    }

    /// The hash of its publisher's client identifier.
    pub(super) fn publisher(&self) -> u64 {
        self.header().publisher
    }

    /// Topic and payload bytes, which the bounds of queues count.
    #[must_use]
    pub fn queue_bytes(&self) -> u64 {
        let header = self.header();
        let properties = header.properties_end.saturating_sub(header.topic_end);
        self.0.len().saturating_sub(HEADER_BYTES + properties) as u64
    }

    /// The bytes of the message for a store: times by the wall clock.
    pub(super) fn encode_for_store(&self, wall: WallClock, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&wall.wall_ns(self.expires_at()).to_le_bytes());
        out.extend_from_slice(self.0.get(EXPIRY_BYTES..).unwrap_or_default());
    }

    /// The message from bytes of [`Self::encode_for_store`]; `None` if they are not a message.
    #[must_use]
    pub fn from_store(bytes: &[u8], wall: WallClock) -> Option<Self> {
        let &expires_ns = bytes.first_chunk::<EXPIRY_BYTES>()?;
        let mut kept: Arc<[u8]> = Arc::from(bytes);
        let expires_at = wall.timestamp(u64::from_le_bytes(expires_ns));
        *Arc::get_mut(&mut kept)?.first_chunk_mut()? = expires_at.0.to_le_bytes();
        let stored = Self(kept);
        stored.is_whole().then_some(stored)
    }

    /// Whether a client can have published it.
    fn is_whole(&self) -> bool {
        let header = self.header();
        let topic = self.0.get(HEADER_BYTES..header.topic_end);
        let properties = self.0.get(header.topic_end..header.properties_end);
        let (Some(topic), Some(properties)) = (topic, properties) else {
            return false;
        };
        let topic_is_one =
            std::str::from_utf8(topic).is_ok_and(|topic| mqtt::topic::check_name(topic).is_ok());
        let flags_are_some = header.flags & !RETAIN_FLAG <= 2;
        topic_is_one && flags_are_some && (properties.is_empty() || are_of_a_publish(properties))
    }

    /// The message to send, with its properties in `properties`, which begins with the rest of the Message Expiry
    /// Interval; `None` if it has expired.
    pub(super) fn at<'a>(&'a self, now: Timestamp, properties: &'a mut PropertiesBuf) -> Option<Message<'a>> {
        if self.header().expires_at <= now {
            return None;
        }
        self.at_whether_expired(now, properties)
    }

    /// The same for a message that was sent before and no longer expires: the rest of its interval may be 0.
    pub(super) fn at_whether_expired<'a>(
        &'a self,
        now: Timestamp,
        properties: &'a mut PropertiesBuf,
    ) -> Option<Message<'a>> {
        let header = self.header();
        let properties = if header.expires_at == Timestamp::NEVER {
            self.properties()
        } else {
            let left_s = header.expires_at.since_ns(now).div_ceil(1_000_000_000);
            properties.clear();
            let left_s = u32::try_from(left_s).unwrap_or(u32::MAX);
            let pushed = properties.push(Property::MessageExpiryInterval(left_s));
            pushed
                .and_then(|()| properties.extend_raw(self.properties()))
                .ok()?;
            properties.as_properties()
        };
        Some(Message {
            topic: self.topic(),
            qos: self.qos(),
            retain: self.retain(),
            properties,
            payload: self.payload(),
            publisher: Publisher {
                session: None,
                identity: header.publisher,
            },
        })
    }

    fn header(&self) -> Header {
        let Some((
            &[
                e0,
                e1,
                e2,
                e3,
                e4,
                e5,
                e6,
                e7,
                p0,
                p1,
                p2,
                p3,
                p4,
                p5,
                p6,
                p7,
                r0,
                r1,
                r2,
                r3,
                t0,
                t1,
                flags,
            ],
            _,
        )) = self.0.split_first_chunk::<HEADER_BYTES>()
        else {
            return Header {
                expires_at: Timestamp(0),
                publisher: 0,
                topic_end: 0,
                properties_end: 0,
                flags: 0,
            };
        };
        let topic_end = HEADER_BYTES + usize::from(u16::from_le_bytes([t0, t1]));
        Header {
            expires_at: Timestamp(u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7])),
            publisher: u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
            topic_end,
            properties_end: topic_end + u32::from_le_bytes([r0, r1, r2, r3]) as usize,
            flags,
        }
    }
}

/// Whether bytes are properties of a PUBLISH: tested by decoding a packet with them.
fn are_of_a_publish(properties: &[u8]) -> bool {
    let mut packet = Vec::new();
    let publish = mqtt::packet::Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_identifier: None,
        properties: Properties::from_validated(properties),
        payload: &[],
    };
    if publish.encode(ProtocolVersion::V5, &mut packet).is_err() {
        return false;
    }
    match mqtt::frame::split(&packet, crate::limits::PACKET_BYTES_MAX) {
        Ok(Some(frame)) => mqtt::decode::publish(&frame, ProtocolVersion::V5).is_ok(),
        _ => false,
    }
}

/// Copies `properties` into `kept`, except for the Message Expiry Interval.
fn without_expiry(properties: Properties<'_>, kept: &mut PropertiesBuf) {
    for property in properties
        .iter()
        .filter(|property| !matches!(property, Property::MessageExpiryInterval(_)))
    {
        // Properties of one packet fit into another.
        let _ = kept.push(property);
    }
}

/// The PUBLISH at the front of the packets of a record.
pub(super) fn first_publish(packets: &[u8], version: ProtocolVersion) -> Option<mqtt::packet::Publish<'_>> {
    let frame = mqtt::frame::split(packets, limits::PACKET_BYTES_MAX).ok()??;
    mqtt::decode::publish(&frame, version).ok()
}
