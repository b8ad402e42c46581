//! Sequences of packets from several clients for the logic of two shards.
//!
//! Whatever the clients do, the output of the broker is well-formed in each client's version, starts with CONNACK, and
//! nothing of a connection remains when all are closed.
#![no_main]

use arbitrary::Arbitrary;
use test_support::{Client, Cluster};
use libfuzzer_sys::fuzz_target;
use mqtt::packet::{Connect, PacketIdentifier, Publish, RetainHandling, SubscriptionOptions, Will};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{Packet, ProtocolVersion, QoS, ReasonCode, encode};

/// One of a few clients, filters and identifiers, so few that they coincide.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Few(u8);

impl Few {
    fn of<T: Copy>(self, all: &[T]) -> T {
        all[usize::from(self.0) % all.len()]
    }
}

#[derive(Arbitrary, Debug)]
enum Action<'a> {
    Connect {
        version: Few,
        identifier: Few,
        clean: bool,
        expiry_s: Option<u8>,
        receive_maximum: u8,
        packet_bytes_max: u8,
        alias_maximum: u8,
        will: Option<(Few, Few, u8)>,
    },
    Subscribe(Few, Few, u8, Option<u8>),
    Unsubscribe(Few, Few),
    Publish {
        topic: Few,
        qos: Few,
        retain: bool,
        dup: bool,
        identifier: Few,
        alias: Option<Few>,
        expiry_s: Option<u8>,
        payload: &'a [u8],
    },
    Acknowledge(Few, Few, Few),
    Bytes(&'a [u8]),
    Disconnect(Option<Few>),
    Cut,
    Reads(bool),
    Pause(bool),
    Wait(u16),
}

const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1, ProtocolVersion::V5];
const IDENTIFIERS: [&str; 5] = ["a", "b", "c", "d", ""];
const TOPICS: [&str; 6] = ["t", "t/u", "t/u/v", "$x", "/", ""];
const FILTERS: [&str; 9] = ["#", "+", "t/#", "t/+", "t/u", "$share/g/t/#", "$share/h/+", "$x", "+/+/v"];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fuzz_target!(|input: Vec<(Few, Action<'_>)>| {
    let mut cluster = Cluster::new(2);
    let mut clients: [Option<Client>; 4] = [None; 4];
    for (slot, action) in input {
        let slot = usize::from(slot.0) % clients.len();
        if let Action::Connect { .. } = action {
            if let Some(before) = clients[slot].take() {
                end(&mut cluster, before);
            }
            clients[slot] = Some(connect(&mut cluster, &action));
        } else if let Some(client) = clients[slot] {
            act(&mut cluster, client, &action);
        }
        // The output is checked regularly, not collected.
        for client in clients.iter().flatten() {
            check(&mut cluster, *client);
        }
    }
    cluster.delay_batches(false);
    for client in clients.into_iter().flatten() {
        end(&mut cluster, client);
    }
    cluster.advance_s(10);
    for index in 0..2 {
        let remains = cluster.shard(index).expect("a shard").resource_counts();
        let left = (remains.connections, remains.dirty, remains.paused, remains.batches);
        assert_eq!(left, (0, 0, 0, 0), "{remains:?}");
    }
});

fn identifier(few: Few) -> PacketIdentifier {
    PacketIdentifier::new(u16::from(few.0 % 6) + 1).expect("above 0")
}

fn connect(cluster: &mut Cluster, action: &Action<'_>) -> Client {
    let Action::Connect {
        version,
        identifier,
        clean,
        expiry_s,
        receive_maximum,
        packet_bytes_max,
        alias_maximum,
        will,
    } = action
    else {
        unreachable!("only for CONNECT");
    };
    let version = version.of(&VERSIONS);
    let mut properties = PropertiesBuf::new();
    if version == ProtocolVersion::V5 {
        let expiry = expiry_s.map(|expiry_s| Property::SessionExpiryInterval(expiry_s.into()));
        let maximum = u16::from(*receive_maximum).try_into().ok().map(Property::ReceiveMaximum);
        let bytes = u32::from(*packet_bytes_max).try_into().ok().map(Property::MaximumPacketSize);
        let aliases = Some(Property::TopicAliasMaximum(u16::from(*alias_maximum % 3)));
        for property in [expiry, maximum, bytes, aliases].into_iter().flatten() {
            properties.push(property).expect("a number");
        }
    }
    let mut delay = PropertiesBuf::new();
    let will = will.map(|(topic, qos, delay_s)| {
        if version == ProtocolVersion::V5 {
            delay.push(Property::WillDelayInterval(delay_s.into())).expect("a number");
        }
        (topic.of(&TOPICS), qos.of(&LEVELS))
    });
    cluster.connect(&Connect {
        version,
        clean_start: *clean,
        keep_alive_s: u16::from(*receive_maximum % 4),
        properties: properties.as_properties(),
        client_identifier: identifier.of(&IDENTIFIERS),
        will: will.map(|(topic, qos)| Will {
            qos,
            retain: *clean,
            properties: delay.as_properties(),
            topic,
            payload: b"will",
        }),
        user_name: None,
        password: None,
    })
}

fn act(cluster: &mut Cluster, client: Client, action: &Action<'_>) {
    let version = cluster.version(client);
    let mut out = Vec::new();
    match *action {
        Action::Connect { .. } => {}
        Action::Subscribe(packet, filter, options, number) => {
            subscribe(packet, filter, options, number, version, &mut out);
        }
        Action::Unsubscribe(packet, filter) => {
            let filters = [filter.of(&FILTERS)];
            let _ = encode::unsubscribe(identifier(packet), Properties::EMPTY, &filters, version, &mut out);
        }
        Action::Publish { .. } => publish(action, version, &mut out),
        Action::Acknowledge(kind, packet, reason) => {
            use mqtt::frame::PacketType::{PubAck, PubComp, PubRec, PubRel};
            let kind = kind.of(&[PubAck, PubRec, PubRel, PubComp]);
            let reason = reason.of(&[ReasonCode::Success, ReasonCode::Success, ReasonCode::UnspecifiedError]);
            encode::ack(kind, identifier(packet), reason, version, &mut out);
        }
        Action::Bytes(bytes) => out.extend_from_slice(bytes),
        Action::Disconnect(None) => out.extend_from_slice(b"\xe0\x00"),
        Action::Disconnect(Some(reason)) => out.extend_from_slice(&[0xe0, 1, reason.of(&[0, 4, 0x80])]),
        Action::Cut => cluster.cut(client),
        Action::Reads(reads) => cluster.set_reading(client, reads),
        Action::Pause(pause) => cluster.delay_batches(pause),
        Action::Wait(milliseconds) => cluster.advance_ms(milliseconds.into()),
    }
    if !out.is_empty() {
        cluster.send(client, &out);
    }
}

fn subscribe(packet: Few, filter: Few, options: u8, number: Option<u8>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let mut properties = PropertiesBuf::new();
    if version == ProtocolVersion::V5
        && let Some(number) = number
    {
        let _ = properties.push(Property::SubscriptionIdentifier(u32::from(number) + 1));
    }
    let handling = [
        RetainHandling::SendAtSubscribe,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ];
    let is_v5 = version == ProtocolVersion::V5;
    let options = SubscriptionOptions {
        qos: Few(options).of(&LEVELS),
        no_local: is_v5 && options & 0x80 != 0,
        retain_as_published: is_v5 && options & 0x40 != 0,
        retain_handling: if is_v5 { Few(options >> 3).of(&handling) } else { handling[0] },
    };
    let filters = [(filter.of(&FILTERS), options)];
    let _ = encode::subscribe(identifier(packet), properties.as_properties(), &filters, version, out);
}

fn publish(action: &Action<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let Action::Publish {
        topic,
        qos,
        retain,
        dup,
        identifier: packet,
        alias,
        expiry_s,
        payload,
    } = action
    else {
        return;
    };
    let qos = qos.of(&LEVELS);
    let mut properties = PropertiesBuf::new();
    if version == ProtocolVersion::V5 {
        if let Some(alias) = alias {
            let alias = (u16::from(alias.0 % 4) + 1).try_into().expect("above 0");
            let _ = properties.push(Property::TopicAlias(alias));
        }
        if let Some(expiry_s) = expiry_s {
            let _ = properties.push(Property::MessageExpiryInterval((*expiry_s).into()));
        }
    }
    let acknowledged = qos != QoS::AtMostOnce;
    let publish = Publish {
        dup: *dup && acknowledged,
        qos,
        retain: *retain,
        topic: topic.of(&TOPICS),
        packet_identifier: acknowledged.then(|| identifier(*packet)),
        properties: properties.as_properties(),
        payload,
    };
    let _ = publish.encode(version, out);
}

/// What the client received is well-formed.
fn check(cluster: &mut Cluster, client: Client) {
    while let Some(received) = cluster.next(client) {
        match received.packet() {
            Some(Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq) | None => {
                panic!("the broker said {:x?}", received.bytes())
            }
            Some(_) => {}
        }
    }
}

/// The client reads the remaining output and disconnects.
fn end(cluster: &mut Cluster, client: Client) {
    cluster.set_reading(client, true);
    check(cluster, client);
    cluster.cut(client);
    check(cluster, client);
    assert_eq!(cluster.received_bytes(client), 0, "a packet that is not whole");
}
