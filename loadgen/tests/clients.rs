//! How the clients of a load reach their broker and what they send besides messages: WebSocket, several hosts,
//! properties.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "each test program uses some of it")]
mod fake;
mod harness;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use fake::Behaviour;
use harness::{Mosquitto, SHORT, expect, free_port, number, outcome, run, shown};
use serde_json::Value;

#[test]
fn web_sockets_are_a_stage_of_their_own_with_and_without_tls() {
    for (line, tls) in [("--ws --no-tls", false), ("--ws -V 5", true)] {
        let conn = format!("conn {line} --concurrency 4 --warmup 0.2 --duration 0.5");
        // On a busy machine the figures are limited by the generator, which is reported.
        let conn = outcome(&conn, &[0, 4]);
        assert!(number(&conn, "/rates/made") > 0.0);
        assert_eq!(number(&conn, "/rates/failed"), 0.0);
        assert!(number(&conn, "/web_socket/count") > 0.0);
        assert_eq!(conn.pointer("/tls").unwrap().is_null(), !tls, "{line}");
        let short = SHORT.replace("--no-tls ", "");
        let load = format!("run {line} --pubs 3 --subs 3 -q 2 {short}");
        let load = outcome(&load, &[0]);
        assert!(number(&load, "/ledger/received") > 0.0);
        assert_eq!(number(&load, "/connect/web_socket/count"), 6.0, "{line}");
        assert_eq!(load.pointer("/broker/web_socket"), Some(&Value::from(true)));
        assert_eq!(load.pointer("/connect/tls").unwrap().is_null(), !tls, "{line}");
    }
}

/// Against mosquitto: its frames and its answer to the upgrade come from another library.
#[test]
fn web_sockets_to_mosquitto() {
    // mosquitto 2.0.11 requires a separate listener for each protocol.
    let other = free_port();
    let lines = format!("protocol websockets\nlistener {other} 127.0.0.1\n");
    let Some(mosquitto) = Mosquitto::start_with(&lines) else {
        return;
    };
    let at = format!("-h 127.0.0.1 -p {} --ws", mosquitto.port);
    // It delays its frames: what is sent first must be measured.
    let line = format!(
        "{at} --pubs 2 --subs 2 -q 1 --size 70000 --ledger-only --rate max --window 5 \
         --warmup 0 --duration 0.5 --drain 20"
    );
    assert!(number(&outcome(&line, &[0]), "/ledger/received") > 0.0);
    let publish = format!("pub {at} -t kept -m value -r -q 1");
    expect(&publish, &run(&publish), &[0]);
    let subscribe = run(&format!("sub {at} -t kept -C 1 -W 10"));
    expect("sub", &subscribe, &[0]);
    assert_eq!(shown(&subscribe), "value\n");
}

#[test]
fn who_answers_no_upgrade_is_named_with_what_may_be_wrong() {
    let port = fake::serve(Behaviour::ClosesOnConnect);
    let http = http_server();
    for (line, part) in [
        (format!("-h 127.0.0.1 -p {port}"), "--ws"),
        (
            format!("-h 127.0.0.1 -p {http} --ws"),
            "404 Not Found; is --ws-path right?",
        ),
        (
            format!("-h 127.0.0.1 -p {http} --ws"),
            &format!("publisher 0 to 127.0.0.1:{http} (WebSocket upgrade)"),
        ),
    ] {
        let output = run(&format!("run {line} --pubs 1 --subs 0 --rate 1"));
        expect(&line, &output, &[3]);
        assert!(shown(&output).contains(part), "{line}: {}", shown(&output));
    }
    let sub = run(&format!("sub -h 127.0.0.1 -p {http} --ws -t a"));
    expect("sub", &sub, &[3]);
    assert!(shown(&sub).contains("404 Not Found"), "{}", shown(&sub));
}

/// All properties at once against our broker and against mosquitto, both of which accept ten aliases.
#[test]
fn properties_leave_the_ledger_clean() {
    let properties = "-V 5 -D connect session-expiry-interval 5 -D connect receive-maximum 10 \
                      -D connect maximum-packet-size 1000 \
         -D connect user-property client %i -D connect topic-alias-maximum 5 -D publish message-expiry-interval 60 \
         -D publish content-type text -D publish response-topic reply/%i -D publish correlation-data c%i \
         -D publish payload-format-indicator 0 -D publish user-property a b -D publish user-property a c \
         -D publish topic-alias 10 -D subscribe subscription-identifier 9 -D subscribe user-property d e \
         -D will will-delay-interval 1 --will-topic gone/%i --no-local --retain-as-published --retain-handling new";
    let mosquitto = Mosquitto::start();
    let at = mosquitto.map(|mosquitto| (format!("-h 127.0.0.1 -p {}", mosquitto.port), mosquitto));
    let at = at.iter().map(|(line, _)| line.as_str());
    for at in std::iter::once("--no-tls").chain(at) {
        for qos in ["0", "1", "2"] {
            let short = SHORT.replace("--no-tls ", "");
            let line = format!("run {at} --pubs 3 --subs 3 -q {qos} {properties} {short}");
            let outcome = outcome(&line, &[0]);
            assert!(number(&outcome, "/ledger/received") > 0.0, "{line}");
            let findings = outcome.pointer("/verdict/findings").unwrap().to_string();
            assert!(!findings.contains("Alias"), "{findings}");
        }
    }
    let line = format!("run --no-tls --pubs 2 --subs 2 -V 5 -D publish topic-alias 65535 {SHORT}");
    let shown = shown(&run(&line));
    assert!(
        shown.contains("2 publishers sent their topic each time"),
        "{shown}"
    );
}

/// mosquitto 2 ends a connection that has more in flight than its Receive Maximum [MQTT-3.3.4-7].
#[test]
fn the_receive_maximum_of_a_server_is_kept() {
    let Some(mosquitto) = Mosquitto::start_with("max_inflight_messages 3\n") else {
        return;
    };
    for qos in ["1", "2"] {
        let line = format!(
            "run -h 127.0.0.1 -p {} -V 5 -q {qos} --pubs 2 --subs 2 --ledger-only --rate max --window 50 --inflight 50 \
             --ledger-only --warmup 0.2 --duration 0.5 --drain 20",
            mosquitto.port
        );
        assert!(number(&outcome(&line, &[0]), "/ledger/received") > 0.0);
    }
}

/// How an independent client reads the properties.
#[test]
fn mosquitto_sub_sees_the_properties() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let port = mosquitto.port.to_string();
    let sub = Command::new("mosquitto_sub")
        .args([
            "-V",
            "5",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "seen/#",
            "-C",
            "4",
            "-W",
            "20",
        ])
        .args(["-F", "%t %C %R %D %E %P"])
        .stdout(Stdio::piped())
        .spawn();
    let Ok(sub) = sub else {
        eprintln!("skipped: mosquitto_sub is not installed");
        return;
    };
    // It prints nothing when it has subscribed: therefore retained messages wait for it.
    let properties = "-V 5 -D publish content-type text/x -D publish response-topic reply/to \
                      -D publish correlation-data 12 \
         -D publish message-expiry-interval 100 -D publish user-property key value -D publish topic-alias 1";
    for topic in ["seen/one", "seen/two"] {
        let line = format!("pub -h 127.0.0.1 -p {port} -q 1 -r -t {topic} -m x {properties}");
        expect(&line, &run(&line), &[0]);
        std::thread::sleep(Duration::from_millis(300));
    }
    let load = format!(
        "run -h 127.0.0.1 -p {port} -t seen/load/%i --pubs 2 --subs 0 -q 1 --rate 20 \
         -r --warmup 0 --duration 0.2 {properties}"
    );
    expect(&load, &run(&load), &[0, 4]);
    let seen = String::from_utf8(sub.wait_with_output().unwrap().stdout).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.len(), 4, "{seen}");
    for topic in ["seen/one", "seen/two", "seen/load/"] {
        let line = lines
            .iter()
            .find(|line| line.starts_with(topic))
            .unwrap_or_else(|| panic!("{topic} in {seen}"));
        let seen = line.split_once(" text/x reply/to 12 ").map(|(_, rest)| rest);
        // Minus the time that a message waited.
        let expected = ["100 key:value", "99 key:value", "98 key:value"];
        assert!(seen.is_some_and(|seen| expected.contains(&seen)), "{line}");
    }
}

/// A server that does not serve MQTT on any path.
fn http_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // The request is short: it arrives at once.
            let read = connection.read(&mut [0; 4096]);
            assert!(read.is_ok());
            connection
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        }
    });
    port
}

#[test]
fn clients_are_spread_over_hosts_by_their_numbers() {
    let (Some(first), Some(second)) = (Mosquitto::start(), Mosquitto::start()) else {
        return;
    };
    let hosts = format!("-h 127.0.0.1:{},localhost:{}", first.port, second.port);
    let load = "-q 1 --ledger-only --rate max --window 5 --warmup 0.2 --duration 0.5 --drain 5";
    let pairs = outcome(&format!("run {hosts} --pubs 4 --subs 4 {load}"), &[0]);
    assert!(number(&pairs, "/ledger/received") > 0.0);
    let address = pairs.pointer("/broker/address").and_then(Value::as_str).unwrap();
    assert!(
        address.contains(&first.port.to_string()) && address.contains(&second.port.to_string()),
        "{address}"
    );
    let conn = format!("conn {hosts} --concurrency 2 --warmup 0 --duration 0.3");
    assert_eq!(number(&outcome(&conn, &[0, 4]), "/rates/failed"), 0.0);
    // What is published on one host does not arrive on the other, and the verdict gives the reason.
    let line = format!(
        "run {hosts} --topics fan-in --pubs 2 --subs 1 -q 1 --rate 20 --warmup 0 --duration 0.3 --drain 0.3"
    );
    let output = run(&line);
    expect(&line, &output, &[1]);
    assert!(shown(&output).contains("bridged"), "{}", shown(&output));
    drop(second);
    let output = run(&format!("run {hosts} --pubs 2 --subs 0 --rate 2"));
    expect(&line, &output, &[3]);
    assert!(
        shown(&output).contains("publisher 1 to localhost"),
        "{}",
        shown(&output)
    );
}
