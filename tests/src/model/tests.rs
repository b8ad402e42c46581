//! Messages of groups that look like others of the same session: which of them a PUBLISH is does not show at once, and
//! sometimes never.
//!
//! The subscribers are of shard 1, the publisher of shard 0: by an own subscription of which it has not read the SUBACK
//! nothing is owed to a client, but it may come.

use std::rc::Rc;

use mqtt::packet::{Publish, RetainHandling, SubscriptionOptions};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{Packet as Wire, PacketIdentifier, ProtocolVersion, QoS};

use super::{Bounds, Checked, ConnectRequest, Marks, Message, Model, Moment, Packet};

/// A model, a publisher, and what the broker wrote.
struct Scenario {
    model: Model,
    publisher: usize,
    step: u64,
    sent: u16,
}

const PLENTY: Marks = Marks {
    high: 1 << 30,
    low: 1 << 30,
    cap: 1 << 30,
};

impl Scenario {
    fn new() -> Self {
        Self::with_queues(1000)
    }

    fn with_queues(queued_messages_max: usize) -> Self {
        let bounds = Bounds {
            inflight_messages_max: 100,
            queued_messages_max,
            client_output: PLENTY,
            shard_output: PLENTY,
            grace_ns: 1,
            is_stored: false,
        };
        let mut scenario = Self {
            model: Model::new(2, bounds),
            publisher: 0,
            step: 0,
            sent: 0,
        };
        scenario.publisher = scenario.connect(0, "publisher", ProtocolVersion::V5);
        scenario
    }

    fn handle(&mut self, connection: usize, packet: &Packet) {
        self.step += 1;
        let at = Moment {
            now: 1,
            cause: self.step,
        };
        self.model.handle(connection, packet, at);
        self.model.connections[connection].replies.clear();
    }

    fn connect(&mut self, shard: usize, client: &str, version: ProtocolVersion) -> usize {
        let connection = self.model.open(shard, 1);
        let request = ConnectRequest {
            version,
            client: client.to_owned(),
            clean_start: false,
            keep_alive_s: 0,
            session_expiry_s: u32::MAX,
            receive_max: None,
            packet_bytes_max: None,
            topic_alias_max: None,
            will: None,
        };
        self.handle(connection, &Packet::Connect(Box::new(request)));
        connection
    }

    fn subscriber(&mut self, client: &str) -> usize {
        self.connect(1, client, ProtocolVersion::V5)
    }

    /// Subscribes; the client does not read the SUBACK.
    fn subscribe(&mut self, connection: usize, filter: &'static str, qos: QoS, identifier: Option<u32>) {
        let options = SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::DoNotSend,
        };
        self.subscribe_with(connection, filter, options, identifier);
    }

    fn subscribe_with(
        &mut self,
        connection: usize,
        filter: &'static str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) {
        let packet = Packet::Subscribe {
            packet_identifier: 1,
            identifier,
            filters: vec![(filter, options)],
        };
        self.handle(connection, &packet);
    }

    /// The client reads the next SUBACK.
    fn read_suback(&mut self, connection: usize) {
        self.step += 1;
        self.model.suback_read(connection, self.step);
    }

    /// Publishes on a/b; it arrives at the other shard.
    fn publish(&mut self, payload: &str, qos: QoS) {
        self.publish_with(payload, qos, false);
    }

    fn publish_with(&mut self, payload: &str, qos: QoS, retain: bool) {
        self.step += 1;
        let message = Rc::new(Message {
            topic: "a/b".to_owned(),
            payload: payload.to_owned(),
            qos,
            retain,
            properties: PropertiesBuf::new(),
            expiry_s: None,
            publisher: "publisher".to_owned(),
            is_will: false,
        });
        let packet_identifier = u16::try_from(self.step).unwrap();
        let packet = Packet::Publish {
            message,
            packet_identifier,
        };
        self.handle(self.publisher, &packet);
        let number = self.model.published(0);
        self.model.arrive(0, 1, number, 1);
    }

    /// The broker writes a message to a connection, with those Subscription Identifiers, and the client takes it.
    fn write(
        &mut self,
        connection: usize,
        payload: &str,
        qos: QoS,
        identifier: Option<u32>,
    ) -> Checked<usize> {
        self.write_with(connection, payload, qos, identifier, false)
    }

    fn write_with(
        &mut self,
        connection: usize,
        payload: &str,
        qos: QoS,
        identifier: Option<u32>,
        retain: bool,
    ) -> Checked<usize> {
        self.sent += 1;
        let mut properties = PropertiesBuf::new();
        if let Some(identifier) = identifier {
            properties
                .push(Property::SubscriptionIdentifier(identifier))
                .unwrap();
        }
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic: "a/b",
            packet_identifier: PacketIdentifier::new(self.sent),
            properties: properties.as_properties(),
            payload: payload.as_bytes(),
        };
        let entry = self.model.observe(connection, &Wire::Publish(publish), 1)?;
        let entry = entry.ok_or("no delivery")?;
        self.model.take(entry)?;
        Ok(entry)
    }
}

/// The second copy is the group's, or the session's own of a later time; then what stands between would have been
/// dropped, and it comes.
#[test]
fn a_copy_that_may_be_a_groups_does_not_overtake_the_sessions_own() {
    let mut scenario = Scenario::new();
    let member = scenario.subscriber("member");
    scenario.subscribe(member, "$share/g/a/b", QoS::ExactlyOnce, None);
    scenario.subscribe(member, "a/b", QoS::AtLeastOnce, None);
    scenario.publish("again", QoS::AtLeastOnce);
    scenario.publish("between", QoS::ExactlyOnce);
    scenario.write(member, "again", QoS::AtLeastOnce, None).unwrap();
    scenario.read_suback(member);
    scenario.read_suback(member);
    scenario.publish("again", QoS::AtLeastOnce);
    for (payload, qos) in [
        ("again", QoS::AtLeastOnce),
        ("between", QoS::AtLeastOnce),
        ("between", QoS::ExactlyOnce),
        ("again", QoS::AtLeastOnce),
        ("again", QoS::AtLeastOnce),
    ] {
        scenario.write(member, payload, qos, None).unwrap();
    }
    scenario.model.check_received(1).unwrap();
    let once_more = scenario.write(member, "again", QoS::AtLeastOnce, None);
    assert!(once_more.is_err(), "each copy is one PUBLISH");
}

/// Every retained message as the answer to SUBSCRIBE, and with its RETAIN flag when it is passed on.
const AS_PUBLISHED: SubscriptionOptions = SubscriptionOptions {
    qos: QoS::AtLeastOnce,
    no_local: false,
    retain_as_published: true,
    retain_handling: RetainHandling::SendAtSubscribe,
};

/// A retained message may come as the answer to SUBSCRIBE before what was published earlier comes as a message. With
/// Retain As Published it looks like the message that is passed on, which would have overtaken the earlier one.
#[test]
fn a_retained_message_that_looks_like_one_that_is_passed_on_overtakes_nothing() {
    let mut scenario = Scenario::new();
    let subscriber = scenario.subscriber("subscriber");
    scenario.subscribe_with(subscriber, "a/b", AS_PUBLISHED, None);
    scenario.publish("earlier", QoS::AtLeastOnce);
    scenario.read_suback(subscriber);
    scenario.publish_with("retained", QoS::AtLeastOnce, true);
    for (payload, retain) in [("retained", true), ("earlier", false), ("retained", true)] {
        scenario
            .write_with(subscriber, payload, QoS::AtLeastOnce, None, retain)
            .unwrap();
    }
    scenario.model.retained_answered();
    scenario.model.check_received(1).unwrap();
    let once_more = scenario.write_with(subscriber, "retained", QoS::AtLeastOnce, None, true);
    assert!(once_more.is_err(), "it is passed on once, and retained once");
}

/// The message that is passed on waits in the queue while the retained one has come, or the other way round: then the
/// queue is full.
#[test]
fn a_message_that_looks_like_the_retained_one_may_fill_the_queue() {
    for is_owed in [false, true] {
        let mut scenario = Scenario::with_queues(if is_owed { 2 } else { 1 });
        let subscriber = scenario.subscriber("subscriber");
        scenario.subscribe_with(subscriber, "a/b", AS_PUBLISHED, None);
        scenario.read_suback(subscriber);
        scenario.publish_with("retained", QoS::AtLeastOnce, true);
        scenario
            .write_with(subscriber, "retained", QoS::AtLeastOnce, None, true)
            .unwrap();
        scenario.publish("next", QoS::AtLeastOnce);
        scenario.model.retained_answered();
        assert_eq!(scenario.model.check_received(1).is_err(), is_owed);
    }
}

/// In 3.1.1 nothing distinguishes them. In 5.0 the identifier shows which one comes last, and so which one came first.
#[test]
fn a_copy_that_an_older_version_did_not_show_may_turn_out_to_be_the_groups() {
    for last_is_own in [true, false] {
        let mut scenario = Scenario::new();
        let first = scenario.subscriber("member");
        scenario.subscribe(first, "$share/g/a/b", QoS::AtLeastOnce, Some(7));
        scenario.subscribe(first, "a/b", QoS::AtLeastOnce, None);
        scenario.read_suback(first);
        scenario.read_suback(first);
        let old = scenario.connect(1, "member", ProtocolVersion::V3_1_1);
        scenario.publish("m", QoS::AtLeastOnce);
        scenario.write(old, "m", QoS::AtLeastOnce, None).unwrap();
        scenario.handle(old, &Packet::PubAck(1));
        let new = scenario.subscriber("member");
        let identifier = (!last_is_own).then_some(7);
        scenario.write(new, "m", QoS::AtLeastOnce, identifier).unwrap();
        scenario.model.check_received(1).unwrap();
        for identifier in [None, Some(7)] {
            let once_more = scenario.write(new, "m", QoS::AtLeastOnce, identifier);
            assert!(once_more.is_err(), "{last_is_own} {identifier:?}");
        }
    }
}

/// The same with copies of one message that was published three times: each of the session's own may be any of them.
#[test]
fn copies_that_an_older_version_did_not_show_may_have_come_in_any_order() {
    let mut scenario = Scenario::new();
    let first = scenario.subscriber("member");
    scenario.subscribe(first, "$share/g/a/b", QoS::AtLeastOnce, Some(7));
    scenario.subscribe(first, "a/b", QoS::AtLeastOnce, None);
    scenario.read_suback(first);
    scenario.read_suback(first);
    let old = scenario.connect(1, "member", ProtocolVersion::V3_1_1);
    for identifier in 1..=3 {
        scenario.publish("m", QoS::AtLeastOnce);
        scenario.write(old, "m", QoS::AtLeastOnce, None).unwrap();
        scenario.handle(old, &Packet::PubAck(identifier));
    }
    let new = scenario.subscriber("member");
    for identifier in [None, Some(7), None] {
        scenario.write(new, "m", QoS::AtLeastOnce, identifier).unwrap();
    }
    scenario.model.check_received(1).unwrap();
    for identifier in [None, Some(7)] {
        let once_more = scenario.write(new, "m", QoS::AtLeastOnce, identifier);
        assert!(once_more.is_err(), "{identifier:?}");
    }
}

/// Another member shows that both copies of the first one were its own, and each may be either.
#[test]
fn a_copy_may_be_any_of_the_sessions_own_that_look_alike() {
    let mut scenario = Scenario::new();
    let [first, second] = ["first", "second"].map(|name| scenario.subscriber(name));
    scenario.subscribe(first, "$share/g/a/b", QoS::AtLeastOnce, None);
    scenario.subscribe(second, "$share/g/a/b", QoS::AtLeastOnce, None);
    scenario.read_suback(first);
    scenario.read_suback(second);
    scenario.subscribe(first, "a/b", QoS::AtLeastOnce, None);
    scenario.publish("m", QoS::AtLeastOnce);
    scenario.publish("m", QoS::AtLeastOnce);
    for member in [first, first, second, second] {
        scenario.write(member, "m", QoS::AtLeastOnce, None).unwrap();
    }
    scenario.model.check_received(1).unwrap();
    for member in [first, second] {
        assert!(scenario.write(member, "m", QoS::AtLeastOnce, None).is_err());
    }
}

/// The group `f` is owed nothing any more when all is compared. What was taken for its message may be that of `g`, and
/// what was taken for that the one of `h`.
#[test]
fn a_message_that_is_owed_is_found_along_others_that_look_alike() {
    let mut scenario = Scenario::new();
    let [first, second] = ["first", "second"].map(|name| scenario.subscriber(name));
    for (member, filter) in [
        (first, "$share/f/a/b"),
        (first, "$share/g/a/b"),
        (second, "$share/g/a/b"),
        (second, "$share/h/a/b"),
    ] {
        scenario.subscribe(member, filter, QoS::AtLeastOnce, None);
        scenario.read_suback(member);
    }
    scenario.publish("m", QoS::AtLeastOnce);
    scenario.write(first, "m", QoS::AtLeastOnce, None).unwrap();
    scenario.write(second, "m", QoS::AtLeastOnce, None).unwrap();
    scenario.model.check_received(1).unwrap_err();
    let filters = vec!["$share/f/a/b"];
    scenario.handle(
        first,
        &Packet::Unsubscribe {
            packet_identifier: 2,
            filters,
        },
    );
    scenario.model.check_received(1).unwrap();
    scenario.model.check_received(1).unwrap();
}
