//! Packets that must be refused, each with the statement it breaks and the reason code of the refusal.

use DecodeErrorKind as Kind;
use ProtocolVersion::{V3_1, V3_1_1, V5};
use ReasonCode as Reason;

use super::{decode, packet_bytes};
use crate::decode::{connect, is_bridge, version_of_connect};
use crate::error::{DecodeErrorKind, FilterError};
use crate::frame::{PacketType, split};
use crate::reason::ReasonCode;
use crate::version::ProtocolVersion;

/// Statement, version, first byte, body, kind, reason.
type Row = (
    &'static str,
    ProtocolVersion,
    u8,
    &'static str,
    DecodeErrorKind,
    ReasonCode,
);

const GENERAL_V5: &str = "[MQTT-4.13.1-1]";
const GENERAL_V3: &str = "[MQTT3-4.8.0-1]";
const HASH: DecodeErrorKind = Kind::TopicFilter(FilterError::MultiLevelMisplaced);
const PLUS: DecodeErrorKind = Kind::TopicFilter(FilterError::SingleLevelMisplaced);
const EMPTY: DecodeErrorKind = Kind::TopicFilter(FilterError::Empty);

#[rustfmt::skip]
const CONNECT: &[Row] = &[
    ("[MQTT3-3.1.2-1]", V3_1_1, 0x10, r#""MQTX" 04 02 0000 "a""#, Kind::ProtocolName, Reason::UnsupportedProtocolVersion),
    ("[MQTT-3.1.2-1]", V5, 0x10, r#""mqtt" 05 02 0000 [] "a""#, Kind::ProtocolName, Reason::UnsupportedProtocolVersion),
    ("[MQTT-3.1.2-1]", V5, 0x10, r#""" 05 02 0000 [] "a""#, Kind::ProtocolName, Reason::UnsupportedProtocolVersion),
    ("[MQTT3-3.1.2-2]", V3_1_1, 0x10, r#""MQTT" 03 02 0000 "a""#, Kind::UnsupportedProtocolLevel(3), Reason::UnsupportedProtocolVersion),
    ("[MQTT3-3.1.2-2]", V3_1_1, 0x10, r#""MQIsdp" 04 02 0000 "a""#, Kind::UnsupportedProtocolLevel(4), Reason::UnsupportedProtocolVersion),
    ("[MQTT-3.1.2-2]", V5, 0x10, r#""MQTT" 06 02 0000 [] "a""#, Kind::UnsupportedProtocolLevel(6), Reason::UnsupportedProtocolVersion),
    ("[MQTT-3.1.2-2]", V5, 0x10, r#""MQTT" 85 02 0000 [] "a""#, Kind::UnsupportedProtocolLevel(0x85), Reason::UnsupportedProtocolVersion),
    ("[MQTT3-3.1.2-3]", V3_1_1, 0x10, r#""MQTT" 04 03 0000 "a""#, Kind::ConnectReservedFlag, Reason::MalformedPacket),
    ("[MQTT-3.1.2-3]", V5, 0x10, r#""MQTT" 05 01 0000 [] "a""#, Kind::ConnectReservedFlag, Reason::MalformedPacket),
    ("[MQTT3-3.1.2-13]", V3_1_1, 0x10, r#""MQTT" 04 0A 0000 "a""#, Kind::WillQoSWithoutWill, Reason::MalformedPacket),
    ("[MQTT-3.1.2-11]", V5, 0x10, r#""MQTT" 05 12 0000 [] "a""#, Kind::WillQoSWithoutWill, Reason::MalformedPacket),
    ("[MQTT3-3.1.2-15]", V3_1_1, 0x10, r#""MQTT" 04 22 0000 "a""#, Kind::WillRetainWithoutWill, Reason::MalformedPacket),
    ("[MQTT-3.1.2-13]", V5, 0x10, r#""MQTT" 05 22 0000 [] "a""#, Kind::WillRetainWithoutWill, Reason::MalformedPacket),
    ("[MQTT3-3.1.2-14]", V3_1_1, 0x10, r#""MQTT" 04 1E 0000 "a" "w" """#, Kind::WillQoS3, Reason::MalformedPacket),
    ("[MQTT-3.1.2-12]", V5, 0x10, r#""MQTT" 05 1E 0000 [] "a" [] "w" """#, Kind::WillQoS3, Reason::MalformedPacket),
    ("[MQTT3-3.1.2-14]", V3_1, 0x10, r#""MQIsdp" 03 1A 0000 "a""#, Kind::WillQoS3, Reason::MalformedPacket),
    ("[MQTT3-3.1.2-22]", V3_1_1, 0x10, r#""MQTT" 04 42 0000 "a" "pw""#, Kind::PasswordWithoutUserName, Reason::MalformedPacket),
    ("[MQTT3-3.1.2-22]", V3_1, 0x10, r#""MQIsdp" 03 42 0000 "a" "pw""#, Kind::PasswordWithoutUserName, Reason::MalformedPacket),
    (GENERAL_V3, V3_1, 0x10, r#""MQIsdp" 03 02 0000 """#, Kind::ClientIdentifierEmpty, Reason::ClientIdentifierNotValid),
    ("[MQTT3-1.5.3-1]", V3_1_1, 0x10, r#""MQTT" 04 02 0000 0002 C328"#, Kind::InvalidUtf8, Reason::MalformedPacket),
    ("[MQTT-1.5.4-2]", V5, 0x10, r#""MQTT" 05 02 0000 [] 0001 00"#, Kind::NulInString, Reason::MalformedPacket),
    ("[MQTT-3.3.2-2]", V5, 0x10, r#""MQTT" 05 06 0000 [] "a" [] "w/#" """#, Kind::TopicNameWildcard, Reason::TopicNameInvalid),
    ("[MQTT3-3.3.2-2]", V3_1_1, 0x10, r#""MQTT" 04 06 0000 "a" "+" """#, Kind::TopicNameWildcard, Reason::TopicNameInvalid),
    ("[MQTT3-4.7.3-1]", V3_1_1, 0x10, r#""MQTT" 04 06 0000 "a" "" """#, Kind::TopicNameEmpty, Reason::ProtocolError),
    ("[MQTT-1.5.4-1]", V5, 0x10, r#""MQTT" 05 82 0000 [] "a" 0003 EDA080"#, Kind::InvalidUtf8, Reason::MalformedPacket),
    (GENERAL_V3, V3_1_1, 0x10, r#""MQTT" 04 02 0000 "a" "u""#, Kind::TrailingBytes, Reason::MalformedPacket),
    (GENERAL_V3, V3_1, 0x10, r#""MQIsdp" 03 82 0000 "a" 00"#, Kind::Truncated, Reason::MalformedPacket),
    (GENERAL_V3, V3_1_1, 0x10, r#""MQTT" 04 82 0000 "a""#, Kind::Truncated, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x10, r#""MQTT" 05 02 0000 [21 0000] "a""#, Kind::ReceiveMaximumZero, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x10, r#""MQTT" 05 02 0000 [27 00000000] "a""#, Kind::MaximumPacketSizeZero, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x10, r#""MQTT" 05 02 0000 [19 02] "a""#, Kind::PropertyValue, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x10, r#""MQTT" 05 02 0000 [17 FF] "a""#, Kind::PropertyValue, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x10, r#""MQTT" 05 02 0000 [16 0001 00] "a""#, Kind::AuthenticationDataWithoutMethod, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x10, r#""MQTT" 05 02 0000 [15 "m" 15 "m"] "a""#, Kind::PropertyDuplicate, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x10, r#""MQTT" 05 02 0000 [18 00000001] "a""#, Kind::PropertyForeign, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x10, r#""MQTT" 05 06 0000 [] "a" [11 00000001] "w" """#, Kind::PropertyForeign, Reason::MalformedPacket),
];

#[rustfmt::skip]
const PUBLISH: &[Row] = &[
    ("[MQTT3-3.3.1-4]", V3_1_1, 0x36, r#""t" 0001"#, Kind::QoS3, Reason::MalformedPacket),
    ("[MQTT-3.3.1-4]", V5, 0x3F, r#""t" 0001 []"#, Kind::QoS3, Reason::MalformedPacket),
    ("[MQTT3-3.3.1-2]", V3_1_1, 0x38, r#""t""#, Kind::DupWithQoS0, Reason::MalformedPacket),
    ("[MQTT-3.3.1-2]", V5, 0x39, r#""t" []"#, Kind::DupWithQoS0, Reason::MalformedPacket),
    ("[MQTT3-2.3.1-1]", V3_1_1, 0x32, r#""t" 0000"#, Kind::PacketIdentifierZero, Reason::ProtocolError),
    ("[MQTT-2.2.1-3]", V5, 0x34, r#""t" 0000 []"#, Kind::PacketIdentifierZero, Reason::ProtocolError),
    ("[MQTT3-3.3.2-2]", V3_1_1, 0x30, r#""a/+""#, Kind::TopicNameWildcard, Reason::TopicNameInvalid),
    ("[MQTT-3.3.2-2]", V5, 0x30, r#""a/#/b" []"#, Kind::TopicNameWildcard, Reason::TopicNameInvalid),
    ("[MQTT-3.3.2-2]", V5, 0x30, r#""abcdefghijklmnopqrstuvw+" []"#, Kind::TopicNameWildcard, Reason::TopicNameInvalid),
    ("[MQTT3-4.7.3-1]", V3_1_1, 0x30, r#""" 'x'"#, Kind::TopicNameEmpty, Reason::ProtocolError),
    ("[MQTT-4.7.3-1]", V5, 0x30, r#""" [01 00] 'x'"#, Kind::TopicNameEmpty, Reason::ProtocolError),
    ("[MQTT3-1.5.3-2]", V3_1_1, 0x30, "0003 'a' 00 'b'", Kind::NulInString, Reason::MalformedPacket),
    ("[MQTT-1.5.4-2]", V5, 0x30, "0003 'a' 00 'b' []", Kind::NulInString, Reason::MalformedPacket),
    ("[MQTT-1.5.4-2]", V5, 0x30, "0014 'abcdefghijklmnopqrs' 00 []", Kind::NulInString, Reason::MalformedPacket),
    ("[MQTT3-1.5.3-1]", V3_1_1, 0x30, "0002 C080", Kind::InvalidUtf8, Reason::MalformedPacket),
    ("[MQTT-1.5.4-1]", V5, 0x30, "0003 EDA080 []", Kind::InvalidUtf8, Reason::MalformedPacket),
    ("[MQTT-1.5.4-1]", V5, 0x30, "0003 EDBFBF []", Kind::InvalidUtf8, Reason::MalformedPacket),
    ("[MQTT-1.5.4-1]", V5, 0x30, "0004 F4908080 []", Kind::InvalidUtf8, Reason::MalformedPacket),
    ("[MQTT-1.5.4-1]", V5, 0x30, "0001 80 []", Kind::InvalidUtf8, Reason::MalformedPacket),
    ("[MQTT-1.5.4-1]", V5, 0x30, "0002 E282 []", Kind::InvalidUtf8, Reason::MalformedPacket),
    ("[MQTT-3.3.2-8]", V5, 0x30, r#""t" [23 0000]"#, Kind::TopicAliasZero, Reason::TopicAliasInvalid),
    ("[MQTT-3.3.2-14]", V5, 0x30, r#""t" [08 "r/#"]"#, Kind::ResponseTopic, Reason::ProtocolError),
    ("[MQTT-3.3.2-14]", V5, 0x30, r#""t" [08 ""]"#, Kind::ResponseTopic, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x30, r#""t" [0B 00]"#, Kind::SubscriptionIdentifierZero, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x30, r#""t" [01 02]"#, Kind::PropertyValue, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x30, r#""t" [01 00 01 00]"#, Kind::PropertyDuplicate, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x30, r#""t" [21 0001]"#, Kind::PropertyForeign, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x30, r#""t" [7F 00]"#, Kind::PropertyUnknown, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x30, r#""t" [00]"#, Kind::PropertyUnknown, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x30, r#""t" [A601]"#, Kind::PropertyUnknown, Reason::MalformedPacket),
    ("[MQTT-1.5.5-1]", V5, 0x30, r#""t" [8100 00]"#, Kind::LengthNotMinimal, Reason::MalformedPacket),
    ("[MQTT-1.5.5-1]", V5, 0x30, r#""t" 8000"#, Kind::LengthNotMinimal, Reason::MalformedPacket),
    ("[MQTT-1.5.5-1]", V5, 0x30, r#""t" 8080808001"#, Kind::LengthTooLong, Reason::MalformedPacket),
    ("[MQTT-1.5.5-1]", V5, 0x30, r#""t" [0B 8080808001]"#, Kind::LengthTooLong, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x30, r#""t" 05 01 00"#, Kind::Truncated, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x30, r#""t" [02 000000]"#, Kind::Truncated, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x30, r#""t""#, Kind::Truncated, Reason::MalformedPacket),
    (GENERAL_V3, V3_1_1, 0x30, "0005 'abcd'", Kind::Truncated, Reason::MalformedPacket),
    (GENERAL_V3, V3_1_1, 0x32, r#""t" 00"#, Kind::Truncated, Reason::MalformedPacket),
];

#[rustfmt::skip]
const SUBSCRIBE: &[Row] = &[
    ("[MQTT3-3.8.1-1]", V3_1_1, 0x80, r#"0001 "a" 00"#, Kind::ReservedFlags(PacketType::Subscribe), Reason::MalformedPacket),
    ("[MQTT3-3.8.1-1]", V3_1_1, 0x8A, r#"0001 "a" 00"#, Kind::ReservedFlags(PacketType::Subscribe), Reason::MalformedPacket),
    ("[MQTT-3.8.1-1]", V5, 0x8A, r#"0001 [] "a" 00"#, Kind::ReservedFlags(PacketType::Subscribe), Reason::MalformedPacket),
    ("[MQTT3-3.8.1-1]", V3_1, 0x83, r#"0001 "a" 00"#, Kind::ReservedFlags(PacketType::Subscribe), Reason::MalformedPacket),
    ("[MQTT3-2.3.1-1]", V3_1_1, 0x82, r#"0000 "a" 00"#, Kind::PacketIdentifierZero, Reason::ProtocolError),
    ("[MQTT-2.2.1-3]", V5, 0x82, r#"0000 [] "a" 00"#, Kind::PacketIdentifierZero, Reason::ProtocolError),
    ("[MQTT3-3.8.3-3]", V3_1_1, 0x82, "0001", Kind::SubscribeEmpty, Reason::ProtocolError),
    ("[MQTT-3.8.3-2]", V5, 0x82, "0001 []", Kind::SubscribeEmpty, Reason::ProtocolError),
    ("[MQTT3-4.7.3-1]", V3_1_1, 0x82, r#"0001 "" 00"#, EMPTY, Reason::TopicFilterInvalid),
    ("[MQTT-4.7.3-1]", V5, 0x82, r#"0001 [] "a" 00 "" 00"#, EMPTY, Reason::TopicFilterInvalid),
    ("[MQTT3-4.7.1-2]", V3_1_1, 0x82, r#"0001 "a/#/b" 00"#, HASH, Reason::TopicFilterInvalid),
    ("[MQTT-4.7.1-1]", V5, 0x82, r#"0001 [] "a#" 00"#, HASH, Reason::TopicFilterInvalid),
    ("[MQTT3-4.7.1-3]", V3_1_1, 0x82, r#"0001 "a+/b" 00"#, PLUS, Reason::TopicFilterInvalid),
    ("[MQTT-4.7.1-2]", V5, 0x82, r#"0001 [] "a/b+" 00"#, PLUS, Reason::TopicFilterInvalid),
    ("[MQTT-1.5.4-2]", V5, 0x82, "0001 [] 0002 'a' 00 00", Kind::NulInString, Reason::MalformedPacket),
    ("[MQTT3-1.5.3-1]", V3_1_1, 0x82, "0001 0001 FF 00", Kind::InvalidUtf8, Reason::MalformedPacket),
    ("[MQTT3-3.8.3-4]", V3_1_1, 0x82, r#"0001 "a" 03"#, Kind::SubscriptionQoS3, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x82, r#"0001 [] "a" 03"#, Kind::SubscriptionQoS3, Reason::ProtocolError),
    ("[MQTT3-3.8.3-4]", V3_1_1, 0x82, r#"0001 "a" 04"#, Kind::SubscriptionOptionsReserved, Reason::MalformedPacket),
    ("[MQTT3-3.8.3-4]", V3_1, 0x82, r#"0001 "a" 80"#, Kind::SubscriptionOptionsReserved, Reason::MalformedPacket),
    ("[MQTT-3.8.3-5]", V5, 0x82, r#"0001 [] "a" 40"#, Kind::SubscriptionOptionsReserved, Reason::MalformedPacket),
    ("[MQTT-3.8.3-5]", V5, 0x82, r#"0001 [] "a" 80"#, Kind::SubscriptionOptionsReserved, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x82, r#"0001 [] "a" 30"#, Kind::RetainHandling3, Reason::ProtocolError),
    ("[MQTT-3.8.3-4]", V5, 0x82, r#"0001 [] "$share/g/a" 04"#, Kind::NoLocalOnShared, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x82, r#"0001 [0B 00] "a" 00"#, Kind::SubscriptionIdentifierZero, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x82, r#"0001 [0B 01 0B 02] "a" 00"#, Kind::PropertyDuplicate, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x82, r#"0001 [23 0001] "a" 00"#, Kind::PropertyForeign, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x82, r#"0001 [] "a""#, Kind::Truncated, Reason::MalformedPacket),
    ("[MQTT3-3.10.1-1]", V3_1_1, 0xA0, r#"0001 "a""#, Kind::ReservedFlags(PacketType::Unsubscribe), Reason::MalformedPacket),
    ("[MQTT-3.10.1-1]", V5, 0xAA, r#"0001 [] "a""#, Kind::ReservedFlags(PacketType::Unsubscribe), Reason::MalformedPacket),
    ("[MQTT3-2.3.1-1]", V3_1_1, 0xA2, r#"0000 "a""#, Kind::PacketIdentifierZero, Reason::ProtocolError),
    ("[MQTT3-3.10.3-2]", V3_1_1, 0xA2, "0001", Kind::UnsubscribeEmpty, Reason::ProtocolError),
    ("[MQTT-3.10.3-2]", V5, 0xA2, "0001 []", Kind::UnsubscribeEmpty, Reason::ProtocolError),
    ("[MQTT-4.7.3-1]", V5, 0xA2, r#"0001 [] """#, EMPTY, Reason::TopicFilterInvalid),
    ("[MQTT3-4.7.1-2]", V3_1_1, 0xA2, r##"0001 "#/""##, HASH, Reason::TopicFilterInvalid),
    (GENERAL_V5, V5, 0xA2, r#"0001 [0B 01] "a""#, Kind::PropertyForeign, Reason::MalformedPacket),
];

#[rustfmt::skip]
const ACKNOWLEDGEMENTS: &[Row] = &[
    ("[MQTT3-2.2.2-2]", V3_1_1, 0x42, "0001", Kind::ReservedFlags(PacketType::PubAck), Reason::MalformedPacket),
    ("[MQTT-2.1.3-1]", V5, 0x51, "0001", Kind::ReservedFlags(PacketType::PubRec), Reason::MalformedPacket),
    ("[MQTT3-3.6.1-1]", V3_1_1, 0x60, "0001", Kind::ReservedFlags(PacketType::PubRel), Reason::MalformedPacket),
    ("[MQTT3-3.6.1-1]", V3_1_1, 0x6A, "0001", Kind::ReservedFlags(PacketType::PubRel), Reason::MalformedPacket),
    ("[MQTT-3.6.1-1]", V5, 0x66, "0001", Kind::ReservedFlags(PacketType::PubRel), Reason::MalformedPacket),
    ("[MQTT3-2.3.1-1]", V3_1_1, 0x40, "0000", Kind::PacketIdentifierZero, Reason::ProtocolError),
    ("[MQTT-2.2.1-3]", V5, 0x62, "0000", Kind::PacketIdentifierZero, Reason::ProtocolError),
    (GENERAL_V3, V3_1_1, 0x40, "0001 00", Kind::TrailingBytes, Reason::MalformedPacket),
    (GENERAL_V3, V3_1_1, 0x70, "00", Kind::Truncated, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x40, "0001 00 [] 00", Kind::TrailingBytes, Reason::MalformedPacket),
    ("[MQTT-3.4.2-1]", V5, 0x40, "0001 01", Kind::ReasonCodeInvalid(PacketType::PubAck), Reason::ProtocolError),
    ("[MQTT-3.5.2-1]", V5, 0x50, "0001 92", Kind::ReasonCodeInvalid(PacketType::PubRec), Reason::ProtocolError),
    ("[MQTT-3.6.2-1]", V5, 0x62, "0001 10", Kind::ReasonCodeInvalid(PacketType::PubRel), Reason::ProtocolError),
    ("[MQTT-3.7.2-1]", V5, 0x70, "0001 FF", Kind::ReasonCodeInvalid(PacketType::PubComp), Reason::ProtocolError),
    (GENERAL_V5, V5, 0x40, r#"0001 00 [1F "a" 1F "b"]"#, Kind::PropertyDuplicate, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x40, "0001 00 [0B 01]", Kind::PropertyForeign, Reason::MalformedPacket),
    ("[MQTT3-3.9.3-2]", V3_1_1, 0x90, "0001 03", Kind::ReasonCodeInvalid(PacketType::SubAck), Reason::ProtocolError),
    ("[MQTT-3.9.3-2]", V5, 0x90, "0001 [] 11", Kind::ReasonCodeInvalid(PacketType::SubAck), Reason::ProtocolError),
    (GENERAL_V3, V3_1_1, 0x90, "0001", Kind::Truncated, Reason::MalformedPacket),
    ("[MQTT-3.11.3-2]", V5, 0xB0, "0001 [] 01", Kind::ReasonCodeInvalid(PacketType::UnsubAck), Reason::ProtocolError),
    (GENERAL_V3, V3_1_1, 0xB0, "0001 00", Kind::TrailingBytes, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0xB0, "0001 []", Kind::Truncated, Reason::MalformedPacket),
];

#[rustfmt::skip]
const OTHERS: &[Row] = &[
    ("[MQTT-3.2.2-1]", V5, 0x20, "02 00 []", Kind::ConnectAcknowledgeFlags, Reason::MalformedPacket),
    (GENERAL_V3, V3_1_1, 0x20, "80 00", Kind::ConnectAcknowledgeFlags, Reason::MalformedPacket),
    ("[MQTT3-3.2.2-4]", V3_1_1, 0x20, "01 02", Kind::SessionPresentWithError, Reason::ProtocolError),
    ("[MQTT-3.2.2-6]", V5, 0x20, "01 87 []", Kind::SessionPresentWithError, Reason::ProtocolError),
    (GENERAL_V3, V3_1_1, 0x20, "00 06", Kind::ReasonCodeInvalid(PacketType::ConnAck), Reason::ProtocolError),
    ("[MQTT-3.2.2-8]", V5, 0x20, "00 04 []", Kind::ReasonCodeInvalid(PacketType::ConnAck), Reason::ProtocolError),
    (GENERAL_V5, V5, 0x20, "00 00 [24 02]", Kind::PropertyValue, Reason::ProtocolError),
    (GENERAL_V5, V5, 0x20, "00 00", Kind::Truncated, Reason::MalformedPacket),
    (GENERAL_V3, V3_1_1, 0xC0, "00", Kind::TrailingBytes, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0xD0, "00", Kind::TrailingBytes, Reason::MalformedPacket),
    ("[MQTT3-2.2.2-2]", V3_1_1, 0xC1, "", Kind::ReservedFlags(PacketType::PingReq), Reason::MalformedPacket),
    ("[MQTT3-3.14.1-1]", V3_1_1, 0xE1, "", Kind::ReservedFlags(PacketType::Disconnect), Reason::MalformedPacket),
    ("[MQTT-3.14.1-1]", V5, 0xE2, "", Kind::ReservedFlags(PacketType::Disconnect), Reason::MalformedPacket),
    (GENERAL_V3, V3_1_1, 0xE0, "00", Kind::TrailingBytes, Reason::MalformedPacket),
    ("[MQTT-3.14.2-1]", V5, 0xE0, "01", Kind::ReasonCodeInvalid(PacketType::Disconnect), Reason::ProtocolError),
    (GENERAL_V5, V5, 0xE0, "00 [11 00000001 11 00000001]", Kind::PropertyDuplicate, Reason::ProtocolError),
    (GENERAL_V5, V5, 0xE0, "00 [] 00", Kind::TrailingBytes, Reason::MalformedPacket),
    ("[MQTT-3.15.1-1]", V5, 0xF1, "", Kind::ReservedFlags(PacketType::Auth), Reason::MalformedPacket),
    ("[MQTT-3.15.2-1]", V5, 0xF0, "01", Kind::ReasonCodeInvalid(PacketType::Auth), Reason::ProtocolError),
    (GENERAL_V5, V5, 0xF0, "18 [16 0001 00]", Kind::AuthenticationDataWithoutMethod, Reason::ProtocolError),
    (GENERAL_V3, V3_1_1, 0xF0, "", Kind::PacketTypeReserved, Reason::MalformedPacket),
    (GENERAL_V5, V5, 0x00, "", Kind::PacketTypeReserved, Reason::MalformedPacket),
];

#[test]
fn malformed_packets_are_refused_for_their_reason() {
    for (statement, version, first, body, kind, reason) in
        [CONNECT, PUBLISH, SUBSCRIBE, ACKNOWLEDGEMENTS, OTHERS].concat()
    {
        let bytes = packet_bytes(first, body);
        let error = decode(&bytes, version).expect_err(&format!("{statement} {first:02x} {body}"));
        let broken = if version == V5 {
            error.statement()
        } else {
            error.statement_v3()
        };
        let seen = (error.kind, error.reason(), broken);
        assert_eq!(
            seen,
            (kind, reason, statement),
            "{version:?} {first:02x} {body}: {error}"
        );
    }
}

/// All 256 first bytes, compared with a second copy of table 2-2 of the specification.
#[test]
fn every_reserved_bit_of_the_first_byte_is_checked() {
    for first in 0..=255_u8 {
        let allowed = match first {
            0x10 | 0x20 | 0x40 | 0x50 | 0x62 | 0x70 | 0x82 | 0x90 | 0xA2 | 0xB0 | 0xC0 | 0xD0 | 0xE0
            | 0xF0 => true,
            0x30..=0x35 | 0x3A..=0x3D => true,
            // MQTT 3.1's DUP: the decoder refuses it in other versions.
            0x6A | 0x8A | 0xAA => true,
            _ => false,
        };
        assert_eq!(split(&[first], 1024).is_ok(), allowed, "{first:#04x}");
    }
}

#[test]
fn lengths_are_minimal_and_have_four_bytes_at_most() {
    let kind = |bytes: &[u8]| split(bytes, u32::MAX).err().map(|error| error.kind);
    assert_eq!(kind(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]), None);
    assert_eq!(kind(&[0x30, 0xFF, 0xFF, 0xFF]), None);
    assert_eq!(kind(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Some(Kind::LengthTooLong));
    assert_eq!(
        kind(&[0x30, 0x80, 0x80, 0x80, 0x80, 0x01]),
        Some(Kind::LengthTooLong)
    );
    for not_minimal in [
        &[0x30, 0x80, 0x00][..],
        &[0x30, 0xFF, 0x00],
        &[0x30, 0x80, 0x80, 0x00],
        &[0x30, 0x80, 0x80, 0x80, 0x00],
    ] {
        assert_eq!(
            kind(not_minimal),
            Some(Kind::LengthNotMinimal),
            "{not_minimal:x?}"
        );
    }
}

#[test]
fn the_version_of_a_malformed_connect_is_known() {
    let bytes = packet_bytes(0x10, r#""MQTT" 05 01 0000 [] "a""#);
    let frame = split(&bytes, 1024).unwrap().unwrap();
    assert!(connect(&frame).is_err());
    assert_eq!(version_of_connect(frame.body), Some(V5));
    let unknown = packet_bytes(0x10, r#""MQTT" 07"#);
    assert_eq!(
        version_of_connect(split(&unknown, 1024).unwrap().unwrap().body),
        None
    );
}

#[test]
fn unused_bits_of_mqtt_3_1_are_let_be() {
    for flags in [0x02, 0x03, 0x0A, 0x12, 0x22, 0x33] {
        let bytes = packet_bytes(0x10, &format!(r#""MQIsdp" 03 {flags:02X} 0000 "a""#));
        let frame = split(&bytes, 1024).unwrap().unwrap();
        assert!(
            connect(&frame).is_ok_and(|connect| connect.will.is_none()),
            "{flags:02x}"
        );
    }
}

#[test]
fn a_bridge_speaks_the_version_below_its_bit() {
    for (start, version, bridge) in [
        (r#""MQIsdp" 83"#, Some(V3_1), true),
        (r#""MQTT" 84"#, Some(V3_1_1), true),
        (r#""MQTT" 04"#, Some(V3_1_1), false),
        (r#""MQTT" 85"#, None, true),
        (r#""MQTT" 83"#, None, true),
    ] {
        let bytes = packet_bytes(0x10, &format!(r#"{start} 02 0000 "a""#));
        let frame = split(&bytes, 1024).unwrap().unwrap();
        let got = connect(&frame).ok().map(|connect| connect.version);
        assert_eq!((got, is_bridge(frame.body)), (version, bridge), "{start}");
    }
}
