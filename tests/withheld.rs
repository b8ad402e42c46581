//! "Why did this message not arrive?", where access rules withhold it from a subscriber.

use mqtt::QoS;
use serde_json::Value;

use crate::harness::api::{list, metric, start_with_api};
use crate::harness::{Client, Options, Setup, eventually, run};

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
        // A flood is one event with its number, and some lines; the trace has each one.
        for _ in 0..500 {
            publisher.publish("secret/flood", b"planted", QoS::AtMostOnce);
        }
        publisher.ping();
        eventually("all are counted", || {
            let events = events();
            let is_whole = |event: &Value| event["count"] == 501 && event["topic"] == "secret/flood";
            events.len() == 1 && events.iter().all(is_whole)
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
