//! What clients send, as the model sees it.
//!
//! Invariants: none.

use std::fmt;
use std::rc::Rc;

use mqtt::packet::SubscriptionOptions;
use mqtt::property::PropertiesBuf;
use mqtt::{ProtocolVersion, QoS};

/// A message as its publisher sent it.
#[derive(Clone)]
pub struct Message {
    /// Topic Name that it was published to.
    pub topic: String,
    /// Payload: no two messages have the same, but those that are empty.
    pub payload: String,
    /// QoS that it was published at.
    pub qos: QoS,
    /// RETAIN flag that it was published with.
    pub retain: bool,
    /// Properties that go on to subscribers, but the Message Expiry Interval.
    pub properties: PropertiesBuf,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// Client Identifier of who published it.
    pub publisher: String,
    /// Whether it is a Will.
    pub is_will: bool,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, .. } = self;
        write!(f, "{:?} on {topic} {:?}", payload.trim_end_matches('.'), self.qos)?;
        if self.retain {
            f.write_str(" retained")?;
        }
        if let Some(expiry_s) = self.expiry_s {
            write!(f, " for {expiry_s} s")?;
        }
        write!(f, " from {}", self.publisher)
    }
}

/// A Will as CONNECT asks for it.
#[derive(Clone, Debug)]
pub struct WillRequest {
    /// The message that is published.
    pub message: Rc<Message>,
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
}

/// CONNECT with what the model uses of it.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// Version of the connection.
    pub version: ProtocolVersion,
    /// Client Identifier of the CONNECT packet.
    pub client: String,
    /// Clean Start or Clean Session.
    pub clean_start: bool,
    /// Keep Alive in seconds.
    pub keep_alive_s: u16,
    /// Session Expiry Interval in seconds as 5.0 has it; 0xFFFFFFFF never.
    pub session_expiry_s: u32,
    /// Receive Maximum, if the property is there.
    pub receive_max: Option<u16>,
    /// Maximum Packet Size, if the property is there.
    pub packet_bytes_max: Option<u32>,
    /// Topic Alias Maximum, if the property is there.
    pub topic_alias_max: Option<u16>,
    /// The Will, if there is one.
    pub will: Option<WillRequest>,
}

/// A packet of a client.
#[derive(Clone, Debug)]
pub enum Packet {
    /// CONNECT, which begins a connection.
    Connect(Box<ConnectRequest>),
    /// PUBLISH with its message.
    Publish {
        /// The message that is published.
        message: Rc<Message>,
        /// Packet Identifier; 0 at QoS 0.
        packet_identifier: u16,
    },
    /// SUBSCRIBE with one or more filters.
    Subscribe {
        /// Packet Identifier of the request.
        packet_identifier: u16,
        /// Subscription Identifier, if the property is there.
        identifier: Option<u32>,
        /// Topic Filters of the request, in order.
        filters: Vec<(&'static str, SubscriptionOptions)>,
    },
    /// UNSUBSCRIBE with one or more filters.
    Unsubscribe {
        /// Packet Identifier of the request.
        packet_identifier: u16,
        /// Topic Filters of the request, in order.
        filters: Vec<&'static str>,
    },
    /// PUBACK with its Packet Identifier.
    PubAck(u16),
    /// PUBREC with its Packet Identifier.
    PubRec(u16),
    /// PUBREL with its Packet Identifier.
    PubRel(u16),
    /// PUBCOMP with its Packet Identifier.
    PubComp(u16),
    /// PINGREQ, which has no fields.
    Ping,
    /// DISCONNECT with its reason and Session Expiry Interval.
    Disconnect {
        /// Whether it has reason 0x04, Disconnect with Will Message.
        with_will: bool,
        /// Session Expiry Interval in seconds.
        session_expiry_s: Option<u32>,
    },
    /// Bytes that are no packet.
    Garbage,
}

impl Packet {
    /// Whether it is an acknowledgement of something that the broker sent.
    pub(super) fn acknowledges(&self) -> bool {
        matches!(self, Self::PubAck(_) | Self::PubRec(_) | Self::PubComp(_))
    }
}
