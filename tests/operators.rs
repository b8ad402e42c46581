//! `protocol http_api`: what operators ask a broker by HTTP.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use mqtt::QoS;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::api::{get_json, list, metric, operate, start_with_api};
use crate::harness::http::{self, ask, get, open};
use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually};

fn start(keys: &str) -> (Broker, u16) {
    start_with_api(Setup::default(), 2, keys)
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
    let accepting = "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n";
    let answer = ask(port, accepting);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("Content-Type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"));
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
    std::fs::write(&acl, "topic readwrite open/#\ntopic read /#\n").unwrap();
    let setup = Setup::default()
        .global("log_type all")
        .global("max_queued_messages 3")
        .listener(&format!("acl_file {}", acl.display()));
    let (broker, port) = start_with_api(setup, 1, "");
    let mut away = Client::connect(&broker, &Options::new("away").persistent());
    away.subscribe("open/#", QoS::AtLeastOnce);
    away.disconnect();
    let mut client = Client::connect(&broker, &Options::new("someone"));
    assert_eq!(client.subscribe("secret/#", QoS::AtMostOnce), 0x80);
    client.publish("secret/door", b"12345", QoS::AtLeastOnce);
    client.publish("secret/window", b"12", QoS::AtMostOnce);
    for _ in 0..10 {
        client.publish("open/door", b"1", QoS::AtLeastOnce);
    }
    assert_eq!(metric(port, "midge_denied_total{action=\"publish\"}"), 2.0);
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
        log.contains("Denied PUBLISH from someone (d0, q0, r0, m0, 'secret/window', ... (2 bytes))"),
        "{log}"
    );
    let events = list(port, "events?kind=denied", 100);
    assert!(
        events.iter().any(|event| event["topic"] == "secret/window"),
        "{events:?}"
    );
    assert!(
        log.contains("Denied SUBSCRIBE from someone (q0, 'secret/#')"),
        "{log}"
    );
}

/// Messages at QoS 0 that a slow consumer does not get, and those of a group that nobody can take, are remembered.
#[test]
fn drops_of_runs_and_groups_are_remembered() {
    let (broker, port) = start_with_api(Setup::default().global("max_queued_messages 1"), 1, "");
    let has = |query: &str, reason: &str, topic: &str| {
        eventually(&format!("{query}: {reason} {topic}"), || {
            let events = list(port, &format!("events?{query}"), 100);
            events
                .iter()
                .any(|event| event["reason"] == reason && event["topic"] == topic)
        });
    };
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    let mut member = Client::connect(&broker, &Options::new("member").persistent());
    member.subscribe("$share/group/shared/#", QoS::AtLeastOnce);
    member.disconnect();
    for _ in 0..4 {
        publisher.publish("shared/a", b"1", QoS::AtLeastOnce);
    }
    has("kind=dropped&client=", "no_member", "shared/a");
    let mut deaf = Client::connect(&broker, &Options::new("deaf"));
    deaf.subscribe("run/#", QoS::AtMostOnce);
    let payload = [b'x'; 100];
    for _ in 0..300 {
        for _ in 0..1000 {
            publisher.publish("run/a", &payload, QoS::AtMostOnce);
        }
        publisher.ping();
        if metric(port, "midge_dropped_total{reason=\"slow_consumer\"}") > 0.0 {
            break;
        }
    }
    has("kind=dropped&client=deaf", "slow_consumer", "run/a");
    eventually("it alone is listed as slow", || {
        let slow = list(port, "clients?slow=true", 10);
        slow.len() == 1 && slow[0]["client_id"] == "deaf" && slow[0]["slow"] == true
    });
    deaf.cut();
    eventually("what was not sent to it is named", || {
        let ended = list(port, "events?kind=disconnected&client=deaf", 10);
        let detail = |event: &serde_json::Value| event["detail"].as_str().unwrap_or_default().to_owned();
        ended
            .iter()
            .any(|event| detail(event).ends_with(" bytes of packets were not sent to it"))
    });
}

#[test]
fn health_readiness_and_what_it_is() {
    let (broker, port) = start("");
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
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("GET /api/v1/ HTTP/1.0\r\n\r\n", "404"),
        ("GET /metrics/../x HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
        ("GET /metrics HTTP/1.1\r\n\r\n", "400"),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET /metrics HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        ("GET http://localhost/metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        // HTTP/2 is asked for, and may be passed over.
        (
            "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            "200",
        ),
        (
            "GET http://localhost/api/v1/clients HTTP/1.1\r\nHost: a\r\n\r\n",
            "200",
        ),
        // Lists are for this machine alone, and not for whom a name of somebody's leads here.
        (
            "GET http://a/api/v1/clients HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "403",
        ),
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
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(300_000));
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

/// Requests that have begun and do not end take their time at once, and not one after the other.
#[test]
fn unfinished_requests_do_not_hold_up_health() {
    let (_broker, port) = start("");
    let unfinished: Vec<_> = (0..100)
        .map(|_| {
            let mut socket = open(port);
            socket
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
                .unwrap();
            socket
        })
        .collect();
    let begin = Instant::now();
    assert_eq!(get(port, "/healthz").status, "200");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    drop(unfinished);
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
    let ask = |with_certificate| ask_over_tls(&certificates, with_certificate, port, "/healthz");
    assert!(ask(true).ends_with("\r\n\r\nok\n"));
    assert_eq!(ask(false), "");
}

/// Asks for a path; nothing comes back from who lets nobody in.
fn ask_over_tls(certificates: &Certificates, with_certificate: bool, port: u16, path: &str) -> String {
    let config = certificates.client_config(&[&rustls::version::TLS13], with_certificate);
    let name = "localhost".try_into().unwrap();
    let connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, open(port));
    let mut answer = Vec::new();
    let _sent = stream.write_all(http::request("GET", path).as_bytes());
    let _read = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// A certificate names the operator, who needs no password then; the rules are those of that user.
#[test]
fn certificates_name_operators() {
    let certificates = Certificates::new();
    let path = |name: &str| certificates.path(name).display().to_string();
    std::fs::write(
        path("acl"),
        "topic read /#\nuser client\ntopic read /api/v1/clients\n",
    )
    .unwrap();
    std::fs::write(path("passwords"), "").unwrap();
    let (_broker, port) = start_with_api(
        Setup::default().global("per_listener_settings true"),
        1,
        &format!(
            "certfile {}\nkeyfile {}\ncafile {}\nrequire_certificate true\nuse_identity_as_username true\n\
             acl_file {}\npassword_file {}",
            path("server.crt"),
            path("server.key"),
            path("ca.crt"),
            path("acl"),
            path("passwords")
        ),
    );
    let ask = |path: &str| ask_over_tls(&certificates, true, port, path);
    eventually("the shards serve", || {
        ask("/api/v1/clients").starts_with("HTTP/1.1 200")
    });
    assert!(ask("/api/v1/sessions").starts_with("HTTP/1.1 403"));
    assert_eq!(ask_over_tls(&certificates, false, port, "/api/v1/clients"), "");
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

/// What a client costs is shown of whole seconds that are over: who asks twice within a second gets the same figures.
#[test]
fn cpu_time_is_of_seconds_that_are_over() {
    let (broker, port) = start("");
    let mut client = Client::connect(&broker, &Options::new("busy"));
    let ask = |seconds: u64| get_json(port, &format!("cpu?seconds={seconds}"));
    let first = ask(5);
    assert_eq!((&first["measured_s"], &first["from"]), (&json!(0), &json!(null)));
    assert_eq!(first["items"], json!([]));
    let mut same = 0;
    eventually("three seconds are over", || {
        client.ping();
        let (one, other) = (ask(2), ask(2));
        if one["measured_s"] == 2 && one["cpu_s"] == other["cpu_s"] {
            assert_eq!(one["items"], other["items"]);
            same += 1;
        }
        ask(5)["measured_s"] == 3
    });
    assert!(same > 0);
    let whole = ask(1);
    let seconds = |name: &str| whole[name].as_str().unwrap()[17..23].parse::<f64>().unwrap();
    let took = (seconds("to") - seconds("from") + 60.0) % 60.0;
    assert!((0.998..1.002).contains(&took), "{whole}");
    assert!(whole["cpu_s"].as_f64().unwrap() > 0.0, "{whole}");
    assert_eq!(whole["items"][0]["client_id"], "busy", "{whole}");
    let (status, refused) = operate(port, "GET", "cpu?seconds=11", "", "");
    assert_eq!(status, "400");
    assert_eq!(refused["error"], "seconds: must be a number from 1 to 10");
}

/// Every name of mosquitto 2.1's manual is there, to a subscriber and to its dashboard.
#[test]
fn sys_has_what_mosquitto_has() {
    let (broker, port) = start_with_api(Setup::default().global("sys_interval 1"), 2, "");
    let mut client = Client::connect(&broker, &Options::new("a"));
    client.subscribe("t", QoS::AtLeastOnce);
    client.publish("t", b"123", QoS::AtLeastOnce);
    assert_eq!(client.payloads(1), ["123"]);
    let mut values = std::collections::BTreeMap::new();
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("$SYS/#", QoS::AtMostOnce);
    let of_manual = SYS_OF_MANUAL
        .split_whitespace()
        .map(|name| name.replace('~', " "));
    let mut missing: Vec<_> = of_manual.map(|name| format!("$SYS/broker/{name}")).collect();
    eventually("all of them, and the newest", || {
        let message = watcher.message();
        missing.retain(|name| *name != message.topic);
        values.insert(message.topic, String::from_utf8(message.payload).unwrap());
        let is = |name: &str, value: &str| {
            values
                .get(&format!("$SYS/broker/{name}"))
                .is_some_and(|is| is == value)
        };
        missing.is_empty()
            && is("mqtt/connect/received", "2")
            && is("mqtt/connack/sent", "2")
            && is("mqtt/puback/received", "1")
            && is("mqtt/subscribe/received", "2")
            && is("packet/out/count", "0")
            && is("clients/maximum", "2")
    });
    let tree: serde_json::Value = serde_json::from_str(&get(port, "/api/v1/systree").body).unwrap();
    for name in SYS_OF_MANUAL.split_whitespace().filter(|name| *name != "version") {
        let name = format!("$SYS/broker/{}", name.replace('~', " "));
        assert!(tree[&name].is_number(), "{name}");
    }
    // What mosquitto's dashboard shows first.
    let version = concat!("midge version ", env!("CARGO_PKG_VERSION"));
    assert_eq!(tree["$SYS/broker/version"], version);
}

/// Names below `$SYS/broker`; `~` stands for a space.
const SYS_OF_MANUAL: &str = "
    bytes/received bytes/sent clients/active clients/connected clients/disconnected clients/expired clients/inactive
    clients/maximum clients/total connections/socket/count heap/current heap/maximum
    load/bytes/received/1min load/bytes/received/5min load/bytes/received/15min load/bytes/sent/1min
    load/connections/1min load/messages/received/1min load/messages/sent/1min load/publish/dropped/1min
    load/publish/received/1min load/publish/sent/1min load/sockets/1min load/sockets/5min load/sockets/15min
    messages/received messages/sent messages/stored
    mqtt/auth/received mqtt/auth/sent mqtt/connack/sent mqtt/connect/received mqtt/disconnect/received
    mqtt/disconnect/sent mqtt/pingreq/received mqtt/pingresp/sent mqtt/puback/received mqtt/puback/sent
    mqtt/pubcomp/received mqtt/pubcomp/sent mqtt/publish/dropped mqtt/publish/received mqtt/publish/sent
    mqtt/pubrec/received mqtt/pubrec/sent mqtt/pubrel/received mqtt/pubrel/sent mqtt/suback/sent
    mqtt/subscribe/received mqtt/unsuback/sent mqtt/unsubscribe/received
    packet/out/bytes packet/out/count publish/bytes/received publish/bytes/sent publish/messages/dropped
    publish/messages/received publish/messages/sent retained~messages/count shared_subscriptions/count
    store/messages/bytes store/messages/count subscriptions/count uptime version";
