//! `protocol http_api`: what operators ask a broker by HTTP.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use mqtt::QoS;
use rustix::process::Signal;

use crate::harness::http::{self, ask, get, open};
use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually, free_port};

/// A broker with an http_api beside MQTT, and its port.
fn start(keys: &str) -> (Broker, u16) {
    let port = free_port();
    let broker = Setup::default()
        .shards(2)
        .listener(&format!("listener {port} 127.0.0.1\nprotocol http_api\n{keys}"))
        .start();
    (broker, port)
}

/// A sample of `/metrics`.
fn metric(port: u16, name: &str) -> f64 {
    let accepting = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let answer = ask(port, accepting);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("Content-Type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"));
    let line = body
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {body}"))
        .parse()
        .unwrap()
}

#[test]
fn metrics_follow_what_clients_do() {
    let (broker, port) = start("");
    assert_eq!(metric(port, "midge_clients_connected"), 0.0);
    let mut clients: Vec<_> = ["a", "b", "c"]
        .map(|name| Client::connect(&broker, &Options::new(name)))
        .into();
    for client in &mut clients {
        client.subscribe("t", QoS::AtMostOnce);
    }
    for _ in 0..5 {
        clients[0].publish("t", b"1234", QoS::AtLeastOnce);
    }
    for client in &mut clients {
        assert_eq!(client.payloads(5).len(), 5);
    }
    assert_eq!(metric(port, "midge_clients_connected"), 3.0);
    assert_eq!(metric(port, "midge_subscriptions"), 3.0);
    assert_eq!(metric(port, "midge_publishes_received_total"), 5.0);
    assert_eq!(metric(port, "midge_publishes_sent_total"), 15.0);
    assert_eq!(metric(port, "midge_publish_bytes_received_total"), 20.0);
    assert_eq!(metric(port, "midge_shards"), 2.0);
    assert!(metric(port, "process_resident_memory_bytes") > 1e6);
    let tree = get(port, "/api/v1/systree").body;
    assert!(
        tree.contains("\"$SYS/broker/publish/messages/received\": 5"),
        "{tree}"
    );
    assert!(tree.contains("\"$SYS/broker/clients/connected\": 3"), "{tree}");
}

/// What did not arrive is counted by its reason, and what was denied is in the log as mosquitto words it.
#[test]
fn what_does_not_arrive_has_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("acl");
    std::fs::write(&acl, "topic readwrite open/#\n").unwrap();
    let (port, shards) = (free_port(), 1);
    let broker = Setup::default()
        .shards(shards)
        .global("log_type all")
        .global("max_queued_messages 3")
        .listener(&format!("acl_file {}", acl.display()))
        .listener(&format!("listener {port} 127.0.0.1\nprotocol http_api"))
        .start();
    let mut away = Client::connect(&broker, &Options::new("away").persistent());
    away.subscribe("open/#", QoS::AtLeastOnce);
    away.disconnect();
    let mut client = Client::connect(&broker, &Options::new("someone"));
    assert_eq!(client.subscribe("secret/#", QoS::AtMostOnce), 0x80);
    client.publish("secret/door", b"12345", QoS::AtLeastOnce);
    for _ in 0..10 {
        client.publish("open/door", b"1", QoS::AtLeastOnce);
    }
    assert_eq!(metric(port, "midge_denied_total{action=\"publish\"}"), 1.0);
    assert_eq!(metric(port, "midge_denied_total{action=\"subscribe\"}"), 1.0);
    let full = metric(port, "midge_dropped_total{reason=\"queue_full\"}");
    assert!((1.0..10.0).contains(&full), "{full}");
    assert_eq!(metric(port, "midge_publishes_dropped_total"), full);
    assert_eq!(metric(port, "midge_dropped_total{reason=\"too_large\"}"), 0.0);
    let log = broker.log();
    assert!(
        log.contains("Denied PUBLISH from someone (d0, q1, r0, m"),
        "{log}"
    );
    assert!(log.contains(", 'secret/door', ... (5 bytes))"), "{log}");
    assert!(
        log.contains("Denied SUBSCRIBE from someone (q0, 'secret/#')"),
        "{log}"
    );
}

#[test]
fn health_readiness_and_what_it_is() {
    let (broker, port) = start("");
    // Until its shards run it is healthy and not ready.
    eventually("ready", || get(port, "/readyz").status == "200");
    for target in ["/healthz", "/readyz"] {
        let http::Response { status, body, .. } = get(port, target);
        assert_eq!((status.as_str(), body.as_str()), ("200", "ok\n"));
    }
    assert!(get(port, "/api/v1/version").body.starts_with(char::is_numeric));
    let listeners = get(port, "/api/v1/listeners").body;
    assert!(listeners.contains("\"httpapi\"") && listeners.contains(&format!("\"port\": {}", broker.port())));
    // A broker that closes the connection of a client who does not read is not ready any more.
    let mut deaf = Client::connect(&broker, &Options::new("deaf"));
    deaf.subscribe("#", QoS::AtMostOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for _ in 0..60 {
        publisher.publish("t", &vec![b'x'; 1_000_000], QoS::AtMostOnce);
    }
    publisher.ping();
    broker.signal(Signal::TERM);
    eventually("not ready", || get(port, "/readyz").status == "503");
    assert_eq!(get(port, "/readyz").body, "the broker is shutting down\n");
    deaf.cut();
    let (status, log) = broker.wait();
    assert!(status.success(), "{log}");
}

#[test]
fn requests_that_are_none() {
    let (broker, port) = start("");
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\n\r\n", "404"),
        ("GET /api/v1/ HTTP/1.1\r\n\r\n", "404"),
        ("GET /metrics/../x HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = ask(port, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    }
    let head = ask(port, &http::request("HEAD", "/healthz"));
    assert!(
        head.ends_with("\r\n\r\n") && head.contains("Content-Length: 3"),
        "{head}"
    );
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(20_000));
    let mut socket = open(port);
    let _sent = socket.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _read = socket.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "));
    Client::connect(&broker, &Options::new("a")).ping();
}

/// Who says nothing is cut after 5 seconds, and keeps neither clients nor, for longer, operators waiting.
#[test]
fn silent_operators_are_cut() {
    let (broker, port) = start("");
    let begin = Instant::now();
    let mut silent: Vec<_> = (0..40).map(|_| open(port)).collect();
    Client::connect(&broker, &Options::new("a")).ping();
    for socket in &mut silent {
        let mut answer = Vec::new();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let _read = socket.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    assert_eq!(get(port, "/healthz").status, "200");
}

/// Readers that take nothing of a page keep nobody waiting who asks for health.
#[test]
fn slow_readers_do_not_hold_up_health() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), vec![b'x'; 32 << 20]).unwrap();
    let (_broker, port) = start(&format!("http_dir {}", folder.path().display()));
    // It answers before the shards serve.
    eventually("the shards serve", || get(port, "/readyz").status == "200");
    let mut slow = Vec::new();
    for round in 0..3 {
        for number in 0..80 {
            let mut socket = open(port);
            let path = if number % 2 == 0 { "/large" } else { "/metrics" };
            socket.write_all(http::request("GET", path).as_bytes()).unwrap();
            slow.push(socket);
            slow.push(open(port));
        }
        let begin = Instant::now();
        assert_eq!(get(port, "/healthz").status, "200", "{round}");
        assert_eq!(get(port, "/readyz").status, "200", "{round}");
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }
    // They are cut soon, so pages are served again.
    eventually("a page is served", || {
        let mut socket = open(port);
        socket
            .write_all(http::request("GET", "/metrics").as_bytes())
            .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    });
}

#[test]
fn over_tls_with_a_certificate() {
    let certificates = Certificates::new();
    let path = |name: &str| certificates.path(name).display().to_string();
    let (_broker, port) = start(&format!(
        "certfile {}\nkeyfile {}\ncafile {}\nrequire_certificate true",
        path("server.crt"),
        path("server.key"),
        path("ca.crt")
    ));
    let ask = |with_certificate: bool| {
        let config = certificates.client_config(&[&rustls::version::TLS13], with_certificate);
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(config, name).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, open(port));
        let mut answer = Vec::new();
        let _sent = stream.write_all(http::request("GET", "/healthz").as_bytes());
        let _read = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    assert!(ask(true).ends_with("\r\n\r\nok\n"));
    assert_eq!(ask(false), "");
}

#[test]
fn a_folder_may_be_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "dashboard").unwrap();
    let (_broker, port) = start(&format!("http_dir {}", folder.path().display()));
    assert_eq!(get(port, "/").body, "dashboard");
    assert_eq!(get(port, "/healthz").body, "ok\n");
    assert_eq!(get(port, "/../etc/passwd").status, "404");
}
