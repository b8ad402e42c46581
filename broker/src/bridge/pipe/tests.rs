//! Packets between two brokers, one by one.

use mqtt::frame;
use mqtt::property::{PropertiesBuf, Property};

use super::*;
use crate::bridge_settings::{BridgeSettings, Topics};
use crate::config::bridges_of;

const ACCEPTED: BrokerTerms = BrokerTerms {
    session_present: true,
    qos_max: QoS::ExactlyOnce,
    retain_available: true,
    packet_bytes_max: None,
    receive_max: None,
    keep_alive_s: None,
};

/// A pipe with what it has written.
struct Piped {
    pipe: Pipe,
    version: ProtocolVersion,
    back: Vec<u8>,
    onward: Vec<u8>,
}

impl Piped {
    fn new(lines: &str, local: BrokerTerms, remote: BrokerTerms) -> Self {
        let settings = Arc::new(settings(lines));
        Self {
            version: settings.version,
            pipe: Pipe::new(settings, &local, &remote),
            back: Vec::new(),
            onward: Vec::new(),
        }
    }

    /// What comes of a packet: what it is, what goes back, what goes on.
    fn handle(&mut self, from: Side, packet: &Packet<'_>) -> (Handled, String, String) {
        let mut bytes = Vec::new();
        packet.encode(self.version_of(from), &mut bytes).unwrap();
        let frame = frame::split(&bytes, u32::MAX).unwrap().unwrap();
        let mut out = PipeOutputs {
            back: &mut self.back,
            onward: &mut self.onward,
        };
        let handled = self.pipe.handle(from, &frame, &mut out).unwrap();
        let to = match from {
            Side::Local => Side::Remote,
            Side::Remote => Side::Local,
        };
        let back = shown(&std::mem::take(&mut self.back), self.version_of(from));
        let onward = shown(&std::mem::take(&mut self.onward), self.version_of(to));
        (handled, back, onward)
    }

    fn version_of(&self, side: Side) -> ProtocolVersion {
        match side {
            Side::Local => ProtocolVersion::V5,
            Side::Remote => self.version,
        }
    }
}

fn settings(lines: &str) -> BridgeSettings {
    let text = format!("connection b\naddress h\nnotifications false\n{lines}\n");
    bridges_of(&text).remove(0)
}

/// Packets in a few words.
fn shown(mut bytes: &[u8], version: ProtocolVersion) -> String {
    let mut words = Vec::new();
    while let Some(frame) = frame::split(bytes, u32::MAX).unwrap() {
        words.push(match decode::packet(&frame, version).unwrap() {
            Packet::Publish(publish) => format!(
                "PUBLISH {} q{} d{} r{} m{}",
                publish.topic,
                publish.qos as u8,
                u8::from(publish.dup),
                u8::from(publish.retain),
                publish.packet_identifier.map_or(0, PacketIdentifier::get)
            ),
            Packet::PubAck(ack) => shown_ack("PUBACK", &ack),
            Packet::PubRec(ack) => shown_ack("PUBREC", &ack),
            Packet::PubRel(ack) => shown_ack("PUBREL", &ack),
            Packet::PubComp(ack) => shown_ack("PUBCOMP", &ack),
            other => format!("{other:?}"),
        });
        bytes = &bytes[frame.wire_bytes..];
    }
    words.join(", ")
}

fn shown_ack(name: &str, ack: &Ack<'_>) -> String {
    let reason = ack.reason as u8;
    match reason {
        0 => format!("{name} {}", ack.packet_identifier),
        reason => format!("{name} {} 0x{reason:02X}", ack.packet_identifier),
    }
}

fn message(topic: &str, qos: QoS, identifier: u16) -> Packet<'_> {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: true,
        topic,
        packet_identifier: PacketIdentifier::new(identifier).filter(|_| qos != QoS::AtMostOnce),
        properties: Properties::EMPTY,
        payload: b"payload",
    })
}

fn ack(identifier: u16) -> Ack<'static> {
    success(PacketIdentifier::new(identifier).unwrap())
}

fn refusal(identifier: u16, reason: ReasonCode) -> Ack<'static> {
    Ack {
        reason,
        ..ack(identifier)
    }
}

#[test]
fn identifiers_and_acknowledgements_are_passed_on() {
    for version in ["mqttv311", "mqttv50"] {
        let lines = format!("bridge_protocol_version {version}\ntopic # both 2 l/ r/");
        let mut piped = Piped::new(&lines, ACCEPTED, ACCEPTED);
        for (side, from, to) in [(Side::Local, "l/a", "r/a"), (Side::Remote, "r/a", "l/a")] {
            let other = if side == Side::Local {
                Side::Remote
            } else {
                Side::Local
            };
            let carried = |qos, identifier| format!("PUBLISH {to} q{qos} d0 r1 m{identifier}");
            let nothing = String::new();
            for (from, packet, handled, onward) in [
                (
                    side,
                    message(from, QoS::AtMostOnce, 0),
                    Handled::Carried,
                    carried(0, 0),
                ),
                (
                    side,
                    message(from, QoS::AtLeastOnce, 7),
                    Handled::Carried,
                    carried(1, 7),
                ),
                (
                    other,
                    Packet::PubAck(ack(7)),
                    Handled::Nothing,
                    "PUBACK 7".to_owned(),
                ),
                (
                    side,
                    message(from, QoS::ExactlyOnce, 7),
                    Handled::Carried,
                    carried(2, 7),
                ),
                (
                    other,
                    Packet::PubRec(ack(7)),
                    Handled::Nothing,
                    "PUBREC 7".to_owned(),
                ),
                (
                    side,
                    Packet::PubRel(ack(7)),
                    Handled::Nothing,
                    "PUBREL 7".to_owned(),
                ),
                (
                    other,
                    Packet::PubComp(ack(7)),
                    Handled::Nothing,
                    "PUBCOMP 7".to_owned(),
                ),
                (side, Packet::PingResp, Handled::Nothing, nothing.clone()),
            ] {
                assert_eq!(piped.handle(from, &packet), (handled, nothing.clone(), onward));
            }
            assert!(piped.pipe.is_idle());
        }
    }
}

/// What the other broker does not take at the QoS that it came with is acknowledged by the bridge.
#[test]
fn a_lower_qos_of_the_other_broker() {
    let lines = "bridge_protocol_version mqttv50\ntopic # out 2";
    let once = BrokerTerms {
        qos_max: QoS::AtLeastOnce,
        ..ACCEPTED
    };
    let mut piped = Piped::new(lines, ACCEPTED, once);
    let (_, back, onward) = piped.handle(Side::Local, &message("a", QoS::ExactlyOnce, 3));
    assert_eq!((&*back, &*onward), ("", "PUBLISH a q1 d0 r1 m3"));
    let (_, _, onward) = piped.handle(Side::Remote, &Packet::PubAck(ack(3)));
    assert_eq!(onward, "PUBREC 3");
    let (_, back, onward) = piped.handle(Side::Local, &Packet::PubRel(ack(3)));
    assert_eq!((&*back, &*onward), ("PUBCOMP 3", ""));
    assert!(piped.pipe.is_idle());

    let never = BrokerTerms {
        qos_max: QoS::AtMostOnce,
        retain_available: false,
        ..ACCEPTED
    };
    let mut piped = Piped::new(lines, ACCEPTED, never);
    let (_, back, onward) = piped.handle(Side::Local, &message("a", QoS::AtLeastOnce, 3));
    assert_eq!((&*back, &*onward), ("PUBACK 3", "PUBLISH a q0 d0 r0 m0"));
    let (_, back, _) = piped.handle(Side::Local, &message("a", QoS::ExactlyOnce, 4));
    assert_eq!(back, "PUBREC 4");
    let (_, back, onward) = piped.handle(Side::Local, &Packet::PubRel(ack(4)));
    assert_eq!((&*back, &*onward), ("PUBCOMP 4", ""));
    assert!(piped.pipe.is_idle());
}

/// A receiver that remembers what its sender has forgotten would take a new message for the older one.
#[test]
fn identifiers_that_one_side_has_forgotten_are_released_first() {
    let fresh = BrokerTerms {
        session_present: false,
        ..ACCEPTED
    };
    let mut piped = Piped::new("topic # both 2 l/ r/", fresh, ACCEPTED);
    let (_, _, onward) = piped.handle(Side::Local, &message("l/a", QoS::ExactlyOnce, 1));
    assert_eq!(onward, "PUBREL 1, PUBLISH r/a q2 d0 r1 m1");
    let (_, _, onward) = piped.handle(Side::Remote, &Packet::PubComp(ack(1)));
    assert_eq!(onward, "", "nobody here has asked");
    for (from, packet, expected) in [
        (Side::Remote, Packet::PubRec(ack(1)), "PUBREC 1"),
        (Side::Local, Packet::PubRel(ack(1)), "PUBREL 1"),
        (Side::Remote, Packet::PubComp(ack(1)), "PUBCOMP 1"),
        (
            Side::Local,
            message("l/a", QoS::ExactlyOnce, 1),
            "PUBLISH r/a q2 d0 r1 m1",
        ),
        (
            Side::Remote,
            message("r/a", QoS::ExactlyOnce, 1),
            "PUBLISH l/a q2 d0 r1 m1",
        ),
    ] {
        assert_eq!(piped.handle(from, &packet).2, expected);
    }
    let mut piped = Piped::new("topic # both 2 l/ r/", ACCEPTED, fresh);
    let (_, _, onward) = piped.handle(Side::Remote, &message("r/a", QoS::ExactlyOnce, 9));
    assert_eq!(onward, "PUBREL 9, PUBLISH l/a q2 d0 r1 m9");
    let (_, _, onward) = piped.handle(Side::Local, &message("l/a", QoS::ExactlyOnce, 9));
    assert_eq!(onward, "PUBLISH r/a q2 d0 r1 m9");
}

#[test]
fn what_is_not_carried_is_acknowledged_and_does_not_come_again() {
    let mut piped = Piped::new("topic a out 2\nbridge_max_packet_size 20", ACCEPTED, ACCEPTED);
    let dropped = |why, topic: &str| Handled::Dropped(why, topic.to_owned());
    let other = piped.handle(Side::Local, &message("other", QoS::AtLeastOnce, 1));
    assert_eq!(
        other,
        (
            dropped(NotCarried::NoTopic, "other"),
            "PUBACK 1".into(),
            String::new()
        )
    );
    let (_, back, _) = piped.handle(Side::Local, &message("other", QoS::ExactlyOnce, 2));
    assert_eq!(back, "PUBREC 2");
    assert_eq!(piped.handle(Side::Local, &Packet::PubRel(ack(2))).1, "PUBCOMP 2");
    let Packet::Publish(mut large) = message("a", QoS::ExactlyOnce, 3) else {
        panic!("a PUBLISH");
    };
    large.payload = b"more than twenty bytes";
    let (handled, back, onward) = piped.handle(Side::Local, &Packet::Publish(large));
    assert_eq!(handled, dropped(NotCarried::TooLarge, "a"));
    // An error ends the exchange: there will be no PUBREL.
    assert_eq!((&*back, &*onward), ("PUBREC 3 0x83", ""));
    assert!(piped.pipe.is_idle());
}

#[test]
fn a_refusal_is_passed_on_with_its_reason() {
    let mut piped = Piped::new(
        "bridge_protocol_version mqttv50\ntopic a out 1",
        ACCEPTED,
        ACCEPTED,
    );
    piped.handle(Side::Local, &message("a", QoS::AtLeastOnce, 1));
    let refused = Packet::PubAck(refusal(1, ReasonCode::NotAuthorized));
    let (handled, _, onward) = piped.handle(Side::Remote, &refused);
    assert_eq!(handled, Handled::Refused(ReasonCode::NotAuthorized));
    assert_eq!(onward, "PUBACK 1 0x87");
}

#[test]
fn the_messages_of_the_bridge_itself_are_acknowledged_to_nobody() {
    let lines = "notifications true\ntopic a out 1";
    let mut piped = Piped::new(lines, ACCEPTED, ACCEPTED);
    for _ in 0..2 {
        piped.handle(Side::Local, &message("a", QoS::AtLeastOnce, 65_535));
    }
    let own = piped.handle(Side::Remote, &Packet::PubAck(ack(65_535)));
    assert_eq!(own.2, "");
    let carried = piped.handle(Side::Remote, &Packet::PubAck(ack(65_535)));
    assert_eq!(carried.2, "PUBACK 65535");
}

#[test]
fn topic_aliases_are_of_the_connection() {
    let lines = "bridge_protocol_version mqttv50\ntopic # in 1 l/ \"\"\nbridge_max_topic_alias 2";
    let mut piped = Piped::new(lines, ACCEPTED, ACCEPTED);
    let aliased = |topic, alias: u16| {
        let mut properties = PropertiesBuf::new();
        let alias = std::num::NonZeroU16::new(alias).unwrap();
        properties.push(Property::TopicAlias(alias)).unwrap();
        properties.push(Property::ContentType("text")).unwrap();
        (topic, properties)
    };
    let mut handle = |(topic, properties): (&str, PropertiesBuf)| {
        let mut bytes = Vec::new();
        let Packet::Publish(mut publish) = message("x", QoS::AtMostOnce, 0) else {
            panic!("a PUBLISH");
        };
        (publish.topic, publish.properties) = (topic, properties.as_properties());
        publish.encode(ProtocolVersion::V5, &mut bytes).unwrap();
        let frame = frame::split(&bytes, u32::MAX).unwrap().unwrap();
        let (mut back, mut onward) = (Vec::new(), Vec::new());
        let mut out = PipeOutputs {
            back: &mut back,
            onward: &mut onward,
        };
        let handled = piped.pipe.handle(Side::Remote, &frame, &mut out);
        handled.map(|_| onward).map_err(|error| error.to_string())
    };
    let first = handle(aliased("a/b", 2)).unwrap();
    let frame = frame::split(&first, u32::MAX).unwrap().unwrap();
    let publish = decode::publish(&frame, ProtocolVersion::V5).unwrap();
    assert_eq!(publish.topic, "l/a/b");
    let kept: Vec<_> = publish.properties.iter().collect();
    assert_eq!(kept, [Property::ContentType("text")]);
    assert_eq!(handle(aliased("", 2)).unwrap(), first);
    let unset = handle(aliased("", 1)).unwrap_err();
    assert_eq!(unset, "a Topic Alias that it has not set");
    assert_eq!(handle(aliased("a", 3)).unwrap_err(), unset);
}

#[test]
fn what_no_server_sends_ends_the_exchange() {
    let mut piped = Piped::new("topic # both 1 l/ r/", ACCEPTED, ACCEPTED);
    for bytes in [&[0xC0, 0][..], &[0x40, 2, 0, 0], &[0x20, 2, 0, 0]] {
        let frame = frame::split(bytes, u32::MAX).unwrap().unwrap();
        let mut out = PipeOutputs {
            back: &mut piped.back,
            onward: &mut piped.onward,
        };
        assert!(
            piped.pipe.handle(Side::Remote, &frame, &mut out).is_err(),
            "{bytes:?}"
        );
    }
}

#[test]
fn no_topic_of_a_bridge_is_one_of_all() {
    assert_eq!(Topics::default().to_remote("a"), None);
}

proptest::proptest! {
    /// Whatever either broker sends.
    #[test]
    fn any_packets_are_handled_without_panic(
        packets in proptest::collection::vec((0u8..2, 0u8..16, 0u8..16, proptest::collection::vec(0u8.., 0..12)), 0..20)
    ) {
        let mut piped = Piped::new("bridge_protocol_version mqttv50\ntopic # both 2 l/ r/", ACCEPTED, ACCEPTED);
        for (side, kind, flags, body) in packets {
            let bytes = [&[kind << 4 | flags, body.len() as u8], body.as_slice()].concat();
            let Ok(Some(frame)) = frame::split(&bytes, u32::MAX) else {
                continue;
            };
            let side = if side == 0 { Side::Local } else { Side::Remote };
            let mut out = PipeOutputs { back: &mut piped.back, onward: &mut piped.onward };
            let _ = piped.pipe.handle(side, &frame, &mut out);
        }
    }
}
