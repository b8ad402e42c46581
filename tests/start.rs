//! The start: what is refused, with which exit code, and what is said about it.

use std::fs::Permissions;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use mqtt::QoS;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually, free_port, run};

/// A configuration file in a folder of its own.
fn configuration(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.conf");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn a_wrong_configuration_is_refused_with_file_and_line() {
    let (_folder, path) = configuration("listener 1883\n\nallow_anonymus true\nmax_qos 9\n");
    for arguments in [vec!["-c", &path], vec!["-c", &path, "--test-config"]] {
        let ended = run(&arguments);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        let unknown = format!("{path}:3: unknown key allow_anonymus: did you mean allow_anonymous?");
        assert!(ended.stderr.contains(&unknown), "{}", ended.stderr);
        assert!(
            ended
                .stderr
                .contains(&format!("{path}:4: max_qos 9: must be 0 to 2")),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let ended = run(&["-c", "/nonexistent/broker.conf"]);
    assert_eq!(ended.code, Some(3));
    assert!(
        ended
            .stderr
            .contains("/nonexistent/broker.conf: cannot be read: No such file"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_wrong_command_line_is_refused() {
    for arguments in [vec!["--shards", "0"], vec!["-p", "x"], vec!["--unknown"]] {
        let ended = run(&arguments);
        assert_eq!(ended.code, Some(3), "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty());
    }
}

#[test]
fn help_and_version() {
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for option in [
        "--config-file",
        "--port",
        "--verbose",
        "--shards",
        "--test-config",
    ] {
        assert!(help.stdout.contains(option), "{option}");
    }
    assert!(run(&["--version"]).stdout.starts_with("broker "));
}

#[test]
fn the_effective_configuration_is_printed() {
    let (_folder, path) = configuration("max_queued_messages 7\nlistener 1885 127.0.0.1\nmax_qos 1\n");
    let ended = run(&["-c", &path, "--test-config", "--shards", "3"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for line in [
        "# shards: 3",
        "max_queued_messages 7",
        "listener 1885 127.0.0.1",
        "max_qos 1",
        "allow_anonymous false",
    ] {
        assert!(
            ended.stdout.lines().any(|printed| printed == line),
            "{line}\n{}",
            ended.stdout
        );
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (_folder, path) = configuration(&format!("listener {port} 127.0.0.1\n"));
    let ended = run(&["-c", &path, "--shards", "1"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains(&format!("127.0.0.1:{port}")),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("another program"), "{}", ended.stderr);
}

/// Where no file can be is found by `--test-config` as by a start, and the sentence has what to do about that.
#[test]
fn paths_that_cannot_be_used_are_found_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let served = path("served");
    std::fs::write(path("file"), "").unwrap();
    let _serving = Setup::default()
        .global(&format!("control_socket {served}"))
        .start();
    eventually("it serves", || std::path::Path::new(&served).exists());
    let (folder, long) = (path(""), path(&"x".repeat(120)));
    for (line, tested, started) in [
        (
            format!("log_dest file {folder}"),
            "this is a folder; fix: name a file in it",
            "Is a directory",
        ),
        (
            format!("pid_file {folder}"),
            "this is a folder; fix: name a file in it",
            "Is a directory",
        ),
        (
            format!("control_socket {folder}"),
            "a folder is at this path; fix: choose another path",
            "a folder is at this path; fix: ",
        ),
        (
            format!("control_socket {}", path("file")),
            "a file of another kind is at this path; fix: choose another path",
            "a file of another kind is at this path; fix: ",
        ),
        (
            format!("control_socket {long}"),
            " bytes; fix: choose one of 107 at most",
            "choose one of 107 at most",
        ),
        // It may be the broker that this is the configuration of.
        (
            format!("control_socket {served}"),
            "",
            "another broker uses it; fix: stop that broker",
        ),
    ] {
        let (_folder, path) = configuration(&format!("{line}\nlistener {} 127.0.0.1\n", free_port()));
        let ended = run(&["-c", &path, "--test-config"]);
        let code = if tested.is_empty() { 0 } else { 3 };
        assert_eq!(ended.code, Some(code), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains(tested), "{line}: {}", ended.stderr);
        let ended = run(&["-c", &path, "--shards", "1"]);
        assert_ne!(ended.code, Some(0), "{line}");
        assert!(ended.stderr.contains(started), "{line}: {}", ended.stderr);
        assert!(
            !ended.stderr.contains("make its folder") || line.starts_with("pid"),
            "{}",
            ended.stderr
        );
    }
}

/// Who starts a broker sees why it does not start, wherever the log goes.
#[test]
fn a_start_that_fails_says_so_on_the_terminal_too() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (folder, path) = configuration("");
    let log = folder.path().join("log");
    let text = format!("listener {port} 127.0.0.1\nlog_dest file {}\n", log.display());
    std::fs::write(&path, text).unwrap();
    let ended = run(&["-c", &path, "--shards", "1"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for text in [&ended.stderr, &std::fs::read_to_string(&log).unwrap()] {
        assert!(text.contains("another program"), "{text}");
    }
}

#[test]
fn a_tested_configuration_can_be_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for other in ["one", "other"] {
        assert_eq!(run(&["certs", &path(other)]).code, Some(0));
    }
    std::fs::write(path("garbage"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let (garbage, one, other) = (path("garbage"), path("one"), path("other"));
    let tls = |certificate: &str, key: &str| {
        format!("listener 1 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n")
    };
    let configuration = path("c");
    for (text, finding) in [
        (tls(&garbage, &format!("{one}/server.key")), "garbage"),
        (
            tls(&format!("{one}/server.crt"), &format!("{other}/server.key")),
            "other/server.key",
        ),
        (
            "listener 1 192.0.2.1\n".to_owned(),
            "does not have the address 192.0.2.1",
        ),
        (
            "listener 1\nbind_interface none0\n".to_owned(),
            "bind_interface none0: there is no such interface",
        ),
        (
            "listener 1\nlistener 1\n".to_owned(),
            "already used by the listener of",
        ),
        (
            "pid_file /nonexistent/pid\n".to_owned(),
            "the folder /nonexistent does not exist",
        ),
        (
            "control_socket /nonexistent/socket\n".to_owned(),
            "the folder /nonexistent does not exist",
        ),
        (
            "log_dest file /nonexistent/log\n".to_owned(),
            "the folder /nonexistent does not exist",
        ),
    ] {
        std::fs::write(&configuration, &text).unwrap();
        let ended = run(&["-c", &configuration, "--test-config"]);
        assert_eq!(ended.code, Some(3), "{text}: {}", ended.stderr);
        assert!(ended.stderr.contains(finding), "{text}: {}", ended.stderr);
    }
    let good = tls(&format!("{one}/server.crt"), &format!("{one}/server.key"));
    std::fs::write(&configuration, format!("{good}retry_interval 5\n")).unwrap();
    let ended = run(&["-c", &configuration, "--test-config"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("Warning: ") && ended.stderr.contains("retry_interval has no effect"),
        "{}",
        ended.stderr
    );
}

/// Whatever a start warns of, `--test-config` warns of too.
#[test]
fn a_test_prints_each_warning_of_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("mosquitto.db"), "").unwrap();
    std::fs::write(path("passwords"), "").unwrap();
    std::fs::set_permissions(path("passwords"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(&["certs", &path("tls")]).code, Some(0));
    let port = free_port();
    let text = format!(
        "per_listener_settings true\nuser root\nretry_interval 5\npersistence true\nautosave_interval 5\n\
         persistence_location {}\nlistener {} 0.0.0.0\nprotocol http_api\nlistener {} 127.0.0.1\ncertfile \
         {tls}/server.crt\nkeyfile {tls}/server.key\nlistener {port} 127.0.0.1\npassword_file {}\n",
        folder.path().display(),
        free_port(),
        free_port(),
        path("passwords"),
        tls = path("tls"),
    );
    std::fs::write(path("c"), &text).unwrap();
    let tested = run(&["-c", &path("c"), "--test-config"]);
    assert_eq!(tested.code, Some(0), "{}", tested.stderr);
    let tested: Vec<_> = tested
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("Warning: "))
        .map(str::to_owned)
        .collect();
    let started = started(&path("c"), port);
    let started: Vec<_> = started
        .lines()
        .filter_map(|line| Some(line.split_once("Warning: ")?.1.trim_end_matches('.').to_owned()))
        .collect();
    for of in [
        "mosquitto.db",
        "autosave",
        "http_api",
        "there is neither cafile nor capath",
        "chmod 0600",
        "retry_interval",
    ] {
        assert!(
            started.iter().any(|warning| warning.contains(of)),
            "{of}: {started:?}"
        );
    }
    for warning in &started {
        let is_printed = tested
            .iter()
            .any(|printed| printed.trim_end_matches('.') == warning);
        assert!(is_printed, "{warning}\n{tested:?}");
    }
}

/// The log of a broker until it answers at that port.
fn started(configuration: &str, port: u16) -> String {
    let mut broker = Command::new(crate::harness::program())
        .args(["-c", configuration, "--shards", "1"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    kill_process(Pid::from_child(&broker), Signal::TERM).unwrap();
    broker.wait().unwrap();
    let mut log = String::new();
    broker.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    broker.stdout.take().unwrap().read_to_string(&mut log).unwrap();
    log
}

/// What would refuse a start because of the store.
#[test]
fn a_folder_that_cannot_be_the_stores_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().display().to_string();
    let store = folder.path().join("mosquitto.db.midge");
    let (_configuration, path) = configuration(&format!(
        "user root\npersistence true\npersistence_location {location}\nlistener {} 127.0.0.1\n",
        free_port()
    ));
    let tested = |arguments: &[&str]| run(&[&["-c", &path, "--test-config"], arguments].concat());
    assert_eq!(tested(&[]).code, Some(0), "it is made");
    assert!(!store.exists(), "but not by a test");
    std::fs::write(&store, "").unwrap();
    let refused = tested(&[]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("mosquitto.db.midge is not a folder"),
        "{}",
        refused.stderr
    );
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    // Magic, version 9 and their CRC-32C.
    let segment = [b"MIDGELOG\x09\0\0\0".as_slice(), &[39, 185, 4, 202]].concat();
    std::fs::write(store.join("00000001.segment"), segment).unwrap();
    let refused = tested(&[]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("has format 9"), "{}", refused.stderr);
}

#[test]
fn a_second_broker_on_a_port_is_refused() {
    let broker = Broker::start();
    let (_folder, path) = configuration(&format!("listener {} 127.0.0.1\n", broker.port()));
    let ended = run(&["-c", &path, "--shards", "1"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

/// The kernel takes a ring apart after its process has ended, and with it what the ring knew of the listening socket.
#[test]
fn a_broker_may_follow_another_at_once() {
    let port = free_port();
    for shards in [1, 2, 1, 2, 1, 2, 1, 2] {
        let broker = Setup::default().shards(shards).start_at(port);
        Client::connect(&broker, &Options::new("a")).ping();
        broker.signal(Signal::TERM);
        let (status, log) = broker.wait();
        assert!(status.success(), "{log}");
        TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    }
    for _ in 0..4 {
        let broker = Setup::default().start_at(port);
        // Whoever connects before that meets the socket of the one before.
        eventually("the broker listens", || {
            broker.log().contains("Opening listen socket")
        });
        Client::connect(&broker, &Options::new("a")).ping();
        broker.kill();
    }
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let certificates = Certificates::new();
    let path = |name: &str| certificates.path(name).display().to_string();
    std::fs::write(certificates.path("empty.pem"), "").unwrap();
    for (certificate, key, named) in [
        ("missing.crt", "server.key", "missing.crt"),
        ("server.crt", "missing.key", "missing.key"),
        ("empty.pem", "server.key", "empty.pem"),
        ("server.crt", "empty.pem", "empty.pem"),
        ("server.crt", "client.key", ""),
    ] {
        let text = format!(
            "listener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            free_port(),
            path(certificate),
            path(key)
        );
        let (_folder, file) = configuration(&text);
        let ended = run(&["-c", &file, "--shards", "1"]);
        assert_eq!(ended.code, Some(1), "{certificate} {key}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(named),
            "{certificate} {key}: {}",
            ended.stderr
        );
        assert!(
            !ended.stderr.contains("panicked"),
            "{certificate} {key}: {}",
            ended.stderr
        );
    }
}

#[test]
fn without_a_file_anonymous_clients_of_this_machine_are_let_in() {
    let port = free_port();
    let mut child = Command::new(env!("CARGO_BIN_EXE_midge-broker"))
        .args(["-p", &port.to_string(), "--shards", "1"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the broker listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert!(
        TcpStream::connect(("127.0.0.2", port)).is_err(),
        "it listens on one address only"
    );
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_configured_listener_is_closed_to_anonymous_clients() {
    let broker = Setup::default()
        .listener("listener_allow_anonymous false")
        .start();
    let (_client, answer) = Client::try_connect(&broker, &Options::new("a"));
    let Some(answer) = answer else {
        panic!("closed without a CONNACK")
    };
    assert!(
        !format!("{:?}", answer.packet()).contains("Success"),
        "{:?}",
        answer.packet()
    );
}

#[test]
fn several_listeners_share_topics() {
    let port = free_port();
    let broker = Setup::default()
        .listener(&format!("listener {port} 127.0.0.1"))
        .start();
    let mut first = Client::connect(&broker, &Options::new("a"));
    first.subscribe("t", QoS::AtMostOnce);
    let mut second = Client::connect_at(port, &Options::new("b"));
    second.publish("t", b"x", QoS::AtMostOnce);
    assert_eq!(first.message().payload, b"x");
}

#[test]
fn the_pid_file_is_there_while_the_broker_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.pid");
    let broker = Setup::default()
        .global(&format!("pid_file {}", path.display()))
        .start();
    eventually("the pid file is written", || {
        std::fs::read_to_string(&path).is_ok_and(|text| !text.is_empty())
    });
    assert_eq!(
        std::fs::read_to_string(&path).unwrap().trim(),
        broker.pid().to_string()
    );
    drop(broker);
    assert!(!path.exists());
}

/// Clients of all shards are served.
fn is_served(broker: &Broker) {
    for number in 0..40 {
        let mut client = Client::connect(broker, &Options::new(&format!("c{number}")));
        client.subscribe("t", QoS::AtMostOnce);
        client.ping();
    }
}

/// The usual limit of systems, and more shards than it has room for with full rings.
#[test]
fn many_shards_fit_into_the_usual_lockable_memory() {
    let broker = Setup::default().shards(16).locked_kib(8192).start();
    is_served(&broker);
    let log = broker.log();
    assert!(
        log.contains("Only 8192 KiB of memory may be locked, so the rings of the 16 shards"),
        "{log}"
    );
    assert!(log.contains("fix: as root `ulimit -l "), "{log}");
}

#[test]
fn fewer_shards_run_where_lockable_memory_is_short() {
    let broker = Setup::default().shards(9).locked_kib(1024).start();
    is_served(&broker);
    let log = broker.log();
    assert!(log.contains("shards run instead of 9"), "{log}");
}

/// Root may lock as much as it likes; the user that it becomes may not.
#[test]
fn lockable_memory_is_that_of_the_user_who_runs() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    let setup = |user: &str| {
        Setup::default()
            .global(user)
            .shards(9)
            .locked_kib_but_for_root(1024)
    };
    let broker = setup("user nobody").start();
    is_served(&broker);
    assert!(
        broker.log().contains("shards run instead of 9"),
        "{}",
        broker.log()
    );
    let broker = setup("user root").start();
    is_served(&broker);
    assert!(!broker.log().contains("may be locked"), "{}", broker.log());
}
