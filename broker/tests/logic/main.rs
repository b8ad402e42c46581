//! Tests of the logic through packets: one file for each theme. Each test names the statements that it checks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should panic"
)]

use mqtt::packet::{ConnAck, Connect, Publish, RetainHandling, SubscriptionOptions};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{Packet, PacketIdentifier, ProtocolVersion, QoS, ReasonCode};

use broker::logic::owner_shard;
use test_support::{Client, Cluster, Received, connect};

mod aliasing;
mod authenticating;
mod bounds;
mod connecting;
mod delivering;
mod flow;
mod operating;
mod publishing;
mod random;
mod rates;
mod reason_strings;
mod retained_owners;
mod retaining;
mod rules;
mod sessions;
mod sharding;
mod sharing;
mod storing;
mod subscribing;
mod sys;

mod undelivered;
mod versions;
mod wills;
mod work;

pub(crate) const V3: ProtocolVersion = ProtocolVersion::V3_1_1;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::V5;
pub(crate) const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V3_1, V3, V5];

/// A PUBLISH that a client received, with owned data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) identifier: Option<PacketIdentifier>,
    pub(crate) properties: PropertiesBuf,
}

/// What most tests need from a client.
pub(crate) trait Clients {
    fn join(&mut self, version: ProtocolVersion, client_identifier: &str) -> Client;
    fn join_with(&mut self, connect: &Connect<'_>) -> Client;
    fn subscribe(&mut self, client: Client, filter: &str, qos: QoS);
    fn subscribe_with(
        &mut self,
        client: Client,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> ReasonCode;
    fn unsubscribe(&mut self, client: Client, filter: &str) -> Vec<u8>;
    fn publish(&mut self, client: Client, topic: &str, qos: QoS, payload: &str);
    fn publish_with(&mut self, client: Client, publish: &Publish<'_>);
    fn got(&mut self, client: Client) -> Option<Got>;
    fn payloads(&mut self, client: Client) -> Vec<String>;
    fn expect_nothing(&mut self, client: Client);
    fn expect(&mut self, client: Client) -> Received;
    fn acknowledge(&mut self, client: Client, packet_type: mqtt::frame::PacketType, identifier: u16);
    fn expect_disconnect(&mut self, client: Client, reason: ReasonCode);
    fn connack(&mut self, client: Client) -> (bool, ReasonCode, PropertiesBuf);
}

impl Clients for Cluster {
    fn join(&mut self, version: ProtocolVersion, client_identifier: &str) -> Client {
        self.join_with(&connect(version, client_identifier))
    }

    fn join_with(&mut self, connect: &Connect<'_>) -> Client {
        let client = self.connect(connect);
        let (_, reason, _) = self.connack(client);
        assert_eq!(reason, ReasonCode::Success);
        client
    }

    fn connack(&mut self, client: Client) -> (bool, ReasonCode, PropertiesBuf) {
        match self.expect(client).packet() {
            Some(Packet::ConnAck(ConnAck {
                session_present,
                reason,
                properties,
            })) => {
                let mut owned = PropertiesBuf::new();
                owned.extend_raw(properties).unwrap();
                (session_present, reason, owned)
            }
            other => panic!("no CONNACK but {other:?}"),
        }
    }

    fn subscribe(&mut self, client: Client, filter: &str, qos: QoS) {
        assert_eq!(
            self.subscribe_with(client, filter, options(qos), None) as u8,
            qos as u8
        );
    }

    fn subscribe_with(
        &mut self,
        client: Client,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> ReasonCode {
        let mut properties = PropertiesBuf::new();
        if let Some(identifier) = identifier {
            properties
                .push(Property::SubscriptionIdentifier(identifier))
                .unwrap();
        }
        let mut bytes = Vec::new();
        let filters = [(filter, options)];
        mqtt::encode::subscribe(
            id(77),
            properties.as_properties(),
            &filters,
            self.version(client),
            &mut bytes,
        )
        .unwrap();
        self.send(client, &bytes);
        match self.expect(client).packet() {
            Some(Packet::SubAck(suback)) => {
                assert_eq!((suback.packet_identifier, suback.reason_codes.len()), (id(77), 1));
                ReasonCode::from_u8(suback.reason_codes[0]).unwrap()
            }
            other => panic!("no SUBACK but {other:?}"),
        }
    }

    fn unsubscribe(&mut self, client: Client, filter: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        mqtt::encode::unsubscribe(
            id(78),
            Properties::EMPTY,
            &[filter],
            self.version(client),
            &mut bytes,
        )
        .unwrap();
        self.send(client, &bytes);
        match self.expect(client).packet() {
            Some(Packet::UnsubAck(unsuback)) => unsuback.reason_codes.to_vec(),
            other => panic!("no UNSUBACK but {other:?}"),
        }
    }

    fn publish(&mut self, client: Client, topic: &str, qos: QoS, payload: &str) {
        self.publish_with(client, &publish(topic, qos, payload));
    }

    fn publish_with(&mut self, client: Client, publish: &Publish<'_>) {
        let mut bytes = Vec::new();
        publish.encode(self.version(client), &mut bytes).unwrap();
        self.send(client, &bytes);
    }

    fn got(&mut self, client: Client) -> Option<Got> {
        let received = self.next(client)?;
        match received.packet() {
            Some(Packet::Publish(publish)) => {
                let mut properties = PropertiesBuf::new();
                properties.extend_raw(publish.properties).unwrap();
                Some(Got {
                    topic: publish.topic.to_owned(),
                    payload: String::from_utf8(publish.payload.to_vec()).unwrap(),
                    qos: publish.qos,
                    retain: publish.retain,
                    dup: publish.dup,
                    identifier: publish.packet_identifier,
                    properties,
                })
            }
            other => panic!("no PUBLISH but {other:?}"),
        }
    }

    fn payloads(&mut self, client: Client) -> Vec<String> {
        std::iter::from_fn(|| self.got(client))
            .map(|got| got.payload)
            .collect()
    }

    fn expect_nothing(&mut self, client: Client) {
        let received = self.next(client);
        assert!(
            received.is_none(),
            "{:?}",
            received.as_ref().and_then(Received::packet)
        );
    }

    fn expect(&mut self, client: Client) -> Received {
        match self.next(client) {
            Some(received) => received,
            None => panic!("nothing came"),
        }
    }

    fn acknowledge(&mut self, client: Client, packet_type: mqtt::frame::PacketType, identifier: u16) {
        let mut bytes = Vec::new();
        mqtt::encode::ack(
            packet_type,
            id(identifier),
            ReasonCode::Success,
            self.version(client),
            &mut bytes,
        );
        self.send(client, &bytes);
    }

    fn expect_disconnect(&mut self, client: Client, reason: ReasonCode) {
        if self.version(client) == V5 {
            match self.expect(client).packet() {
                Some(Packet::Disconnect(disconnect)) => assert_eq!(disconnect.reason, reason),
                other => panic!("no DISCONNECT but {other:?}"),
            }
        }
        self.expect_nothing(client);
        assert!(self.closed(client));
    }
}

pub(crate) fn id(identifier: u16) -> PacketIdentifier {
    PacketIdentifier::new(identifier).unwrap()
}

pub(crate) fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    }
}

pub(crate) fn publish<'a>(topic: &'a str, qos: QoS, payload: &'a str) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_identifier: (qos != QoS::AtMostOnce).then(|| id(9)),
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
    }
}

pub(crate) fn retained<'a>(topic: &'a str, qos: QoS, payload: &'a str) -> Publish<'a> {
    Publish {
        retain: true,
        ..publish(topic, qos, payload)
    }
}

/// A pair of client identifiers that different shards own of `shards`, if there are two.
pub(crate) fn apart(shards: u16) -> (&'static str, String) {
    let first = owner_shard("first", shards);
    let second = (0..)
        .map(|n| format!("second-{n}"))
        .find(|name| shards < 2 || owner_shard(name, shards) != first);
    ("first", second.unwrap())
}
