//! Every packet type in every version with random fields: what is encoded is decoded as it was.

use std::num::{NonZeroU16, NonZeroU32};

use proptest::prelude::*;

use super::decode;
use crate::frame::{PacketType, split};
use crate::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketIdentifier, Publish, QoS, SubAck, Subscribe,
    SubscribeFilters, SubscriptionOptions, Unsubscribe, UnsubscribeFilters, Will,
};
use crate::property::{Properties, PropertiesBuf, Property, PropertySet};
use crate::publish_template::PublishTemplate;
use crate::reason::ReasonCode;
use crate::version::ProtocolVersion;
use crate::wire;

/// The random material of one packet of each type.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub(super) version: ProtocolVersion,
    identifier: PacketIdentifier,
    qos: QoS,
    flags: u8,
    number: u32,
    client_identifier: String,
    topic: String,
    text: String,
    data: Vec<u8>,
    property_mask: u32,
    reason_seed: usize,
    filters: Vec<(String, u8)>,
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
    fn options(&self, bits: u8) -> u8 {
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

    /// Of the properties that a packet may have those that the mask names.
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

    fn all_properties(&self) -> [Property<'_>; 29] {
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

    /// One packet of each type; AUTH in 5.0 alone.
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(fields in Fields::any()) {
        let buffers = fields.buffers();
        for packet in fields.packets(&buffers) {
            let mut bytes = Vec::new();
            packet.encode(fields.version, &mut bytes).unwrap();
            prop_assert_eq!(decode(&bytes, fields.version), Ok(packet));
        }
    }

    /// Packets one behind the other come out one by one, however much of the next is there.
    #[test]
    fn a_stream_falls_apart_into_its_packets(fields in Fields::any(), chunk_bytes in 1..64_usize) {
        let buffers = fields.buffers();
        let packets = fields.packets(&buffers);
        let mut stream = Vec::new();
        for packet in &packets {
            packet.encode(fields.version, &mut stream).unwrap();
        }
        let (mut seen, mut start, mut end) = (0, 0, 0);
        while seen < packets.len() {
            match split(&stream[start..end], u32::MAX).unwrap() {
                Some(frame) => {
                    prop_assert_eq!(crate::decode::packet(&frame, fields.version).unwrap(), packets[seen]);
                    start += frame.wire_bytes;
                    seen += 1;
                }
                None => end = (end + chunk_bytes).min(stream.len()),
            }
        }
        prop_assert_eq!(start, stream.len());
    }

    #[test]
    fn the_filters_of_a_subscribe_are_its_filters(fields in Fields::any()) {
        let options = |bits| SubscriptionOptions {
            qos: QoS::from_bits(bits).unwrap(),
            no_local: bits & 4 != 0,
            retain_as_published: bits & 8 != 0,
            retain_handling: crate::packet::RetainHandling::from_bits(bits >> 4).unwrap(),
        };
        let wanted: Vec<_> =
            fields.filters.iter().map(|(filter, bits)| (filter.as_str(), options(fields.options(*bits)))).collect();
        let mut bytes = Vec::new();
        crate::encode::subscribe(fields.identifier, Properties::EMPTY, &wanted, fields.version, &mut bytes).unwrap();
        let Ok(Packet::Subscribe(subscribe)) = decode(&bytes, fields.version) else { panic!("a SUBSCRIBE") };
        prop_assert_eq!(subscribe.filters.iter().collect::<Vec<_>>(), wanted.clone());
        let names: Vec<&str> = wanted.iter().map(|(filter, _)| *filter).collect();
        bytes.clear();
        crate::encode::unsubscribe(fields.identifier, Properties::EMPTY, &names, fields.version, &mut bytes).unwrap();
        let Ok(Packet::Unsubscribe(unsubscribe)) = decode(&bytes, fields.version) else { panic!("an UNSUBSCRIBE") };
        prop_assert_eq!(unsubscribe.filters.iter().collect::<Vec<_>>(), names);
    }

    #[test]
    fn properties_are_read_as_they_were_pushed(fields in Fields::any()) {
        let mut buffer = PropertiesBuf::new();
        for property in fields.all_properties() {
            buffer.push(property).unwrap();
        }
        let properties = buffer.as_properties();
        prop_assert_eq!(properties.iter().collect::<Vec<_>>(), fields.all_properties());
        prop_assert_eq!(properties.session_expiry_interval_s(), Some(fields.number));
        prop_assert_eq!(properties.response_topic(), Some(fields.topic.as_str()));
        prop_assert_eq!(Properties::from_validated(properties.as_bytes()), properties);
    }

    /// A template gives the same bytes as the packet's own encoder.
    #[test]
    fn a_template_is_the_packet_encoded(fields in Fields::any(), split_at in any::<prop::sample::Index>()) {
        let buffers = fields.buffers();
        let publish = fields.publish(&buffers);
        let mut expected = vec![0xAA];
        publish.encode(fields.version, &mut expected).unwrap();

        let all: Vec<_> = publish.properties.iter().collect();
        let (front, back) = all.split_at(split_at.index(all.len() + 1));
        let (front, back) = (collect(front), collect(back));
        let mut template = PublishTemplate::new();
        template.encode(fields.version, QoS::AtLeastOnce, true, "before", Properties::EMPTY, Properties::EMPTY, b"x").unwrap();
        template.encode(
            fields.version, publish.qos, publish.retain, publish.topic, front.as_properties(), back.as_properties(), publish.payload,
        ).unwrap();
        let mut out = vec![0xAA];
        match publish.packet_identifier {
            Some(identifier) => template.append_with_identifier(identifier, publish.dup, &mut out),
            None => template.append(&mut out),
        }
        prop_assert_eq!(template.bytes(), expected.len() - 1);
        prop_assert_eq!(out, expected);
    }

    /// Random bytes, and packets with one byte changed: an answer or an error, never a panic; and what is taken is
    /// encoded to something that decodes to the same.
    #[test]
    fn no_bytes_panic(
        fields in Fields::any(),
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        at in any::<prop::sample::Index>(),
        change in 1..=255_u8,
    ) {
        assert_harmless(&bytes, fields.version);
        let buffers = fields.buffers();
        for packet in fields.packets(&buffers) {
            let mut bytes = Vec::new();
            packet.encode(fields.version, &mut bytes).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            assert_harmless(&bytes, fields.version);
        }
    }

    #[test]
    fn properties_of_any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let properties = Properties::from_validated(&bytes);
        prop_assert!(properties.iter().count() <= bytes.len());
        let _ = (properties.topic_alias(), format!("{properties:?}"));
    }
}

fn collect(properties: &[Property<'_>]) -> PropertiesBuf {
    let mut buffer = PropertiesBuf::new();
    for property in properties {
        buffer.push(*property).unwrap();
    }
    buffer
}

fn assert_harmless(bytes: &[u8], version: ProtocolVersion) {
    let Ok(Some(frame)) = split(bytes, 1 << 20) else {
        return;
    };
    let Ok(packet) = crate::decode::packet(&frame, version) else {
        return;
    };
    let version = if let Packet::Connect(connect) = packet {
        connect.version
    } else {
        version
    };
    let mut encoded = Vec::new();
    packet.encode(version, &mut encoded).unwrap();
    assert_eq!(decode(&encoded, version), Ok(packet));
}

#[test]
fn what_does_not_fit_leaves_the_output_as_it_was() {
    use crate::error::EncodeError;
    let long = "x".repeat(65_536);
    let mut out = b"before".to_vec();
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: &long,
        packet_identifier: None,
        properties: Properties::EMPTY,
        payload: &[],
    };
    assert_eq!(
        publish.encode(ProtocolVersion::V5, &mut out),
        Err(EncodeError::FieldTooLong)
    );
    let identifier = PacketIdentifier::MIN;
    let filters = ["a", &long];
    let unsubscribed = crate::encode::unsubscribe(
        identifier,
        Properties::EMPTY,
        &filters,
        ProtocolVersion::V5,
        &mut out,
    );
    assert_eq!(unsubscribed, Err(EncodeError::FieldTooLong));
    let none = crate::encode::subscribe(identifier, Properties::EMPTY, &[], ProtocolVersion::V5, &mut out);
    assert_eq!(none, Err(EncodeError::NoTopicFilter));
    let mut connect = decode_connect();
    connect.client_identifier = &long;
    assert_eq!(connect.encode(&mut out), Err(EncodeError::FieldTooLong));
    assert_eq!(out, b"before");
    let mut properties = PropertiesBuf::new();
    assert_eq!(
        properties.push(Property::UserProperty("a", &long)),
        Err(EncodeError::FieldTooLong)
    );
    assert_eq!(
        properties.push(Property::SubscriptionIdentifier(0)),
        Err(EncodeError::SubscriptionIdentifier)
    );
    assert_eq!(
        properties.push(Property::SubscriptionIdentifier(1 << 28)),
        Err(EncodeError::SubscriptionIdentifier)
    );
    assert!(properties.is_empty());
}

fn decode_connect() -> Connect<'static> {
    Connect {
        version: ProtocolVersion::V3_1_1,
        clean_start: true,
        keep_alive_s: 0,
        properties: Properties::EMPTY,
        client_identifier: "",
        will: None,
        user_name: None,
        password: None,
    }
}

/// The largest Remaining Length is encoded, one byte more is not.
#[test]
fn the_largest_packet_is_encoded() {
    use crate::error::EncodeError;
    let payload = vec![0; 268_435_455 - 3 + 1];
    let mut template = PublishTemplate::new();
    let mut encode = |payload: &[u8]| {
        let properties = Properties::EMPTY;
        template.encode(
            ProtocolVersion::V3_1_1,
            QoS::AtMostOnce,
            false,
            "t",
            properties,
            properties,
            payload,
        )?;
        Ok(template.bytes())
    };
    assert_eq!(encode(&payload[1..]), Ok(268_435_455 + 5));
    assert_eq!(encode(&payload), Err(EncodeError::PacketTooLarge));
}

#[test]
fn return_codes_of_v3_come_from_reason_codes() {
    for return_code in 0..=255 {
        match ReasonCode::from_v3_return_code(return_code) {
            Some(reason) => assert_eq!(reason.to_v3_return_code(), return_code),
            None => assert!(return_code > 5),
        }
    }
    for &reason in ReasonCode::ALL {
        assert_eq!(ReasonCode::from_u8(reason as u8), Some(reason));
        assert_eq!(reason.is_error(), reason.to_v3_return_code() != 0, "{reason}");
    }
    assert_eq!(ReasonCode::ALL.len(), 43);
}
