//! SIGTERM and SIGINT: clients get a DISCONNECT, the broker leaves with 0.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mqtt::{QoS, ReasonCode};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Client, Options, Setup, eventually, free_port, program};

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

/// What was written before comes whole, and the DISCONNECT behind it, although the output goes out in many pieces.
#[test]
fn a_client_that_is_behind_gets_all_and_then_the_disconnect() {
    for shards in [1, 2] {
        let setup = Setup::default().shards(shards);
        let broker = setup.global("max_packet_size 30000000").start();
        let mut behind = Client::connect(&broker, &Options::new("behind").v5());
        behind.subscribe("t", QoS::AtMostOnce);
        let mut publisher = Client::connect(&broker, &Options::new("p"));
        publisher.publish("t", &vec![7; 16 << 20], QoS::AtMostOnce);
        publisher.ping();
        broker.signal(Signal::TERM);
        eventually("the broker shuts down", || broker.log().contains("Shutting down"));
        assert_eq!(behind.message().payload, vec![7; 16 << 20]);
        assert_eq!(behind.expect_closed().0, Some(ReasonCode::ServerShuttingDown));
        let (status, log) = broker.wait();
        assert!(status.success(), "{status:?}\n{log}");
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

/// A shard that cannot start ends the others and the process: half a broker would answer nobody.
#[test]
fn a_shard_that_cannot_start_ends_the_others() {
    let (status, log) = Setup::default().shards(12).descriptors(60).start_in_vain();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains("Error: shard ") && log.contains("ulimit -n"),
        "{log}"
    );
}

#[test]
fn sigterm_ends_a_broker_whose_shards_start() {
    let setup = Setup::default().shards(16);
    for _ in 0..4 {
        let (status, log) = setup.end_while_starting("Opening listen socket");
        assert!(status.success(), "{status:?}\n{log}");
    }
}

/// Neither clients nor the end wait for whoever should read the log.
#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (path, port) = (folder.path().join("broker.conf"), free_port());
    let text = format!("user root\nlog_type all\nlistener {port} 127.0.0.1\nallow_anonymous true\n");
    std::fs::write(&path, text).unwrap();
    let mut broker = Command::new(program())
        .arg("-c")
        .arg(&path)
        .args(["--shards", "1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut quiet = Client::connect_at(port, &Options::new("quiet"));
    // A pipe takes 64 KiB.
    for number in 0..300 {
        let identifier = format!("{number}{}", "x".repeat(60_000));
        drop(Client::connect_at(port, &Options::new(&identifier)));
    }
    let begun = Instant::now();
    quiet.ping();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    kill_process(Pid::from_child(&broker), Signal::TERM).unwrap();
    let begun = Instant::now();
    eventually("it ends", || broker.try_wait().unwrap().is_some());
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert!(broker.wait().unwrap().success());
}
