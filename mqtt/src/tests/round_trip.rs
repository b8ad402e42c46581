//! Every packet type in every version with random fields: what is encoded is decoded unchanged.

use proptest::prelude::*;

use super::decode;
use super::fields::Fields;
use crate::frame::split;
use crate::packet::{Auth, Connect, Packet, PacketIdentifier, Publish, QoS, SubscriptionOptions};
use crate::property::{Properties, PropertiesBuf, Property};
use crate::publish_template::PublishTemplate;
use crate::reason::ReasonCode;
use crate::version::ProtocolVersion;

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

    /// Consecutive packets are returned one by one, whatever part of the next one has arrived.
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

    /// Random bytes, and packets with one byte changed: the result is a packet or an error, never a panic; and an
    /// accepted packet is encoded to something that decodes to the same packet.
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
    let unnumbered = Publish {
        qos: QoS::AtLeastOnce,
        topic: "t",
        ..publish
    };
    assert_eq!(
        unnumbered.encode(ProtocolVersion::V5, &mut out),
        Err(EncodeError::NoPacketIdentifier)
    );
    let auth = Packet::Auth(Auth {
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    });
    assert_eq!(
        auth.encode(ProtocolVersion::V3_1_1, &mut out),
        Err(EncodeError::NotInVersion)
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
    let mut connect = smallest_connect();
    connect.client_identifier = &long;
    assert_eq!(connect.encode(&mut out), Err(EncodeError::FieldTooLong));
    let no_user = Connect {
        password: Some(b"pw"),
        ..smallest_connect()
    };
    assert_eq!(
        no_user.encode(&mut out),
        Err(EncodeError::PasswordWithoutUserName)
    );
    assert_eq!(out, b"before");
}

#[test]
fn properties_that_cannot_be_written_are_left_out() {
    use crate::error::EncodeError;
    let long = "x".repeat(65_536);
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

fn smallest_connect() -> Connect<'static> {
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
    let mut out = Vec::new();
    assert_eq!(crate::encode::begin(0x30, 268_435_455, &mut out), Ok(()));
    assert_eq!(out, [0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    let payload = vec![0; 268_435_455 - 3 + 1];
    let none = Properties::EMPTY;
    let mut template = PublishTemplate::new();
    let encoded = template.encode(
        ProtocolVersion::V3_1_1,
        QoS::AtMostOnce,
        false,
        "t",
        none,
        none,
        &payload,
    );
    assert_eq!((encoded, template.bytes()), (Err(EncodeError::PacketTooLarge), 0));
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
