//! Random fields, and a packet of each type with them.

use std::num::{NonZeroU16, NonZeroU32};

use proptest::prelude::*;

use crate::frame::PacketType;
use crate::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketIdentifier, Publish, QoS, SubAck, Subscribe,
    SubscribeFilters, Unsubscribe, UnsubscribeFilters, Will,
};
use crate::property::{PropertiesBuf, Property, PropertySet};
use crate::reason::ReasonCode;
use crate::version::ProtocolVersion;
use crate::wire;

/// The random content of one packet of each type.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub(super) version: ProtocolVersion,
    pub(super) identifier: PacketIdentifier,
    qos: QoS,
    flags: u8,
    pub(super) number: u32,
    client_identifier: String,
    pub(super) topic: String,
    text: String,
    data: Vec<u8>,
    property_mask: u32,
    reason_seed: usize,
    pub(super) filters: Vec<(String, u8)>,
}

/// Everything of [`Fields`] that packets borrow.
pub(super) struct Buffers {
    connect: PropertiesBuf,
    will: PropertiesBuf,
    connack: PropertiesBuf,
    publish: PropertiesBuf,
    acknowledgement: PropertiesBuf,
    subscribe: PropertiesBuf,
    unsubscribe: PropertiesBuf,
    disconnect: PropertiesBuf,
    auth: PropertiesBuf,
    subscribe_filters: Vec<u8>,
    unsubscribe_filters: Vec<u8>,
    suback_codes: Vec<u8>,
    unsuback_codes: Vec<u8>,
}

impl Fields {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        let version = prop_oneof![
            Just(ProtocolVersion::V3_1),
            Just(ProtocolVersion::V3_1_1),
            Just(ProtocolVersion::V5)
        ];
        let numbers = (
            version,
            any::<NonZeroU16>(),
            0..3_u8,
            any::<u8>(),
            any::<u32>(),
            any::<u32>(),
            any::<usize>(),
        );
        let strings = (
            "[^\0]{1,30}",
            "[^\0+#]{1,40}",
            "[^\0]{0,20}",
            prop::collection::vec(any::<u8>(), 0..300),
        );
        let level = prop_oneof![Just("+".to_owned()), "[^\0+#/]{0,6}"];
        let filter = (prop::collection::vec(level, 1..5), any::<bool>()).prop_map(|(levels, all)| {
            let filter = levels.join("/") + if all { "/#" } else { "" };
            if filter.is_empty() { "#".to_owned() } else { filter }
        });
        let filters = prop::collection::vec((filter, any::<u8>()), 1..5);
        (numbers, strings, filters).prop_map(|(numbers, strings, filters)| {
            let (version, identifier, qos, flags, number, property_mask, reason_seed) = numbers;
            let (client_identifier, topic, text, data) = strings;
            let qos = QoS::from_bits(qos).unwrap();
            Self {
                version,
                identifier,
                qos,
                flags,
                number,
                client_identifier,
                topic,
                text,
                data,
                property_mask,
                reason_seed,
                filters,
            }
        })
    }

    pub(super) fn buffers(&self) -> Buffers {
        let mut buffers = Buffers {
            connect: self.properties(PropertySet::CONNECT),
            will: self.properties(PropertySet::WILL),
            connack: self.properties(PropertySet::CONNACK),
            publish: self.properties(PropertySet::PUBLISH),
            acknowledgement: self.properties(PropertySet::ACKNOWLEDGEMENT),
            subscribe: self.properties(PropertySet::SUBSCRIBE),
            unsubscribe: self.properties(PropertySet::UNSUBSCRIBE),
            disconnect: self.properties(PropertySet::DISCONNECT),
            auth: self.properties(PropertySet::AUTH),
            subscribe_filters: Vec::new(),
            unsubscribe_filters: Vec::new(),
            suback_codes: Vec::new(),
            unsuback_codes: Vec::new(),
        };
        for (filter, options) in &self.filters {
            wire::write_string(filter, &mut buffers.subscribe_filters).unwrap();
            buffers.subscribe_filters.push(self.options(*options));
            wire::write_string(filter, &mut buffers.unsubscribe_filters).unwrap();
            let seed = usize::from(*options);
            if self.version == ProtocolVersion::V5 {
                buffers
                    .suback_codes
                    .push(self.reason(PacketType::SubAck, seed) as u8);
                buffers
                    .unsuback_codes
                    .push(self.reason(PacketType::UnsubAck, seed) as u8);
            } else {
                buffers.suback_codes.push([0, 1, 2, 0x80][seed % 4]);
            }
        }
        buffers
    }

    /// Valid Subscription Options of random bits.
    pub(super) fn options(&self, bits: u8) -> u8 {
        let qos = bits & 0b11;
        let handling = (bits >> 4) & 0b11;
        match self.version {
            ProtocolVersion::V5 => (qos.min(2)) | (bits & 0b1100) | (handling.min(2) << 4),
            _ => qos.min(2),
        }
    }

    fn flag(&self, bit: u8) -> bool {
        self.flags & (1 << bit) != 0
    }

    fn reason(&self, packet_type: PacketType, seed: usize) -> ReasonCode {
        if self.version != ProtocolVersion::V5 {
            return match packet_type {
                PacketType::ConnAck => ReasonCode::from_v3_return_code((seed % 6) as u8).unwrap(),
                _ => ReasonCode::Success,
            };
        }
        let all: Vec<_> = ReasonCode::ALL
            .iter()
            .filter(|reason| reason.belongs_to(packet_type))
            .collect();
        *all[seed % all.len()]
    }

    /// The properties that are allowed in a packet and selected by the mask.
    fn properties(&self, allowed: PropertySet) -> PropertiesBuf {
        let mut buffer = PropertiesBuf::new();
        if self.version != ProtocolVersion::V5 {
            return buffer;
        }
        for (at, property) in self.all_properties().into_iter().enumerate() {
            let mut alone = PropertiesBuf::new();
            alone.push(property).unwrap();
            let identifier = alone.as_properties().as_bytes()[0];
            let wanted =
                self.property_mask & (1 << at) != 0 || matches!(property, Property::AuthenticationMethod(_));
            if wanted && allowed.contains(identifier) {
                buffer.push(property).unwrap();
            }
        }
        buffer
    }

    pub(super) fn all_properties(&self) -> [Property<'_>; 29] {
        let (number, yes) = (self.number, self.flag(0));
        let short = number as u16;
        let not_zero = NonZeroU16::new(short).unwrap_or(NonZeroU16::MAX);
        [
            Property::UserProperty(&self.text, &self.topic),
            Property::PayloadFormatIndicator(yes),
            Property::MessageExpiryInterval(number),
            Property::ContentType(&self.text),
            Property::ResponseTopic(&self.topic),
            Property::CorrelationData(&self.data),
            Property::SubscriptionIdentifier((number >> 4).clamp(1, 268_435_455)),
            Property::SessionExpiryInterval(number),
            Property::AssignedClientIdentifier(&self.client_identifier),
            Property::ServerKeepAlive(short),
            Property::AuthenticationMethod(&self.text),
            Property::AuthenticationData(&self.data),
            Property::RequestProblemInformation(yes),
            Property::WillDelayInterval(number),
            Property::RequestResponseInformation(yes),
            Property::ResponseInformation(&self.text),
            Property::ServerReference(&self.text),
            Property::ReasonString(&self.text),
            Property::ReceiveMaximum(not_zero),
            Property::TopicAliasMaximum(short),
            Property::TopicAlias(not_zero),
            Property::MaximumQoS(if yes { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
            Property::RetainAvailable(yes),
            Property::MaximumPacketSize(NonZeroU32::new(number).unwrap_or(NonZeroU32::MAX)),
            Property::WildcardSubscriptionAvailable(yes),
            Property::SubscriptionIdentifierAvailable(yes),
            Property::SharedSubscriptionAvailable(yes),
            Property::UserProperty("", ""),
            Property::UserProperty(&self.text, &self.topic),
        ]
    }

    /// One packet of each type; AUTH only in 5.0.
    pub(super) fn packets<'a>(&'a self, buffers: &'a Buffers) -> Vec<Packet<'a>> {
        let packet_identifier = self.identifier;
        let acknowledgement = buffers.acknowledgement.as_properties();
        let ack = |packet_type| Ack {
            packet_identifier,
            reason: self.reason(packet_type, self.reason_seed),
            properties: acknowledgement,
        };
        let suback = |reason_codes| SubAck {
            packet_identifier,
            properties: acknowledgement,
            reason_codes,
        };
        let mut packets = vec![
            Packet::Connect(self.connect(buffers)),
            Packet::ConnAck(self.connack(buffers)),
            Packet::Publish(self.publish(buffers)),
            Packet::PubAck(ack(PacketType::PubAck)),
            Packet::PubRec(ack(PacketType::PubRec)),
            Packet::PubRel(ack(PacketType::PubRel)),
            Packet::PubComp(ack(PacketType::PubComp)),
            Packet::Subscribe(Subscribe {
                packet_identifier,
                properties: buffers.subscribe.as_properties(),
                filters: SubscribeFilters(&buffers.subscribe_filters),
            }),
            Packet::SubAck(suback(&buffers.suback_codes)),
            Packet::Unsubscribe(Unsubscribe {
                packet_identifier,
                properties: buffers.unsubscribe.as_properties(),
                filters: UnsubscribeFilters(&buffers.unsubscribe_filters),
            }),
            Packet::UnsubAck(suback(&buffers.unsuback_codes)),
            Packet::PingReq,
            Packet::PingResp,
            Packet::Disconnect(Disconnect {
                reason: self.reason(PacketType::Disconnect, self.reason_seed),
                properties: buffers.disconnect.as_properties(),
            }),
        ];
        if self.version == ProtocolVersion::V5 {
            let reason = self.reason(PacketType::Auth, self.reason_seed);
            packets.push(Packet::Auth(Auth {
                reason,
                properties: buffers.auth.as_properties(),
            }));
        }
        packets
    }

    fn connect<'a>(&'a self, buffers: &'a Buffers) -> Connect<'a> {
        let will = Will {
            qos: self.qos,
            retain: self.flag(1),
            properties: buffers.will.as_properties(),
            topic: &self.topic,
            payload: &self.data,
        };
        let has_user_name = self.flag(3);
        let has_password = self.flag(4) && (has_user_name || self.version == ProtocolVersion::V5);
        Connect {
            version: self.version,
            clean_start: self.flag(0),
            keep_alive_s: self.number as u16,
            properties: buffers.connect.as_properties(),
            client_identifier: &self.client_identifier,
            will: self.flag(2).then_some(will),
            user_name: has_user_name.then_some(&self.text),
            password: has_password.then_some(&self.data),
        }
    }

    fn connack<'a>(&'a self, buffers: &'a Buffers) -> ConnAck<'a> {
        let reason = self.reason(PacketType::ConnAck, self.reason_seed);
        let session_present = self.flag(0) && !reason.is_error() && self.version != ProtocolVersion::V3_1;
        ConnAck {
            session_present,
            reason,
            properties: buffers.connack.as_properties(),
        }
    }

    pub(super) fn publish<'a>(&'a self, buffers: &'a Buffers) -> Publish<'a> {
        let has_identifier = self.qos != QoS::AtMostOnce;
        Publish {
            dup: has_identifier && self.flag(0),
            qos: self.qos,
            retain: self.flag(1),
            topic: &self.topic,
            packet_identifier: has_identifier.then_some(self.identifier),
            properties: buffers.publish.as_properties(),
            payload: &self.data,
        }
    }
}
