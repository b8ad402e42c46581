//! Retained messages.

use mqtt::QoS;

use crate::harness::{Broker, Client, Options, Setup};

/// [MQTT3-3.3.1-5], [MQTT3-3.3.1-6], [MQTT3-3.3.1-8], [MQTT3-3.3.1-9], [MQTT3-3.3.1-12]
#[test]
fn a_new_subscriber_gets_the_last_retained_message() {
    let broker = Setup::default().shards(2).start();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    let mut present = Client::connect(&broker, &Options::new("present"));
    present.subscribe("a/#", QoS::AtLeastOnce);
    publisher.publish_retained("a/b", b"old", QoS::AtLeastOnce);
    publisher.publish_retained("a/b", b"new", QoS::AtLeastOnce);
    publisher.publish("a/b", b"not kept", QoS::AtLeastOnce);
    for expected in [&b"old"[..], b"new", b"not kept"] {
        let message = present.message();
        assert_eq!((message.payload.as_slice(), message.retain), (expected, false));
    }
    // Who has the PUBACK and then subscribes gets it, wherever the subscriber lives.
    for number in 0..8 {
        let mut late = Client::connect(&broker, &Options::new(&format!("late-{number}")));
        late.subscribe("a/+", QoS::AtMostOnce);
        let message = late.message();
        assert_eq!(
            (message.payload.as_slice(), message.retain, message.qos),
            (&b"new"[..], true, QoS::AtMostOnce)
        );
        late.expect_nothing();
    }
}

/// [MQTT3-3.3.1-10], [MQTT3-3.3.1-11]
#[test]
fn an_empty_payload_removes_it() {
    let broker = Setup::default().shards(2).start();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish_retained("a", b"x", QoS::ExactlyOnce);
    publisher.publish_retained("a", b"", QoS::ExactlyOnce);
    for number in 0..4 {
        let mut late = Client::connect(&broker, &Options::new(&format!("late-{number}")));
        late.subscribe("#", QoS::AtMostOnce);
        late.expect_nothing();
    }
}

#[test]
fn many_retained_messages_arrive_each_once() {
    let broker = Setup::default().shards(2).global("max_queued_messages 0").start();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for number in 0..500 {
        publisher.publish_retained(&format!("many/{number}"), b"x", QoS::AtLeastOnce);
    }
    let mut subscriber = Client::connect(&broker, &Options::new("s"));
    subscriber.subscribe("many/+", QoS::AtLeastOnce);
    let mut topics: Vec<_> = (0..500).map(|_| subscriber.message().topic).collect();
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), 500);
    subscriber.expect_nothing();
}

/// Whichever shards the publisher, the owner of the topic and the subscriber are in: who subscribes after the PUBACK
/// gets it, by any filter, and nothing that was replaced or deleted.
#[test]
fn each_shard_finds_what_any_shard_retained() {
    let broker = Setup::default().shards(4).start();
    let client =
        |name: &str, number: usize| Client::connect(&broker, &Options::new(&format!("{name}-{number}")));
    let mut publishers: Vec<_> = (0..8).map(|number| client("p", number)).collect();
    let mut subscribers: Vec<_> = (0..8).map(|number| client("s", number)).collect();
    for round in 0..16 {
        let topic = format!("room/{round}/state");
        for payload in [&b"old"[..], b"new", b"last"] {
            let publisher = &mut publishers[(round * 3 + payload.len()) % 8];
            publisher.publish_retained(&topic, payload, QoS::AtLeastOnce);
        }
        let subscriber = &mut subscribers[round % 8];
        for filter in [topic.as_str(), &format!("+/{round}/#")] {
            subscriber.subscribe(filter, QoS::AtMostOnce);
            let message = subscriber.message();
            assert_eq!(
                (message.payload.as_slice(), message.retain),
                (&b"last"[..], true),
                "{filter}"
            );
            subscriber.unsubscribe(filter);
        }
    }
    for round in (0..16).step_by(2) {
        publishers[round % 8].publish_retained(&format!("room/{round}/state"), b"", QoS::AtLeastOnce);
    }
    for subscriber in &mut subscribers {
        subscriber.subscribe("room/#", QoS::AtMostOnce);
        let mut topics: Vec<_> = (0..8).map(|_| subscriber.message().topic).collect();
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), 8);
        subscriber.expect_nothing();
    }
}

/// [MQTT-3.2.2-14]
#[test]
fn retained_messages_may_be_turned_off() {
    let broker = Setup::default().global("retain_available false").start();
    let (mut client, answer) = Client::try_connect(&broker, &Options::new("a").v5());
    assert_eq!(answer.unwrap().properties().retain_available(), Some(false));
    client.send_publish("t", b"x", QoS::AtLeastOnce, true);
    assert_eq!(
        client.expect_closed().0,
        Some(mqtt::ReasonCode::RetainNotSupported)
    );
}

#[test]
fn a_retained_message_outlives_its_publisher() {
    let broker = Broker::start();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish_retained("t", b"x", QoS::AtLeastOnce);
    publisher.disconnect();
    let mut subscriber = Client::connect(&broker, &Options::new("s"));
    subscriber.subscribe("t", QoS::AtLeastOnce);
    assert_eq!(subscriber.message().payload, b"x");
}
