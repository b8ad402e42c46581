//! "Why did this message not arrive?", where access rules withhold it from a subscriber, and where it is dropped.

use mqtt::packet::Publish;
use mqtt::property::Properties;
use mqtt::{ProtocolVersion, QoS};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::api::{list, metric, start_with_api};
use crate::harness::{Broker, Client, Options, Setup, eventually, run};

/// The answer is in the counters, in the events of the API and of `broker ctl`, in the log and in a trace.
#[test]
fn a_message_that_a_subscriber_may_not_read_is_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("acl"), "topic write #\ntopic read open/#\ntopic read /#\n").unwrap();
    let setup = Setup::default()
        .global("log_type all")
        .global(&format!("control_socket {}", path("control")))
        .listener(&format!("acl_file {}", path("acl")));
    for shards in [1, 2] {
        let (broker, port) = start_with_api(setup.clone(), shards, "");
        let ctl = |arguments: &[&str]| {
            let ran = run(&[&["ctl", "--socket", &path("control")], arguments].concat());
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            ran.stdout
        };
        let mut narrow = Client::connect(&broker, &Options::new("narrow"));
        narrow.subscribe("#", QoS::AtMostOnce);
        ctl(&[
            "trace",
            "--client",
            "narrow",
            "--file",
            &path(&format!("trace{shards}")),
        ]);
        // Nothing but what is withheld from it has come since.
        let mut publisher = Client::connect(&broker, &Options::new("p"));
        publisher.publish("secret/door", b"planted", QoS::AtLeastOnce);
        publisher.publish("open/door", b"comes", QoS::AtLeastOnce);
        assert_eq!(narrow.payloads(1), ["comes"]);
        assert_eq!(metric(port, "midge_denied_total{action=\"read\"}"), 1.0);
        assert_eq!(metric(port, "midge_publishes_dropped_total"), 0.0);
        let events = || list(port, "events?kind=denied&client=narrow", 10);
        let [event] = events().try_into().unwrap_or_else(|events| panic!("{events:?}"));
        assert_eq!(
            (&event["reason"], &event["topic"]),
            (&"read".into(), &"secret/door".into())
        );
        let shown = ctl(&["events", "--kind", "denied"]);
        let row = shown.lines().find(|line| line.contains("narrow")).unwrap();
        assert!(row.contains("read") && row.contains("secret/door"), "{shown}");
        let line = "Denied PUBLISH to narrow (q1, r0, 'secret/door', ... (7 bytes))";
        let traced = || std::fs::read_to_string(path(&format!("trace{shards}"))).unwrap_or_default();
        eventually("it is logged and traced", || {
            broker.log().contains(line) && traced().contains(line)
        });
        // A flood of one topic is one event with its number, and some lines; the trace has each one.
        for _ in 0..500 {
            publisher.publish("secret/flood", b"planted", QoS::AtMostOnce);
        }
        publisher.ping();
        eventually("all are counted", || {
            let events = events();
            let is_whole = |event: &Value| event["count"] == 500 && event["topic"] == "secret/flood";
            events.len() == 2 && events.iter().any(is_whole)
        });
        assert_eq!(metric(port, "midge_denied_total{action=\"read\"}"), 501.0);
        let log = broker.log();
        let lines = log
            .lines()
            .filter(|line| line.starts_with("Denied") || line.contains(" Denied"));
        assert!(lines.count() < 20, "{log}");
        assert!(log.contains("more PUBLISH packets to narrow"), "{log}");
        assert!(!log.contains("planted") && !traced().contains("planted"));
        drop(publisher);
    }
}

/// A broker with a small queue for a client, `away`, most of which is in the store alone, and with a trace of it.
struct Watched {
    broker: Broker,
    port: u16,
    folder: TempDir,
    publisher: Client,
}

impl Watched {
    const QUEUED: usize = 3000;

    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(path("store")).unwrap();
        let setup = Setup::default()
            .global("log_type all")
            .global("persistence true")
            .global("durability interval 100")
            .global(&format!("persistence_location {}/", path("store")))
            .global(&format!("max_queued_messages {}", Self::QUEUED))
            .global(&format!("control_socket {}", path("control")));
        let (broker, port) = start_with_api(setup, 2, "");
        let publisher = Client::connect(&broker, &Options::new("p"));
        let watched = Self {
            broker,
            port,
            folder,
            publisher,
        };
        watched.ctl(&["trace", "--client", "away", "--file", &watched.path("trace")]);
        watched
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn ctl(&self, arguments: &[&str]) {
        let ran = run(&[&["ctl", "--socket", &self.path("control")], arguments].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }

    fn traced(&self) -> String {
        std::fs::read_to_string(self.path("trace")).unwrap_or_default()
    }

    fn log_and_trace_have(&self, line: &str) -> bool {
        self.broker.log().contains(line) && self.traced().contains(line)
    }

    /// The client comes, and leaves its session behind.
    fn join(&self, expiry_s: u32) {
        let options = Options::new("away").v5().session_expiry_s(expiry_s);
        let mut away = Client::connect(&self.broker, &options);
        away.subscribe("open/#", QoS::AtLeastOnce);
        away.disconnect();
        eventually("it has left", || list(self.port, "clients", 10).len() == 1);
    }

    fn publish(&mut self, messages: usize, topic: &str) {
        for _ in 0..messages {
            self.publisher.publish(topic, b"planted", QoS::AtLeastOnce);
        }
    }

    fn dropped(&self, reason: &str) -> f64 {
        metric(self.port, &format!("midge_dropped_total{{reason=\"{reason}\"}}"))
    }

    fn event(&self, reason: &str, topic: &str) -> Option<Value> {
        let mut events = list(self.port, "events?kind=dropped&client=away", 100).into_iter();
        events.find(|event| event["reason"] == reason && event["topic"] == topic)
    }
}

/// So it is for messages that are dropped: each topic is an event, the log has the first and then how many, and the
/// trace of a client has each, although it is away.
#[test]
fn messages_that_a_full_queue_does_not_take_are_accounted_for() {
    let mut watched = Watched::start();
    watched.join(1000);
    watched.publish(Watched::QUEUED, "open/first");
    watched.publish(1, "open/one");
    watched.publish(2, "open/two");
    assert_eq!(watched.dropped("queue_full"), 3.0);
    let counted = |topic: &str, messages: u64| {
        let event = watched.event("queue_full", topic);
        event.is_some_and(|event| event["count"] == messages)
    };
    let first = "Outgoing messages are being dropped for client away: queue_full, 3000 messages with";
    let others =
        "More messages were dropped for client away recently: 2 (queue_full), one of them for 'open/two'.";
    eventually("there are events, a trace and a log", || {
        let (log, traced) = (watched.broker.log(), watched.traced());
        let each = traced.matches("Dropped PUBLISH to away ('open/two'): queue_full");
        counted("open/one", 1)
            && counted("open/two", 2)
            && log.contains(first)
            && log.contains(others)
            && each.count() == 2
    });
}

/// So it is for those of a session that an operator ends, or its expiry, or its next CONNECT.
#[test]
fn messages_of_a_session_that_ends_are_accounted_for() {
    let mut watched = Watched::start();
    let ended = |watched: &Watched, number: usize, first: &str, why: &str| {
        let line =
            format!("{number} messages are dropped for client away, the first one to '{first}': {why}");
        eventually(&line, || watched.log_and_trace_have(&line));
        // Of those that are in the store alone the topics are not known.
        let events = list(watched.port, "events?kind=dropped&client=away", 100);
        let events = events.iter().filter(|event| event["detail"] == why);
        let of_topics = events.filter(|event| event["topic"] == first || event["topic"].is_null());
        let counted: u64 = of_topics.map(|event| event["count"].as_u64().unwrap()).sum();
        assert_eq!(counted, number as u64);
    };
    watched.join(1000);
    watched.publish(Watched::QUEUED, "open/first");
    watched.ctl(&["end-session", "away"]);
    ended(
        &watched,
        Watched::QUEUED,
        "open/first",
        "an operator ended its session",
    );
    assert_eq!(watched.dropped("session_ended"), Watched::QUEUED as f64);
    watched.join(1);
    watched.publish(3, "open/expires");
    ended(&watched, 3, "open/expires", "its session expired");
    let log = watched.broker.log();
    assert!(log.contains("Expiring client away due to timeout."), "{log}");
    watched.join(1000);
    watched.publish(2, "open/clean");
    Client::connect(&watched.broker, &Options::new("away").v5()).disconnect();
    ended(
        &watched,
        2,
        "open/clean",
        "a CONNECT with Clean Start ended its session",
    );
    assert_eq!(watched.dropped("session_ended"), Watched::QUEUED as f64 + 5.0);
    assert!(!watched.broker.log().contains("planted") && !watched.traced().contains("planted"));
}

/// A filter that is refused because of a limit is remembered with it.
#[test]
fn filters_beyond_a_limit_are_accounted_for() {
    let setup = Setup::default()
        .global("log_type all")
        .global("max_subscriptions 2")
        .global("max_topic_levels 5");
    let (broker, port) = start_with_api(setup, 1, "");
    let mut client = Client::connect(&broker, &Options::new("c").v5());
    for (filter, reason, detail) in [
        (
            "1/2/3/4/5/6/7/8",
            0x8F,
            "it has more levels than max_topic_levels, 5, or is not a valid shared subscription",
        ),
        ("a", 1, ""),
        ("b", 1, ""),
        (
            "c",
            0x97,
            "it has 2 subscriptions, the limit that max_subscriptions sets",
        ),
    ] {
        assert_eq!(client.subscribe(filter, QoS::AtLeastOnce), reason, "{filter}");
        let denied = list(port, "events?kind=denied&client=c", 10);
        let found = denied.iter().find(|event| event["topic"] == filter);
        assert_eq!(
            found.map(|event| &event["detail"]),
            (reason >= 0x80).then_some(&detail.into())
        );
        let line = format!("Denied SUBSCRIBE from c (q1, '{filter}'): {detail}");
        eventually("it is logged", || {
            detail.is_empty() || broker.log().contains(&line)
        });
    }
    assert_eq!(metric(port, "midge_denied_total{action=\"subscribe\"}"), 2.0);
}

/// A PUBLISH that ends its connection is there no more: the event of the end says which one, or which limit.
#[test]
fn messages_that_end_their_connection_are_accounted_for() {
    let setup = Setup::default()
        .global("max_topic_levels 5")
        .global("max_packet_size 2000")
        .global("retain_available false")
        .listener("max_qos 1");
    let (broker, port) = start_with_api(setup, 1, "");
    let long = [b'x'; 3000];
    for (name, topic, qos, retain, payload, detail) in [
        (
            "qos",
            "a/b",
            QoS::ExactlyOnce,
            false,
            &long[..1],
            "max_qos: a PUBLISH to 'a/b'",
        ),
        (
            "retain",
            "a/b",
            QoS::AtMostOnce,
            true,
            &long[..1],
            "not available: a PUBLISH to 'a/b'",
        ),
        (
            "deep",
            "1/2/3/4/5/6/7",
            QoS::AtMostOnce,
            false,
            &long[..1],
            "levels: a PUBLISH to '1/2/3/4/5/6/7'",
        ),
        (
            "large",
            "a/b",
            QoS::AtMostOnce,
            false,
            &long,
            "max_packet_size is 2000",
        ),
    ] {
        let mut client = Client::connect(&broker, &Options::new(name).v5());
        let mut packet = Vec::new();
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic,
            packet_identifier: (qos != QoS::AtMostOnce).then(|| 1.try_into().unwrap()),
            properties: Properties::EMPTY,
            payload,
        };
        publish.encode(ProtocolVersion::V5, &mut packet).unwrap();
        client.send(&packet);
        client.expect_closed();
        eventually(detail, || {
            let ended = list(port, &format!("events?kind=disconnected&client={name}"), 10);
            ended
                .iter()
                .any(|event| event["detail"].as_str().unwrap_or_default().ends_with(detail))
        });
    }
}
