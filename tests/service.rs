//! The broker as a service: systemd's notifications, the user that it becomes, its memory.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mqtt::{QoS, ReasonCode};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Broker, Client, Options, Setup, TIMEOUT, eventually, free_port, program, run};

/// Ends the process when the test is over.
struct Started(Child);

impl Started {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The next notification that has this line.
fn notified(manager: &UnixDatagram, line: &str) -> String {
    loop {
        let mut bytes = [0; 4096];
        let length = manager
            .recv(&mut bytes)
            .unwrap_or_else(|error| panic!("{line} did not come: {error}"));
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        if text.lines().any(|got| got == line) {
            return text;
        }
    }
}

#[test]
fn systemd_is_notified() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(TIMEOUT)).unwrap();
    let path = folder.path().join("broker.conf");
    // The socket of this test is for its own user.
    std::fs::write(&path, format!("user root\nlistener {} 127.0.0.1\n", free_port())).unwrap();
    let child = Command::new(program())
        .args(["-c", path.to_str().unwrap(), "--shards", "2"])
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "300000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut started = Started(child);
    notified(&manager, "READY=1");
    for _ in 0..3 {
        notified(&manager, "WATCHDOG=1");
    }
    started.signal(Signal::HUP);
    assert!(notified(&manager, "RELOADING=1").contains("MONOTONIC_USEC="));
    notified(&manager, "READY=1");
    started.signal(Signal::TERM);
    notified(&manager, "STOPPING=1");
    assert!(started.0.wait().unwrap().success());
}

/// The user's number that the process has now.
fn uid(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn root_becomes_the_user() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let logs = tempfile::tempdir().unwrap();
    std::fs::set_permissions(logs.path(), Permissions::from_mode(0o777)).unwrap();
    let log = logs.path().join("log");
    let broker = Setup::default()
        .shards(2)
        .global("user nobody")
        .global(&format!("log_dest file {}\nlog_dest stderr", log.display()))
        .start();
    std::fs::set_permissions(broker.path(""), Permissions::from_mode(0o755)).unwrap();
    eventually("root is given up", || uid(broker.pid()) != "0");
    for thread in std::fs::read_dir(format!("/proc/{}/task", broker.pid())).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(!status.contains("Uid:\t0\t"), "{status}");
    }
    let mut client = Client::connect(&broker, &Options::new("a"));
    broker.signal(Signal::HUP);
    eventually("the reload works", || {
        broker.log().contains("Configuration reloaded in ")
    });
    assert!(!broker.log().contains("user has"), "{}", broker.log());
    client.ping();
}

/// As mosquitto does: `mosquitto`, or `nobody`; and it says so.
#[test]
fn root_gives_itself_up_unasked() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.conf");
    let port = free_port();
    std::fs::write(
        &path,
        format!("listener {port} 127.0.0.1\nallow_anonymous true\n"),
    )
    .unwrap();
    let log = folder.path().join("log");
    let child = Command::new(program())
        .args(["-c", path.to_str().unwrap(), "--shards", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut started = Started(child);
    let log_text = || std::fs::read_to_string(&log).unwrap();
    eventually("root is given up", || uid(started.0.id()) != "0");
    eventually("it says so", || log_text().contains("`user root` none"));
    Client::connect_at(port, &Options::new("a")).ping();
    started.signal(Signal::TERM);
    assert!(started.0.wait().unwrap().success(), "{}", log_text());
}

/// The README's "Monitoring and control", started as root without `user`, in a folder of root's: the control socket is
/// there and the broker's user may open it, a password file of root's holds, and a reload says that it cannot be read.
#[test]
fn what_the_readme_shows_works_as_root() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (mqtt, web_socket, api) = (free_port(), free_port(), free_port());
    let text = format!(
        "password_file passwords\ncontrol_socket control.sock\nlistener {mqtt}\nlistener {web_socket}\n\
         protocol websockets\nlistener {api} 127.0.0.1\nprotocol http_api\n"
    );
    std::fs::write(path("midge.conf"), text).unwrap();
    let made = run(&["passwd", "-b", "-c", &path("passwords"), "operator", "right"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let log = std::fs::File::create(path("log")).unwrap();
    let child = Command::new(program())
        .args(["-c", "midge.conf", "--shards", "1"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut started = Started(child);
    let log = || std::fs::read_to_string(path("log")).unwrap();
    eventually("root is given up", || uid(started.0.id()) != "0");
    let ctl = |arguments: &[&str]| run(&[&["ctl", "--socket", &path("control.sock")], arguments].concat());
    eventually(&format!("it answers: {}", log()), || {
        ctl(&["clients"]).code == Some(0)
    });
    let socket = std::fs::metadata(path("control.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert_eq!(socket.uid().to_string(), uid(started.0.id()));
    Client::connect_at(mqtt, &Options::new("a").user("operator", "right")).ping();
    let reload = ctl(&["reload"]);
    assert_eq!(reload.code, Some(1), "{}", reload.stdout);
    assert!(
        reload.stderr.contains("the password_file of listener"),
        "{}",
        reload.stderr
    );
    assert!(reload.stdout.contains("Permission denied"), "{}", reload.stdout);
    started.signal(Signal::TERM);
    assert!(started.0.wait().unwrap().success(), "{}", log());
}

#[test]
fn unknown_users_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    std::fs::write(&path, "port 1\nuser no-such-user-here\n").unwrap();
    let ended = run(&["-c", path.to_str().unwrap(), "--test-config"]);
    assert_eq!(ended.code, Some(3));
    assert!(
        ended
            .stderr
            .contains("c:2: user no-such-user-here: there is no such user"),
        "{}",
        ended.stderr
    );
}

/// Keys and passwords are in memory: no core dump writes them to a disk.
#[test]
fn no_core_is_dumped() {
    let broker = Setup::default().start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", broker.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{limits}");
}

/// V35: memory_limit holds, clients that are in go on, and what is above it is dropped.
#[test]
fn memory_limit_is_kept() {
    let idle_kib = Setup::default().start().resident_kib();
    let limit = idle_kib * 1024 + (32 << 20);
    let broker = Setup::default()
        .global(&format!("memory_limit {limit}"))
        .global("max_queued_messages 0")
        .start();
    let mut away = Client::connect(&broker, &Options::new("away").persistent());
    away.subscribe("t", QoS::AtLeastOnce);
    away.disconnect();
    let mut writer = Client::connect(&broker, &Options::new("writer"));
    let payload = vec![7; 100_000];
    for _ in 0..1500 {
        writer.publish("t", &payload, QoS::AtLeastOnce);
    }
    assert!(
        broker.log().contains("of memory_limit are in use"),
        "{}",
        broker.log()
    );
    let (_, answer) = Client::try_connect(&broker, &Options::new("new").v5());
    match answer.as_ref().map(crate::harness::Received::packet) {
        Some(mqtt::Packet::ConnAck(connack)) => assert_eq!(connack.reason, ReasonCode::QuotaExceeded),
        other => panic!("no CONNACK but {other:?}"),
    }
    writer.ping();
    std::thread::sleep(Duration::from_millis(100));
    // 150 MB were published.
    assert!(
        broker.resident_kib() * 1024 < limit + (48 << 20),
        "{}",
        broker.resident_kib()
    );
}

type Attack = (&'static str, u64, fn(&Broker));

const ATTACKS: [Attack; 6] = [
    ("unfinished packets", 100 << 10, unfinished_packets),
    ("aliases", 50 << 10, topic_aliases),
    ("slow readers", 20 << 10, slow_readers),
    ("queues", 60 << 10, long_queues),
    ("retained messages", 60 << 10, retained_messages),
    ("user properties", 8 << 10, user_properties),
];

/// What an attack made the broker keep goes back to the system by itself when nothing holds it any more: ten seconds
/// later there is at most a fifth more than before the first of them, and 2 MiB for the code and the tables that all
/// six touch for the first time. Further rounds of them end where the first one did.
#[test]
fn memory_comes_back_after_each_attack() {
    let broker = Setup::default()
        .shards(2)
        .global("log_type error")
        .global("max_queued_messages 0")
        .start();
    warm_up(&broker);
    let start_kib = broker.resident_kib();
    for (attack, grows_kib, run) in ATTACKS {
        let highest_kib = highest_kib(&broker, run);
        assert!(
            highest_kib > start_kib + grows_kib / 2,
            "{attack}: {start_kib} to {highest_kib} KiB"
        );
        await_resident(&broker, attack, start_kib + start_kib / 5 + (2 << 10));
    }
    // Longer than the broker takes to give all back.
    std::thread::sleep(Duration::from_secs(7));
    let first_round_kib = broker.resident_kib();
    for round in ["the second round", "the third round"] {
        for (_, _, run) in ATTACKS {
            run(&broker);
        }
        await_resident(&broker, round, first_round_kib + first_round_kib / 20);
    }
}

/// The most that the broker has in memory during an attack.
fn highest_kib(broker: &Broker, attack: fn(&Broker)) -> u64 {
    let highest_kib = std::sync::atomic::AtomicU64::new(0);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                highest_kib.fetch_max(broker.resident_kib(), Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        attack(broker);
        is_over.store(true, Relaxed);
    });
    highest_kib.load(Relaxed)
}

fn await_resident(broker: &Broker, behind: &str, most_kib: u64) {
    let begin = Instant::now();
    while broker.resident_kib() > most_kib {
        let kib = broker.resident_kib();
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{behind}: {kib} KiB are left, not {most_kib}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What any work brings into memory for good: code, receive buffers, tables.
fn warm_up(broker: &Broker) {
    let mut clients: Vec<_> = (0..10)
        .map(|number| Client::connect(broker, &Options::new(&format!("warm{number}"))))
        .collect();
    for client in &mut clients {
        client.subscribe("warm", QoS::AtLeastOnce);
    }
    clients[0].publish("warm", &[0; 1000], QoS::AtLeastOnce);
    clients[1].ping();
}

fn unfinished_packets(broker: &Broker) {
    let clients: Vec<_> = (0..100)
        .map(|number| {
            let mut client = Client::connect(broker, &Options::new(&format!("c{number}")));
            client.send(b"\x30\x80\xf0\x79\x00\x01t");
            client.send(&vec![b'x'; 1_900_000]);
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(clients);
}

fn topic_aliases(broker: &Broker) {
    let clients: Vec<_> = (0..100)
        .map(|number| {
            let mut client = Client::connect(broker, &Options::new(&format!("a{number}")).v5());
            for alias in 1..=10 {
                // A PUBLISH with a topic of 60,000 bytes, a Topic Alias and no payload.
                let mut packet = b"\x30\xe6\xd4\x03\xea\x60".to_vec();
                packet.resize(6 + 60_000, b't');
                packet.extend([3, 0x23, 0, alias]);
                client.send(&packet);
            }
            client.ping();
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    drop(clients);
}

fn slow_readers(broker: &Broker) {
    let mut readers: Vec<_> = (0..20)
        .map(|number| Client::connect(broker, &Options::new(&format!("r{number}"))))
        .collect();
    for reader in &mut readers {
        reader.subscribe("slow", QoS::AtMostOnce);
    }
    let mut writer = Client::connect(broker, &Options::new("w"));
    for _ in 0..100 {
        writer.publish("slow", &[1; 100_000], QoS::AtMostOnce);
    }
    writer.ping();
}

fn long_queues(broker: &Broker) {
    let away = Options::new("away").persistent();
    let mut client = Client::connect(broker, &away);
    client.subscribe("queue", QoS::AtLeastOnce);
    client.disconnect();
    let mut writer = Client::connect(broker, &Options::new("w"));
    for _ in 0..800 {
        writer.publish("queue", &[1; 100_000], QoS::AtLeastOnce);
    }
    Client::connect(broker, &Options::new("away")).ping();
}

fn retained_messages(broker: &Broker) {
    let mut writer = Client::connect(broker, &Options::new("w"));
    for number in 0..800 {
        writer.publish_retained(&format!("kept/{number}"), &[1; 100_000], QoS::AtLeastOnce);
    }
    for number in 0..800 {
        writer.publish_retained(&format!("kept/{number}"), b"", QoS::AtLeastOnce);
    }
}

fn user_properties(broker: &Broker) {
    let clients: Vec<_> = (0..50)
        .map(|number| {
            let options = Options::new(&format!("u{number}")).v5();
            let mut client = Client::connect(broker, &options);
            // 200,000 pairs of empty strings, in a PUBLISH whose last byte is missing.
            let properties = [0x26, 0, 0, 0, 0].repeat(200_000);
            client.send(&[&b"\x30\xc9\x84\x3d\x00\x01t\xc0\x84\x3d"[..], &properties].concat());
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(clients);
}
