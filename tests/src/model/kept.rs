//! What the broker took back when it started again, as its recovery has it.
//!
//! Invariants: none.

use mqtt::QoS;
use mqtt::packet::SubscriptionOptions;
use mqtt::property::PropertiesBuf;

/// All that the broker took back.
#[derive(Debug, Default)]
pub struct Kept {
    /// Sessions, one for each client at most.
    pub sessions: Vec<KeptSession>,
    /// Retained messages, one of a topic at most.
    pub retained: Vec<KeptRetained>,
}

/// A session that the broker took back.
#[derive(Clone, Debug)]
pub struct KeptSession {
    /// Client Identifier that owns it.
    pub client: String,
    /// Session Expiry Interval in seconds; 0xFFFFFFFF never.
    pub expiry_s: u32,
    /// For so many milliseconds its client is away; nothing if it was connected.
    pub away_ms: Option<u64>,
    /// Payload of its Will, and the Will Delay Interval in seconds.
    pub will: Option<(Vec<u8>, u32)>,
    /// Topic Filters with options and Subscription Identifier.
    pub subscriptions: Vec<(String, SubscriptionOptions, Option<u32>)>,
    /// Messages that wait or are in flight, in their order.
    pub messages: Vec<KeptMessage>,
    /// Packet Identifiers of QoS 2 messages that came in and wait for PUBREL.
    pub received: Vec<u16>,
}

/// A message that waits for a session or is in flight.
#[derive(Clone, Debug)]
pub struct KeptMessage {
    /// The message; not there if only PUBREL is to be sent.
    pub content: Option<KeptContent>,
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// The Subscription Identifiers that it came by.
    pub identifiers: Vec<u32>,
    /// The whole text of the Shared Subscription, if it came by one.
    pub share: Option<String>,
    /// There if it was sent.
    pub packet_identifier: Option<u16>,
}

/// A retained message that the broker took back.
#[derive(Clone, Debug)]
pub struct KeptRetained {
    /// Topic Name that it was published to.
    pub topic: String,
    /// Payload of the message.
    pub payload: Vec<u8>,
    /// QoS that it was published at.
    pub qos: QoS,
    /// Whether it had a Message Expiry Interval.
    pub expires: bool,
}

/// What a message says.
#[derive(Clone, Debug)]
pub struct KeptContent {
    /// Topic Name that it was published to.
    pub topic: String,
    /// Payload of the message.
    pub payload: Vec<u8>,
    /// Properties that go on to subscribers, but the Message Expiry Interval.
    pub properties: PropertiesBuf,
    /// When it expires, by the virtual clock; `u64::MAX` if it does not.
    pub expires_at: u64,
}
