//! What the real mosquitto has written is there after `broker import`, packet by packet.
//!
//! `mosquitto-2.1.2.db` is what mosquitto 2.1.2, built from its tag v2.1.2, wrote after `fill`:
//! `MIDGE_MOSQUITTO=PROGRAM MIDGE_WRITE_DATABASE=FILE cargo test -p tests --test main sessions_of_mosquitto`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mqtt::frame::PacketType;
use mqtt::{QoS, ReasonCode};
use rustix::process::{Pid, Signal, kill_process};

use super::Restarted;
use crate::harness::{Client, Options, Setup, eventually, free_port, run};

/// A mosquitto that ends with the test.
struct Mosquitto(Child);

impl Mosquitto {
    /// Starts it with its files in a folder; nothing if there is none on this machine.
    fn start(folder: &Path, port: u16) -> Option<Self> {
        let configuration = folder.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nuser root\n",
            folder.display()
        );
        fs::write(&configuration, text).unwrap();
        let chosen = std::env::var("MIDGE_MOSQUITTO").ok();
        let installed = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
        let mut programs = chosen.iter().map(String::as_str).chain(installed);
        let program = programs.find(|program| Path::new(program).exists())?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&configuration);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("mosquitto listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(Self(child))
    }

    /// It writes its file when it ends.
    fn end(mut self) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn v5(client_identifier: &str) -> Options {
    // The sessions of a database that was written long ago are still there.
    let options = Options::new(client_identifier).v5().persistent();
    options.session_expiry_s(u32::MAX)
}

/// Sessions at every stage of a delivery, as mosquitto has them when it ends.
fn fill(port: u16) {
    let join = |options: &Options| Client::connect_at(port, options);
    let mut client = join(&v5("stages"));
    client.subscribe("t/#", QoS::ExactlyOnce);
    client.subscribe("other", QoS::AtLeastOnce);
    client.subscribe("gone", QoS::AtLeastOnce);
    client.unsubscribe("gone");
    let mut publisher = join(&Options::new("p").v5());
    publisher.publish("t/released", b"released", QoS::ExactlyOnce);
    publisher.publish("t/sent", b"sent", QoS::ExactlyOnce);
    publisher.publish("t/acknowledged", b"acknowledged", QoS::AtLeastOnce);
    let released = client.message_unacknowledged();
    assert_eq!(released.payload, b"released");
    client.acknowledge(PacketType::PubRec, released.packet_identifier.unwrap());
    client.expect(PacketType::PubRel);
    assert_eq!(client.message_unacknowledged().payload, b"sent");
    assert_eq!(client.message().payload, b"acknowledged");
    client.ping();
    client.disconnect();
    for number in 0..20 {
        publisher.publish("t/queued", format!("{number}").as_bytes(), QoS::ExactlyOnce);
    }
    publisher.publish("other", b"last", QoS::AtLeastOnce);
    publisher.publish_retained("kept", b"old", QoS::AtLeastOnce);
    publisher.publish_retained("kept", b"new", QoS::AtLeastOnce);
    publisher.publish_retained("deleted", b"x", QoS::AtLeastOnce);
    publisher.publish_retained("deleted", b"", QoS::AtLeastOnce);
    let mut sender = join(&v5("sender").user("somebody", "x"));
    let identifier = sender.send_publish("t/incoming", b"incoming", QoS::ExactlyOnce, false);
    assert_eq!(sender.expect(PacketType::PubRec).acknowledged(), identifier);
    sender.disconnect();
    join(&v5("short").session_expiry_s(1)).disconnect();
}

/// What a client of the broker finds then.
fn check(restarted: &Restarted) {
    let broker = restarted.start();
    let (mut client, session_present) = Client::connect_session(&broker, &v5("stages"));
    assert!(session_present, "{}", broker.log());
    let released = client.expect(PacketType::PubRel).acknowledged().unwrap();
    client.acknowledge(PacketType::PubComp, released);
    let sent = client.message();
    assert_eq!((&*sent.payload, sent.dup), (&b"sent"[..], true));
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let (numbers, mut rest): (Vec<_>, Vec<_>) = client
        .payloads(22)
        .into_iter()
        .partition(|payload| payload.parse::<u32>().is_ok());
    assert_eq!(numbers, expected);
    // Those at QoS 2 wait for the disk.
    rest.sort();
    assert_eq!(rest, ["incoming", "last"]);
    let (mut sender, session_present) = Client::connect_session(&broker, &v5("sender"));
    assert!(session_present);
    let identifier = mqtt::PacketIdentifier::new(1);
    sender.send_again(
        "t/incoming",
        b"incoming",
        QoS::ExactlyOnce,
        false,
        identifier,
        true,
    );
    sender.expect(PacketType::PubRec);
    sender.acknowledge(PacketType::PubRel, identifier.unwrap());
    sender.expect(PacketType::PubComp);
    let mut reader = Client::connect(&broker, &Options::new("reader"));
    reader.subscribe("#", QoS::AtLeastOnce);
    let kept = reader.message();
    assert_eq!(
        (&*kept.topic, &*kept.payload, kept.retain),
        ("kept", &b"new"[..], true)
    );
    reader.expect_nothing();
    reader.publish("t/new", b"by its subscription", QoS::AtLeastOnce);
    assert_eq!(client.payloads(1), ["by its subscription"]);
    client.expect_nothing();
    assert!(
        !Client::connect_session(&broker, &v5("short")).1,
        "it has expired"
    );
}

#[test]
fn sessions_of_mosquitto_go_on() {
    let restarted = Restarted::new(2);
    let folder = restarted.folder.path();
    let port = free_port();
    let Some(mosquitto) = Mosquitto::start(folder, port) else {
        assert!(std::env::var_os("CI").is_none(), "mosquitto is to be there");
        return eprintln!("skipped: there is no mosquitto");
    };
    fill(port);
    mosquitto.end();
    std::thread::sleep(Duration::from_millis(1100));
    let file = folder.join("mosquitto.db");
    if let Some(copy) = std::env::var_os("MIDGE_WRITE_DATABASE") {
        fs::copy(&file, copy).unwrap();
    }
    import_and_check(&restarted);
}

/// The file's format is newer than that of 2.0.
#[test]
fn sessions_of_mosquitto_2_1_go_on() {
    let restarted = Restarted::new(2);
    let database = include_bytes!("mosquitto-2.1.2.db");
    fs::write(restarted.folder.path().join("mosquitto.db"), database).unwrap();
    import_and_check(&restarted);
}

/// Imports the file in the store's folder, and is the client of what it has.
fn import_and_check(restarted: &Restarted) {
    let file = restarted.folder.path().join("mosquitto.db");
    let before = fs::read(&file).unwrap();
    let path = file.to_str().unwrap();
    let imported = run(&["import", path, "--without-users"]);
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    assert!(
        imported.stdout.contains(
            "3 sessions, 2 subscriptions, 21 queued messages, 2 messages in flight to clients, 1 of QoS 2 from \
             clients, and 1 retained messages were imported; 0 entries were omitted"
        ),
        "{}",
        imported.stdout
    );
    let again = run(&["import", path]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("exists"), "{}", again.stderr);
    check(restarted);
    assert_eq!(fs::read(&file).unwrap(), before, "it is only read");
}

/// A session of a user is that user's after an import too.
#[test]
fn users_of_mosquitto_keep_their_sessions_to_themselves() {
    let restarted = Restarted::with(Setup::default());
    let folder = restarted.folder.path();
    let port = free_port();
    let Some(mosquitto) = Mosquitto::start(folder, port) else {
        return eprintln!("skipped: there is no mosquitto");
    };
    Client::connect_at(port, &v5("c").user("somebody", "x")).disconnect();
    // mosquitto 2.0.11 writes that one's user for it.
    Client::connect_at(port, &v5("nobody's")).disconnect();
    mosquitto.end();
    let imported = run(&["import", folder.join("mosquitto.db").to_str().unwrap()]);
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    let broker = restarted.start();
    let (_client, answer) = Client::try_connect(&broker, &v5("c"));
    match answer.unwrap().packet() {
        mqtt::Packet::ConnAck(connack) => assert_eq!(connack.reason, ReasonCode::NotAuthorized),
        other => panic!("no CONNACK but {other:?}"),
    }
    let (_client, session_present) = Client::connect_session(&broker, &v5("nobody's"));
    assert!(session_present, "{}", imported.stdout);
}

#[test]
fn what_is_no_file_of_mosquitto_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mosquitto.db");
    for (content, why) in [
        (
            &b"SQLite format 3"[..],
            "it is not a persistence file of mosquitto",
        ),
        (b"\x00\xB5\x00mosquitto db\0\0\0\0\0\0\0\x03", "it has format 3"),
        (
            b"\x00\xB5\x00mosquitto db\0\0\0\0\0\0\0\x06\0\0\0\x06\0\0\0\x20abc",
            "damaged at byte 31",
        ),
    ] {
        fs::write(&file, content).unwrap();
        let imported = run(&["import", file.to_str().unwrap()]);
        assert_eq!(imported.code, Some(1));
        assert!(imported.stderr.contains(why), "{}", imported.stderr);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
