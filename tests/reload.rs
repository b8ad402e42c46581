//! SIGHUP: what is read again, what stays, and that nobody notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mqtt::{Packet, QoS, ReasonCode};
use rustix::process::Signal;

use crate::harness::{Broker, Certificates, Client, Options, Received, Setup, eventually, run};

const DONE: &str = "Configuration reloaded in ";
const REFUSED: &str = "The configuration was not reloaded";

/// How often a line of the log has this text.
fn count(broker: &Broker, text: &str) -> usize {
    broker.log().matches(text).count()
}

/// Reloads and waits until the log says how it went.
fn reload(broker: &Broker, outcome: &str) {
    let before = count(broker, outcome);
    broker.signal(Signal::HUP);
    eventually(outcome, || count(broker, outcome) > before);
}

/// Certificates, authorities, a revocation list's place, users and rules: all in less than 100 ms.
#[test]
fn a_reload_takes_less_than_100_ms() {
    let certificates = Certificates::new();
    let folder = tempfile::tempdir().unwrap();
    let acl: String = (0..2000)
        .map(|number| format!("user u{number}\ntopic readwrite t/{number}/#\n"))
        .collect();
    std::fs::write(folder.path().join("acl"), acl).unwrap();
    let broker = Setup::default()
        .shards(2)
        .tls(&certificates)
        .global(&format!("acl_file {}", folder.path().join("acl").display()))
        .start();
    let config = certificates.client_config(&[&rustls::version::TLS13], false);
    let mut client = Client::connect(&broker, &Options::new("stays").tls(config));
    // A busy machine may take its time, once or twice.
    for attempt in 0.. {
        reload(&broker, DONE);
        let log = broker.log();
        let last = log
            .rsplit(DONE)
            .next()
            .map(|rest| rest.split(' ').next().unwrap());
        if last.unwrap().parse::<f64>().unwrap() < 100.0 {
            break;
        }
        assert!(attempt < 20, "{log}");
    }
    client.ping();
}

/// The longest reload so far, in milliseconds.
fn longest_ms(broker: &Broker) -> f64 {
    let log = broker.log();
    let times = log.split(DONE).skip(1).map(|rest| {
        let (time, _) = rest.split_once(' ').unwrap();
        time.parse::<f64>().unwrap()
    });
    times.fold(0.0, f64::max)
}

fn is_accepted(broker: &Broker, options: &Options) -> bool {
    let (_, answer) = Client::try_connect(broker, options);
    matches!(
        answer.as_ref().map(Received::packet),
        Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success
    )
}

/// Puts the files of one set of certificates in place of another's.
fn replace(old: &Certificates, new: &Certificates, names: &[&str]) {
    for name in names {
        std::fs::copy(new.path(name), old.path(name)).unwrap();
    }
}

/// V34: an authority that is not trusted any more.
#[test]
fn v34_other_certificates_hold_for_new_connections_alone() {
    let (first, second) = (Certificates::new(), Certificates::new());
    let served = Certificates::new();
    let files = ["ca.crt", "server.crt", "server.key"];
    replace(&served, &first, &files);
    let broker = Setup::default()
        .shards(2)
        .tls(&served)
        .listener("require_certificate true")
        .start();
    let with = |id: &str, certificates: &Certificates| {
        Options::new(id).tls(certificates.client_config(&[&rustls::version::TLS13], true))
    };
    let mut early: Vec<_> = (0..4)
        .map(|number| Client::connect(&broker, &with(&format!("e{number}"), &first)))
        .collect();
    assert!(!is_accepted(&broker, &with("s", &second)));

    replace(&served, &second, &files);
    reload(&broker, DONE);
    for client in &mut early {
        client.ping();
    }
    assert!(is_accepted(&broker, &with("s", &second)));
    // A client that trusts the new server, with a certificate of the authority that is gone.
    replace(&first, &second, &["ca.crt"]);
    assert!(
        !is_accepted(&broker, &with("f", &first)),
        "the old authority is gone"
    );
}

/// V15, V16: see docs/SECURITY.md for both.
#[test]
fn a_mistake_leaves_everything_as_it_was() {
    let certificates = Certificates::new();
    let setup = Setup::default().tls(&certificates);
    let broker = setup.start();
    let options = Options::new("a").tls(certificates.client_config(&[&rustls::version::TLS13], false));
    let mut early = Client::connect(&broker, &options);
    let mistakes = [
        (
            setup
                .clone()
                .global("max_qos 3")
                .listener("allow_anonymous false"),
            "max_qos 3: must be 0 to 2",
        ),
        (
            setup
                .clone()
                .listener("tls_version tlsv1.3")
                .listener("nonsense 1"),
            "unknown key nonsense",
        ),
        (
            setup.clone().global("log_dest file /nonexistent/broker.log"),
            "/nonexistent/broker.log",
        ),
    ];
    let options = Options::new("b").tls(certificates.client_config(&[&rustls::version::TLS13], false));
    for (mistaken, message) in mistakes {
        broker.configure(&mistaken);
        reload(&broker, REFUSED);
        assert!(broker.log().contains(message), "{message}:\n{}", broker.log());
        early.ping();
        assert!(is_accepted(&broker, &options));
    }
}

/// V16: what cannot be used is kept as it was, and all else is taken: an unreadable key does not keep a removed
/// password valid, and a broken password file does not keep an old certificate.
#[test]
fn v16_what_cannot_be_used_is_kept_and_all_else_is_taken() {
    let (certificates, second) = (Certificates::new(), Certificates::new());
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("p");
    let arguments = |create: &str, user: &str| {
        let path = passwords.display().to_string();
        let words = [create, "-b", "-H", "sha512", &path, user, "pw"];
        let words = words
            .map(str::to_owned)
            .into_iter()
            .filter(|word| !word.is_empty());
        ["passwd".to_owned()].into_iter().chain(words).collect::<Vec<_>>()
    };
    let passwd = |create: &str, user: &str| {
        let words = arguments(create, user);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        assert_eq!(run(&words).code, Some(0));
    };
    passwd("-c", "ann");
    passwd("", "bob");
    let setup = Setup::default()
        .tls(&certificates)
        .listener("allow_anonymous false")
        .listener(&format!("password_file {}", passwords.display()));
    let broker = setup.start();
    let user = |name: &str, certificates: &Certificates| {
        let config = certificates.client_config(&[&rustls::version::TLS13], false);
        Options::new(name).tls(config).user(name, "pw")
    };
    assert!(is_accepted(&broker, &user("bob", &certificates)));

    let key = std::fs::read(certificates.path("server.key")).unwrap();
    std::fs::write(certificates.path("server.key"), "no key").unwrap();
    passwd("-c", "ann");
    reload(&broker, DONE);
    for text in ["server.key", "stays in effect as it was"] {
        assert!(broker.log().contains(text), "{text}:\n{}", broker.log());
    }
    assert!(
        is_accepted(&broker, &user("ann", &certificates)),
        "the TLS of before"
    );
    assert!(
        !is_accepted(&broker, &user("bob", &certificates)),
        "the passwords of now"
    );

    std::fs::write(certificates.path("server.key"), key).unwrap();
    replace(&certificates, &second, &["ca.crt", "server.crt", "server.key"]);
    std::fs::write(&passwords, "ann\n").unwrap();
    reload(&broker, DONE);
    assert!(
        broker.log().contains("p:1: the line must be user:hash"),
        "{}",
        broker.log()
    );
    assert!(
        broker.log().contains("The password_file of listener"),
        "{}",
        broker.log()
    );
    assert!(
        is_accepted(&broker, &user("ann", &second)),
        "the passwords of before, the TLS of now"
    );
}

#[test]
fn nobody_is_dropped_and_nothing_lost_under_load() {
    let certificates = Certificates::new();
    let setup = Setup::default().shards(2).tls(&certificates);
    let broker = setup.start();
    let config = certificates.client_config(&[&rustls::version::TLS13], false);
    let connect = |id: &str| Client::connect(&broker, &Options::new(id).tls(config.clone()));
    let (mut subscriber, mut publisher) = (connect("subscriber"), connect("publisher"));
    subscriber.subscribe("load", QoS::AtLeastOnce);
    let over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                publisher.publish("load", format!("{sent}").as_bytes(), QoS::AtLeastOnce);
                sent += 1;
                assert_eq!(subscriber.payloads(1), [format!("{}", sent - 1)]);
            }
            sent
        });
        for _ in 0..10 {
            reload(&broker, DONE);
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
        publishing.join().unwrap()
    });
    assert!(sent >= 10, "{sent}");
    subscriber.ping();
    // The bound is for a machine that is not shared; this one may be busy with other tests.
    assert!(longest_ms(&broker) < 1000.0, "{}", broker.log());
}

#[test]
fn settings_change_and_what_cannot_is_reported() {
    let broker = Setup::default().start();
    let mut early = Client::connect(&broker, &Options::new("a"));
    early.subscribe("t", QoS::AtLeastOnce);
    let other = Setup::default()
        .global("message_size_limit 4")
        .global("log_type all")
        .listener("max_connections 1")
        .listener("mount_point m/")
        .listener("listener 1 127.0.0.1");
    broker.configure(&other);
    reload(&broker, DONE);
    early.publish("t", b"large", QoS::AtLeastOnce);
    early.publish("t", b"tiny", QoS::AtLeastOnce);
    assert_eq!(early.payloads(1), ["tiny"]);
    assert!(!is_accepted(&broker, &Options::new("b")), "max_connections");
    for message in ["mount_point has changed", "listener 1 127.0.0.1 is new"] {
        assert!(broker.log().contains(message), "{message}:\n{}", broker.log());
    }
}

#[test]
fn log_files_that_were_moved_away_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let broker = Setup::default()
        .global(&format!("log_dest file {}", path.display()))
        .global("log_dest stderr")
        .start();
    std::fs::rename(&path, &moved).unwrap();
    reload(&broker, DONE);
    eventually("the new file has a line", || {
        std::fs::read_to_string(&path).is_ok_and(|text| text.contains(DONE))
    });
    assert!(
        std::fs::read_to_string(&moved)
            .unwrap()
            .contains("Opening listen socket")
    );
}

/// A broker that was started as root has the keys that root alone may read, and makes the TLS of a reload of them.
#[test]
fn a_key_that_was_read_as_root_serves_a_reload() {
    use std::os::unix::fs::PermissionsExt as _;
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: only root can become another user");
    }
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let certificates = Certificates::new();
    open(certificates.path("ca.crt").parent().unwrap(), 0o755);
    open(&certificates.path("server.key"), 0o600);
    let setup = Setup::default().global("user nobody").tls(&certificates);
    let broker = setup.start();
    open(broker.path("broker.conf").parent().unwrap(), 0o755);
    let config = |with_certificate| certificates.client_config(&[&rustls::version::TLS12], with_certificate);
    let options = |with_certificate| Options::new("a").tls(config(with_certificate));
    assert!(is_accepted(&broker, &options(false)));
    broker.configure(&setup.clone().listener("require_certificate true"));
    reload(&broker, DONE);
    assert!(
        !broker.log().contains("stays in effect as it was"),
        "{}",
        broker.log()
    );
    assert!(
        !is_accepted(&broker, &options(false)),
        "a certificate is asked for"
    );
    assert!(is_accepted(&broker, &options(true)));

    let other = Certificates::new();
    for name in ["server.crt", "server.key"] {
        std::fs::copy(other.path(name), certificates.path(name)).unwrap();
    }
    open(&certificates.path("server.crt"), 0o644);
    open(&certificates.path("server.key"), 0o600);
    reload(&broker, "stays in effect as it was");
    let log = broker.log();
    assert!(
        log.contains("server.key can no longer be read (Permission denied"),
        "{log}"
    );
    assert!(!log.contains("do not belong together"), "{log}");
    assert!(is_accepted(&broker, &options(true)), "the old pair serves");
}

/// What a start alone can apply is named, key by key, and nothing else is.
#[test]
fn what_takes_a_restart_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let persistent = Setup::default()
        .global("persistence true")
        .global(&format!("persistence_location {}", folder.path().display()));
    let broker = persistent.start();
    let changes = [
        ("durability interval 100", "durability"),
        ("store_size_max 1000000000", "store_size_max"),
        ("persistence_file other.db", "persistence_file"),
        (&format!("control_socket {}", path("ctl")), "control_socket"),
        (&format!("pid_file {}", path("pid")), "pid_file"),
    ];
    for (line, key) in changes {
        let before = count(&broker, "has changed: this needs a restart");
        broker.configure(&persistent.clone().global(line));
        reload(&broker, DONE);
        assert!(
            broker
                .log()
                .contains(&format!("{key} has changed: this needs a restart")),
            "{line}: {}",
            broker.log()
        );
        assert_eq!(
            count(&broker, "has changed: this needs a restart"),
            before + 1,
            "{line}"
        );
    }
    broker.configure(&Setup::default());
    reload(&broker, "persistence has changed: this needs a restart");
}
