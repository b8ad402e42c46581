//! A broker that is ended in order, and what goes with it: signals, modes, a folder that is in use.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mqtt::QoS;
use rustix::process::Signal;

use super::{Clients, Restarted};
use crate::harness::{Client, Options, Setup, eventually, free_port};

/// SIGTERM under load, again and again: nothing is lost, and nothing comes twice at QoS 2.
#[test]
fn a_broker_that_is_ended_in_order_loses_and_repeats_nothing() {
    let restarted = Restarted::new(2);
    let mut clients = Clients::new();
    let mut broker = restarted.start();
    clients.online.subscribe(restarted.port).unwrap();
    clients.away.subscribe(restarted.port).unwrap();
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let running = clients.run(restarted.port, &stop);
        std::thread::sleep(Duration::from_millis(100 + 50 * round));
        broker.signal(Signal::TERM);
        let (status, log) = broker.wait();
        assert!(status.success(), "{log}");
        clients = running.join().unwrap();
        broker = restarted.start();
        eventually("all shards had taken all", || {
            broker.log().contains("; 0 messages were routed anew")
        });
    }
    let stop = Arc::new(AtomicBool::new(true));
    clients = clients.run(restarted.port, &stop).join().unwrap();
    stop.store(true, Ordering::Relaxed);
    clients.away.run(restarted.port, super::SILENCE).unwrap();
    clients.check();
}

#[test]
fn without_sync_nothing_waits_and_an_orderly_end_keeps_all() {
    for durability in ["interval 1000", "none"] {
        let setup = Setup::default().global(&format!("durability {durability}"));
        let restarted = Restarted::with(setup);
        let broker = restarted.start();
        let options = Options::new("c").persistent();
        let mut client = Client::connect(&broker, &options);
        client.subscribe("t", QoS::ExactlyOnce);
        client.disconnect();
        let mut publisher = Client::connect(&broker, &Options::new("p"));
        for payload in ["1", "2"] {
            publisher.publish("t", payload.as_bytes(), QoS::ExactlyOnce);
        }
        drop(broker);
        let broker = restarted.start();
        let (mut client, session_present) = Client::connect_session(&broker, &options);
        assert!(session_present, "{durability}");
        assert_eq!(client.payloads(2), ["1", "2"], "{durability}");
    }
}

/// A Will with a delay is published when its time comes, also if the broker was not there for a while.
#[test]
fn a_will_that_waits_outlives_the_broker() {
    let restarted = Restarted::new(1);
    let broker = restarted.start();
    let watcher = Options::new("watcher").persistent();
    Client::connect(&broker, &watcher).subscribe("w", QoS::AtLeastOnce);
    let options = Options::new("c")
        .persistent()
        .will("w", b"gone", QoS::AtLeastOnce, false);
    let client = Client::connect(&broker, &options);
    broker.kill();
    drop(client);
    let broker = restarted.start();
    let (mut watching, session_present) = Client::connect_session(&broker, &watcher);
    assert!(session_present);
    assert_eq!(watching.payloads(1), ["gone"]);
}

/// mosquitto(8): SIGUSR1 saves, SIGUSR2 prints what is there, SIGRTMIN opens the files of the log anew. None ends it.
#[test]
fn signals_of_mosquitto_do_what_they_do_there() {
    let logs = tempfile::tempdir().unwrap();
    let (file, moved) = (logs.path().join("broker.log"), logs.path().join("broker.log.1"));
    let setup = Setup::default()
        .global(&format!("log_dest file {}", file.display()))
        .global("log_dest stderr");
    let restarted = Restarted::with(setup);
    let broker = restarted.start();
    let mut client = Client::connect(&broker, &Options::new("c"));
    client.subscribe("t", QoS::AtMostOnce);
    client.publish_retained("r", b"kept", QoS::AtLeastOnce);
    for (signal, line) in [
        (Signal::USR1, "There is nothing to save"),
        (Signal::USR2, "1 sessions have 1 subscriptions; "),
        (Signal::USR2, "  r: 0 subscriptions, a retained message"),
        (Signal::USR2, "  t: 1 subscriptions\n"),
    ] {
        broker.signal(signal);
        eventually(line, || broker.log().contains(line));
    }
    std::fs::rename(&file, &moved).unwrap();
    let sent = Command::new("kill")
        .args(["-34", &broker.pid().to_string()])
        .status();
    assert!(sent.unwrap().success());
    eventually("the log is opened anew", || file.exists());
    broker.signal(Signal::USR1);
    eventually("the new file is written to", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("There is nothing to save"))
    });
    let before = std::fs::read_to_string(&moved).unwrap();
    assert_eq!(before.matches("There is nothing to save").count(), 1, "{before}");
    client.ping();
}

#[test]
fn a_folder_that_is_in_use_is_refused() {
    let restarted = Restarted::new(1);
    let _broker = restarted.start();
    let configuration = restarted.folder.path().join("second.conf");
    let location = restarted.folder.path().display();
    let text = format!(
        "persistence true\npersistence_location {location}\nuser root\nlistener {} 127.0.0.1\n",
        free_port()
    );
    std::fs::write(&configuration, text).unwrap();
    let second = crate::harness::run(&["-c", configuration.to_str().unwrap()]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("mosquitto.db.midge"), "{}", second.stderr);
}

#[test]
fn a_file_of_mosquitto_stays_as_it_is_and_is_named() {
    let restarted = Restarted::new(1);
    let file = restarted.folder.path().join("mosquitto.db");
    std::fs::write(&file, b"\x00\xB5\x00mosquitto db").unwrap();
    let broker = restarted.start();
    assert!(
        broker.log().contains("mosquitto.db is a file of mosquitto"),
        "{}",
        broker.log()
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"\x00\xB5\x00mosquitto db");
}
