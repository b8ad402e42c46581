//! Clients with identifiers as long as MQTT allows: operators find them, see them and end them.

use std::path::Path;

use serde_json::Value;

use crate::harness::api::{get_json, list, operate, start_with_api};
use crate::harness::http::{ask, request};
use crate::harness::{Client, Options, Setup, eventually, run};

/// The longest identifiers, of text that needs percent-encoding and of text that needs none.
fn longest() -> [String; 3] {
    [
        "B".repeat(65_535),
        format!("{}a", "\u{e9}".repeat(32_767)),
        "\u{e9}".repeat(1400),
    ]
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn clients_with_long_identifiers_are_shown_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock").display().to_string();
    let setup = Setup::default().global(&format!("control_socket {socket}"));
    let (broker, port) = start_with_api(setup, 2, "");
    eventually("the socket is there", || Path::new(&socket).exists());
    for name in longest() {
        let options = Options::new(&name).v5().session_expiry_s(100);
        let mut client = Client::connect(&broker, &options);
        client.ping();
        let path = format!("sessions/{}", encoded(&name));
        assert_eq!(get_json(port, &path)["client_id"], *name);
        let disconnect = format!("clients/{}/disconnect", encoded(&name));
        assert_eq!(operate(port, "POST", &disconnect, "", "{}").0, "200");
        assert!(client.expect_closed().0.is_some());
        let events = list(port, &format!("events?client={}", encoded(&name)), 10);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["reason"], "operator");
        let ctl = |action: &str| run(&["ctl", "--socket", &socket, "--json", action, &name]);
        let shown: Value = serde_json::from_str(&ctl("session").stdout).unwrap();
        assert_eq!(shown["client_id"], *name);
        for (action, code) in [("end-session", 0), ("end-session", 1)] {
            let ended = ctl(action);
            assert_eq!(ended.code, Some(code), "{}", ended.stderr);
            assert!(
                code == 0 || ended.stderr.contains("there is no session"),
                "{}",
                ended.stderr
            );
        }
    }
}

/// What is no request gets JSON with what is wrong and what to do, as the document describes it.
#[test]
fn requests_that_are_none_are_answered_in_json() {
    let (_broker, port) = start_with_api(Setup::default(), 1, "");
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(300_000));
    for (asked, status, sentence) in [
        ("GET / HTTP/1.1\r\n\r\n", "400", "no Host field; fix: send one"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "400",
            "several Host fields; fix: send one",
        ),
        ("GET\r\n\r\n", "400", "malformed; fix: "),
        (
            &long,
            "431",
            "too long; fix: send fewer or shorter fields, or a shorter path",
        ),
        (
            &request("GET", "/nothing"),
            "404",
            "/api/v1/openapi.json lists the paths",
        ),
        (
            &request("POST", "/nothing"),
            "404",
            "/api/v1/openapi.json lists the paths",
        ),
    ] {
        let answer = ask(port, asked);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let error = body["error"].as_str().unwrap();
        assert!(error.contains(sentence), "{error}");
    }
}

/// A page of events leads to the next one, also where many have the same time.
#[test]
fn events_are_listed_page_by_page() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    for number in 0..9 {
        Client::connect(&broker, &Options::new(&format!("c{number}"))).disconnect();
    }
    let all = || list(port, "events?kind=disconnected", 1000);
    eventually("all have left", || all().len() == 9);
    for limit in [1, 2, 4, 9, 10] {
        assert_eq!(list(port, "events?kind=disconnected", limit), all(), "{limit}");
    }
}
