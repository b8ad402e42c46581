//! SIGTERM and SIGINT: clients get a DISCONNECT, the broker leaves with 0.

use std::time::{Duration, Instant};

use mqtt::{QoS, ReasonCode};
use rustix::process::Signal;

use crate::harness::{Client, Options, Setup};

#[test]
fn clients_get_a_disconnect() {
    for signal in [Signal::TERM, Signal::INT] {
        let broker = Setup::default().shards(2).start();
        let mut new: Vec<_> = (0..6)
            .map(|number| Client::connect(&broker, &Options::new(&format!("n{number}")).v5()))
            .collect();
        let mut old = Client::connect(&broker, &Options::new("old"));
        let begin = Instant::now();
        broker.signal(signal);
        for client in &mut new {
            assert_eq!(
                client.expect_closed().0,
                Some(ReasonCode::ServerShuttingDown),
                "{signal:?}"
            );
        }
        assert_eq!(old.expect_closed().0, None);
        let (status, log) = broker.wait();
        assert!(status.success(), "{status:?}\n{log}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}

/// A client that does not read cannot keep the broker for longer than its time for closing.
#[test]
fn a_client_that_does_not_read_does_not_keep_the_broker() {
    let broker = Setup::default().start();
    let mut deaf = Client::connect(&broker, &Options::new("deaf"));
    deaf.subscribe("t", QoS::AtMostOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for _ in 0..64 {
        publisher.publish("t", &[0; 256 << 10], QoS::AtMostOnce);
    }
    publisher.ping();
    broker.signal(Signal::TERM);
    let (status, log) = broker.wait();
    assert!(status.success(), "{status:?}\n{log}");
}
