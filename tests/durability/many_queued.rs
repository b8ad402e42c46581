//! A start with very many messages in the store: how long it takes, and what memory they need.
//!
//! `MIDGE_QUEUED=10000000 cargo test -p tests --test main durability::many_queued -- --nocapture` has ten million;
//! `MIDGE_BROKER=/PATH/broker` measures that program.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mqtt::QoS;
use store::{Durability, Options as StoreOptions, Record, Reference, ReferenceList, ShardList};

use super::Restarted;
use crate::harness::{Client, Options, TIMEOUT, free_port, program};

const PAYLOAD: usize = 256;
/// Messages of a commit.
const BATCH: u64 = 512;

/// Ends the process when the test is over.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Started {
    /// CPU time used so far: what the time until it listens is on a machine that has nothing else to do, but for the
    /// disk.
    fn cpu_ms(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // The name of the program, in brackets, may have spaces.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// A store with so many messages for a client that is away, each with its number in front.
fn fill(folder: &Path, messages: u64) {
    let options = StoreOptions {
        durability: Durability::None,
        ..StoreOptions::default()
    };
    let (mut log, recovered) = store::open(folder, &options, Box::new(|_| {})).unwrap();
    let [session] = recovered.sessions.as_slice() else {
        panic!("{:?}", recovered.sessions)
    };
    // What the broker made of the first one.
    let mut message = recovered.publications.first().unwrap().message.clone();
    let number_at = message.len() - PAYLOAD;
    let mut shard = log.shard(0);
    for number in 1..messages {
        message[number_at..number_at + 8].copy_from_slice(&number.to_be_bytes());
        let id = recovered.publication_max + number;
        shard.append(&Record::Publication {
            id,
            shards: ShardList::Numbers(&[]),
            share: "",
            message: &message,
        });
        let reference = Reference {
            session: session.number,
            order: session.next_order + number,
            qos: 1,
            retain: false,
            via: &[],
        };
        shard.append(&Record::References {
            publication: id,
            shard: 0,
            references: ReferenceList::Slice(std::slice::from_ref(&reference)),
            mark: true,
        });
        if number.is_multiple_of(BATCH) {
            shard.submit();
            log.step().unwrap();
        }
    }
    shard.submit();
    log.step().unwrap();
}

/// Starts a broker on the folder; the time until it listens.
fn start(restarted: &Restarted, port: u16) -> (Started, Duration) {
    let folder = restarted.folder.path();
    let path = folder.join("many.conf");
    let text = format!(
        "user root\npersistence true\npersistence_location {}\nmax_queued_messages 0\nmax_queued_bytes 0\n\
         listener {port} 127.0.0.1\nallow_anonymous true\n",
        folder.display()
    );
    std::fs::write(&path, text).unwrap();
    let program = std::env::var("MIDGE_BROKER").unwrap_or_else(|_| program().to_owned());
    let began = Instant::now();
    let child = Command::new(program)
        .args(["-c", path.to_str().unwrap(), "--shards", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Started(child);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < TIMEOUT * 6, "it does not listen");
        std::thread::sleep(Duration::from_millis(1));
    }
    (started, began.elapsed())
}

#[test]
fn a_start_with_very_many_queued_messages_is_short_and_needs_little_memory() {
    const BYTES_EACH_MAX: u64 = 64;
    let messages: u64 = std::env::var("MIDGE_QUEUED").map_or(100_000, |messages| messages.parse().unwrap());
    let restarted = Restarted::new(1);
    let broker = restarted.start();
    let mut client = Client::connect(&broker, &Options::new("away").persistent());
    client.subscribe("t", QoS::AtLeastOnce);
    client.disconnect();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish("t", &[0; PAYLOAD], QoS::AtLeastOnce);
    publisher.disconnect();
    broker.kill();
    let port = free_port();
    let (started, _) = start(&restarted, port);
    let before = started.resident_kib();
    drop(started);
    fill(&restarted.folder.path().join("mosquitto.db.midge"), messages);

    let (started, time) = start(&restarted, port);
    let grown = started.resident_kib().saturating_sub(before);
    println!(
        "{messages} messages: listens after {} ms, {} ms of CPU time; {grown} KiB of memory, {} bytes a message",
        time.as_millis(),
        started.cpu_ms(),
        grown * 1024 / messages
    );
    assert!(time < Duration::from_secs(10), "it listens after {time:?}");
    // A recovery reads whole segments.
    let bytes_max = BYTES_EACH_MAX * messages + (40 << 20);
    assert!(grown * 1024 <= bytes_max, "{grown} KiB for {messages} messages");
    let mut client = Client::connect_at(port, &Options::new("away").persistent());
    for number in 0..messages.min(1_000) {
        let message = client.message();
        let found = u64::from_be_bytes(*message.payload.first_chunk().unwrap());
        assert_eq!(found, number);
    }
}
