//! What clients send, as the model sees it.

use std::fmt;
use std::rc::Rc;

use mqtt::packet::SubscriptionOptions;
use mqtt::property::PropertiesBuf;
use mqtt::{ProtocolVersion, QoS};

/// An application message.
#[derive(Clone)]
pub struct Message {
    /// Topic Name.
    pub topic: String,
    /// Payload: no two messages have the same, but those that are empty.
    pub payload: String,
    /// QoS that it was published at.
    pub qos: QoS,
    /// RETAIN.
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

/// A Will.
#[derive(Clone, Debug)]
pub struct WillRequest {
    /// What is published.
    pub message: Rc<Message>,
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
}

/// CONNECT.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// Version of the connection.
    pub version: ProtocolVersion,
    /// Client Identifier.
    pub client: String,
    /// Clean Start or Clean Session.
    pub clean_start: bool,
    /// Keep Alive in seconds.
    pub keep_alive_s: u16,
    /// Session Expiry Interval in seconds as 5.0 has it; 0xFFFFFFFF never.
    pub session_expiry_s: u32,
    /// Receive Maximum.
    pub receive_max: Option<u16>,
    /// Maximum Packet Size.
    pub packet_bytes_max: Option<u32>,
    /// Topic Alias Maximum.
    pub topic_alias_max: Option<u16>,
    /// The Will.
    pub will: Option<WillRequest>,
}

/// A packet of a client.
#[derive(Clone, Debug)]
pub enum Packet {
    /// CONNECT.
    Connect(Box<ConnectRequest>),
    /// PUBLISH.
    Publish {
        /// What is published.
        message: Rc<Message>,
        /// Packet Identifier; 0 at QoS 0.
        packet_identifier: u16,
    },
    /// SUBSCRIBE.
    Subscribe {
        /// Packet Identifier.
        packet_identifier: u16,
        /// Subscription Identifier.
        identifier: Option<u32>,
        /// Topic Filters.
        filters: Vec<(&'static str, SubscriptionOptions)>,
    },
    /// UNSUBSCRIBE.
    Unsubscribe {
        /// Packet Identifier.
        packet_identifier: u16,
        /// Topic Filters.
        filters: Vec<&'static str>,
    },
    /// PUBACK.
    PubAck(u16),
    /// PUBREC.
    PubRec(u16),
    /// PUBREL.
    PubRel(u16),
    /// PUBCOMP.
    PubComp(u16),
    /// PINGREQ.
    Ping,
    /// DISCONNECT.
    Disconnect {
        /// With reason 0x04.
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
