//! What the log shows of clients, and where it goes.

use std::process::{Command, Stdio};

use mqtt::QoS;
use rustix::process::Signal;

use crate::harness::api::{operate, start_with_api};
use crate::harness::{Broker, Client, Options, Setup, eventually, run};
use crate::real_clients::skip;

/// A client publishes at each QoS, and subscribes, pings and leaves: each packet of both sides is in the log, in its
/// order.
#[test]
fn each_packet_is_shown_with_log_type_debug() {
    for (shards, version) in [(1, "v3"), (2, "v5")] {
        let broker = Setup::default().shards(shards).global("log_type all").start();
        let options = Options::new("shown").user("someone", "secret");
        let options = if version == "v5" { options.v5() } else { options };
        let mut client = Client::connect(&broker, &options);
        client.subscribe("a/+", QoS::AtMostOnce);
        client.publish("a/b", b"12345", QoS::AtMostOnce);
        client.publish("a/c", b"payload", QoS::AtLeastOnce);
        client.publish("c", &vec![b'x'; 300_000], QoS::ExactlyOnce);
        assert_eq!(client.payloads(2), ["12345", "payload"]);
        client.ping();
        client.unsubscribe("a/+");
        client.disconnect();
        eventually("all packets are shown", || {
            broker.log().contains("Received DISCONNECT")
        });
        let log = broker.log();
        let mut rest = log.as_str();
        for expected in [
            "Received CONNECT from shown at 127.0.0.1:",
            "u'someone')",
            "Sending CONNACK to shown (0, 0)",
            "Received SUBSCRIBE from shown (m1, q0 'a/+')",
            "Sending SUBACK to shown (m1, rc0)",
            "Received PUBLISH from shown (d0, q0, r0, m0, 'a/b', ... (5 bytes))",
            "Received PUBLISH from shown (d0, q1, r0, m",
            "'a/c', ... (7 bytes))",
            "Sending PUBACK to shown (m",
            "Received PUBLISH from shown (d0, q2, r0, m",
            "'c', ... (300000 bytes))",
            "Sending PUBREC to shown (m",
            "Received PUBREL from shown (Mid: ",
            "Sending PUBCOMP to shown (m",
            "Received PINGREQ from shown\n",
            "Sending PINGRESP to shown\n",
            "Received UNSUBSCRIBE from shown (m",
            "'a/+')",
            "Sending UNSUBACK to shown (m",
            "Received DISCONNECT from shown (rc0)",
        ] {
            let Some((_, behind)) = rest.split_once(expected) else {
                panic!("no {expected} of {version} in\n{rest}\nof\n{log}");
            };
            rest = behind;
        }
        assert!(
            log.contains("Sending PUBLISH to shown (d0, q0, r0, m0, 'a/b', ... (5 bytes))"),
            "{log}"
        );
        assert_eq!(log.matches("Received PUBLISH from shown").count(), 3, "{log}");
        assert!(!log.contains("secret") && !log.contains("payload"), "{log}");
    }
}

/// Packets come to be shown in the middle of one, by a reload.
#[test]
fn packets_are_shown_from_a_reload_on() {
    let setup = Setup::default();
    let broker = setup.start();
    let mut client = Client::connect(&broker, &Options::new("halved"));
    let packet = b"\x30\x0a\x00\x03t/u12345";
    client.send(&packet[..6]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    broker.configure(&setup.clone().global("log_type all"));
    broker.signal(Signal::HUP);
    eventually("it is reloaded", || {
        broker.log().contains("Configuration reloaded")
    });
    client.send(&packet[6..]);
    client.send(b"\xc0\x00");
    eventually("the rest is shown", || broker.log().contains("Received PINGREQ"));
    let log = broker.log();
    assert!(
        log.contains("Received PUBLISH from halved (d0, q0, r0, m0, 't/u', ... (5 bytes))"),
        "{log}"
    );
    broker.configure(&setup);
    broker.signal(Signal::HUP);
    eventually("it is reloaded again", || {
        broker.log().matches("Configuration reloaded").count() == 2
    });
    client.ping();
    assert_eq!(broker.log().matches("Received PINGREQ").count(), 1);
}

/// Each line is an object, whatever clients are called.
#[test]
fn lines_of_json() {
    let broker = Setup::default()
        .global("log_type all")
        .global("log_format json")
        .start();
    let name = "a\"b\\c{\u{7}\u{e9}";
    Client::connect(&broker, &Options::new(name)).ping();
    eventually("it is connected", || {
        broker.log().contains("New client connected")
    });
    let log = broker.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        let time = line["time"].as_str().unwrap();
        assert!(
            time.ends_with('Z') && time.len() == "2026-11-29T12:00:00.000Z".len(),
            "{time}"
        );
    }
    let connected = lines
        .iter()
        .find(|line| {
            line["message"]
                .as_str()
                .unwrap()
                .starts_with("New client connected")
        })
        .unwrap();
    assert_eq!(connected["type"], "notice");
    let message = connected["message"].as_str().unwrap();
    assert!(message.contains("a\"b\\c{\\u{7}\u{e9} (p2, c1, k"), "{message}");
}

/// As mosquitto does it: the letter of the type, and lines without those of debug, which would cause each other.
#[test]
fn lines_are_published() {
    let broker = Setup::default()
        .shards(2)
        .global("log_type all")
        .global("log_dest topic\nlog_dest stderr")
        .start();
    let mut operator = Client::connect(&broker, &Options::new("operator"));
    operator.subscribe("$SYS/broker/log/#", QoS::AtMostOnce);
    let mut client = Client::connect(&broker, &Options::new("someone"));
    client.subscribe("t/#", QoS::AtLeastOnce);
    client.unsubscribe("t/#");
    broker.signal(Signal::HUP);
    let mut seen: Vec<(String, String)> = Vec::new();
    for (topic, text) in [
        ("N", "New client connected from 127.0.0.1:"),
        ("M/subscribe", "someone 1 t/#"),
        ("M/unsubscribe", "someone t/#"),
        ("I", "Reloaded the password and ACL files"),
    ] {
        let topic = format!("$SYS/broker/log/{topic}");
        while !seen.iter().any(|(on, line)| *on == topic && line.contains(text)) {
            let message = operator.message();
            seen.push((message.topic, String::from_utf8(message.payload).unwrap()));
        }
    }
    let is_timed = |line: &str| {
        line.split_once(": ")
            .is_some_and(|(time, _)| time.parse::<u64>().is_ok())
    };
    assert!(seen.iter().all(|(_, line)| is_timed(line)), "{seen:?}");
    assert!(
        seen.iter()
            .all(|(topic, line)| !line.contains("PUBLISH") && !topic.ends_with("/D")),
        "{seen:?}"
    );
    // Nothing of it is retained.
    let mut late = Client::connect(&broker, &Options::new("late"));
    late.subscribe("$SYS/broker/log/W", QoS::AtMostOnce);
    late.expect_nothing();
}

#[test]
fn mosquitto_sub_reads_the_published_log() {
    let Ok(_there) = Command::new("mosquitto_sub").arg("--help").output() else {
        return skip("mosquitto_sub");
    };
    let broker = Setup::default()
        .global("log_type all")
        .global("log_dest topic\nlog_dest stderr")
        .start();
    let child = Command::new("mosquitto_sub")
        .args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-W", "20"])
        .args(["-t", "$SYS/broker/log/N", "-C", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it has subscribed", || broker.log().contains("$SYS/broker/log/N"));
    Client::connect(&broker, &Options::new("someone")).ping();
    let output = child.wait_with_output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(line.contains("New client connected from 127.0.0.1:"), "{line}");
    assert!(line.contains(" as someone (p2, c1, k"), "{line}");
}

/// logrotate moves the file away and sends a signal, either of the two; a mistake in the configuration matters to
/// neither.
#[test]
fn logrotate_rotates() {
    let Ok(_there) = Command::new("logrotate").arg("--version").output() else {
        return skip("logrotate");
    };
    for (signal, mistake) in [
        ("HUP", ""),
        ("RTMIN", ""),
        ("HUP", "no_key 1"),
        ("RTMIN", "no_key 1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("midge.log");
        let setup = Setup::default().global(&format!("log_dest file {}\nlog_dest stderr", log.display()));
        let broker = setup.start();
        broker.configure(&setup.global(mistake));
        Client::connect(&broker, &Options::new("before")).ping();
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        eventually("it is logged", || text("midge.log").contains(" as before"));
        rotate(&broker, signal, &log);
        eventually("the file is made anew", || {
            Client::connect(&broker, &Options::new("behind")).ping();
            text("midge.log").contains(" as behind")
        });
        assert!(text("midge.log.1").contains(" as before"));
        assert!(!text("midge.log").contains(" as before"));
    }
}

fn rotate(broker: &Broker, signal: &str, log: &std::path::Path) {
    let (config, state) = (broker.path("logrotate.conf"), broker.path("logrotate.state"));
    let text = format!(
        "{} {{\nrotate 3\nnocreate\npostrotate\nkill -{signal} {}\nendscript\n}}\n",
        log.display(),
        broker.pid()
    );
    std::fs::write(&config, text).unwrap();
    let output = Command::new("logrotate")
        .args(["--force", "--state", &state.display().to_string()])
        .arg(&config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Opt-in: who comes and goes is published, with identifiers that are one level.
#[test]
fn clients_that_come_and_go_are_published() {
    for shards in [1, 2] {
        let broker = Setup::default()
            .shards(shards)
            .global("client_events true")
            .start();
        let mut operator = Client::connect(&broker, &Options::new("operator"));
        operator.subscribe("$SYS/broker/clients/+/connected", QoS::AtMostOnce);
        operator.subscribe("$SYS/broker/clients/+/disconnected", QoS::AtMostOnce);
        let name = "a/b+#%";
        for leaves in [true, false] {
            let client = Client::connect(&broker, &Options::new(name).keep_alive_s(60));
            let connected = operator.message();
            assert_eq!(connected.topic, "$SYS/broker/clients/a%2Fb%2B%23%25/connected");
            let json: serde_json::Value = serde_json::from_slice(&connected.payload).unwrap();
            assert_eq!(
                (&json["client_id"], &json["keep_alive_s"]),
                (&name.into(), &60.into())
            );
            if leaves {
                client.disconnect();
            } else {
                client.cut();
            }
            let gone = operator.message();
            assert_eq!(gone.topic, "$SYS/broker/clients/a%2Fb%2B%23%25/disconnected");
            let json: serde_json::Value = serde_json::from_slice(&gone.payload).unwrap();
            let reason = if leaves {
                "client"
            } else {
                "closed_without_disconnect"
            };
            assert_eq!(json["reason"], reason);
        }
        operator.expect_nothing();
    }
    let broker = Broker::start();
    let mut operator = Client::connect(&broker, &Options::new("operator"));
    operator.subscribe("$SYS/broker/clients/+/connected", QoS::AtMostOnce);
    Client::connect(&broker, &Options::new("a")).disconnect();
    operator.expect_nothing();
}

/// A trace by user shows the clients that have proved to be that user, and no others.
#[test]
fn the_clients_of_a_user_are_traced() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords").display().to_string();
    std::fs::write(&passwords, "").unwrap();
    for user in ["alice", "bob"] {
        assert_eq!(run(&["passwd", "-b", &passwords, user, "secret"]).code, Some(0));
    }
    let setup = Setup::default()
        .global("per_listener_settings true")
        .global("log_type error")
        .listener(&format!("password_file {passwords}"));
    let (broker, port) = start_with_api(setup, 2, "");
    assert_eq!(
        operate(port, "POST", "traces", "", "{\"user\": \"alice\"}").0,
        "200"
    );
    for (client, user) in [("a1", "alice"), ("b1", "bob"), ("a2", "alice"), ("nobody", "")] {
        let options = match user {
            "" => Options::new(client),
            user => Options::new(client).user(user, "secret"),
        };
        Client::connect(&broker, &options).publish("t", b"", QoS::AtLeastOnce);
    }
    eventually("both are shown", || {
        let log = broker.log();
        ["a1", "a2"]
            .iter()
            .all(|client| log.contains(&format!("Received PUBLISH from {client} ")))
    });
    assert!(
        !broker.log().contains("b1") && !broker.log().contains("nobody"),
        "{}",
        broker.log()
    );
}
