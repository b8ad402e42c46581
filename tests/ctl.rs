//! `broker ctl` over the control socket.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mqtt::{QoS, ReasonCode};
use serde_json::Value;

use crate::harness::{Broker, Client, Options, Run, Setup, eventually, free_port, program, run};

/// What is printed where no message is retained.
const NO_MESSAGES: &str = "TOPIC  QOS  PAYLOAD_BYTES\n(none)\n";

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
    eventually("it is deleted", || ctl(&["retained", "t/+"]) == NO_MESSAGES);
    assert_eq!(client.message().payload, b"");
    ctl(&["disconnect", "one/two", "--reason", "139"]);
    assert_eq!(client.expect_closed().0, Some(ReasonCode::ServerShuttingDown));
    assert!(ctl(&["session", "one/two"]).contains("connected        false"));
    ctl(&["end-session", "one/two"]);
    let gone = run(&["ctl", "--socket", &socket, "session", "one/two"]);
    assert_eq!(
        (gone.code, gone.stderr.as_str()),
        (
            Some(1),
            "Error: there is no session of this client: `broker ctl sessions`, or GET /api/v1/sessions, lists those \
             that exist\n"
        )
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
        gone.stderr.contains("fix: set `control_socket "),
        "{}",
        gone.stderr
    );
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
    let device = ctl(&["trace", "--user", "u", "--file", "/dev/full"]);
    assert_eq!(device.code, Some(1));
    assert!(
        device
            .stderr
            .contains("it is a device, a pipe or a folder, but a trace needs a regular file"),
        "{}",
        device.stderr
    );
}

/// What the configuration names is not for traces, by whatever path, also if it is empty or not there.
#[test]
fn a_trace_goes_to_no_file_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for name in ["passwords", "acl", "log", "other"] {
        std::fs::write(path(name), "").unwrap();
    }
    for name in ["pages", "store"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::os::unix::fs::symlink(path("acl"), path("link")).unwrap();
    std::os::unix::fs::symlink(path("nothing"), path("dangling")).unwrap();
    let web = free_port();
    let _broker = Setup::default()
        .global(&format!("control_socket {}", path("control")))
        .global(&format!("password_file {}", path("passwords")))
        .global(&format!("acl_file {}", path("acl")))
        .global(&format!("log_dest file {}", path("log")))
        .global(&format!("pid_file {}", path("pid")))
        .global(&format!(
            "persistence true\npersistence_location {}",
            path("store")
        ))
        .listener(&format!("listener {web} 127.0.0.1\nprotocol websockets"))
        .listener(&format!("http_dir {}", path("pages")))
        .start();
    let control = path("control");
    let ctl = |file: &str| run_ctl(&control, &["trace", "--client", "a", "--file", &path(file)]);
    for file in [
        "passwords",
        "acl",
        "link",
        "log",
        "pid",
        "pages/new",
        "store/mosquitto.db",
        "store/mosquitto.db.midge/new",
    ] {
        let refused = ctl(file);
        assert_eq!(refused.code, Some(1), "{file}: {}", refused.stdout);
        assert!(
            refused.stderr.contains("is named in the configuration as ")
                || file.contains('/')
                    && refused
                        .stderr
                        .contains(", which is named in the configuration: choose another"),
            "{file}: {}",
            refused.stderr
        );
    }
    let dangling = ctl("dangling");
    assert_eq!(dangling.code, Some(1), "{}", dangling.stdout);
    for new in [
        "pages/new",
        "store/mosquitto.db",
        "store/mosquitto.db.midge/new",
        "nothing",
    ] {
        assert!(!Path::new(&path(new)).exists(), "{new} was made");
    }
    assert_eq!(std::fs::read_to_string(path("passwords")).unwrap(), "");
    let taken = ctl("other");
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
}

/// The file of a trace is made anew when it was moved away, as that of the log: at SIGHUP and at SIGRTMIN.
#[test]
fn the_file_of_a_trace_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, socket) = with_control(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let file = path("trace");
    assert_eq!(
        run_ctl(&socket, &["trace", "--client", "a", "--file", &file]).code,
        Some(0)
    );
    let mut client = Client::connect(&broker, &Options::new("a"));
    let has = |name: &str, text: &str| {
        let text_of = std::fs::read_to_string(path(name)).unwrap_or_default();
        text_of.contains(text)
    };
    eventually("it is written", || has("trace", "Sending CONNACK"));
    for (number, signal) in ["HUP", "RTMIN"].into_iter().enumerate() {
        let moved = format!("trace.{number}");
        std::fs::rename(&file, path(&moved)).unwrap();
        let kill = format!("kill -{signal} {}", broker.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        eventually("it is there again", || Path::new(&file).exists());
        client.publish(&format!("after/{number}"), b"", QoS::AtLeastOnce);
        eventually("the new one is written", || {
            has("trace", &format!("'after/{number}'"))
        });
        assert!(!has(&moved, &format!("'after/{number}'")));
    }
    // A file that cannot be opened again stays the one of before, and the reload says so.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let failed = run_ctl(&socket, &["reload"]);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed
            .stderr
            .contains("the file of trace 1 stays in effect as it was"),
        "{}",
        failed.stderr
    );
}

/// What the HTTP API has beside lists and actions, `ctl` has too.
#[test]
fn ctl_shows_the_broker_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, socket) = with_control(folder.path());
    let ctl = |arguments: &[&str]| {
        let ran = run_ctl(&socket, arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        ran.stdout
    };
    eventually("it is ready", || run_ctl(&socket, &["health"]).stdout == "ok\n");
    assert_eq!(ctl(&["version"]), format!("{}\n", env!("CARGO_PKG_VERSION")));
    let listeners = ctl(&["listeners"]);
    assert_eq!(
        listeners.split_whitespace().collect::<Vec<_>>()[..7],
        [
            "LISTENER",
            "ADDRESSES",
            "PORT",
            "PROTOCOL",
            "TLS",
            "MTLS",
            "ALLOW_ANONYMOUS"
        ]
    );
    assert!(
        listeners.contains(&broker.port().to_string()) && listeners.contains("mqtt"),
        "{listeners}"
    );
    let json: Value = serde_json::from_str(&ctl(&["--json", "listeners"])).unwrap();
    assert_eq!(json[0]["port"], broker.port());
    assert_eq!(
        json[0]["addresses"],
        serde_json::json!([broker.address().to_string()])
    );
    let figures = ctl(&["sys"]);
    assert!(figures.contains("$SYS/broker/clients/connected "), "{figures}");
}

/// Payloads that are no text are base64, in and out; none is shown that was not asked for.
#[test]
fn payloads_may_be_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, socket) = with_control(folder.path());
    let ctl = |arguments: &[&str]| {
        let ran = run_ctl(&socket, arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        ran.stdout
    };
    let mut client = Client::connect(&broker, &Options::new("a"));
    client.subscribe("t/#", QoS::AtMostOnce);
    ctl(&["publish", "t/bytes", "/wAB", "--base64", "--retain"]);
    assert_eq!(client.message().payload, [0xff, 0, 1]);
    ctl(&["publish", "t/text", "plain words", "--retain"]);
    eventually("both are kept", || {
        ctl(&["retained", "--filter", "t/#"]).lines().count() == 3
    });
    assert!(!ctl(&["retained"]).contains("plain words"));
    let table = ctl(&["retained", "--filter", "t/#", "--payloads"]);
    assert!(table.contains("plain words") && table.contains("/wAB"), "{table}");
    let long = "x".repeat(40_000);
    for number in 0..60 {
        client.publish_retained(&format!("long/{number}"), long.as_bytes(), QoS::AtLeastOnce);
    }
    let listed = ctl(&["--json", "retained", "--filter", "long/+", "--payloads"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.len(), 60, "in several parts");
    assert!(listed.iter().all(|message| message["payload"] == long.as_str()));
    // All that a filter matches are deleted, and no others.
    assert_eq!(
        ctl(&["delete-retained", "--filter", "long/+"]).lines().count(),
        61
    );
    eventually("they are deleted", || ctl(&["retained", "long/+"]) == NO_MESSAGES);
    assert_eq!(ctl(&["retained", "--filter", "t/#"]).lines().count(), 3);
}

/// An answer that cannot be written is no success.
#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, socket) = with_control(folder.path());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = Command::new(program())
        .args(["ctl", "--socket", &socket, "clients"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(1));
    let error = String::from_utf8(ran.stderr).unwrap();
    assert!(error.contains("Error: the answer cannot be written: "), "{error}");
}

/// Requests beyond the bound are answered, and counted.
#[test]
fn requests_without_room_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, socket) = with_control(folder.path());
    // They ask for nothing, so each of them has a thread or waits for one.
    let connect = |_| UnixStream::connect(&socket).unwrap();
    let mut silent: Vec<_> = (0..80).map(connect).collect();
    // The threads have taken theirs by then.
    std::thread::sleep(Duration::from_millis(300));
    silent.extend((0..20).map(connect));
    let mut answer = String::new();
    let _reset = silent.last_mut().unwrap().read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    let ran = run_ctl(&socket, &["clients"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("try again") && !ran.stderr.contains("control_socket"),
        "{}",
        ran.stderr
    );
    drop(silent);
    let count = || {
        let page = run_ctl(&socket, &["metrics"]).stdout;
        let line = page
            .lines()
            .find(|line| line.starts_with("midge_api_requests_refused"));
        line.is_some_and(|line| !line.ends_with(" 0"))
    };
    eventually("they are counted", count);
    assert!(broker.log().contains("was turned away"));
}

/// The client that publishes costs more than those that do nothing; nothing is measured before somebody asks.
#[test]
fn cpu_time_by_client() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, socket) = with_control(folder.path());
    let mut quiet = Client::connect(&broker, &Options::new("quiet"));
    let mut busy = Client::connect(&broker, &Options::new("busy"));
    busy.subscribe("t", QoS::AtMostOnce);
    let ask = || {
        let ran = run_ctl(&socket, &["--json", "top", "--seconds", "1"]);
        let items: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
        items
    };
    let cpu_before = broker.cpu_ticks();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let items = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for _ in 0..50 {
                    busy.publish("t", &[b'x'; 1000], QoS::AtMostOnce);
                }
                assert_eq!(busy.payloads(50).len(), 50);
                quiet.ping();
            }
        });
        let items = ask();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        items
    });
    let cpu_s = (broker.cpu_ticks() - cpu_before) as f64 / 100.0;
    let of = |name: &str| {
        let item = items.iter().find(|item| item["client_id"] == name);
        item.map_or(0.0, |item| item["cpu_s"].as_f64().unwrap())
    };
    assert_eq!(items[0]["client_id"], "busy", "{items:?}");
    assert!(of("busy") > of("quiet") && of("quiet") > 0.0, "{items:?}");
    assert!(of("busy") + of("quiet") <= cpu_s + 0.02, "{items:?} of {cpu_s}");
    assert!(items[0]["cores"].as_f64().unwrap() < 1.1, "{items:?}");
}

/// Options may stand before the command or behind it, what a list is about needs no option, and a list of nothing
/// shows that it is empty.
#[test]
fn ctl_takes_what_other_tools_take() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, socket) = with_control(folder.path());
    let ctl = |arguments: &[&str]| {
        let ran = run_ctl(&socket, arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        ran.stdout
    };
    let mut client = Client::connect(&broker, &Options::new("one"));
    client.subscribe("a/#", QoS::AtMostOnce);
    client.publish_retained("a/b", b"1", QoS::AtLeastOnce);
    let behind = run(&["ctl", "retained", "a/#", "--json", "--socket", &socket]);
    assert_eq!(behind.stdout, ctl(&["--json", "retained", "--filter", "a/#"]));
    assert!(behind.stdout.contains("\"topic\": \"a/b\""), "{}", behind.stdout);
    assert_eq!(ctl(&["retained", "b/#"]), NO_MESSAGES);
    assert_eq!(ctl(&["retained", "b/#", "--json"]), "[]\n");
    assert_eq!(ctl(&["subscriptions", "a/#"]).lines().count(), 2);
    assert_eq!(ctl(&["clients", "on"]).lines().count(), 2);
    let none = ctl(&["clients", "two"]);
    assert!(
        none.starts_with("CLIENT_ID  USER ") && none.ends_with("\n(none)\n"),
        "{none}"
    );
    assert_eq!(
        ctl(&["traces"]),
        "TRACE  CLIENT_ID  USER  ADDRESS  FILE\n(none)\n"
    );
    let _another = Client::connect(&broker, &Options::new("another"));
    for (list, limited) in [
        ("clients", 1),
        ("sessions", 1),
        ("subscriptions", 1),
        ("retained", 1),
    ] {
        let rows = ctl(&[list, "--limit", "1"]).lines().count();
        assert_eq!(rows, 1 + limited, "{list}");
    }
    assert!(ctl(&["clients", "--slow"]).ends_with("\n(none)\n"));
    ctl(&["disconnect", "another", "--reason", "0x8B"]);
    let ended = ctl(&["events", "--client", "another"]);
    assert!(ended.contains("reason code 139"), "{ended}");
    let top = ctl(&["top", "--seconds", "1"]);
    assert!(top.contains("all clients together took "), "{top}");
    for (arguments, why) in [
        (&["retained", "a/#", "--filter", "a/#"][..], "cannot be used with"),
        (&["trace"], "<--client <ID>|--user <NAME>|--address <IP>>"),
        (&["trace", "--client", "a", "--user", "b"], "cannot be used with"),
        (&["stop-trace", "x"], "`broker ctl traces` shows"),
        (&["disconnect", "one", "--reason", "bye"], "such as 152 or 0x98"),
        (&["clients", "--limit", "0"], "--limit"),
    ] {
        let refused = run_ctl(&socket, arguments);
        assert_eq!(refused.code, Some(3), "{arguments:?}");
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}
