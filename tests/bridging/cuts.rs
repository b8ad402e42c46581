//! Nothing that was acknowledged is lost when either side is cut, and nothing at QoS 2 comes twice.
//!
//! Invariants: both brokers keep their state in a store; what is counted is what a publisher has the acknowledgement
//! of, and what a subscriber at the other broker gets.

use std::collections::HashMap;

use mqtt::QoS;

use super::bridge_to;
use crate::harness::{Broker, Client, Options, Setup, free_port};

/// Messages published at one broker while the other one is killed again and again.
struct Cuts {
    near: Option<Broker>,
    far: Option<Broker>,
    near_setup: Setup,
    far_setup: Setup,
    ports: (u16, u16),
    _folder: tempfile::TempDir,
}

impl Cuts {
    fn start(qos: QoS, lines: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = (free_port(), free_port());
        let stored = |setup: Setup, name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            setup
                .global("persistence true")
                .global("max_queued_messages 0")
                .global(&format!("persistence_location {}", path.display()))
        };
        let topic = format!("topic # both {} a/ b/", qos as u8);
        let lines: Vec<_> = lines.iter().copied().chain([topic.as_str()]).collect();
        let near_setup = stored(bridge_to(ports.1, &lines), "near");
        let far_setup = stored(Setup::default(), "far");
        let far = far_setup.start_at(ports.1);
        let near = near_setup.start_at(ports.0);
        Self {
            near: Some(near),
            far: Some(far),
            near_setup,
            far_setup,
            ports,
            _folder: folder,
        }
    }

    fn kill_near(&mut self) {
        self.near.take().unwrap().kill();
        self.near = Some(self.near_setup.start_at(self.ports.0));
    }

    fn kill_far(&mut self) {
        self.far.take().unwrap().kill();
        self.far = Some(self.far_setup.start_at(self.ports.1));
    }
}

/// Publishes here and there in rounds, with a kill of one side between them, and counts what has come.
fn no_loss(qos: QoS, lines: &[&str]) {
    let mut cuts = Cuts::start(qos, lines);
    for port in [cuts.ports.0, cuts.ports.1] {
        let mut reader = Client::connect_at(port, &Options::new("reader").persistent());
        reader.subscribe(if port == cuts.ports.0 { "a/#" } else { "b/#" }, qos);
    }
    super::await_state_at(cuts.ports.0, "1");
    let mut sent = 0;
    for round in 0..6 {
        let mut here = Client::connect_at(cuts.ports.0, &Options::new("here"));
        let mut there = Client::connect_at(cuts.ports.1, &Options::new("there"));
        for _ in 0..40 {
            here.publish("a/out", format!("out {sent}").as_bytes(), qos);
            there.publish("b/in", format!("in {sent}").as_bytes(), qos);
            sent += 1;
        }
        match round % 2 {
            0 => cuts.kill_far(),
            _ => cuts.kill_near(),
        }
    }
    for (port, own, other) in [(cuts.ports.0, "out", "in"), (cuts.ports.1, "in", "out")] {
        let mut reader = Client::connect_at(port, &Options::new("reader").persistent());
        let mut counted: HashMap<String, u32> = HashMap::new();
        // Each comes once at least: the own ones from the broker itself, the others over the bridge.
        while counted.len() < 2 * sent {
            for payload in reader.payloads(1) {
                *counted.entry(payload).or_default() += 1;
            }
        }
        let mut expected: Vec<_> = (0..sent)
            .flat_map(|n| [format!("{own} {n}"), format!("{other} {n}")])
            .collect();
        let mut came: Vec<_> = counted.keys().cloned().collect();
        expected.sort_unstable();
        came.sort_unstable();
        assert_eq!(came, expected);
        if qos == QoS::ExactlyOnce {
            reader.expect_nothing();
            let twice: Vec<_> = counted.iter().filter(|(_, count)| **count > 1).collect();
            assert!(twice.is_empty(), "{twice:?}");
        }
    }
}

#[test]
fn nothing_at_qos_1_is_lost_when_either_side_is_killed() {
    no_loss(QoS::AtLeastOnce, &[]);
}

#[test]
fn everything_at_qos_2_comes_once_when_either_side_is_killed() {
    no_loss(QoS::ExactlyOnce, &["bridge_protocol_version mqttv50"]);
}
