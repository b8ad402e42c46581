//! Secrets: passwords, hashes, data of AUTH and payloads are planted, and looked for in everything that comes out.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mqtt::QoS;

use crate::harness::api::start_with_api;
use crate::harness::http::ask;
use crate::harness::{Broker, Client, Options, Setup, eventually, program, run};

/// What must not be seen, each in its own place.
const PASSWORD: &str = "planted-password";
const WRONG: &str = "planted-wrong";
const OPERATOR: &str = "planted-operator";
const OPERATOR_WRONG: &str = "planted-misspelt";
const WILL: &str = "planted-will";
const PAYLOAD: &str = "planted-payload";
const RETAINED: &str = "planted-retained";

/// Everything that the broker says, with all of its log, a trace, the API, the metrics and `$SYS`.
#[test]
fn secrets_are_nowhere() {
    for format in ["", "log_format json"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let passwords = path("passwords");
        std::fs::write(&passwords, "").unwrap();
        for (user, password) in [("user", PASSWORD), ("operator", OPERATOR)] {
            assert_eq!(run(&["passwd", "-b", &passwords, user, password]).code, Some(0));
        }
        let hashes = std::fs::read_to_string(&passwords).unwrap();
        let setup = Setup::default()
            .global("log_type all")
            .global("log_dest stderr")
            .global("log_dest topic")
            .global(&format!("log_dest file {}", path("log")))
            .global(&format!("control_socket {}", path("control")))
            .global(&format!("password_file {passwords}"))
            .global("allow_anonymous true")
            .global("client_events true")
            .global("sys_interval 1")
            .global(format);
        let (broker, port) = start_with_api(setup, 2, "");
        let mut watcher = Client::connect(&broker, &Options::new("watcher").user("user", PASSWORD));
        watcher.subscribe("$SYS/#", QoS::AtMostOnce);
        let trace = [
            "ctl",
            "--socket",
            &path("control"),
            "trace",
            "--address",
            "127.0.0.1",
        ];
        assert_eq!(
            run(&[&trace[..], &["--file", &path("trace")]].concat()).code,
            Some(0)
        );
        use_all(&broker, port);
        let mut seen = broker.log();
        seen.push_str(&everything_of_the_api(port));
        seen.push_str(&titles(broker.pid()));
        eventually("the round of $SYS has come", || {
            let message = watcher.message();
            seen.push_str(&format!(
                "{} {}\n",
                message.topic,
                String::from_utf8_lossy(&message.payload)
            ));
            message.topic.ends_with("/uptime")
        });
        for name in ["log", "trace"] {
            let text = read(&folder.path().join(name));
            assert!(text.contains("PUBLISH"), "{name}: {text}");
            seen.push_str(&text);
        }
        assert!(seen.contains("PUBLISH") && seen.contains("midge_sessions"));
        expect_nothing_of(&seen, &hashes);
    }
}

/// None of what was planted is there, and no hash of the file.
fn expect_nothing_of(seen: &str, hashes: &str) {
    let hashes = hashes
        .lines()
        .flat_map(|line| line.rsplit('$').next().map(str::to_owned));
    let encoded = [OPERATOR, OPERATOR_WRONG].map(|secret| login("operator", secret));
    let planted = [PASSWORD, WRONG, OPERATOR, OPERATOR_WRONG, WILL, PAYLOAD, RETAINED];
    for secret in planted
        .iter()
        .map(|&text| text.to_owned())
        .chain(hashes)
        .chain(encoded)
    {
        assert!(secret.len() > 8);
        let at = seen.find(&secret);
        let around = at.map(|at| {
            seen[at.saturating_sub(200)..]
                .chars()
                .take(400)
                .collect::<String>()
        });
        assert_eq!(around, None, "{secret}");
    }
}

/// Uses every secret: right and wrong passwords, a Will, payloads, what is too long and what is malformed.
fn use_all(broker: &Broker, port: u16) {
    let options = Options::new("client").v5().user("user", PASSWORD).will(
        "will",
        WILL.as_bytes(),
        QoS::AtLeastOnce,
        false,
    );
    let mut client = Client::connect(broker, &options);
    client.subscribe("#", QoS::AtLeastOnce);
    client.publish("t", PAYLOAD.as_bytes(), QoS::AtLeastOnce);
    client.publish_retained("kept", RETAINED.as_bytes(), QoS::AtLeastOnce);
    assert_eq!(client.payloads(2).len(), 2);
    let (_refused, answer) = Client::try_connect(broker, &Options::new("b").user("user", WRONG));
    assert!(answer.is_some());
    // A CONNECT that ends behind the password.
    let mut broken = Client::open(broker);
    let mut connect = Options::new("broken").user("user", WRONG).encode();
    connect[1] += 1;
    connect.push(0);
    broken.send(&connect);
    broken.expect_closed();
    client.cut();
    let wrong = login("operator", OPERATOR_WRONG);
    let refused = ask(
        port,
        &format!("GET /api/v1/clients HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {wrong}\r\n\r\n"),
    );
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert!(!refused.contains(OPERATOR_WRONG) && !refused.contains(&wrong));
}

/// The answers to all that can be looked at.
fn everything_of_the_api(port: u16) -> String {
    let login = login("operator", OPERATOR);
    let paths = [
        "/metrics",
        "/dashboard/",
        "/api/v1/clients",
        "/api/v1/sessions",
        "/api/v1/sessions/client",
        "/api/v1/subscriptions",
        "/api/v1/retained",
        "/api/v1/events",
        "/api/v1/traces",
        "/api/v1/cpu",
        "/api/v1/listeners",
        "/api/v1/systree",
        "/api/v1/nothing",
    ];
    let asked = paths.iter().map(|path| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {login}\r\n\r\n");
        ask(port, &request)
    });
    let answers: String = asked.collect();
    assert!(answers.contains("\"client_id\": \"watcher\""), "{answers}");
    answers
}

/// The command line of the process, and the names of its threads.
fn titles(pid: u32) -> String {
    let mut titles = read(Path::new(&format!("/proc/{pid}/cmdline")));
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        titles.push_str(&read(&thread.unwrap().path().join("comm")));
    }
    titles
}

fn login(user: &str, password: &str) -> String {
    BASE64_STANDARD.encode(format!("{user}:{password}"))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A password that is asked for is read from standard input, and is in no title and in no message.
#[test]
fn a_new_password_is_nowhere_but_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwords").display().to_string();
    let mut child = std::process::Command::new(program())
        .args(["passwd", "-c", &path, "user"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let seen = titles(child.id());
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(format!("{PASSWORD}\n{PASSWORD}\n").as_bytes())
        .unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let seen = seen
        + &String::from_utf8_lossy(&output.stdout)
        + &String::from_utf8_lossy(&output.stderr)
        + &std::fs::read_to_string(&path).unwrap();
    assert!(!seen.contains(PASSWORD), "{seen}");
}

/// A password on the command line is overwritten there while it is still being computed.
#[test]
fn a_password_of_the_command_line_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwords").display().to_string();
    let mut child = std::process::Command::new(program())
        .args([
            "passwd",
            "-c",
            "-b",
            &path,
            "user",
            PASSWORD,
            "-H",
            "sha512-pbkdf2",
            "-I",
            "4000000",
        ])
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    while child.try_wait().unwrap().is_none() {
        seen.push(titles(child.id()));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    let has = |title: &String| title.contains("sha512-pbkdf2");
    let hidden = seen
        .iter()
        .position(|title| has(title) && !title.contains(PASSWORD));
    // Until the program has begun it is there.
    let hidden = hidden.unwrap_or_else(|| panic!("{seen:?}"));
    assert!(!seen[hidden..].concat().contains(PASSWORD), "{seen:?}");
}
