//! Users, passwords and access rules. V numbers are classes of vulnerabilities that brokers had.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mqtt::packet::Packet;
use mqtt::{ProtocolVersion, QoS, ReasonCode};
use rustix::process::Signal;

use crate::harness::{Broker, Client, Options, Setup, eventually, free_port, run};

const VERSIONS: [ProtocolVersion; 3] = [
    ProtocolVersion::V3_1,
    ProtocolVersion::V3_1_1,
    ProtocolVersion::V5,
];

/// The password and ACL files.
struct Files(tempfile::TempDir);

impl Files {
    fn new(users: &[(&str, &str)]) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::write(files.passwords(), "").unwrap();
        users
            .iter()
            .for_each(|(user, password)| files.set(user, password, "sha512-pbkdf2"));
        files
    }

    fn passwords(&self) -> PathBuf {
        self.0.path().join("passfile")
    }

    fn acl(&self) -> PathBuf {
        self.0.path().join("acl")
    }

    /// Sets a password as an operator does.
    fn set(&self, user: &str, password: &str, hash: &str) {
        passwd(
            &["-H", hash, &self.passwords().display().to_string(), user],
            &format!("{password}\n{password}\n"),
        );
    }

    fn set_acl(&self, text: &str) {
        std::fs::write(self.acl(), text).unwrap();
    }

    fn setup(&self) -> Setup {
        Setup::default()
            .shards(2)
            .global("log_type all")
            .listener("allow_anonymous false")
            .listener(&format!("password_file {}", self.passwords().display()))
    }
}

/// Runs `broker passwd` with these arguments and this input.
fn passwd(arguments: &[&str], typed: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_midge-broker"))
        .arg("passwd")
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{arguments:?}");
}

/// The broker's answer to a CONNECT.
fn answer(broker: &Broker, options: &Options) -> ReasonCode {
    let (mut client, answer) = Client::try_connect(broker, options);
    match answer.as_ref().map(|answer| answer.packet()) {
        Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success => {
            client.ping();
            client.disconnect();
            ReasonCode::Success
        }
        Some(Packet::ConnAck(connack)) => {
            client.expect_closed();
            connack.reason
        }
        other => panic!("no CONNACK but {other:?}:\n{}", broker.log()),
    }
}

#[test]
fn users_are_let_in_with_their_passwords_only() {
    let files = Files::new(&[("ann", "s3cret-ann")]);
    files.set("bob", "s3cret-bob", "argon2id");
    files.set("cat", "s3cret-cat", "sha512");
    let broker = files.setup().start();
    for version in VERSIONS {
        let client = |identifier: &str| Options::new(identifier).version(version);
        for round in 0..2 {
            for (user, password, reason) in [
                ("ann", "s3cret-ann", ReasonCode::Success),
                ("bob", "s3cret-bob", ReasonCode::Success),
                ("cat", "s3cret-cat", ReasonCode::Success),
                ("ann", "s3cret-bob", ReasonCode::BadUserNameOrPassword),
            ] {
                let identifier = format!("{user}{round}");
                assert_eq!(
                    answer(&broker, &client(&identifier).user(user, password)),
                    reason,
                    "{user}"
                );
            }
        }
        assert_eq!(
            answer(&broker, &client("e").user("eve", "s3cret-ann")),
            ReasonCode::BadUserNameOrPassword
        );
        assert_eq!(answer(&broker, &client("a")), ReasonCode::NotAuthorized);
    }
    let log = broker.log();
    assert!(!log.contains("s3cret"), "{log}");
    let refused = "Bad User Name or Password: client identifier \"e\", user eve, from 127.0.0.1:";
    assert!(log.contains(refused), "{log}");
}

/// V22: a refused client ends neither the connection nor the session of the client that has the identifier.
#[test]
fn v22_a_wrong_password_ends_nobodys_session() {
    let files = Files::new(&[("ann", "pw"), ("bob", "pw")]);
    let broker = files.setup().start();
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let ann = Options::new("c").version(version).persistent().user("ann", "pw");
        let mut victim = Client::connect(&broker, &ann);
        victim.subscribe("t", QoS::AtLeastOnce);
        let intruder = Options::new("c").version(version);
        assert_eq!(
            answer(&broker, &intruder.clone().user("ann", "wrong")),
            ReasonCode::BadUserNameOrPassword
        );
        assert_eq!(
            answer(&broker, &intruder.clone().user("eve", "pw")),
            ReasonCode::BadUserNameOrPassword
        );
        // V21: nor does another user who is accepted.
        assert_eq!(
            answer(&broker, &intruder.clone().user("bob", "pw")),
            ReasonCode::NotAuthorized
        );
        victim.ping();
        victim.cut();
        let (_, present) = Client::connect_session(&broker, &ann);
        assert!(present);
    }
}

/// V17: with `per_listener_settings` each listener has its own files.
#[test]
fn v17_each_listener_has_its_own_files() {
    let (one, two) = (Files::new(&[("ann", "one")]), Files::new(&[("ann", "two")]));
    two.set_acl("user ann\ntopic read open\n");
    let open = free_port();
    let second = free_port();
    let broker = one
        .setup()
        .global("per_listener_settings true")
        .listener(&format!("listener {second} 127.0.0.1"))
        .listener(&format!("password_file {}", two.passwords().display()))
        .listener(&format!("acl_file {}", two.acl().display()))
        .listener(&format!("listener {open} 127.0.0.1\nallow_anonymous true"))
        .start();
    assert_eq!(
        answer(&broker, &Options::new("a").user("ann", "one")),
        ReasonCode::Success
    );
    assert_eq!(
        answer(&broker, &Options::new("a").user("ann", "two")),
        ReasonCode::BadUserNameOrPassword
    );
    assert_eq!(answer(&broker, &Options::new("a")), ReasonCode::NotAuthorized);
    let mut restricted = Client::connect_at(second, &Options::new("b").user("ann", "two"));
    assert_eq!(restricted.subscribe("other", QoS::AtMostOnce), 0x80);
    assert_eq!(restricted.subscribe("open", QoS::AtMostOnce), 0);
    let mut free = Client::connect_at(open, &Options::new("d"));
    assert_eq!(free.subscribe("other", QoS::AtMostOnce), 0);
    restricted.publish("other", b"denied", QoS::AtLeastOnce);
    free.publish("other", b"own", QoS::AtLeastOnce);
    assert_eq!(free.payloads(1), ["own"]);
}

#[test]
fn rules_of_an_acl_file() {
    let files = Files::new(&[("ann", "pw"), ("bob", "pw")]);
    files.set_acl("user ann\ntopic write plant/#\npattern readwrite home/%u/%c\npattern read plant/+/%c\n");
    let broker = files
        .setup()
        .listener(&format!("acl_file {}", files.acl().display()))
        .start();
    let mut ann = Client::connect(&broker, &Options::new("a").user("ann", "pw"));
    let mut bob = Client::connect(&broker, &Options::new("b").user("bob", "pw"));
    assert_eq!(bob.subscribe("#", QoS::AtLeastOnce), 1);
    for topic in ["plant/1/b", "plant/1/c", "home/ann/a", "home/bob/b", "other"] {
        ann.publish(topic, topic.as_bytes(), QoS::AtLeastOnce);
    }
    bob.publish("plant/2/b", b"denied", QoS::AtLeastOnce);
    bob.publish("home/bob/b", b"own", QoS::AtLeastOnce);
    assert_eq!(bob.payloads(2), ["plant/1/b", "own"]);
    bob.expect_nothing();
}

fn reloads(broker: &Broker, message: &str) -> usize {
    broker.log().matches(message).count()
}

/// V15, V16, V18: files are read again at SIGHUP; a wrong one leaves the old ones in effect.
#[test]
fn v16_files_are_read_again_at_sighup() {
    let files = Files::new(&[("ann", "pw"), ("bob", "pw"), ("cat", "pw")]);
    files.set_acl("user ann\ntopic #\nuser bob\ntopic #\n");
    let broker = files
        .setup()
        .listener(&format!("acl_file {}", files.acl().display()))
        .start();
    let mut ann = Client::connect(&broker, &Options::new("a").user("ann", "pw"));
    let mut bob = Client::connect(&broker, &Options::new("b").v5().user("bob", "pw"));
    let mut cat = Client::connect(&broker, &Options::new("c").v5().user("cat", "pw"));
    bob.subscribe("#", QoS::AtLeastOnce);
    ann.publish("secret", b"1", QoS::AtLeastOnce);
    assert_eq!(bob.payloads(1), ["1"]);

    let kept = "stays in effect as it was";
    let before = std::fs::read_to_string(files.passwords()).unwrap();
    for (count, (path, text, message)) in [
        (
            files.passwords(),
            "ann\n",
            "passfile:1: the line must be user:hash",
        ),
        (
            files.acl(),
            "topic # #\n",
            "acl:1: # is not read, write, readwrite or deny",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        broker.signal(Signal::HUP);
        eventually("the mistake is reported", || reloads(&broker, kept) > count);
        assert!(broker.log().contains(message), "{}", broker.log());
        std::fs::write(&path, good).unwrap();
    }
    ann.publish("secret", b"2", QoS::AtLeastOnce);
    assert_eq!(bob.payloads(1), ["2"]);
    assert_eq!(
        answer(&broker, &Options::new("d").user("ann", "pw")),
        ReasonCode::Success
    );

    let without_cat: String = before
        .lines()
        .filter(|line| !line.starts_with("cat:"))
        .map(|l| format!("{l}\n"))
        .collect();
    std::fs::write(files.passwords(), without_cat).unwrap();
    files.set_acl("user ann\ntopic #\nuser bob\ntopic open\n");
    broker.signal(Signal::HUP);
    assert_eq!(cat.expect_closed().0, Some(ReasonCode::NotAuthorized));
    eventually("the reload is reported", || {
        reloads(&broker, "Reloaded the password and ACL files") == 1
    });
    // Each shard applies the rules at its own time.
    eventually("the subscription brings only what may be read", || {
        ann.publish("secret", b"secret", QoS::AtLeastOnce);
        ann.publish("open", b"open", QoS::AtLeastOnce);
        let is_open = bob.payloads(1) == ["open"];
        is_open || bob.payloads(1) != ["open"]
    });
    bob.ping();
    assert_eq!(
        answer(&broker, &Options::new("c").user("cat", "pw")),
        ReasonCode::BadUserNameOrPassword
    );
}

/// V40: ten thousand reconnects of one user cost one argon2 check, and a flood of wrong passwords does not slow down
/// connected clients.
#[test]
fn v40_reconnects_and_floods() {
    let files = Files::new(&[]);
    files.set("ann", "pw", "argon2id");
    let broker = files.setup().start();
    let ann = |identifier: &str| Options::new(identifier).user("ann", "pw");
    let mut inside = Client::connect(&broker, &ann("inside"));
    let begun = Instant::now();
    for _ in 0..300 {
        Client::connect(&broker, &ann("again")).cut();
    }
    // One check takes some 50 ms of CPU, so 300 would take 15 s.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let flood_is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (broker, over) = (&broker, &flood_is_over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let wrong = Options::new(&format!("flood{number}")).user("ann", "wrong");
                    let reason = Client::try_connect(broker, &wrong).1;
                    let is_in = match reason.as_ref().map(|received| received.packet()) {
                        Some(Packet::ConnAck(connack)) => connack.reason == ReasonCode::Success,
                        _ => false,
                    };
                    assert!(!is_in);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let mut latencies: Vec<Duration> = (0..200)
            .map(|_| {
                let begun = Instant::now();
                inside.ping();
                std::thread::sleep(Duration::from_millis(5));
                begun.elapsed()
            })
            .collect();
        Client::connect(&broker, &ann("meanwhile")).disconnect();
        flood_is_over.store(true, Ordering::Relaxed);
        latencies.sort();
        let median = latencies[latencies.len() / 2];
        assert!(median < Duration::from_millis(50), "{median:?}");
    });
    assert!(
        broker.resident_kib() < 400 * 1024,
        "{} KiB",
        broker.resident_kib()
    );
}

#[test]
fn wrong_files_refuse_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("passfile", "# users\nann:secret\n\nbob\n");
    write("acl", "user\n");
    for (keys, message) in [
        (
            "password_file passfile",
            vec![
                "passfile:2: the password is not hashed",
                "passfile:4: the line must be",
            ],
        ),
        ("acl_file acl", vec!["acl:1: the user name is missing"]),
        (
            "acl_file acl\npassword_file passfile",
            vec!["acl:1", "passfile:2"],
        ),
        (
            "password_file missing",
            vec!["missing: cannot be read: No such file"],
        ),
    ] {
        write(
            "broker.conf",
            &format!("listener {} 127.0.0.1\n{keys}\n", free_port()),
        );
        let path = folder.path().join("broker.conf").display().to_string();
        for arguments in [vec!["-c", &path], vec!["-c", &path, "--test-config"]] {
            let ended = run(&arguments);
            assert_eq!(ended.code, Some(3), "{keys}: {}", ended.stderr);
            for message in &message {
                assert!(ended.stderr.contains(message), "{keys}: {}", ended.stderr);
            }
            assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
        }
    }
}

/// V28: a file that every user may read causes a warning.
#[test]
fn v28_a_world_readable_password_file_gets_a_warning() {
    let files = Files::new(&[("ann", "pw")]);
    let is_warned = |broker: &Broker| broker.log().contains("is readable by every user");
    assert!(!is_warned(&files.setup().start()));
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(files.passwords(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let broker = files.setup().start();
    eventually("the warning is there", || is_warned(&broker));
}

/// The steps of the tutorial, with relative paths as in its text.
#[test]
fn a_password_file_beside_the_configuration() {
    let files = Files::new(&[("subscriber", "pw")]);
    let port = free_port();
    let configuration: &Path = &files.0.path().join("mosquitto.conf");
    std::fs::write(
        configuration,
        format!("bind_address localhost\nport {port}\npassword_file passfile\n"),
    )
    .unwrap();
    let ended = run(&["-c", &configuration.display().to_string(), "--test-config"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("allow_anonymous false"), "{}", ended.stdout);
    assert!(
        ended
            .stdout
            .contains(&format!("password_file {}", files.passwords().display())),
        "{}",
        ended.stdout
    );
}

/// A refused connection's socket is closed in the turn that accepted it, and the next connection gets its number:
/// pending requests of the old one must not take the new one's bytes.
#[test]
fn refused_clients_take_nothing_from_the_next() {
    let files = Files::new(&[("ann", "pw")]);
    let broker = files.setup().start();
    let ann = Options::new("a").user("ann", "pw");
    for _ in 0..300 {
        assert_eq!(answer(&broker, &Options::new("n")), ReasonCode::NotAuthorized);
        assert_eq!(answer(&broker, &ann), ReasonCode::Success);
    }
}

/// V16: a reload for which no descriptor is left keeps the old files.
#[test]
fn v16_a_reload_without_descriptors_keeps_the_old_files() {
    let files = Files::new(&[("ann", "pw")]);
    files.set_acl("user ann\ntopic own\n");
    let broker = files
        .setup()
        .listener(&format!("acl_file {}", files.acl().display()))
        // Another shard would hold a number for a moment while it tries to accept.
        .shards(1)
        .descriptors(64)
        .start();
    let mut ann = Client::connect(&broker, &Options::new("a").user("ann", "pw"));
    let _others: Vec<_> = (0..80)
        .map(|_| std::net::TcpStream::connect(broker.address()).unwrap())
        .collect();
    eventually("no descriptor is left", || {
        broker.log().contains("Cannot accept connections")
    });
    // The reserved descriptor is taken back once no connection waits to be refused.
    std::thread::sleep(std::time::Duration::from_millis(500));
    files.set_acl("user ann\ntopic #\n");
    broker.signal(Signal::HUP);
    eventually("the reload fails", || {
        reloads(&broker, "The previous configuration stays in effect") == 1
    });
    assert_eq!(ann.subscribe("other", QoS::AtMostOnce), 0x80);
    assert_eq!(ann.subscribe("own", QoS::AtMostOnce), 0);
}
