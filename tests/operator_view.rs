//! What an operator finds out without guessing: which limit, whose connection, by which listener, and who speaks the
//! wrong protocol.

use std::io::Write as _;

use mqtt::QoS;
use mqtt::property::Property;
use serde_json::{Value, json};

use crate::harness::api::{get_json, list, operate, start_with_api};
use crate::harness::http::{ask, open, read_to_end};
use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually, free_port, run};

/// What is dropped for a limit names the limit, its value and the size of the message.
#[test]
fn drops_say_which_limit_was_reached() {
    let setup = Setup::default()
        .global("message_size_limit 10")
        .global("max_retained_messages 1")
        .global("sys_interval 0")
        .global("max_queued_messages 2")
        .global("max_inflight_messages 1");
    let (broker, port) = start_with_api(setup, 1, "");
    let mut away = Client::connect(&broker, &Options::new("away").persistent());
    away.subscribe("q", QoS::AtLeastOnce);
    away.disconnect();
    let mut small = Client::connect(
        &broker,
        &Options::new("small")
            .v5()
            .property(Property::MaximumPacketSize(30.try_into().unwrap())),
    );
    small.subscribe("long/#", QoS::AtMostOnce);
    let mut client = Client::connect(&broker, &Options::new("p").v5());
    client.publish("t", b"12345678901", QoS::AtLeastOnce);
    client.publish_retained("kept/1", b"1", QoS::AtLeastOnce);
    client.publish_retained("kept/2", b"2", QoS::AtLeastOnce);
    client.publish(&format!("long/{}", "x".repeat(40)), b"12345", QoS::AtLeastOnce);
    for _ in 0..5 {
        client.publish("q", b"12345", QoS::AtLeastOnce);
    }
    for (of, reason, topic, detail) in [
        (
            "p",
            "refused",
            "t",
            "the payload has 11 bytes, and message_size_limit is 10",
        ),
        (
            "p",
            "quota",
            "kept/2",
            "max_retained_messages is 1, and this number is reached",
        ),
        (
            "small",
            "too_large",
            "long/xx",
            "the payload has 5 bytes, but the client accepts packets of 30 bytes at most",
        ),
        (
            "away",
            "queue_full",
            "q",
            "2 messages with 12 bytes wait in its queue (max_queued_messages 2, max_queued_bytes 67108864)",
        ),
    ] {
        let events = list(port, &format!("events?kind=dropped&client={of}"), 10);
        let found = events.iter().find(|event| event["reason"] == reason);
        let event = found.unwrap_or_else(|| panic!("{reason}: {events:?}"));
        assert!(event["topic"].as_str().unwrap().starts_with(topic), "{event}");
        assert_eq!(event["detail"], detail, "{event}");
    }
    let body = json!({ "topic": "t", "payload": "12345678901" }).to_string();
    let (status, answer) = operate(port, "POST", "publish", "", &body);
    assert_eq!(
        (status.as_str(), answer["error"].as_str().unwrap()),
        (
            "400",
            "the message is not published: the payload has 11 bytes, and message_size_limit is 10: publish a shorter \
             one, or raise message_size_limit"
        )
    );
}

/// Lists say from where and since when a client is connected, and by which of the listeners, whose list has addresses.
#[test]
fn clients_have_an_address_a_listener_and_a_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control").display().to_string();
    let web = free_port();
    let setup = Setup::default()
        .global(&format!("control_socket {control}"))
        .listener(&format!("listener {web} 127.0.0.1\nprotocol websockets"));
    let (broker, port) = start_with_api(setup, 2, "");
    let options = Options::new("kept").persistent();
    let mut first = Client::connect(&broker, &options);
    let address = first.local_address().to_string();
    let session = get_json(port, "sessions/kept");
    assert_eq!(session["address"], address);
    let since = session["connected_since"].as_str().unwrap().to_owned();
    assert!(since.ends_with('Z') && since.starts_with("20"), "{since}");
    let listeners = get_json(port, "listeners");
    let listeners = listeners["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 3);
    let of_client = listeners
        .iter()
        .find(|listener| listener["listener"] == session["listener"])
        .unwrap();
    assert_eq!(of_client["addresses"], json!([broker.address().to_string()]));
    assert_eq!(of_client["port"], broker.port());
    let ctl = |arguments: &[&str]| run(&[&["ctl", "--socket", &control], arguments].concat()).stdout;
    let clients = ctl(&["clients"]);
    assert!(
        clients.contains(&address) && clients.contains("CONNECTED_SINCE"),
        "{clients}"
    );
    assert!(ctl(&["listeners"]).contains(&broker.address().to_string()));
    first.disconnect();
    eventually("it is away", || {
        get_json(port, "sessions/kept")["connected"] == false
    });
    let away = get_json(port, "sessions/kept");
    assert_eq!(
        (&away["address"], &away["connected_since"]),
        (&Value::Null, &Value::Null)
    );
    assert!(away["away_s"].as_u64().unwrap() < 60);
    let _again = Client::connect(&broker, &options);
    let again = get_json(port, "sessions/kept");
    assert!(
        again["connected_since"].as_str().unwrap() > since.as_str(),
        "{again}"
    );
}

/// Who comes, costs something and leaves is among the busiest clients, also if it came several times.
#[test]
fn clients_that_have_left_are_among_the_busiest() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    get_json(port, "cpu");
    let burn = || {
        let mut client = Client::connect(&broker, &Options::new("burns"));
        for _ in 0..200 {
            client.publish("t", &[b'x'; 2000], QoS::AtLeastOnce);
        }
        client.disconnect();
    };
    burn();
    burn();
    eventually("it is named", || {
        let busiest = get_json(port, "cpu?seconds=10");
        let items = busiest["items"].as_array().unwrap();
        let of_it: Vec<_> = items.iter().filter(|item| item["client_id"] == "burns").collect();
        let is_it = |item: &&&Value| item["connected"] == false && item["cpu_s"].as_f64().unwrap() > 0.0;
        of_it.len() == 1 && of_it.iter().all(|item| is_it(&item))
    });
}

/// Who speaks another protocol to a listener of operators is in the log and in the events, with what to do.
#[test]
fn strangers_at_a_listener_of_operators_are_named() {
    let (broker, port) = start_with_api(Setup::default(), 1, "");
    for (bytes, reason, detail) in [
        (
            Options::new("lost").encode(),
            "no_http",
            "it speaks MQTT, but the listener has `protocol http_api`; fix: connect it to a listener with `protocol \
             mqtt`",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            "no_http",
            "it begins TLS, but the listener has none; fix: use http://, or give the listener certfile and keyfile",
        ),
        (b"\x00\x01\x02".to_vec(), "no_http", "it does not speak HTTP"),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "malformed_request",
            "its HTTP request has no Host field",
        ),
    ] {
        let mut socket = open(port);
        socket.write_all(&bytes).unwrap();
        read_to_end(&socket);
        eventually(detail, || {
            let events = list(port, "events?kind=refused", 100);
            events.iter().any(|event| {
                let text = event["detail"].as_str().unwrap_or_default();
                event["reason"] == reason && text.starts_with(detail) && event["address"] == "127.0.0.1"
            })
        });
        // One line a second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert!(broker.log().contains(detail), "{detail}: {}", broker.log());
    }
    for _ in 0..200 {
        let mut socket = open(port);
        socket.write_all(&Options::new("lost").encode()).unwrap();
        read_to_end(&socket);
    }
    let log = broker.log();
    assert!(log.matches("it speaks MQTT").count() < 30, "{log}");
    // With TLS the handshake fails, and that is said too.
    let certificates = Certificates::new();
    let path = |name: &str| certificates.path(name).display().to_string();
    let keys = format!("certfile {}\nkeyfile {}", path("server.crt"), path("server.key"));
    let (secured, port) = start_with_api(Setup::default(), 1, &keys);
    let mut socket = open(port);
    socket.write_all(&Options::new("lost").encode()).unwrap();
    read_to_end(&socket);
    eventually("it is logged", || {
        secured.log().contains("of the http_api was refused: ")
    });
}

/// `broker ctl events` explains how often, and lists as many as are wanted.
#[test]
fn ctl_events_are_explained_and_limited() {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control").display().to_string();
    let setup = Setup::default()
        .global("max_queued_messages 1")
        .global(&format!("control_socket {control}"));
    let broker = setup.start();
    let ctl = |arguments: &[&str]| run(&[&["ctl", "--socket", &control], arguments].concat());
    let mut away = Client::connect(&broker, &Options::new("away").persistent());
    away.subscribe("t", QoS::AtLeastOnce);
    away.disconnect();
    eventually("it has left", || ctl(&["events"]).stdout.contains("away"));
    let one = ctl(&["events"]).stdout;
    assert!(one.contains("  TIMES") && !one.contains("Where TIMES"), "{one}");
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for _ in 0..4 {
        publisher.publish("t", b"1", QoS::AtLeastOnce);
    }
    let mut many = String::new();
    eventually("all are counted", || {
        many = ctl(&["events"]).stdout;
        let row = many.lines().find(|line| line.contains("queue_full")).unwrap();
        row.contains("  3  ")
    });
    assert!(
        many.ends_with(
            "If TIMES is more than 1, SINCE is the time of the first and TIME that of the last.\n"
        ),
        "{many}"
    );
    assert_eq!(ctl(&["events", "--limit", "1"]).stdout.lines().count(), 3);
    let json: Value = serde_json::from_str(&ctl(&["events", "--json", "--limit", "1"]).stdout).unwrap();
    assert_eq!(
        (json.as_array().unwrap().len(), &json[0]["count"]),
        (1, &json!(3))
    );
    assert_eq!(ctl(&["events", "--limit", "0"]).code, Some(3));
    let help = ctl(&["events", "--help"]).stdout;
    assert!(
        help.contains("TIMES is the number of occurrences") && help.contains("--limit <NUMBER>"),
        "{help}"
    );
}

/// A listener of operators that shows its figures to everybody is warned of, and one that asks who it is is not.
#[test]
fn an_open_listener_of_operators_is_warned_of() {
    let warning = "Everybody who can reach the http_api on port";
    let start = |address: &str, keys: &str| -> (Broker, u16) {
        let port = free_port();
        let setup = Setup::default()
            .global("per_listener_settings true")
            .listener(&format!("listener {port} {address}\nprotocol http_api\n{keys}"));
        (setup.start(), port)
    };
    let (broker, port) = start("0.0.0.0", "");
    eventually("it is warned of", || broker.log().contains(warning));
    assert!(
        broker
            .log()
            .contains(&format!("or to this machine with `listener {port} 127.0.0.1`"))
    );
    let shown = ask(port, "GET /metrics HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert!(shown.starts_with("HTTP/1.1 200"), "{shown}");
    let lists = ask(port, "GET /api/v1/clients HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert!(lists.starts_with("HTTP/1.1 403"), "{lists}");
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords").display().to_string();
    let made = run(&[
        "passwd", "-b", "-c", "-H", "sha512", &passwords, "operator", "right",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    for (address, keys) in [
        ("127.0.0.1", ""),
        ("0.0.0.0", &*format!("password_file {passwords}")),
    ] {
        let (broker, _) = start(address, keys);
        assert!(!broker.log().contains(warning), "{}", broker.log());
    }
}
