//! Lists and actions of operators: over HTTP, and by `broker ctl` over the control socket.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mqtt::{QoS, ReasonCode};
use serde_json::{Value, json};

use crate::harness::http::ask;
use crate::harness::{Broker, Client, Options, Run, Setup, eventually, free_port, run};

/// A broker with an http_api beside MQTT, and its port.
fn start(setup: Setup, shards: u16, keys: &str) -> (Broker, u16) {
    let port = free_port();
    let broker = setup
        .shards(shards)
        .listener(&format!("listener {port} 127.0.0.1\nprotocol http_api\n{keys}"))
        .start();
    eventually("the shards serve", || {
        ask(port, "GET /readyz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200")
    });
    (broker, port)
}

/// Asks for a path below `/api/v1`: the status and the JSON.
fn operate(port: u16, method: &str, path: &str, fields: &str, body: &str) -> (String, Value) {
    let request = format!(
        "{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost:{port}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(port, &request);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer}"));
    let json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (head["HTTP/1.1 ".len()..][..3].to_owned(), json)
}

fn get(port: u16, path: &str) -> Value {
    let (status, json) = operate(port, "GET", path, "", "");
    assert_eq!(status, "200", "{path}: {json}");
    json
}

/// All entries of a list, page by page.
fn list(port: u16, path: &str, limit: usize) -> Vec<Value> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(port, &format!("{path}{joint}limit={limit}{cursor}"));
        let more = page["items"].as_array().unwrap();
        assert!(more.len() <= limit);
        items.extend(more.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
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
        let (broker, port) = start(Setup::default(), shards, "");
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
        let session = get(port, "sessions/client%2F22");
        assert_eq!(session["connected"], json!(false));
        assert_eq!(session["expiry_s"], json!(100));
        assert_eq!(session["subscriptions"], json!(2));
        // Its schema in the document has the same members.
        let document = get(port, "openapi.json");
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
    let (broker, port) = start(Setup::default(), 2, "");
    let options = |name: &str| Options::new(name).v5().session_expiry_s(100);
    for name in ["one", "two", "three"] {
        let mut client = Client::connect(&broker, &options(name));
        let path = format!("clients/{name}/disconnect");
        assert_eq!(operate(port, "POST", &path, "", "{\"reason\": 151}").0, "200");
        assert_eq!(client.expect_closed().0, Some(ReasonCode::QuotaExceeded));
        assert_eq!(operate(port, "POST", &path, "", "").0, "404", "it is away");
        assert_eq!(get(port, &format!("sessions/{name}"))["connected"], json!(false));
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
    let (status, error) = operate(port, "POST", "clients/x/disconnect", "", "{\"reason\": 1}");
    assert_eq!(status, "400");
    assert!(
        error["error"].as_str().unwrap().starts_with("reason: must be"),
        "{error}"
    );
}

#[test]
fn messages_are_published_and_retained_ones_deleted() {
    let (broker, port) = start(Setup::default(), 2, "");
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
    eventually("it is deleted", || {
        list(port, "retained?filter=t/%23", 5).is_empty()
    });
    for (body, what) in [
        ("{}", "topic: a Topic Name is missing"),
        ("{\"topic\": \"a/#\"}", "topic: "),
        ("{\"topic\": \"a\", \"qos\": 3}", "qos: must be 0, 1 or 2"),
        ("{\"topic\": \"a\", \"payload\": 3}", "payload: must be a text"),
        ("[]", "the body must be a JSON object"),
    ] {
        let (status, error) = operate(port, "POST", "publish", "", body);
        assert_eq!(status, "400", "{body}");
        assert!(error["error"].as_str().unwrap().contains(what), "{error}");
    }
    let own = json!({ "topic": "$SYS/broker/version", "payload": "x" }).to_string();
    assert_eq!(operate(port, "POST", "publish", "", &own).0, "409");
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
    let (_broker, port) = start(Setup::default(), 1, "");
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
    let (broker, port) = start(
        Setup::default().global("per_listener_settings true"),
        1,
        &format!("password_file {path}"),
    );
    let user = |encoded: &str| format!("Authorization: Basic {encoded}\r\n");
    // operator:right, operator:wrong, nobody:right
    let (right, wrong, nobody) = ("b3BlcmF0b3I6cmlnaHQ=", "b3BlcmF0b3I6d3Jvbmc=", "bm9ib2R5OnJpZ2h0");
    assert_eq!(operate(port, "GET", "sessions", "", "").0, "401");
    assert_eq!(operate(port, "GET", "sessions", &user(right), "").0, "200");
    assert_eq!(operate(port, "GET", "sessions", &user(wrong), "").0, "401");
    assert_eq!(operate(port, "GET", "sessions", &user(nobody), "").0, "401");
    let with_origin = format!("{}{origin}", user(right));
    assert_eq!(operate(port, "POST", "reload", &with_origin, "").0, "403");
    assert!(ask(port, "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 401"));
    assert!(ask(port, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
    let challenge = ask(port, "GET /api/v1/clients HTTP/1.1\r\n\r\n");
    assert!(
        challenge.contains("WWW-Authenticate: Basic realm=\"midge\""),
        "{challenge}"
    );
    assert!(!broker.log().contains("right") && !broker.log().contains(right));
}

/// Runs `broker ctl` on a control socket.
fn run_ctl(socket: &str, arguments: &[&str]) -> Run {
    run(&[&["ctl", "--socket", socket], arguments].concat())
}

/// A broker with a control socket in its folder.
fn with_control(folder: &Path) -> (Broker, String) {
    let socket = folder.join("control.sock").display().to_string();
    let broker = Setup::default()
        .shards(2)
        .global(&format!("control_socket {socket}"))
        .start();
    eventually("the socket is there", || Path::new(&socket).exists());
    (broker, socket)
}

#[test]
fn ctl_over_the_control_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, socket) = with_control(folder.path());
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ctl = |arguments: &[&str]| {
        let ran = run_ctl(&socket, arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        ran.stdout
    };
    let mut client = Client::connect(&broker, &Options::new("one/two").v5().session_expiry_s(60));
    client.subscribe("t/#", QoS::AtLeastOnce);
    let _other = Client::connect(&broker, &Options::new("other"));
    eventually("both are listed", || ctl(&["clients"]).lines().count() == 3);
    let clients = ctl(&["clients"]);
    assert!(clients.starts_with("CLIENT_ID  USER  CONNECTED"), "{clients}");
    let json: Value = serde_json::from_str(&ctl(&["--json", "clients", "--search", "two"])).unwrap();
    assert_eq!(json[0]["client_id"], "one/two");
    assert_eq!(ctl(&["publish", "t/a", "hello", "--qos", "1", "--retain"]), "");
    assert_eq!(client.message().payload, b"hello");
    assert!(ctl(&["subscriptions", "--client", "one/two"]).contains("t/#"));
    assert!(ctl(&["retained", "--filter", "t/+"]).contains("t/a"));
    ctl(&["delete-retained", "t/a"]);
    eventually("it is deleted", || {
        ctl(&["retained", "--filter", "t/+"]).is_empty()
    });
    assert_eq!(client.message().payload, b"");
    ctl(&["disconnect", "one/two", "--reason", "139"]);
    assert_eq!(client.expect_closed().0, Some(ReasonCode::ServerShuttingDown));
    assert!(ctl(&["session", "one/two"]).contains("connected        false"));
    ctl(&["end-session", "one/two"]);
    let gone = run(&["ctl", "--socket", &socket, "session", "one/two"]);
    assert_eq!(
        (gone.code, gone.stderr.as_str()),
        (Some(1), "Error: there is no such client\n")
    );
    ctl(&["reload"]);
    eventually("it is reloaded", || {
        broker.log().contains("Configuration reloaded")
    });
    assert!(ctl(&["metrics"]).contains("midge_clients_connected 1"));
    broker.signal(rustix::process::Signal::TERM);
    let (status, log) = broker.wait();
    assert!(status.success(), "{log}");
    assert!(!Path::new(&socket).exists(), "the file goes with the broker");
    let gone = run(&["ctl", "--socket", &socket, "clients"]);
    assert_eq!(gone.code, Some(1));
    assert!(
        gone.stderr.contains("fix: give it `control_socket "),
        "{}",
        gone.stderr
    );
}

/// Operators who ask without end hold up no client.
#[test]
fn lists_do_not_hold_up_clients() {
    let (broker, port) = start(Setup::default(), 1, "");
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
    std::fs::write(&acl, "topic readwrite open/#\n").unwrap();
    let port = free_port();
    let broker = Setup::default()
        .shards(2)
        .global("max_queued_messages 2")
        .listener(&format!("acl_file {}", acl.display()))
        .listener(&format!("listener {port} 127.0.0.1\nprotocol http_api"))
        .start();
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

/// One client's packets are shown, whatever `log_type` is, until the trace is switched off.
#[test]
fn a_client_is_traced_at_run_time() {
    for shards in [1, 2] {
        let (broker, port) = start(Setup::default().global("log_type error"), shards, "");
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

#[test]
fn a_trace_goes_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, socket) = with_control(folder.path());
    let file = folder.path().join("trace");
    let path = file.display().to_string();
    let ctl = |arguments: &[&str]| run_ctl(&socket, arguments);
    let started = ctl(&["trace", "--address", "127.0.0.1", "--file", &path]);
    assert_eq!(
        (started.code, started.stdout.as_str()),
        (Some(0), "trace  1\n"),
        "{}",
        started.stderr
    );
    assert!(ctl(&["traces"]).stdout.contains(&path));
    let mut client = Client::connect(&broker, &Options::new("e\u{1b}[31m"));
    client.subscribe("t/#", QoS::AtMostOnce);
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("it is written", || {
        text().contains("Sending SUBACK to e\\u{1b}[31m (m1, rc0)\n")
    });
    assert!(
        text().contains(": Received CONNECT from e\\u{1b}[31m at 127.0.0.1:"),
        "{}",
        text()
    );
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!broker.log().contains("SUBACK"), "it is not in the log too");
    assert_eq!(ctl(&["stop-trace", "1"]).code, Some(0));
    let failed = ctl(&["trace", "--user", "u", "--file", "/nonexistent/trace"]);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.stderr.contains("/nonexistent/trace cannot be opened"),
        "{}",
        failed.stderr
    );
}
