//! Bans of operators, and clients that come and go too often.

use std::path::Path;

use mqtt::ReasonCode;
use serde_json::{Value, json};

use crate::harness::api::{get_json, metric, operate, start_with_api};
use crate::harness::{Broker, Client, Options, Received, Run, Setup, eventually, free_port, run};

/// The answer to a CONNECT; nothing if the broker closed.
fn answer(broker: &Broker, options: &Options) -> Option<ReasonCode> {
    let (_, answer) = Client::try_connect(broker, options);
    match answer.as_ref().map(Received::packet) {
        Some(mqtt::Packet::ConnAck(connack)) => Some(connack.reason),
        None => None,
        other => panic!("no CONNACK but {other:?}"),
    }
}

fn ban(port: u16, body: &Value) -> Value {
    let (status, answer) = operate(port, "POST", "bans", "", &body.to_string());
    assert_eq!(status, "200", "{answer}");
    answer
}

#[test]
fn a_client_that_is_banned_is_ended_and_refused_until_it_is_not() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    let options = Options::new("noisy").v5();
    let mut noisy = Client::connect(&broker, &options);
    let mut other = Client::connect(&broker, &Options::new("other"));
    let banned = ban(port, &json!({ "client_id": "noisy", "reason": "noise" }));
    assert_eq!(banned["disconnected"], 1);
    assert_eq!(noisy.expect_closed().0, Some(ReasonCode::AdministrativeAction));
    other.ping();
    assert_eq!(answer(&broker, &options), Some(ReasonCode::Banned));
    // In 3.1.1 that is code 5.
    assert_eq!(
        answer(&broker, &Options::new("noisy")),
        Some(ReasonCode::NotAuthorized)
    );
    let bans = get_json(port, "bans");
    assert_eq!(bans["items"][0]["client_id"], "noisy");
    assert_eq!(bans["items"][0]["reason"], "noise");
    assert_eq!(bans["items"][0]["seconds_left"], Value::Null);
    let (status, _) = operate(port, "DELETE", "bans?client_id=noisy", "", "");
    assert_eq!(status, "200");
    assert_eq!(answer(&broker, &options), Some(ReasonCode::Success));
    assert!(metric(port, "midge_connects_refused_total{reason=\"banned\"}") >= 1.0);
}

#[test]
fn users_and_addresses_are_banned_too_and_bans_end() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    let mut staying = Client::connect(&broker, &Options::new("staying"));
    let mut leaving = Client::connect(&broker, &Options::new("leaving"));
    let banned = ban(port, &json!({ "user": "eve", "seconds": 1 }));
    assert_eq!(banned["disconnected"], 0);
    let eve = Options::new("e").v5().user("eve", "x");
    let refused = answer(&broker, &eve);
    assert!(
        matches!(refused, Some(ReasonCode::Banned | ReasonCode::Success)),
        "{refused:?}"
    );
    eventually("the ban ends", || {
        answer(&broker, &eve) == Some(ReasonCode::Success)
    });
    assert_eq!(get_json(port, "bans")["items"], json!([]));

    let banned = ban(port, &json!({ "address": "127.0.0.1" }));
    assert_eq!(banned["disconnected"], 2);
    staying.expect_closed();
    leaving.expect_closed();
    assert_eq!(answer(&broker, &Options::new("new")), None, "closed at accept");
    let (status, _) = operate(port, "DELETE", "bans?address=127.0.0.1", "", "");
    assert_eq!(status, "200");
    assert_eq!(answer(&broker, &Options::new("new")), Some(ReasonCode::Success));
}

fn ctl(socket: &Path, arguments: &[&str]) -> Run {
    run(&[&["ctl", "--socket", socket.to_str().unwrap()], arguments].concat())
}

#[test]
fn bans_are_kept_over_a_restart_where_there_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let setup = Setup::default()
        .global(&format!("bans_file {}", path("bans").display()))
        .global(&format!("control_socket {}", path("control").display()));
    let port = free_port();
    let broker = setup.start_at(port);
    let socket = path("control");
    let done = |arguments: &[&str]| {
        let ran = ctl(&socket, arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        ran.stdout
    };
    done(&["ban", "--client", "a", "--for", "1h", "--reason", "too loud"]);
    done(&["ban", "--user", "u"]);
    done(&["ban", "--client", "b"]);
    done(&["unban", "--client", "b"]);
    assert_eq!(answer(&broker, &Options::new("a").v5()), Some(ReasonCode::Banned));
    let not_there = ctl(&socket, &["unban", "--client", "b"]);
    assert_eq!(not_there.code, Some(1));
    assert!(not_there.stderr.contains("not banned"), "{}", not_there.stderr);
    assert_eq!(
        ctl(&socket, &["ban", "--client", "x", "--for", "soon"]).code,
        Some(3)
    );
    drop(broker);

    let broker = setup.start_at(port);
    assert_eq!(answer(&broker, &Options::new("a").v5()), Some(ReasonCode::Banned));
    assert_eq!(
        answer(&broker, &Options::new("b").v5()),
        Some(ReasonCode::Success)
    );
    let listed = done(&["bans"]);
    assert!(
        listed.contains("too loud") && listed.lines().count() == 3,
        "{listed}"
    );
    drop(broker);

    std::fs::write(path("bans"), "{").unwrap();
    let (status, log) = setup.start_in_vain();
    assert!(!status.success());
    assert!(log.contains("bans_file") && log.contains("move it away"), "{log}");
}

#[test]
fn a_client_that_comes_and_goes_is_banned_for_a_while() {
    let setup = Setup::default()
        .global("flapping_connects 5")
        .global("flapping_window 600")
        .global("flapping_ban 600");
    let (broker, port) = start_with_api(setup, 2, "");
    let options = Options::new("flapping").v5();
    for _ in 0..5 {
        Client::connect(&broker, &options).disconnect();
    }
    let mut sixth = Client::connect(&broker, &options);
    assert_eq!(sixth.expect_closed().0, Some(ReasonCode::AdministrativeAction));
    assert_eq!(answer(&broker, &options), Some(ReasonCode::Banned));
    Client::connect(&broker, &Options::new("calm")).ping();
    let bans = get_json(port, "bans");
    assert_eq!(bans["items"][0]["client_id"], "flapping");
    assert_eq!(bans["items"][0]["automatic"], true);
    assert!(broker.log().contains("flapping_connects"), "{}", broker.log());
}
