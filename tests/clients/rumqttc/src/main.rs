//! rumqttc with a broker: QoS 0 to 2, retained, will, takeover, a persistent session, for 3.1.1 and 5.0.
//!
//! Usage: `rumqttc-client PORT [CA_FILE]`; prints "all passed" and exits 0, or panics.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rumqttc::Transport;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The events of a client.
#[derive(Debug, PartialEq)]
enum Seen {
    Connected {
        session_present: bool,
    },
    Subscribed,
    Acknowledged,
    /// Topic, payload, QoS, retain.
    Message(String, Vec<u8>, u8, bool),
    Ended,
}

/// The next event that is not an acknowledgement of a PUBLISH.
fn next(events: &Receiver<Seen>) -> Seen {
    loop {
        match events.recv_timeout(TIMEOUT).expect("nothing came") {
            Seen::Acknowledged => {}
            other => return other,
        }
    }
}

fn message(topic: &str, payload: &str, qos: u8, retain: bool) -> Seen {
    Seen::Message(topic.to_owned(), payload.as_bytes().to_vec(), qos, retain)
}

/// The same checks for the two versions, whose types have the same names.
macro_rules! checks {
    ($version:ident, $types:path, $bytes:path, $clean:ident, $persist:expr, $will:expr) => {
        mod $version {
            use $bytes as bytes;
            use $types as types;

            use bytes::QoS;
            use types::{Client, Event, Incoming, MqttOptions};

            use super::*;

            struct Peer {
                client: Client,
                events: Receiver<Seen>,
                session_present: bool,
            }

            pub fn options(identifier: &str, port: u16, ca: Option<&[u8]>) -> MqttOptions {
                let mut options = MqttOptions::new(identifier, "localhost", port);
                options.set_keep_alive(Duration::from_secs(30)).$clean(true);
                if let Some(ca) = ca {
                    options.set_transport(Transport::tls(ca.to_vec(), None, None));
                }
                options
            }

            fn seen(event: &Event) -> Option<Seen> {
                match event {
                    Event::Incoming(Incoming::ConnAck(connack)) => Some(Seen::Connected {
                        session_present: connack.session_present,
                    }),
                    Event::Incoming(Incoming::SubAck(_)) => Some(Seen::Subscribed),
                    Event::Incoming(Incoming::PubAck(_) | Incoming::PubComp(_)) => Some(Seen::Acknowledged),
                    Event::Incoming(Incoming::Publish(publish)) => Some(Seen::Message(
                        String::from_utf8(Vec::from(publish.topic.clone())).expect("a topic"),
                        publish.payload.to_vec(),
                        publish.qos as u8,
                        publish.retain,
                    )),
                    _ => None,
                }
            }

            fn connect(options: MqttOptions) -> Peer {
                let (client, mut connection) = Client::new(options, 100);
                let (sender, events) = channel();
                std::thread::spawn(move || {
                    for event in connection.iter() {
                        let Ok(event) = event else { break };
                        if let Some(seen) = seen(&event) {
                            let _nobody = sender.send(seen);
                        }
                    }
                    let _nobody = sender.send(Seen::Ended);
                });
                match next(&events) {
                    Seen::Connected { session_present } => Peer {
                        client,
                        events,
                        session_present,
                    },
                    other => panic!("CONNACK was expected, not {other:?}"),
                }
            }

            impl Peer {
                fn subscribe(&self, topic: &str, qos: QoS) {
                    self.client.subscribe(topic, qos).expect("sent");
                    assert_eq!(next(&self.events), Seen::Subscribed);
                }

                fn publish(&self, topic: &str, payload: &str, qos: QoS, retain: bool) {
                    let payload = payload.as_bytes().to_vec();
                    self.client
                        .publish(topic, qos, retain, payload)
                        .expect("sent");
                }

                fn publish_acknowledged(&self, topic: &str, payload: &str, qos: QoS, retain: bool) {
                    self.publish(topic, payload, qos, retain);
                    let seen = self.events.recv_timeout(TIMEOUT);
                    assert_eq!(seen, Ok(Seen::Acknowledged));
                }

                fn end(self) {
                    self.client.disconnect().expect("sent");
                    while next(&self.events) != Seen::Ended {}
                }
            }

            pub fn all(options: impl Fn(&str) -> MqttOptions) {
                delivery(&options);
                retained(&options);
                will(&options);
                takeover(&options);
                session(&options);
            }

            fn delivery(options: &impl Fn(&str) -> MqttOptions) {
                let (subscriber, publisher) = (connect(options("s")), connect(options("p")));
                for (number, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
                    .into_iter()
                    .enumerate()
                {
                    let topic = format!("rumqttc/{number}");
                    subscriber.subscribe(&topic, qos);
                    for payload in 0..20 {
                        publisher.publish(&topic, &payload.to_string(), qos, false);
                    }
                    for payload in 0..20 {
                        let expected = message(&topic, &payload.to_string(), qos as u8, false);
                        assert_eq!(next(&subscriber.events), expected);
                    }
                }
                subscriber.end();
                publisher.end();
            }

            fn retained(options: &impl Fn(&str) -> MqttOptions) {
                let peer = connect(options("r"));
                peer.publish_acknowledged("rumqttc/retained", "kept", QoS::AtLeastOnce, true);
                peer.subscribe("rumqttc/retained", QoS::AtLeastOnce);
                assert_eq!(
                    next(&peer.events),
                    message("rumqttc/retained", "kept", 1, true)
                );
                peer.publish("rumqttc/retained", "", QoS::AtLeastOnce, true);
                assert_eq!(
                    next(&peer.events),
                    message("rumqttc/retained", "", 1, false)
                );
                peer.end();
            }

            /// The older of two connections with one identifier ends, and its Will is published.
            fn will(options: &impl Fn(&str) -> MqttOptions) {
                let watcher = connect(options("w"));
                watcher.subscribe("rumqttc/will", QoS::AtLeastOnce);
                let mut dying = options("dying");
                $will(&mut dying);
                let _dying = connect(dying);
                let other = connect(options("dying"));
                assert_eq!(
                    next(&watcher.events),
                    message("rumqttc/will", "gone", 1, false)
                );
                other.end();
                watcher.end();
            }

            fn takeover(options: &impl Fn(&str) -> MqttOptions) {
                let first = connect(options("same"));
                let second = connect(options("same"));
                assert_eq!(next(&first.events), Seen::Ended);
                second.subscribe("rumqttc/takeover", QoS::AtMostOnce);
                second.publish("rumqttc/takeover", "x", QoS::AtMostOnce, false);
                assert_eq!(
                    next(&second.events),
                    message("rumqttc/takeover", "x", 0, false)
                );
                second.end();
            }

            fn session(options: &impl Fn(&str) -> MqttOptions) {
                let kept = || {
                    let mut options = options(concat!("rumqttc-kept-", stringify!($version)));
                    options.$clean(false);
                    $persist(&mut options);
                    options
                };
                let first = connect(kept());
                first.subscribe("rumqttc/session", QoS::ExactlyOnce);
                first.end();
                let publisher = connect(options("p"));
                publisher.publish_acknowledged("rumqttc/session", "1", QoS::AtLeastOnce, false);
                publisher.publish_acknowledged("rumqttc/session", "2", QoS::ExactlyOnce, false);
                let second = connect(kept());
                assert!(second.session_present, "the session was not kept");
                assert_eq!(
                    next(&second.events),
                    message("rumqttc/session", "1", 1, false)
                );
                assert_eq!(
                    next(&second.events),
                    message("rumqttc/session", "2", 2, false)
                );
                second.end();
                publisher.end();
            }
        }
    };
}

checks!(
    v4,
    rumqttc,
    rumqttc,
    set_clean_session,
    |_: &mut MqttOptions| {},
    |options: &mut MqttOptions| {
        options.set_last_will(rumqttc::LastWill::new(
            "rumqttc/will",
            "gone",
            QoS::AtLeastOnce,
            false,
        ));
    }
);
checks!(
    v5,
    rumqttc::v5,
    rumqttc::v5::mqttbytes,
    set_clean_start,
    |options: &mut MqttOptions| {
        options.set_session_expiry_interval(Some(3600));
    },
    |options: &mut MqttOptions| {
        let will = bytes::v5::LastWill::new("rumqttc/will", "gone", QoS::AtLeastOnce, false, None);
        options.set_last_will(will);
    }
);

fn main() {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the first provider");
    let mut arguments = std::env::args().skip(1);
    let port = arguments
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let ca = arguments
        .next()
        .map(|path| std::fs::read(path).expect("a CA file"));
    v4::all(|identifier| v4::options(identifier, port, ca.as_deref()));
    v5::all(|identifier| v5::options(identifier, port, ca.as_deref()));
    println!("all passed");
}
