//! Errors of the decoder and of the encoder.
//!
//! Invariant: each [`DecodeErrorKind`] has one reason code and the number of the statement that it breaks, for MQTT
//! 5.0 and for 3.1.1. A kind without a specific statement has the general one about malformed packets and protocol
//! errors.

use thiserror::Error;

use crate::frame::PacketType;
use crate::reason::ReasonCode;
use crate::topic::TopicError;

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct DecodeError {
    /// The rule that the bytes break.
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    /// The reason code to answer with in CONNACK or DISCONNECT of MQTT 5.0.
    pub fn reason(&self) -> ReasonCode {
        use DecodeErrorKind as Kind;
        match self.kind {
            Kind::PacketTooLarge => ReasonCode::PacketTooLarge,
            Kind::ProtocolName | Kind::UnsupportedProtocolLevel(_) => ReasonCode::UnsupportedProtocolVersion,
            Kind::ClientIdentifierEmpty => ReasonCode::ClientIdentifierNotValid,
            Kind::TopicNameWildcard => ReasonCode::TopicNameInvalid,
            Kind::TopicFilter(_) => ReasonCode::TopicFilterInvalid,
            Kind::TopicAliasZero => ReasonCode::TopicAliasInvalid,
            // 0x90 would refer to the Topic Name of the PUBLISH.
            Kind::ResponseTopic
            | Kind::TopicNameEmpty
            | Kind::PropertyDuplicate
            | Kind::PropertyValue
            | Kind::ReceiveMaximumZero
            | Kind::MaximumPacketSizeZero
            | Kind::SubscriptionIdentifierZero
            | Kind::AuthenticationDataWithoutMethod
            | Kind::PacketIdentifierZero
            | Kind::SubscribeEmpty
            | Kind::UnsubscribeEmpty
            | Kind::SubscriptionQoS3
            | Kind::RetainHandling3
            | Kind::NoLocalOnShared
            | Kind::SessionPresentWithError
            | Kind::ReasonCodeInvalid(_) => ReasonCode::ProtocolError,
            _ => ReasonCode::MalformedPacket,
        }
    }

    /// The statement of MQTT 5.0 that is broken, as `[MQTT-2.2.1-3]`.
    pub fn statement(&self) -> &'static str {
        self.kind.statements().0
    }

    /// The statement of MQTT 3.1.1 that is broken, as `[MQTT3-2.3.1-1]`.
    pub fn statement_v3(&self) -> &'static str {
        self.kind.statements().1
    }
}

impl From<DecodeErrorKind> for DecodeError {
    fn from(kind: DecodeErrorKind) -> Self {
        Self { kind }
    }
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// Packet type 0, or AUTH before MQTT 5.0.
    #[error("the packet type is reserved")]
    PacketTypeReserved,
    /// The low four bits of the first byte.
    #[error("the reserved flags of {0:?} are wrong")]
    ReservedFlags(PacketType),
    /// A Variable Byte Integer of five bytes or more.
    #[error("a length has more than four bytes")]
    LengthTooLong,
    /// A Variable Byte Integer with more bytes than it needs.
    #[error("a length has more bytes than it needs")]
    LengthNotMinimal,
    /// Larger than the receiver's Maximum Packet Size.
    #[error("the packet is larger than allowed")]
    PacketTooLarge,
    /// The packet ends within a field.
    #[error("the packet ends too early")]
    Truncated,
    /// The packet continues after its last field.
    #[error("the packet has bytes after its end")]
    TrailingBytes,
    /// A string is not UTF-8, or encodes surrogates.
    #[error("a string is not well-formed UTF-8")]
    InvalidUtf8,
    /// A string contains U+0000.
    #[error("a string contains the character U+0000")]
    NulInString,
    /// A Packet Identifier is zero, which stands for none.
    #[error("the Packet Identifier is zero")]
    PacketIdentifierZero,
    /// A PUBLISH has QoS 3.
    #[error("the QoS is 3")]
    QoS3,
    /// PUBLISH with DUP and QoS 0.
    #[error("DUP is set with QoS 0")]
    DupWithQoS0,
    /// An empty Topic Name without a Topic Alias.
    #[error("the Topic Name is empty")]
    TopicNameEmpty,
    /// `+` or `#` in a Topic Name.
    #[error("the Topic Name contains a wildcard")]
    TopicNameWildcard,
    /// A Response Topic that is not a Topic Name.
    #[error("the Response Topic is not a Topic Name")]
    ResponseTopic,
    /// An invalid Topic Filter.
    #[error("the Topic Filter is invalid: {0}")]
    TopicFilter(FilterError),
    /// A property that is not in the specification.
    #[error("a property identifier is unknown")]
    PropertyUnknown,
    /// A property that does not belong to the packet.
    #[error("a property does not belong to the packet")]
    PropertyForeign,
    /// A property that occurs twice.
    #[error("a property occurs twice")]
    PropertyDuplicate,
    /// A property whose value is neither 0 nor 1 although it must be.
    #[error("a property has a value that is not allowed")]
    PropertyValue,
    /// A Receive Maximum is zero, so nothing could be sent.
    #[error("the Receive Maximum is zero")]
    ReceiveMaximumZero,
    /// A Topic Alias is zero, which stands for none.
    #[error("the Topic Alias is zero")]
    TopicAliasZero,
    /// The Maximum Packet Size is 0.
    #[error("the Maximum Packet Size is zero")]
    MaximumPacketSizeZero,
    /// A Subscription Identifier is zero, which stands for none.
    #[error("the Subscription Identifier is zero")]
    SubscriptionIdentifierZero,
    /// The packet has Authentication Data, but no method to which it belongs.
    #[error("there is Authentication Data without an Authentication Method")]
    AuthenticationDataWithoutMethod,
    /// The protocol name is neither `MQTT` nor `MQIsdp`.
    #[error("the protocol name is neither MQTT nor MQIsdp")]
    ProtocolName,
    /// The protocol level is not one of 3, 4, 5, or does not match the protocol name.
    #[error("the protocol level {0} is not supported")]
    UnsupportedProtocolLevel(u8),
    /// The reserved bit of the Connect Flags.
    #[error("the reserved Connect Flag is set")]
    ConnectReservedFlag,
    /// The Will Flag is 0, and Will QoS is not.
    #[error("there is a Will QoS without a Will")]
    WillQoSWithoutWill,
    /// The Will Flag is 0, and Will Retain is 1.
    #[error("Will Retain is set without a Will")]
    WillRetainWithoutWill,
    /// Will QoS is 3, which is not a QoS.
    #[error("the Will QoS is 3")]
    WillQoS3,
    /// Password without User Name in MQTT 3.x.
    #[error("there is a Password without a User Name")]
    PasswordWithoutUserName,
    /// MQTT 3.1 has no empty Client Identifier.
    #[error("the Client Identifier is empty")]
    ClientIdentifierEmpty,
    /// The reserved bits of the Connect Acknowledge Flags.
    #[error("the reserved Connect Acknowledge Flags are set")]
    ConnectAcknowledgeFlags,
    /// Session Present in a CONNACK that refuses.
    #[error("Session Present is set although the connection is refused")]
    SessionPresentWithError,
    /// A reason code that the packet may not carry.
    #[error("the reason code is not one of {0:?}")]
    ReasonCodeInvalid(PacketType),
    /// A SUBSCRIBE has no Topic Filter.
    #[error("SUBSCRIBE has no Topic Filter")]
    SubscribeEmpty,
    /// An UNSUBSCRIBE has no Topic Filter.
    #[error("UNSUBSCRIBE has no Topic Filter")]
    UnsubscribeEmpty,
    /// The reserved bits of the Subscription Options.
    #[error("the reserved Subscription Options are set")]
    SubscriptionOptionsReserved,
    /// A SUBSCRIBE requests QoS 3.
    #[error("the Subscription Options have QoS 3")]
    SubscriptionQoS3,
    /// Retain Handling is 3, which has no meaning.
    #[error("the Retain Handling is 3")]
    RetainHandling3,
    /// No Local on a Shared Subscription.
    #[error("No Local is set on a Shared Subscription")]
    NoLocalOnShared,
}

/// What is wrong with a Topic Filter in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum FilterError {
    /// The Topic Filter has no character.
    #[error("it is empty")]
    Empty,
    /// `#` is not the whole last level.
    #[error("# must be the whole last level")]
    MultiLevelMisplaced,
    /// `+` is not a whole level.
    #[error("+ must be a whole level")]
    SingleLevelMisplaced,
}

impl DecodeErrorKind {
    /// The error of a packet with this faulty Topic Filter.
    pub(crate) fn of_filter(error: TopicError) -> Self {
        match error {
            TopicError::Empty => Self::TopicFilter(FilterError::Empty),
            TopicError::SingleLevelMisplaced => Self::TopicFilter(FilterError::SingleLevelMisplaced),
            TopicError::Nul => Self::NulInString,
            _ => Self::TopicFilter(FilterError::MultiLevelMisplaced),
        }
    }

    /// The broken statement in MQTT 5.0 and in 3.1.1.
    fn statements(self) -> (&'static str, &'static str) {
        match self {
            Self::ReservedFlags(packet_type) => reserved_flags_statements(packet_type),
            Self::ReasonCodeInvalid(packet_type) => reason_code_statements(packet_type),
            Self::LengthTooLong | Self::LengthNotMinimal => ("[MQTT-1.5.5-1]", GENERAL_V3),
            Self::InvalidUtf8 => ("[MQTT-1.5.4-1]", "[MQTT3-1.5.3-1]"),
            Self::NulInString => ("[MQTT-1.5.4-2]", "[MQTT3-1.5.3-2]"),
            Self::PacketTooLarge => ("[MQTT-3.2.2-15]", GENERAL_V3),
            Self::PacketIdentifierZero => ("[MQTT-2.2.1-3]", "[MQTT3-2.3.1-1]"),
            Self::QoS3 => ("[MQTT-3.3.1-4]", "[MQTT3-3.3.1-4]"),
            Self::DupWithQoS0 => ("[MQTT-3.3.1-2]", "[MQTT3-3.3.1-2]"),
            Self::TopicNameEmpty => ("[MQTT-4.7.3-1]", "[MQTT3-4.7.3-1]"),
            Self::TopicNameWildcard => ("[MQTT-3.3.2-2]", "[MQTT3-3.3.2-2]"),
            Self::ResponseTopic => ("[MQTT-3.3.2-14]", GENERAL_V3),
            Self::TopicFilter(FilterError::Empty) => ("[MQTT-4.7.3-1]", "[MQTT3-4.7.3-1]"),
            Self::TopicFilter(FilterError::MultiLevelMisplaced) => ("[MQTT-4.7.1-1]", "[MQTT3-4.7.1-2]"),
            Self::TopicFilter(FilterError::SingleLevelMisplaced) => ("[MQTT-4.7.1-2]", "[MQTT3-4.7.1-3]"),
            Self::TopicAliasZero => ("[MQTT-3.3.2-8]", GENERAL_V3),
            Self::ProtocolName => ("[MQTT-3.1.2-1]", "[MQTT3-3.1.2-1]"),
            Self::UnsupportedProtocolLevel(_) => ("[MQTT-3.1.2-2]", "[MQTT3-3.1.2-2]"),
            Self::ConnectReservedFlag => ("[MQTT-3.1.2-3]", "[MQTT3-3.1.2-3]"),
            Self::WillQoSWithoutWill => ("[MQTT-3.1.2-11]", "[MQTT3-3.1.2-13]"),
            Self::WillQoS3 => ("[MQTT-3.1.2-12]", "[MQTT3-3.1.2-14]"),
            Self::WillRetainWithoutWill => ("[MQTT-3.1.2-13]", "[MQTT3-3.1.2-15]"),
            Self::PasswordWithoutUserName => (GENERAL_V5, "[MQTT3-3.1.2-22]"),
            Self::ConnectAcknowledgeFlags => ("[MQTT-3.2.2-1]", GENERAL_V3),
            Self::SessionPresentWithError => ("[MQTT-3.2.2-6]", "[MQTT3-3.2.2-4]"),
            Self::SubscribeEmpty => ("[MQTT-3.8.3-2]", "[MQTT3-3.8.3-3]"),
            Self::UnsubscribeEmpty => ("[MQTT-3.10.3-2]", "[MQTT3-3.10.3-2]"),
            Self::SubscriptionOptionsReserved => ("[MQTT-3.8.3-5]", "[MQTT3-3.8.3-4]"),
            Self::SubscriptionQoS3 => (GENERAL_V5, "[MQTT3-3.8.3-4]"),
            Self::NoLocalOnShared => ("[MQTT-3.8.3-4]", GENERAL_V3),
            _ => (GENERAL_V5, GENERAL_V3),
        }
    }
}

/// Why the encoder cannot write a packet. The output is unchanged then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary field of more than 65,535 bytes.
    #[error("a string or binary field is longer than 65,535 bytes")]
    FieldTooLong,
    /// A Remaining Length of more than 268,435,455.
    #[error("the packet is longer than 268,435,455 bytes")]
    PacketTooLarge,
    /// A Subscription Identifier of more than 268,435,455, or 0.
    #[error("the Subscription Identifier is not in 1 to 268,435,455")]
    SubscriptionIdentifier,
    /// SUBSCRIBE or UNSUBSCRIBE without a Topic Filter [MQTT-3.8.3-2], [MQTT-3.10.3-2].
    #[error("there is no Topic Filter")]
    NoTopicFilter,
    /// Password without User Name in MQTT 3.x [MQTT3-3.1.2-22].
    #[error("there is a Password without a User Name")]
    PasswordWithoutUserName,
    /// PUBLISH with QoS 1 or 2 and no Packet Identifier [MQTT-2.2.1-3].
    #[error("there is no Packet Identifier")]
    NoPacketIdentifier,
    /// An AUTH packet in a version before MQTT 5.0.
    #[error("the protocol version does not have this packet")]
    NotInVersion,
}

/// A malformed packet or protocol error closes the connection (5.0).
const GENERAL_V5: &str = "[MQTT-4.13.1-1]";
/// A protocol violation closes the connection (3.1.1).
const GENERAL_V3: &str = "[MQTT3-4.8.0-1]";

fn reserved_flags_statements(packet_type: PacketType) -> (&'static str, &'static str) {
    match packet_type {
        PacketType::PubRel => ("[MQTT-3.6.1-1]", "[MQTT3-3.6.1-1]"),
        PacketType::Subscribe => ("[MQTT-3.8.1-1]", "[MQTT3-3.8.1-1]"),
        PacketType::Unsubscribe => ("[MQTT-3.10.1-1]", "[MQTT3-3.10.1-1]"),
        PacketType::Disconnect => ("[MQTT-3.14.1-1]", "[MQTT3-3.14.1-1]"),
        PacketType::Auth => ("[MQTT-3.15.1-1]", GENERAL_V3),
        _ => ("[MQTT-2.1.3-1]", "[MQTT3-2.2.2-2]"),
    }
}

fn reason_code_statements(packet_type: PacketType) -> (&'static str, &'static str) {
    match packet_type {
        PacketType::ConnAck => ("[MQTT-3.2.2-8]", GENERAL_V3),
        PacketType::PubAck => ("[MQTT-3.4.2-1]", GENERAL_V3),
        PacketType::PubRec => ("[MQTT-3.5.2-1]", GENERAL_V3),
        PacketType::PubRel => ("[MQTT-3.6.2-1]", GENERAL_V3),
        PacketType::PubComp => ("[MQTT-3.7.2-1]", GENERAL_V3),
        PacketType::SubAck => ("[MQTT-3.9.3-2]", "[MQTT3-3.9.3-2]"),
        PacketType::UnsubAck => ("[MQTT-3.11.3-2]", GENERAL_V3),
        PacketType::Disconnect => ("[MQTT-3.14.2-1]", GENERAL_V3),
        PacketType::Auth => ("[MQTT-3.15.2-1]", GENERAL_V3),
        _ => (GENERAL_V5, GENERAL_V3),
    }
}
