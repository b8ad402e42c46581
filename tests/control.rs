//! Lists and actions of operators over HTTP.

use std::collections::BTreeSet;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mqtt::frame::PacketType;
use mqtt::packet::{RetainHandling, SubscriptionOptions};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS, ReasonCode, encode};
use serde_json::{Value, json};

use crate::harness::api::{get_json, list, metric, operate, start_with_api};
use crate::harness::http::{ask, request};
use crate::harness::{Client, Options, Setup, eventually, run};

/// A list of subscriptions has their options, also those of Shared Subscriptions.
#[test]
fn subscriptions_are_listed_with_their_options() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    let mut client = Client::connect(&broker, &Options::new("c").v5());
    let asked = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let own = SubscriptionOptions {
        no_local: true,
        ..asked
    };
    let filters = [("$share/group/options/+", asked), ("options/#", own)];
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SubscriptionIdentifier(7)).unwrap();
    let (identifier, mut packet) = (9.try_into().unwrap(), Vec::new());
    let version = ProtocolVersion::V5;
    encode::subscribe(
        identifier,
        properties.as_properties(),
        &filters,
        version,
        &mut packet,
    )
    .unwrap();
    client.send(&packet);
    client.expect(PacketType::SubAck);
    for (filter, options) in filters {
        let filter = filter.replace('#', "%23").replace('+', "%2B");
        let subscription = &list(port, &format!("subscriptions?filter={filter}"), 9)[0];
        let members = [
            "qos",
            "no_local",
            "retain_as_published",
            "subscription_identifier",
        ];
        let shown = members.map(|member| subscription[member].clone());
        let expected = [json!(1), json!(options.no_local), json!(true), json!(7)];
        assert_eq!(shown, expected);
    }
}

/// The field of a request that has user and password.
fn basic(user: &str, password: &str) -> String {
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {encoded}\r\n")
}

fn names(items: &[Value], key: &str) -> BTreeSet<String> {
    items
        .iter()
        .map(|item| item[key].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn lists_have_everything_once() {
    for shards in [1, 3] {
        let (broker, port) = start_with_api(Setup::default(), shards, "");
        let mut clients: Vec<_> = (0..25)
            .map(|number| {
                let options = Options::new(&format!("client/{number}"))
                    .v5()
                    .session_expiry_s(100);
                Client::connect(&broker, &options)
            })
            .collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.subscribe(&format!("own/{number}"), QoS::AtLeastOnce);
            client.subscribe("all/#", QoS::ExactlyOnce);
            client.publish_retained(&format!("kept/{number}"), b"payload", QoS::AtLeastOnce);
        }
        for client in clients.drain(20..) {
            client.disconnect();
        }
        eventually("five are away", || list(port, "clients", 100).len() == 20);
        for limit in [1, 7, 1000] {
            let sessions = list(port, "sessions", limit);
            assert_eq!((sessions.len(), names(&sessions, "client_id").len()), (25, 25));
            let subscriptions = list(port, "subscriptions", limit);
            assert_eq!(subscriptions.len(), 50);
            let retained = list(port, "retained?filter=kept/%2B", limit);
            assert_eq!((retained.len(), names(&retained, "topic").len()), (25, 25));
        }
        assert_eq!(list(port, "sessions?search=/1", 3).len(), 11);
        let of_one = list(port, "subscriptions?client=client/7", 1);
        assert_eq!(
            names(&of_one, "filter"),
            ["all/#", "own/7"].map(str::to_owned).into()
        );
        assert_eq!(list(port, "subscriptions?filter=all/%23", 9).len(), 25);
        assert_eq!(list(port, "subscriptions?client=nobody", 9).len(), 0);
        let session = get_json(port, "sessions/client%2F22");
        assert_eq!(session["connected"], json!(false));
        assert_eq!(session["expiry_s"], json!(100));
        assert_eq!(session["subscriptions"], json!(2));
        // Its schema in the document has the same members.
        let document = get_json(port, "openapi.json");
        let described = &document["components"]["schemas"]["Session"]["properties"];
        let members =
            |object: &Value| -> BTreeSet<String> { object.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(members(described), members(&session));
        let text = format!("{:?}", list(port, "retained", 100));
        assert!(!text.contains("payload\")"), "no payload is shown");
    }
}

#[test]
fn clients_are_disconnected_and_sessions_ended() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    let options = |name: &str| Options::new(name).v5().session_expiry_s(100);
    for name in ["one", "two", "three"] {
        let mut client = Client::connect(&broker, &options(name));
        let path = format!("clients/{name}/disconnect");
        assert_eq!(operate(port, "POST", &path, "", "{\"reason\": 151}").0, "200");
        assert_eq!(client.expect_closed().0, Some(ReasonCode::QuotaExceeded));
        assert_eq!(operate(port, "POST", &path, "", "").0, "404", "it is away");
        assert_eq!(
            get_json(port, &format!("sessions/{name}"))["connected"],
            json!(false)
        );
        let session = format!("sessions/{name}");
        assert_eq!(operate(port, "DELETE", &session, "", "").0, "200");
        assert_eq!(operate(port, "GET", &session, "", "").0, "404");
        let mut client = Client::connect(&broker, &options(name));
        assert_eq!(operate(port, "DELETE", &session, "", "").0, "200");
        assert_eq!(client.expect_closed().0, Some(ReasonCode::AdministrativeAction));
        eventually("the session is gone", || {
            operate(port, "GET", &session, "", "").0 == "404"
        });
    }
    let events = get_json(port, "events?kind=disconnected&client=one");
    let by_operator = |code: &str| {
        let mut events = events["items"].as_array().unwrap().iter();
        events.any(|event| {
            let detail = event["detail"].as_str().unwrap_or_default();
            event["reason"] == "operator" && detail.starts_with("Operator without") && detail.ends_with(code)
        })
    };
    assert!(
        by_operator("with reason code 151 (Quota exceeded)")
            && by_operator("with reason code 152 (Administrative action)"),
        "{events}"
    );
    // The broker's own disconnects are counted apart.
    let counted = |reason: &str| metric(port, &format!("midge_disconnects_total{{reason=\"{reason}\"}}"));
    assert_eq!(counted("operator"), 6.0);
    assert_eq!(counted("quota_exceeded") + counted("administrative_action"), 0.0);
    // 0, 1 and 4 are no codes of a server's DISCONNECT.
    for reason in [0, 1, 4, 300] {
        let body = json!({ "reason": reason }).to_string();
        let (status, error) = operate(port, "POST", "clients/x/disconnect", "", &body);
        assert_eq!(status, "400");
        assert!(
            error["error"].as_str().unwrap().starts_with("reason: must be"),
            "{error}"
        );
    }
}

/// What a client may not publish is not published for an operator either.
#[test]
fn a_message_of_an_operator_passes_the_checks_of_one_of_a_client() {
    let setup = Setup::default()
        .global("retain_available false")
        .global("message_size_limit 10");
    let (_broker, port) = start_with_api(setup, 1, "");
    let refused = |body: Value| {
        let (status, answer) = operate(port, "POST", "publish", "", &body.to_string());
        assert_eq!(status, "400", "{answer}");
        answer["error"].as_str().unwrap().to_owned()
    };
    let deep = refused(json!({ "topic": "a/".repeat(300), "payload": "" }));
    assert!(
        deep.starts_with("topic: it has too many topic levels: choose a shorter one"),
        "{deep}"
    );
    let retained = refused(json!({ "topic": "a", "payload": "", "retain": true }));
    assert!(
        retained.contains("retained messages are not available"),
        "{retained}"
    );
    let large = refused(json!({ "topic": "a", "payload": "12345678901" }));
    assert!(large.contains("message_size_limit"), "{large}");
    let body = json!({ "topic": "a", "payload": "1234567890" }).to_string();
    assert_eq!(operate(port, "POST", "publish", "", &body).0, "200");
}

#[test]
fn messages_are_published_and_retained_ones_deleted() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    let mut clients: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| Client::connect(&broker, &Options::new(name)))
        .into();
    for client in &mut clients {
        client.subscribe("t/#", QoS::AtLeastOnce);
    }
    let body = json!({ "topic": "t/x", "payload": "hello", "qos": 1, "retain": true }).to_string();
    assert_eq!(operate(port, "POST", "publish", "", &body).0, "200");
    for client in &mut clients {
        let message = client.message();
        assert_eq!(
            (message.topic.as_str(), message.payload.as_slice()),
            ("t/x", b"hello".as_slice())
        );
    }
    eventually("it is retained", || {
        list(port, "retained?filter=t/%23", 5).len() == 1
    });
    assert_eq!(operate(port, "DELETE", "retained?topic=t/x", "", "").0, "200");
    let is_gone = || list(port, "retained?filter=t/%23", 5).is_empty();
    eventually("it is deleted", is_gone);
    for (body, what) in [
        ("{}", "missing field `topic`"),
        ("{\"topic\": \"a/#\"}", "topic: "),
        ("{\"topic\": \"a\", \"qos\": 3}", "qos: must be 0, 1 or 2"),
        (
            "{\"topic\": \"a\", \"payload\": 3}",
            "payload: invalid type: integer",
        ),
        (
            "{\"topic\": \"a\", \"payload_base64\": \"*\"}",
            "payload_base64: must be",
        ),
        (
            "{\"topic\": \"a\", \"payload\": \"\", \"payload_base64\": \"\"}",
            "payload and payload_base64 cannot be used together",
        ),
        ("[]", "the body: must be a JSON object"),
    ] {
        let (status, error) = operate(port, "POST", "publish", "", body);
        assert_eq!(status, "400", "{body}");
        assert!(error["error"].as_str().unwrap().contains(what), "{error}");
    }
    let own = json!({ "topic": "$SYS/broker/version", "payload": "x" }).to_string();
    assert_eq!(operate(port, "POST", "publish", "", &own).0, "409");
    let own = operate(port, "DELETE", "retained?filter=$SYS/%23", "", "");
    assert_eq!(own.0, "409", "{}", own.1);
    for (method, path, status) in [
        ("GET", "publish", "405"),
        ("PUT", "sessions/a", "405"),
        ("GET", "sessions?limit=0", "400"),
        ("GET", "sessions?cursor=x", "400"),
        ("GET", "retained?filter=a%23", "400"),
    ] {
        assert_eq!(operate(port, method, path, "", "").0, status, "{method} {path}");
    }
    let long = format!("{{\"topic\":\"{}\"}}", "x".repeat(2 << 20));
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        long.len()
    );
    assert!(ask(port, &head).starts_with("HTTP/1.1 413"));
    assert_eq!(operate(port, "POST", "reload", "", "").0, "200");
    eventually("it is reloaded", || {
        broker.log().contains("Configuration reloaded")
    });
}

/// Without passwords for this machine alone, with passwords for those who have one; nothing for pages of other sites.
#[test]
fn who_may_operate() {
    let (_broker, port) = start_with_api(Setup::default(), 1, "");
    let rebound = format!("GET /api/v1/sessions HTTP/1.1\r\nHost: rebound.example.org:{port}\r\n\r\n");
    assert!(ask(port, &rebound).starts_with("HTTP/1.1 403"));
    let origin = "Origin: http://example.org\r\n";
    assert_eq!(operate(port, "POST", "reload", origin, "").0, "403");
    let own = format!("Origin: http://localhost:{port}\r\n");
    assert_eq!(operate(port, "POST", "reload", &own, "").0, "200");

    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let path = passwords.display().to_string();
    let made = run(&["passwd", "-b", "-c", &path, "operator", "right"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let (broker, port) = start_with_api(
        Setup::default().global("per_listener_settings true"),
        1,
        &format!("password_file {path}"),
    );
    let right = basic("operator", "right");
    assert_eq!(operate(port, "GET", "sessions", "", "").0, "401");
    assert_eq!(operate(port, "GET", "sessions", &right, "").0, "200");
    for (user, password) in [("operator", "wrong"), ("nobody", "right")] {
        let login = basic(user, password);
        assert_eq!(operate(port, "GET", "sessions", &login, "").0, "401");
    }
    let with_origin = format!("{right}{origin}");
    assert_eq!(operate(port, "POST", "reload", &with_origin, "").0, "403");
    assert!(ask(port, &request("GET", "/metrics")).starts_with("HTTP/1.1 401"));
    assert!(ask(port, &request("GET", "/healthz")).starts_with("HTTP/1.1 200"));
    let challenge = ask(port, &request("GET", "/api/v1/clients"));
    assert!(
        challenge.contains("WWW-Authenticate: Basic realm=\"midge\""),
        "{challenge}"
    );
    assert!(!broker.log().contains("right") && !broker.log().contains(right.trim()));
}

/// Operators who ask without end hold up no client.
#[test]
fn lists_do_not_hold_up_clients() {
    let (broker, port) = start_with_api(Setup::default(), 1, "");
    let mut subscriber = Client::connect(&broker, &Options::new("many"));
    let filters: Vec<String> = (0..20_000).map(|number| format!("f/{number}")).collect();
    for some in filters.chunks(1000) {
        subscriber.subscribe_all(some, QoS::AtMostOnce);
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(list(port, "subscriptions", 1000).len(), 20_000);
            }
        });
        let mut client = Client::connect(&broker, &Options::new("a"));
        let begun = std::time::Instant::now();
        for _ in 0..200 {
            client.ping();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    });
}

/// "Why did this message not arrive?"
#[test]
fn what_did_not_arrive_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("acl");
    std::fs::write(&acl, "topic readwrite open/#\ntopic read /#\n").unwrap();
    let setup = Setup::default()
        .global("max_queued_messages 2")
        .listener(&format!("acl_file {}", acl.display()));
    let (broker, port) = start_with_api(setup, 2, "");
    let mut away = Client::connect(&broker, &Options::new("away").persistent());
    away.subscribe("open/#", QoS::AtLeastOnce);
    away.disconnect();
    let mut client = Client::connect(&broker, &Options::new("someone"));
    client.subscribe("secret/#", QoS::AtMostOnce);
    client.publish("secret/door", b"payload", QoS::AtLeastOnce);
    for _ in 0..8 {
        client.publish("open/door", b"payload", QoS::AtLeastOnce);
    }
    client.cut();
    let (_refused, _answer) = Client::try_connect(&broker, &Options::new("").persistent());
    let events = |query: &str| list(port, &format!("events?{query}"), 100);
    let has = |query: &str, reason: &str, topic: Value| {
        eventually(&format!("{query}: {reason} {topic}"), || {
            let events = events(query);
            events
                .iter()
                .any(|event| event["reason"] == reason && event["topic"] == topic)
        });
    };
    has("kind=dropped&client=away", "queue_full", json!("open/door"));
    has("kind=denied&client=someone", "publish", json!("secret/door"));
    has("kind=denied&client=someone", "subscribe", json!("secret/#"));
    has("kind=disconnected&client=away", "client", Value::Null);
    has(
        "kind=disconnected&client=someone",
        "closed_without_disconnect",
        Value::Null,
    );
    has("kind=refused", "client_identifier_not_valid", Value::Null);
    let all = events("");
    assert!(all.len() >= 6);
    let times: Vec<_> = all.iter().map(|event| event["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    assert!(!format!("{all:?}").contains("payload"));
}

/// A trace has what was refused and denied, in the log and in a file.
#[test]
fn a_trace_has_refusals_and_denials() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = run(&[
        "passwd",
        "-b",
        "-c",
        "-H",
        "sha512",
        &path("passwords"),
        "u",
        "right",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    std::fs::write(path("acl"), "user u\ntopic readwrite open/#\n").unwrap();
    let setup = Setup::default()
        .global("log_type error")
        .global("allow_anonymous false")
        .global(&format!("password_file {}", path("passwords")))
        .global(&format!("acl_file {}", path("acl")))
        .global(&format!("control_socket {}", path("control")));
    let broker = setup.start();
    let socket = path("control");
    for more in [&[][..], &["--file", &path("trace")]] {
        let mut arguments = vec!["ctl", "--socket", &socket, "trace", "--client", "trz"];
        arguments.extend(more);
        let started = run(&arguments);
        assert_eq!(started.code, Some(0), "{}", started.stderr);
    }
    let (_refused, _answer) = Client::try_connect(&broker, &Options::new("trz").v5().user("u", "wrong"));
    let mut client = Client::connect(&broker, &Options::new("trz").v5().user("u", "right"));
    client.publish("secret/door", b"payload", QoS::AtLeastOnce);
    client.disconnect();
    let in_file = || std::fs::read_to_string(path("trace")).unwrap_or_default();
    for line in [
        "(0, 134)",
        "Refused CONNECT from trz at 127.0.0.1",
        "Denied PUBLISH from trz (d0, q1, r0, m1, 'secret/door', ... (7 bytes))",
    ] {
        eventually(line, || broker.log().contains(line) && in_file().contains(line));
    }
    assert!(
        in_file().contains("Sending CONNACK to 127.0.0.1:"),
        "{}",
        in_file()
    );
}

/// One client's packets are shown, whatever `log_type` is, until the trace is switched off.
#[test]
fn a_client_is_traced_at_run_time() {
    for shards in [1, 2] {
        let (broker, port) = start_with_api(Setup::default().global("log_type error"), shards, "");
        let mut traced = Client::connect(&broker, &Options::new("traced"));
        let mut other = Client::connect(&broker, &Options::new("other"));
        traced.ping();
        let (status, started) = operate(port, "POST", "traces", "", "{\"client_id\": \"traced\"}");
        assert_eq!(status, "200");
        traced.publish("t", b"payload", QoS::AtLeastOnce);
        other.publish("u", b"payload", QoS::AtLeastOnce);
        eventually("it is shown", || {
            broker.log().contains("Sending PUBACK to traced")
        });
        let number = &started["trace"];
        let expected = format!("Trace {number}: Received PUBLISH from traced (d0, q1, r0, m");
        assert!(broker.log().contains(&expected), "{}", broker.log());
        traced.disconnect();
        let mut traced = Client::connect(&broker, &Options::new("traced"));
        eventually("its CONNECT is shown", || {
            broker.log().contains("Received CONNECT from traced")
        });
        assert_eq!(list(port, "traces", 10)[0]["client_id"], "traced");
        let path = format!("traces/{number}");
        assert_eq!(operate(port, "DELETE", &path, "", "").0, "200");
        assert_eq!(operate(port, "DELETE", &path, "", "").0, "404");
        traced.publish("late", b"", QoS::AtLeastOnce);
        traced.ping();
        let log = broker.log();
        assert!(
            !log.contains("'late'") && !log.contains("other") && !log.contains("payload"),
            "{log}"
        );
        for (body, status) in [
            ("{}", "400"),
            ("{\"client_id\": \"a\", \"user\": \"b\"}", "400"),
            ("{\"address\": \"x\"}", "400"),
            ("{\"user\": \"b\", \"file\": \"/tmp/x\"}", "403"),
        ] {
            assert_eq!(operate(port, "POST", "traces", "", body).0, status, "{body}");
        }
    }
}

/// With an `acl_file` a path is a topic: to look is to read it, to change is to write it.
#[test]
fn access_rules_hold_for_paths() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let passwords = file("passwords", "");
    for user in ["reader", "admin"] {
        assert_eq!(run(&["passwd", "-b", &passwords, user, "right"]).code, Some(0));
    }
    let rules = file(
        "acl",
        "user reader\ntopic read /api/v1/#\ntopic deny /api/v1/retained\ntopic read /metrics\n\
         user admin\ntopic readwrite /#\n",
    );
    let setup = Setup::default().global("per_listener_settings true");
    let (_broker, port) = start_with_api(setup, 1, &format!("password_file {passwords}\nacl_file {rules}"));
    let (reader, admin) = (&*basic("reader", "right"), &*basic("admin", "right"));
    for (user, method, path, status) in [
        (reader, "GET", "clients", "200"),
        (reader, "GET", "retained", "403"),
        (reader, "GET", "%72etained", "403"),
        (reader, "POST", "reload", "403"),
        (reader, "DELETE", "sessions/a", "403"),
        (admin, "GET", "retained", "200"),
        (admin, "POST", "reload", "200"),
        (admin, "DELETE", "sessions/a", "404"),
        ("", "GET", "clients", "401"),
    ] {
        let (answered, body) = operate(port, method, path, user, "");
        assert_eq!(answered, status, "{user}{method} {path}: {body}");
    }
    let asked = |path: &str, user: &str| ask(port, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n{user}\r\n"));
    assert!(asked("/metrics", reader).starts_with("HTTP/1.1 200"));
    assert!(asked("/dashboard/", reader).starts_with("HTTP/1.1 403"));
    assert!(asked("/dashboard/", admin).starts_with("HTTP/1.1 200"));
}

/// Passwords that are slow to compute keep nobody waiting whose password is known.
#[test]
fn slow_passwords_do_not_hold_up_operators() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords").display().to_string();
    let made = run(&["passwd", "-b", "-c", &passwords, "operator", "right"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let text = std::fs::read_to_string(&passwords).unwrap();
    assert!(text.contains("$argon2id$"), "{text}");
    let setup = Setup::default().global("per_listener_settings true");
    let (_broker, port) = start_with_api(setup, 1, &format!("password_file {passwords}"));
    let right = &basic("operator", "right");
    assert_eq!(operate(port, "GET", "sessions", right, "").0, "200");
    let guesses = (0..40).map(|number| {
        let mut socket = crate::harness::http::open(port);
        let login = basic(&format!("guesser{}", number % 4), &format!("wrong{number}"));
        let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{login}\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        socket
    });
    let guesses: Vec<_> = guesses.collect();
    let begun = std::time::Instant::now();
    assert_eq!(operate(port, "GET", "sessions", right, "").0, "200");
    assert!(begun.elapsed().as_millis() < 1000, "{:?}", begun.elapsed());
    drop(guesses);
}
