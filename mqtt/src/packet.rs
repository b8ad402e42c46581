//! The control packets as borrowed views of the read buffer.
//!
//! Invariant: a value from [`crate::decode`] is completely valid (strings are UTF-8 without NUL, identifiers are not
//! zero, properties belong to the packet), so nothing after the decoder checks again.

use std::num::NonZeroU16;

use crate::property::Properties;
use crate::reason::ReasonCode;
use crate::version::ProtocolVersion;

/// A Packet Identifier: never zero [MQTT-2.2.1-3].
pub type PacketIdentifier = NonZeroU16;

/// Quality of Service: how often an Application Message may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum QoS {
    /// At most once: no acknowledgement.
    AtMostOnce = 0,
    /// At least once: PUBACK.
    AtLeastOnce = 1,
    /// Exactly once: PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

/// A control packet of any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Client to server: opens a connection.
    Connect(Connect<'a>),
    /// Server to client: answers CONNECT.
    ConnAck(ConnAck<'a>),
    /// Either way: carries an Application Message.
    Publish(Publish<'a>),
    /// Answers a QoS 1 PUBLISH.
    PubAck(Ack<'a>),
    /// QoS 2, first answer: the receiver has the message.
    PubRec(Ack<'a>),
    /// QoS 2, release: the sender has forgotten the message.
    PubRel(Ack<'a>),
    /// QoS 2, last answer: the identifier may be used again.
    PubComp(Ack<'a>),
    /// Client to server: asks for subscriptions.
    Subscribe(Subscribe<'a>),
    /// Server to client: answers SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// Client to server: ends subscriptions.
    Unsubscribe(Unsubscribe<'a>),
    /// Server to client: answers UNSUBSCRIBE.
    UnsubAck(SubAck<'a>),
    /// Client to server: shows that it is alive.
    PingReq,
    /// Server to client: answers PINGREQ.
    PingResp,
    /// The last packet of a connection.
    Disconnect(Disconnect<'a>),
    /// MQTT 5.0: enhanced authentication.
    Auth(Auth<'a>),
}

/// A CONNECT: the client's identity and the settings of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Protocol version of the whole connection.
    pub version: ProtocolVersion,
    /// Clean Start (5.0), Clean Session (3.x).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive_s: u16,
    /// Properties (5.0), else empty.
    pub properties: Properties<'a>,
    /// Client Identifier; may be empty.
    pub client_identifier: &'a str,
    /// The Will Message, which is published when the connection ends without DISCONNECT.
    pub will: Option<Will<'a>>,
    /// The User Name, if the client gives one.
    pub user_name: Option<&'a str>,
    /// The Password: binary data, not a string.
    pub password: Option<&'a [u8]>,
}

/// The Will of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// The QoS that the Will Message is published with.
    pub qos: QoS,
    /// Whether the Will Message becomes a retained message.
    pub retain: bool,
    /// Will Properties (5.0), else empty.
    pub properties: Properties<'a>,
    /// Will Topic: a topic name.
    pub topic: &'a str,
    /// The Will Payload, of any content.
    pub payload: &'a [u8],
}

/// A CONNACK: whether the server accepts the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Session Present (not in MQTT 3.1, where it is decoded as false).
    pub session_present: bool,
    /// 5.0 reason code; the return codes of 3.x are mapped from and to it.
    pub reason: ReasonCode,
    /// Properties (5.0), else empty.
    pub properties: Properties<'a>,
}

/// A PUBLISH: it carries an Application Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The DUP flag: the packet may have been sent before.
    pub dup: bool,
    /// The QoS of this delivery, which may be lower than that of the publish.
    pub qos: QoS,
    /// The RETAIN flag: the message is to be retained, or was retained.
    pub retain: bool,
    /// Topic Name; empty only in 5.0 with a Topic Alias.
    pub topic: &'a str,
    /// Packet Identifier: present if QoS > 0.
    pub packet_identifier: Option<PacketIdentifier>,
    /// Properties (5.0), else empty.
    pub properties: Properties<'a>,
    /// The Application Message itself, of any content.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Packet Identifier of the PUBLISH.
    pub packet_identifier: PacketIdentifier,
    /// Reason (5.0), else success.
    pub reason: ReasonCode,
    /// Properties (5.0), else empty.
    pub properties: Properties<'a>,
}

/// A SUBSCRIBE: Topic Filters to subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The identifier that the acknowledgement will carry.
    pub packet_identifier: PacketIdentifier,
    /// Properties (5.0), else empty.
    pub properties: Properties<'a>,
    /// The Topic Filters with their options: at least one.
    pub filters: SubscribeFilters<'a>,
}

/// Retain Handling of a subscription (5.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send retained messages at each SUBSCRIBE.
    SendAtSubscribe = 0,
    /// Send them only if the subscription is new.
    SendIfNew = 1,
    /// Do not send them.
    DoNotSend = 2,
}

/// The Subscription Options of one Topic Filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest QoS with which messages are to be sent.
    pub qos: QoS,
    /// No Local (5.0): the client's own messages are not sent back to it.
    pub no_local: bool,
    /// Retain As Published (5.0).
    pub retain_as_published: bool,
    /// Retain Handling (5.0): which retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// The payload of a SUBSCRIBE: iterate with [`SubscribeFilters::iter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilters<'a>(pub(crate) &'a [u8]);

/// A SUBACK or UNSUBACK: the result for each Topic Filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Packet Identifier of the SUBSCRIBE or UNSUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    /// Properties (5.0), else empty.
    pub properties: Properties<'a>,
    /// One reason code for each filter, as on the wire; empty in an UNSUBACK of 3.x.
    pub reason_codes: &'a [u8],
}

/// An UNSUBSCRIBE: Topic Filters to unsubscribe from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The identifier that the acknowledgement will carry.
    pub packet_identifier: PacketIdentifier,
    /// Properties (5.0), else empty.
    pub properties: Properties<'a>,
    /// The Topic Filters: at least one.
    pub filters: UnsubscribeFilters<'a>,
}

/// The payload of an UNSUBSCRIBE: iterate with [`UnsubscribeFilters::iter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a>(pub(crate) &'a [u8]);

/// A DISCONNECT: the last packet of a connection, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Reason (5.0), else normal disconnection.
    pub reason: ReasonCode,
    /// Properties (5.0), else empty.
    pub properties: Properties<'a>,
}

/// An AUTH (5.0): a step of an enhanced authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Reason: success, continue authentication, re-authenticate.
    pub reason: ReasonCode,
    /// Properties: the method and its data.
    pub properties: Properties<'a>,
}

impl SubscribeFilters<'_> {
    /// The filters after this many bytes, which are whole entries of this packet.
    #[must_use]
    pub fn after(&self, bytes: usize) -> Self {
        Self(self.0.get(bytes..).unwrap_or_default())
    }

    /// Bytes that the entry of a filter takes.
    #[must_use]
    pub fn bytes_of(filter: &str) -> usize {
        filter.len() + 3
    }
}

impl UnsubscribeFilters<'_> {
    /// The filters after this many bytes, which are whole entries of this packet.
    #[must_use]
    pub fn after(&self, bytes: usize) -> Self {
        Self(self.0.get(bytes..).unwrap_or_default())
    }

    /// Bytes that the entry of a filter takes.
    #[must_use]
    pub fn bytes_of(filter: &str) -> usize {
        filter.len() + 2
    }
}
