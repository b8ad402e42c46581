//! Traces of clients: what they show, where they go, and what they take no notice of.

use std::path::Path;

use mqtt::QoS;

use crate::harness::api::{list, operate, start_with_api};
use crate::harness::{Broker, Client, Options, Run, Setup, eventually, run};

fn ctl(socket: &str, arguments: &[&str]) -> Run {
    run(&[&["ctl", "--socket", socket], arguments].concat())
}

/// A broker with a control socket in this folder.
fn with_control(folder: &Path, setup: Setup) -> (Broker, String) {
    let socket = folder.join("control.sock").display().to_string();
    let broker = setup.global(&format!("control_socket {socket}")).start();
    eventually("the socket is there", || Path::new(&socket).exists());
    (broker, socket)
}

/// Whatever a trace shows first, its file is known as one of traces: it is opened anew, and taken again.
#[test]
fn a_trace_that_begins_with_a_drop_is_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::default().global("max_queued_messages 2");
    let (broker, socket) = with_control(folder.path(), setup);
    let mut away = Client::connect(&broker, &Options::new("away").persistent());
    away.subscribe("t/#", QoS::AtLeastOnce);
    away.disconnect();
    let mut client = Client::connect(&broker, &Options::new("someone"));
    let mut flood = || (0..5).for_each(|_| client.publish("t/x", b"", QoS::AtLeastOnce));
    flood();
    let file = folder.path().join("trace").display().to_string();
    let trace = ["trace", "--client", "away", "--file", &file];
    assert_eq!(ctl(&socket, &trace).code, Some(0));
    flood();
    let text = || std::fs::read_to_string(&file).unwrap();
    eventually("it begins with a drop", || {
        text().contains(": Dropped PUBLISH to away")
    });
    assert!(
        !text().contains(" Received ") && !text().contains(" Sending "),
        "{}",
        text()
    );
    let reloaded = ctl(&socket, &["reload"]);
    assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
    assert_eq!(ctl(&socket, &["stop-trace", "1"]).code, Some(0));
    let again = ctl(&socket, &trace);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
}

/// A client that neither sends nor gets anything while its user is traced leaves all the same, or is sent away.
#[test]
fn a_trace_of_a_user_has_the_end_of_a_quiet_connection() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords").display().to_string();
    let made = run(&["passwd", "-b", "-c", "-H", "sha512", &passwords, "alice", "right"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    for shards in [1, 2] {
        let setup = Setup::default()
            .global("log_type error\nper_listener_settings true")
            .listener(&format!("password_file {passwords}"));
        let (broker, port) = start_with_api(setup, shards, "");
        let connect = |name: &str| {
            let mut client = Client::connect(&broker, &Options::new(name).v5().user("alice", "right"));
            client.ping();
            client
        };
        let (gone, _sent_away) = (connect("gone"), connect("sent_away"));
        let (status, _) = operate(port, "POST", "traces", "", "{\"user\": \"alice\"}");
        assert_eq!(status, "200");
        gone.cut();
        assert_eq!(
            operate(port, "POST", "clients/sent_away/disconnect", "", "{}").0,
            "200"
        );
        for line in [
            "Ended gone at 127.0.0.1:",
            "Sending DISCONNECT to sent_away (rc152)",
            "Ended sent_away at ",
        ] {
            eventually(line, || broker.log().contains(line));
        }
    }
}

/// A page of traces leads to the next one.
#[test]
fn traces_are_listed_page_by_page() {
    let (_broker, port) = start_with_api(Setup::default(), 1, "");
    for number in 0..16 {
        let body = format!("{{\"client_id\": \"c{number}\"}}");
        assert_eq!(operate(port, "POST", "traces", "", &body).0, "200");
    }
    for limit in [1, 2, 5, 16, 17] {
        let traces = list(port, "traces", limit);
        let numbers: Vec<_> = traces
            .iter()
            .map(|trace| trace["trace"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (1..=16).collect::<Vec<_>>(), "{limit}");
    }
}

/// A trace that nobody would see is refused, and what to do is said.
#[test]
fn a_trace_in_a_log_that_shows_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (log, is_shown) in [
        ("log_dest topic", false),
        ("log_dest none", false),
        ("log_type none", false),
        ("log_dest topic\nlog_dest stderr\nlog_type error", true),
    ] {
        let (_broker, socket) = with_control(folder.path(), Setup::default().global(log));
        let started = ctl(&socket, &["trace", "--client", "a"]);
        assert_eq!(
            started.code,
            Some(i32::from(!is_shown)),
            "{log}: {}",
            started.stderr
        );
        assert!(
            is_shown || started.stderr.contains("use `broker ctl trace --file`"),
            "{}",
            started.stderr
        );
        let file = folder.path().join("trace").display().to_string();
        let in_file = ctl(&socket, &["trace", "--client", "a", "--file", &file]);
        assert_eq!(in_file.code, Some(0), "{log}: {}", in_file.stderr);
    }
}
