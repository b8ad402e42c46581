//! Who was not let in before a CONNECT, and what operators did: on the list of events and in the log.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mqtt::QoS;
use serde_json::Value;

use crate::harness::api::{list, metric, operate, start_with_api};
use crate::harness::http::{ask, get};
use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually, free_port, run};

/// Sends bytes to the broker, and waits until it closes the connection.
fn send_and_wait(broker: &Broker, bytes: &[u8]) {
    let mut socket = TcpStream::connect(broker.address()).unwrap();
    // Who is refused at once may be gone before.
    let _sent = socket.write_all(bytes);
    let _ended = socket.read_to_end(&mut Vec::new());
}

/// An event of this reason whose detail has this text, with the address.
fn expect_refusal(port: u16, reason: &str, detail: &str) {
    eventually(&format!("{reason}: {detail}"), || {
        let events = list(port, "events?kind=refused", 1000);
        events.iter().any(|event| {
            let has = event["detail"].as_str().unwrap_or_default();
            event["reason"] == reason && has.contains(detail) && event["address"] == "127.0.0.1"
        })
    });
}

#[test]
fn those_who_send_no_connect_are_remembered() {
    let setup = Setup::default().global("connect_timeout 1");
    let (broker, port) = start_with_api(setup, 2, "");
    send_and_wait(&broker, b"GET / HTTP/1.1\r\n\r\n");
    expect_refusal(port, "no_connect", "");
    let mut malformed = Options::new("x").encode();
    malformed[7] = 0xff;
    send_and_wait(&broker, &malformed);
    expect_refusal(port, "malformed_connect", "");
    // Half of a CONNECT, and no more.
    let half = Options::new("half").encode();
    send_and_wait(&broker, &half[..half.len() - 2]);
    expect_refusal(port, "connect_timeout", "no CONNECT");
    assert_eq!(list(port, "events?kind=refused&client=half", 10).len(), 0);
    // However many they are, they displace nothing of the clients, and not without bound.
    let mut client = Client::connect(&broker, &Options::new("client"));
    client.ping();
    client.disconnect();
    eventually("the client is gone", || {
        !list(port, "events?kind=disconnected", 10).is_empty()
    });
    for _ in 0..1200 {
        send_and_wait(&broker, b"\x10\x00");
    }
    assert_eq!(list(port, "events?kind=disconnected&client=client", 10).len(), 1);
    let refused = list(port, "events?kind=refused", 1000).len();
    assert!((256..=2 * 256).contains(&refused), "{refused}");
}

#[test]
fn failed_handshakes_and_full_listeners_are_remembered() {
    let certificates = Certificates::new();
    let setup = Setup::default().tls(&certificates).listener("max_connections 1");
    let (broker, port) = start_with_api(setup, 1, "");
    send_and_wait(&broker, &Options::new("plain").encode());
    expect_refusal(port, "tls_handshake", "");
    eventually("the place is free", || metric_of_open(port, broker.port()) == 0.0);
    let first = TcpStream::connect(broker.address()).unwrap();
    eventually("it is taken", || metric_of_open(port, broker.port()) == 1.0);
    send_and_wait(&broker, b"");
    let full = format!(
        "the listener at 127.0.0.1:{} has 1 connections, the limit that its max_connections sets",
        broker.port()
    );
    expect_refusal(port, "max_connections", &full);
    drop(first);
}

fn metric_of_open(port: u16, of: u16) -> f64 {
    metric(
        port,
        &format!("midge_listener_connections{{listener=\"127.0.0.1:{of}\"}}"),
    )
}

fn basic(user: &str, password: &str) -> String {
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {encoded}\r\n")
}

/// Operators who fail to log in are logged, though not each of many, and remembered; connections of theirs count.
#[test]
fn operators_who_are_refused_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords").display().to_string();
    let made = run(&[
        "passwd", "-b", "-c", "-H", "sha512", &passwords, "operator", "right",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let acl = folder.path().join("acl").display().to_string();
    std::fs::write(&acl, "user operator\ntopic read /#\n").unwrap();
    let own = free_port();
    let setup = Setup::default()
        .global("per_listener_settings true")
        .listener(&format!("listener {own} 127.0.0.1\nprotocol http_api"));
    let keys = format!("password_file {passwords}\nacl_file {acl}");
    let (broker, port) = start_with_api(setup, 1, &keys);
    // A browser asks without a password first.
    assert_eq!(operate(port, "GET", "clients", "", "").0, "401");
    assert!(list(own, "events?kind=refused", 10).is_empty());
    for number in 0..5 {
        let login = basic("operator", &format!("planted{number}"));
        assert_eq!(operate(port, "GET", "clients", &login, "").0, "401");
    }
    let right = basic("operator", "right");
    assert_eq!(operate(port, "POST", "reload", &right, "").0, "403");
    expect_refusal(own, "http_api_login", "user 'operator', GET /api/v1/clients");
    expect_refusal(own, "http_api_access", "user 'operator', POST /api/v1/reload");
    let events = list(own, "events", 100);
    assert!(events.len() >= 6 && !format!("{events:?}").contains("planted"));
    let log = broker.log();
    assert!(
        log.contains("of the http_api failed to log in: user 'operator'"),
        "{log}"
    );
    assert!(log.matches("failed to log in").count() < 5, "{log}");
    assert!(!log.contains("planted"));
    let name = format!("{{listener=\"127.0.0.1:{port}\"}}");
    assert!(metric(own, &format!("midge_listener_connections_accepted_total{name}")) >= 7.0);
    eventually("all are closed", || {
        metric(own, &format!("midge_listener_connections{name}")) == 0.0
    });
}

/// What changes something is in the log, with who did it.
#[test]
fn actions_of_operators_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let passwords = path("passwords");
    let made = run(&[
        "passwd", "-b", "-c", "-H", "sha512", &passwords, "operator", "right",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let setup = Setup::default()
        .global("per_listener_settings true")
        .global(&format!("control_socket {}", path("control")));
    let (broker, port) = start_with_api(setup, 1, &format!("password_file {passwords}"));
    let right = basic("operator", "right");
    let mut client = Client::connect(&broker, &Options::new("a"));
    client.subscribe("#", QoS::AtMostOnce);
    let did = |method: &str, path: &str, body: &str| operate(port, method, path, &right, body);
    let body = "{\"topic\": \"t\", \"payload\": \"planted-payload\", \"retain\": true, \"qos\": 1}";
    assert_eq!(did("POST", "publish", body).0, "200");
    assert_eq!(did("DELETE", "retained?topic=t", "").0, "200");
    assert_eq!(did("POST", "clients/a/disconnect", "{\"reason\": 139}").0, "200");
    assert_eq!(did("DELETE", "sessions/nobody", "").0, "404");
    assert_eq!(did("POST", "traces", "{\"user\": \"u\"}").0, "200");
    let ctl = run(&["ctl", "--socket", &path("control"), "reload"]);
    assert_eq!(ctl.code, Some(0), "{}", ctl.stderr);
    let uid = rustix::process::getuid().as_raw();
    for line in [
        "asked for POST /api/v1/publish (q1, r1, 't', 15 bytes): 200 OK.".to_owned(),
        "asked for DELETE /api/v1/retained?topic=t: 200 OK.".to_owned(),
        "asked for POST /api/v1/clients/a/disconnect (reason 139): 200 OK.".to_owned(),
        "asked for DELETE /api/v1/sessions/nobody: 404 Not Found.".to_owned(),
        "asked for POST /api/v1/traces (user u): 200 OK.".to_owned(),
        format!("Operator with uid {uid} at the control socket asked for POST /api/v1/reload: 200 OK."),
    ] {
        eventually(&line, || broker.log().contains(&line));
    }
    let log = broker.log();
    assert_eq!(log.matches("Operator operator at 127.0.0.1:").count(), 5, "{log}");
    assert!(!log.contains("planted-payload") && !log.contains("asked for GET"));
    // Lists change nothing, and are not in it.
    assert_eq!(get_status(port, &right), "200");
}

fn get_status(port: u16, login: &str) -> String {
    let (status, answer): (String, Value) = operate(port, "GET", "clients", login, "");
    assert!(answer["items"].is_array());
    status
}

/// Requests that have begun and do not end, in their header or in their body, keep nobody waiting: not at their own
/// listener, and not at another one.
#[test]
fn unfinished_requests_keep_nobody_waiting() {
    let own = free_port();
    let setup = Setup::default().listener(&format!("listener {own} 127.0.0.1\nprotocol http_api"));
    let (_broker, port) = start_with_api(setup, 1, "");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut unfinished = std::collections::VecDeque::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let request = match unfinished.len() % 2 {
                    0 => "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
                    _ => "GET /metrics HTTP/1.1\r\nHost: localhost\r\n",
                };
                let _closed = socket.write_all(request.as_bytes());
                unfinished.push_back(socket);
                if unfinished.len() > 200 {
                    unfinished.pop_front();
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        for _ in 0..20 {
            for asked in [port, own] {
                let begun = std::time::Instant::now();
                assert_eq!(get(asked, "/healthz").status, "200");
                let metrics = ask(asked, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
                assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
                let took = begun.elapsed();
                assert!(took.as_millis() < 1000, "{took:?}");
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
