//! Sessions over the end of the broker, by SIGKILL and by SIGTERM: packet by packet.

use std::time::{Duration, Instant};

use mqtt::frame::PacketType;
use mqtt::packet::{PacketIdentifier, RetainHandling, SubscriptionOptions};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS, encode};
use rustix::process::Signal;

use super::Restarted;
use crate::harness::{Broker, Client, Message, Options};

const ENDS: [Signal; 2] = [Signal::KILL, Signal::TERM];

/// A broker that is ended by a signal, again and again.
struct Ended {
    /// Dropped before its folder is.
    broker: Option<Broker>,
    restarted: Restarted,
    signal: Signal,
}

impl Ended {
    fn by(signal: Signal) -> Self {
        let restarted = Restarted::new(2);
        let broker = Some(restarted.start());
        Self {
            restarted,
            signal,
            broker,
        }
    }

    fn end(&mut self) {
        let broker = self.broker.take().unwrap();
        if self.signal == Signal::KILL {
            broker.kill();
        } else {
            broker.signal(self.signal);
            let (status, log) = broker.wait();
            assert!(status.success(), "{log}");
        }
    }

    fn restart(&mut self) {
        self.end();
        self.broker = Some(self.restarted.start());
    }

    /// A client that subscribes and goes.
    fn subscribe(&self, options: &Options, filter: &str, qos: QoS) {
        let mut client = self.join(options);
        client.subscribe(filter, qos);
        client.disconnect();
    }

    fn join(&self, options: &Options) -> Client {
        Client::connect(self.broker.as_ref().unwrap(), options)
    }

    /// A client whose session is there.
    fn resume(&self, options: &Options) -> Client {
        let (client, session_present) = Client::connect_session(self.broker.as_ref().unwrap(), options);
        assert!(session_present, "after {:?}", self.signal);
        client
    }

    fn publish(&self, topic: &str, payload: &str, qos: QoS) {
        self.join(&Options::new("publisher"))
            .publish(topic, payload.as_bytes(), qos);
    }
}

fn v5(client_identifier: &str) -> Options {
    Options::new(client_identifier).v5().persistent()
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.payload).unwrap()
}

/// A subscription with every option that is not the usual one.
fn subscribe_with_options(client: &mut Client, filter: &str) {
    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SubscriptionIdentifier(7)).unwrap();
    let mut out = Vec::new();
    let identifier = PacketIdentifier::new(900).unwrap();
    let properties = properties.as_properties();
    encode::subscribe(
        identifier,
        properties,
        &[(filter, options)],
        ProtocolVersion::V5,
        &mut out,
    )
    .unwrap();
    client.send(&out);
    client.expect(PacketType::SubAck);
}

#[test]
fn subscriptions_keep_their_options() {
    for signal in ENDS {
        let mut ended = Ended::by(signal);
        let options = v5("subscriber");
        let mut client = ended.join(&options);
        subscribe_with_options(&mut client, "a/#");
        client.subscribe("b", QoS::AtLeastOnce);
        client.subscribe("gone", QoS::AtLeastOnce);
        client.unsubscribe("gone");
        ended.restart();
        let mut client = ended.resume(&options);
        client.publish("a/own", b"not for its own publisher", QoS::AtLeastOnce);
        let mut publisher = ended.join(&Options::new("publisher"));
        publisher.publish("gone", b"not subscribed", QoS::AtLeastOnce);
        publisher.publish_retained("a/r", b"first", QoS::ExactlyOnce);
        let packet = client.expect(PacketType::Publish);
        let identifiers: Vec<_> = packet
            .properties()
            .iter()
            .filter(|property| matches!(property, Property::SubscriptionIdentifier(_)))
            .collect();
        assert_eq!(identifiers, [Property::SubscriptionIdentifier(7)]);
        let first = packet.message();
        assert_eq!(
            (text(&first), first.qos, first.retain),
            ("first", QoS::ExactlyOnce, true)
        );
        publisher.publish_retained("b", b"second", QoS::ExactlyOnce);
        let second = client.message_unacknowledged();
        assert_eq!(
            (text(&second), second.qos, second.retain),
            ("second", QoS::AtLeastOnce, false)
        );
        client.expect_nothing();
    }
}

/// [MQTT-4.3.3-6], [MQTT-4.4.0-1]
#[test]
fn each_step_of_qos_2_to_a_subscriber_is_taken_once() {
    for signal in ENDS {
        let mut ended = Ended::by(signal);
        let options = v5("subscriber");
        ended.subscribe(&options, "t", QoS::ExactlyOnce);
        ended.publish("t", "once", QoS::ExactlyOnce);
        ended.restart();
        let first = ended.resume(&options).message_unacknowledged();
        assert!(!first.dup, "it was never sent");
        ended.restart();
        let mut client = ended.resume(&options);
        let again = client.message_unacknowledged();
        assert!(again.dup, "it was sent");
        assert_eq!(again.packet_identifier, first.packet_identifier);
        let identifier = again.packet_identifier.unwrap();
        client.acknowledge(PacketType::PubRec, identifier);
        assert_eq!(client.expect(PacketType::PubRel).acknowledged(), Some(identifier));
        ended.restart();
        let mut client = ended.resume(&options);
        assert_eq!(client.expect(PacketType::PubRel).acknowledged(), Some(identifier));
        client.acknowledge(PacketType::PubComp, identifier);
        client.ping();
        // What a PUBCOMP frees is stored without anybody who waits for it.
        ended.publish("t", "next", QoS::AtLeastOnce);
        assert_eq!(client.payloads(1), ["next"]);
        client.disconnect();
        ended.publish("t", "last", QoS::AtLeastOnce);
        ended.restart();
        let mut client = ended.resume(&options);
        assert_eq!(client.payloads(1), ["last"]);
        client.expect_nothing();
    }
}

/// [MQTT-4.3.3-10]
#[test]
fn each_step_of_qos_2_from_a_publisher_is_taken_once() {
    for signal in ENDS {
        let mut ended = Ended::by(signal);
        let (subscriber, publisher) = (v5("subscriber"), Options::new("sender").persistent());
        ended.subscribe(&subscriber, "t", QoS::ExactlyOnce);
        let identifier = PacketIdentifier::new(5);
        let mut sender = ended.join(&publisher);
        sender.send_again("t", b"once", QoS::ExactlyOnce, false, identifier, false);
        sender.expect(PacketType::PubRec);
        ended.restart();
        let mut sender = ended.resume(&publisher);
        sender.send_again("t", b"once", QoS::ExactlyOnce, false, identifier, true);
        sender.expect(PacketType::PubRec);
        ended.restart();
        let mut sender = ended.resume(&publisher);
        sender.acknowledge(PacketType::PubRel, identifier.unwrap());
        sender.expect(PacketType::PubComp);
        ended.restart();
        let mut sender = ended.resume(&publisher);
        sender.send_again("t", b"another", QoS::ExactlyOnce, false, identifier, false);
        sender.expect(PacketType::PubRec);
        let mut client = ended.resume(&subscriber);
        assert_eq!(client.payloads(2), ["once", "another"], "the identifier was free");
        client.expect_nothing();
    }
}

#[test]
fn qos_1_comes_until_it_is_acknowledged() {
    for signal in ENDS {
        let mut ended = Ended::by(signal);
        let options = v5("subscriber");
        ended.subscribe(&options, "t", QoS::AtLeastOnce);
        for payload in ["1", "2", "3"] {
            ended.publish("t", payload, QoS::AtLeastOnce);
        }
        let mut client = ended.resume(&options);
        let sent: Vec<_> = (0..3).map(|_| client.message_unacknowledged()).collect();
        client.acknowledge(PacketType::PubAck, sent[1].packet_identifier.unwrap());
        client.disconnect();
        // Its PUBACK says that all before it is stored.
        ended.publish("t", "4", QoS::AtLeastOnce);
        ended.restart();
        let mut client = ended.resume(&options);
        let again: Vec<_> = (0..3).map(|_| client.message()).collect();
        let of = |message: &Message| (text(message).to_owned(), message.dup);
        let expected = [("1", true), ("3", true), ("4", false)];
        let expected = expected.map(|(payload, dup)| (payload.to_owned(), dup));
        assert_eq!(again.iter().map(of).collect::<Vec<_>>(), expected);
        assert_eq!(again[0].packet_identifier, sent[0].packet_identifier);
        client.expect_nothing();
    }
}

#[test]
fn retained_messages_are_as_they_were_set_and_deleted() {
    for signal in ENDS {
        let mut ended = Ended::by(signal);
        let mut publisher = ended.join(&Options::new("publisher"));
        publisher.publish_retained("kept", b"old", QoS::AtLeastOnce);
        publisher.publish_retained("deleted", b"x", QoS::AtLeastOnce);
        publisher.publish_retained("kept", b"new", QoS::ExactlyOnce);
        publisher.publish_retained("deleted", b"", QoS::AtLeastOnce);
        for _ in 0..2 {
            ended.restart();
            let mut client = ended.join(&Options::new("reader"));
            client.subscribe("#", QoS::ExactlyOnce);
            let message = client.message();
            assert_eq!(
                (text(&message), message.retain, message.qos),
                ("new", true, QoS::ExactlyOnce)
            );
            client.expect_nothing();
        }
    }
}

/// An end of the broker is no end of the session: the Will waits for its delay, and is published once. A session
/// expires by the wall clock, and a Will that would wait longer comes then [MQTT-3.1.3-9].
#[test]
fn a_will_waits_for_its_delay_and_sessions_expire_while_the_broker_is_away() {
    for signal in ENDS {
        let mut ended = Ended::by(signal);
        let watcher = v5("watcher");
        ended.subscribe(&watcher, "w/#", QoS::ExactlyOnce);
        let with_will = |name: &str, delay_s| {
            let options = v5(name).will(&format!("w/{name}"), name.as_bytes(), QoS::ExactlyOnce, false);
            options.will_property(Property::WillDelayInterval(delay_s))
        };
        let short = with_will("short", 100).session_expiry_s(3);
        let (delayed, cut) = (with_will("delayed", 4), with_will("cut", 4));
        let connected = [ended.join(&short), ended.join(&delayed)];
        ended.join(&cut).cut();
        ended.publish("w/other", "started", QoS::AtLeastOnce);
        let began = Instant::now();
        ended.restart();
        let mut watching = ended.resume(&watcher);
        assert_eq!(
            watching.payloads(1),
            ["started"],
            "after {signal:?} no Will was published at once"
        );
        drop(connected);
        if began.elapsed() < Duration::from_secs(2) {
            watching.expect_nothing();
        }
        watching.disconnect();
        ended.end();
        std::thread::sleep(Duration::from_millis(4500).saturating_sub(began.elapsed()));
        ended.broker = Some(ended.restarted.start());
        let mut watching = ended.resume(&watcher);
        let mut wills = watching.payloads(3);
        wills.sort();
        assert_eq!(wills, ["cut", "delayed", "short"], "after {signal:?}");
        let broker = ended.broker.as_ref().unwrap();
        assert!(!Client::connect_session(broker, &short).1, "it has expired");
        assert!(Client::connect_session(broker, &delayed).1);
        watching.disconnect();
        ended.restart();
        ended.resume(&watcher).expect_nothing();
    }
}
