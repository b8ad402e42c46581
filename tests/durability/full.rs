//! A disk that is full, and has space again: a bound of the operator's, and a small file system.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use mqtt::frame::PacketType;
use mqtt::{Packet, QoS, ReasonCode};
use tempfile::TempDir;

use super::Restarted;
use crate::harness::{Broker, Client, Options, Received, Setup, TIMEOUT};

/// Large, so that the store is full soon.
const PAYLOAD_BYTES: usize = 256 << 10;

fn payload(number: usize) -> Vec<u8> {
    let mut payload = format!("{number} ").into_bytes();
    payload.resize(PAYLOAD_BYTES, b'.');
    payload
}

fn reason(answer: &Received) -> ReasonCode {
    match answer.packet() {
        Packet::PubAck(ack) | Packet::PubRec(ack) => ack.reason,
        other => panic!("no answer to a PUBLISH: {other:?}"),
    }
}

/// Publishes at QoS 1; whether it was taken.
fn is_taken(client: &mut Client, topic: &str, payload: &[u8]) -> bool {
    client.send_publish(topic, payload, QoS::AtLeastOnce, false);
    match reason(&client.expect(PacketType::PubAck)) {
        ReasonCode::QuotaExceeded => false,
        ReasonCode::Success => true,
        other => panic!("{other:?}"),
    }
}

/// Publishes messages for a client that is away until one is refused; how many were taken.
fn fill(broker: &Broker) -> usize {
    let mut publisher = Client::connect(broker, &Options::new("filling").v5());
    let taken = (0..4000).find(|&number| !is_taken(&mut publisher, "t", &payload(number)));
    taken.expect("it is full at some time")
}

/// What is stored is refused or waits, what is not is not.
fn check_full(broker: &Broker) -> Client {
    let mut publisher = Client::connect(broker, &Options::new("5.0").v5());
    publisher.send_publish("t", b"x", QoS::ExactlyOnce, false);
    let answer = publisher.expect(PacketType::PubRec);
    assert_eq!(reason(&answer), ReasonCode::QuotaExceeded);
    publisher.send_publish("r", b"x", QoS::AtLeastOnce, true);
    let answer = publisher.expect(PacketType::PubAck);
    assert_eq!(reason(&answer), ReasonCode::QuotaExceeded);
    publisher.send_publish("nobody", b"x", QoS::AtLeastOnce, false);
    let answer = publisher.expect(PacketType::PubAck);
    assert_eq!(reason(&answer), ReasonCode::NoMatchingSubscribers);
    let mut waiting = Client::connect(broker, &Options::new("3.1.1"));
    waiting.send_publish("t", b"the last one", QoS::AtLeastOnce, false);
    // It is answered, and the PUBACK does not come.
    waiting.ping();
    waiting.expect_nothing();
    waiting
}

/// Fills it, kills the broker, takes all that was acknowledged, and goes on without a restart.
fn fill_and_drain(restarted: &Restarted) {
    let away = Options::new("away").v5().persistent();
    let mut broker = restarted.start();
    Client::connect(&broker, &away).subscribe("t", QoS::AtLeastOnce);
    let taken = fill(&broker);
    assert!(taken > 100, "only {taken} messages had space");
    for _ in 0..2 {
        broker.kill();
        broker = restarted.start();
    }
    assert!(fill(&broker) < 100, "{}", broker.log());
    let mut waiting = check_full(&broker);
    let (mut reading, session_present) = Client::connect_session(&broker, &away);
    assert!(session_present);
    for number in 0..taken {
        let message = reading.message().payload;
        assert!(message == payload(number), "message {number} comes in its order");
    }
    waiting.expect(PacketType::PubAck);
    let mut publisher = Client::connect(&broker, &Options::new("5.0").v5());
    let deadline = Instant::now() + TIMEOUT;
    while !is_taken(&mut publisher, "t", b"again") {
        assert!(Instant::now() < deadline, "{}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = broker.log();
    assert!(log.contains("there is no space for more messages"), "{log}");
    assert!(log.contains("there is space for messages again"), "{log}");
    let payloads = |client: &mut Client| -> Vec<String> {
        let all = std::iter::from_fn(|| Some(client.payloads(1).remove(0)));
        let mut found = Vec::new();
        for payload in all {
            found.push(payload.split('.').next().unwrap().to_owned());
            if payload == "again" {
                break;
            }
        }
        found
    };
    assert!(payloads(&mut reading).contains(&"the last one".to_owned()));
}

#[test]
fn a_store_that_has_all_it_may_have_refuses_and_goes_on() {
    let setup = Setup::default().global(&format!("store_size_max {}", 256 << 20));
    fill_and_drain(&Restarted::with(setup));
}

/// A file system in a file.
struct SmallDisk {
    folder: TempDir,
    device: String,
}

impl SmallDisk {
    /// `None` where it cannot be made, which is reported.
    fn new(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let device = output("losetup", &["-f", "--show", image.to_str().unwrap()])?;
        let device = device.trim().to_owned();
        let disk = Self { folder, device };
        std::fs::create_dir(disk.path()).unwrap();
        output("mkfs.ext4", &["-q", &disk.device])?;
        output("mount", &[&disk.device, disk.path().to_str().unwrap()])?;
        Some(disk)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        output("umount", &[self.path().to_str().unwrap()]);
        output("losetup", &["-d", &self.device]);
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        eprintln!("skipped: there is no {program}");
        return None;
    };
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        eprintln!("skipped: {program} {}: {why}", arguments.join(" "));
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_small_file_system_that_is_full_has_space_again() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can mount a file system");
    }
    let Some(disk) = SmallDisk::new(300 << 20) else {
        return;
    };
    fill_and_drain(&Restarted::at(Setup::default(), &disk.path()));
}
