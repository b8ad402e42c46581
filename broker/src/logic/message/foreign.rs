//! Messages of another broker, in the form of our store.
//!
//! Invariants: an encoded message is one that a client can publish to this broker; others are refused.

use mqtt::QoS;
use mqtt::property::{Properties, Property};

use super::{EXPIRY_BYTES, Message, Publisher, StoredMessage, are_of_a_publish};
use crate::logic::owner_shard::identity;
use crate::logic::store::WallClock;
use crate::time::Timestamp;

/// A message of another broker's file.
#[derive(Clone, Copy, Debug)]
pub struct ForeignMessage<'a> {
    /// The Topic Name that it was published to.
    pub topic: &'a str,
    /// The QoS at which it was published.
    pub qos: QoS,
    /// Whether it was published with RETAIN.
    pub retain: bool,
    /// Properties of its PUBLISH, encoded, without their length.
    pub properties: &'a [u8],
    /// The Application Message, byte for byte.
    pub payload: &'a [u8],
    /// Client Identifier of its publisher; empty if it is not known.
    pub publisher: &'a str,
    /// When it expires: wall clock, milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

impl ForeignMessage<'_> {
    /// The bytes of the message for a store; `None` if no client could have published it.
    #[must_use]
    pub fn encode_for_store(&self) -> Option<Vec<u8>> {
        if !self.properties.is_empty() && !are_of_a_publish(self.properties) {
            return None;
        }
        let message = Message {
            topic: self.topic,
            qos: self.qos,
            retain: self.retain,
            properties: Properties::from_validated(self.properties),
            payload: self.payload,
            publisher: Publisher {
                session: None,
                identity: if self.publisher.is_empty() {
                    0
                } else {
                    identity(self.publisher)
                },
            },
        };
        let mut bytes = Vec::new();
        let stored = StoredMessage::new(Timestamp::default(), &message, &mut bytes);
        let expires_ns = self
            .expires_at_ms
            .map_or(Timestamp::NEVER.0, |at| at.saturating_mul(1_000_000));
        *bytes.first_chunk_mut::<EXPIRY_BYTES>()? = expires_ns.to_le_bytes();
        (stored.is_whole() && StoredMessage::from_store(&bytes, WallClock::default()).is_some())
            .then_some(bytes)
    }
}

/// The Subscription Identifiers among the encoded properties of a PUBLISH; none if they are not valid.
pub fn subscription_identifiers(properties: &[u8]) -> impl Iterator<Item = u32> {
    let valid = if are_of_a_publish(properties) {
        properties
    } else {
        &[]
    };
    let properties = Properties::from_validated(valid).iter();
    properties.filter_map(|property| match property {
        Property::SubscriptionIdentifier(identifier) => Some(identifier),
        _ => None,
    })
}
