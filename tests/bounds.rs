//! Floods and slow readers: queues are bounded, nothing is lost, and no other client is disturbed for long.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broker::limits;
use mqtt::packet::Publish;
use mqtt::property::Properties;
use mqtt::{ProtocolVersion, QoS};
use rustix::process::Signal;

use crate::harness::{Broker, Client, Options, Setup, eventually};

/// CONNECT of a clean session of 3.1.1 whose client identifier has four letters.
fn socket(broker: &Broker, name: &str) -> TcpStream {
    assert_eq!(name.len(), 4);
    let mut socket = TcpStream::connect(broker.address()).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04".to_vec();
    connect.extend_from_slice(name.as_bytes());
    socket.write_all(&connect).unwrap();
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    socket
}

fn subscribed(broker: &Broker, name: &str) -> TcpStream {
    let mut socket = socket(broker, name);
    socket.write_all(b"\x82\x06\x00\x01\x00\x01t\x00").unwrap();
    let mut suback = [0; 5];
    socket.read_exact(&mut suback).unwrap();
    socket
}

fn message(payload_bytes: usize) -> Vec<u8> {
    let payload = vec![b'x'; payload_bytes];
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_identifier: None,
        properties: Properties::EMPTY,
        payload: &payload,
    };
    let mut bytes = Vec::new();
    publish.encode(ProtocolVersion::V3_1_1, &mut bytes).unwrap();
    bytes
}

/// Threads that write whole messages as fast as the broker accepts them.
struct Flood {
    stop: Arc<AtomicBool>,
    messages: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(sockets: Vec<TcpStream>, message: &[u8], messages_max: u64) -> Self {
        let (stop, messages) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let write = |mut socket: TcpStream| {
            let (stop, messages) = (Arc::clone(&stop), Arc::clone(&messages));
            let chunk = message.repeat(CHUNK);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && messages.fetch_add(CHUNK as u64, Ordering::Relaxed) < messages_max
                {
                    socket.write_all(&chunk).unwrap();
                }
                // Kept open until the broker has read everything.
                socket.write_all(&[0xC0, 0]).unwrap();
                socket.read_exact(&mut [0; 2]).unwrap();
            })
        };
        let threads = sockets.into_iter().map(write).collect();
        Self {
            stop,
            messages,
            threads,
        }
    }

    /// Ends it once the broker has read everything; returns the number of messages. Each thread counted one chunk too
    /// many if the time limit ended it.
    fn end(self, bounded: bool) -> u64 {
        if !bounded {
            self.stop.store(true, Ordering::Relaxed);
        }
        let threads = self.threads.len() as u64;
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let counted = self.messages.load(Ordering::Relaxed);
        if bounded {
            counted - threads * CHUNK as u64
        } else {
            counted
        }
    }
}

const CHUNK: usize = 16;

/// Threads that read and count bytes.
struct Readers {
    bytes: Arc<Vec<AtomicU64>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// A few threads for all of these sockets.
    fn start(sockets: Vec<TcpStream>) -> Self {
        let bytes: Arc<Vec<AtomicU64>> = Arc::new(sockets.iter().map(|_| AtomicU64::new(0)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let mut groups: Vec<Vec<(usize, TcpStream)>> = (0..4).map(|_| Vec::new()).collect();
        for (number, socket) in sockets.into_iter().enumerate() {
            socket.set_nonblocking(true).unwrap();
            groups[number % 4].push((number, socket));
        }
        let read = |mut group: Vec<(usize, TcpStream)>| {
            let (bytes, stop) = (Arc::clone(&bytes), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                while !stop.load(Ordering::Relaxed) {
                    let mut idle = true;
                    for (number, socket) in &mut group {
                        match socket.read(&mut buffer) {
                            Ok(read) => {
                                assert!(read > 0, "the broker closed");
                                bytes[*number].fetch_add(read as u64, Ordering::Relaxed);
                                idle = false;
                            }
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    if idle {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        };
        let threads = groups.into_iter().map(read).collect();
        Self { bytes, stop, threads }
    }

    fn have_all(&self, bytes: u64) -> bool {
        self.bytes
            .iter()
            .all(|read| read.load(Ordering::Relaxed) == bytes)
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// V35: a flood to each of three hundred subscribers in two shards costs as much memory as the limits allow.
#[test]
fn v35_a_flood_to_hundreds_of_subscribers_is_bounded_and_whole() {
    let broker = Setup::default().shards(2).start();
    let subscribers: Vec<_> = (0..300)
        .map(|number| subscribed(&broker, &format!("s{number:03}")))
        .collect();
    let publishers = (0..4)
        .map(|number| socket(&broker, &format!("p{number:03}")))
        .collect();
    let before_kib = broker.resident_kib();
    let readers = Readers::start(subscribers);
    let message = message(1000);
    let flood = Flood::start(publishers, &message, 8000);
    let mut most_kib = 0;
    while flood.threads.iter().any(|thread| !thread.is_finished()) {
        most_kib = most_kib.max(broker.resident_kib());
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = flood.end(true);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !readers.have_all(sent * message.len() as u64) {
        assert!(Instant::now() < deadline, "not all of {sent} messages came");
        most_kib = most_kib.max(broker.resident_kib());
        std::thread::sleep(Duration::from_millis(5));
    }
    readers.end();
    let grown_mib = (most_kib - before_kib) / 1024;
    assert!(grown_mib < 600, "{grown_mib} MiB more at the most");
}

/// Sockets that are always full of messages do not keep the broker from writing: its backlog is bounded, and is sent a
/// moment after the flood ends.
#[test]
fn a_flood_leaves_no_backlog() {
    let broker = Setup::default().start();
    let subscribers: Vec<_> = (0..50)
        .map(|number| subscribed(&broker, &format!("s{number:03}")))
        .collect();
    let publishers = (0..50)
        .map(|number| socket(&broker, &format!("p{number:03}")))
        .collect();
    let before_kib = broker.resident_kib();
    let readers = Readers::start(subscribers);
    let message = message(64);
    let flood = Flood::start(publishers, &message, u64::MAX);
    let end = Instant::now() + Duration::from_secs(2);
    let mut most_kib = 0;
    let mut read_before = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500));
        most_kib = most_kib.max(broker.resident_kib());
        let read = readers
            .bytes
            .iter()
            .map(|bytes| bytes.load(Ordering::Relaxed))
            .sum::<u64>();
        assert!(read > read_before, "subscribers get something all the time");
        read_before = read;
    }
    let sent = flood.end(false);
    eventually("all subscribers have all messages", || {
        readers.have_all(sent * message.len() as u64)
    });
    readers.end();
    let grown_mib = (most_kib - before_kib) / 1024;
    assert!(grown_mib < 300, "{grown_mib} MiB more at the most");
}

/// Its messages wait for a slow subscriber, and are handled although it has disconnected meanwhile.
#[test]
fn who_publishes_and_goes_at_once_loses_nothing() {
    let broker = Setup::default().start();
    let mut subscriber = subscribed(&broker, "late");
    let mut publisher = socket(&broker, "gone");
    let message = message(1000);
    let count = 30_000;
    let writes = std::thread::spawn({
        let chunk = message.repeat(CHUNK);
        move || {
            for _ in 0..count / CHUNK {
                publisher.write_all(&chunk).unwrap();
            }
        }
    });
    // Until the sockets are full, and the broker has paused the publisher.
    std::thread::sleep(Duration::from_millis(150));
    subscriber
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut got = vec![0; count / CHUNK * CHUNK * message.len()];
    subscriber.read_exact(&mut got).unwrap();
    writes.join().unwrap();
    assert!(got.chunks(message.len()).all(|packet| packet == message));
}

/// Two clients that subscribe to everything, read nothing and reconnect repeatedly delay others only for a moment.
#[test]
fn hostile_subscribers_that_reconnect_delay_nobody() {
    let broker = Setup::default().start();
    let mut reader = Client::connect(&broker, &Options::new("reader"));
    reader.subscribe("other/#", QoS::AtMostOnce);
    let mut publisher = Client::connect(&broker, &Options::new("publisher"));
    let stop = Arc::new(AtomicBool::new(false));
    let flooder = {
        let (stop, mut socket) = (Arc::clone(&stop), socket(&broker, "flod"));
        std::thread::spawn(move || {
            let chunk = message(10_000).repeat(CHUNK);
            while !stop.load(Ordering::Relaxed) {
                socket.write_all(&chunk).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        })
    };
    let mut late = 0;
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed() < Duration::from_secs(6) {
        let _hostile = [
            subscribed_to_all(&broker, "evil"),
            subscribed_to_all(&broker, "bad!"),
        ];
        let until = Instant::now() + Duration::from_millis(600);
        while Instant::now() < until {
            let sent = Instant::now();
            publisher.publish("other/t", b"x", QoS::AtMostOnce);
            reader.message();
            late += u32::from(sent.elapsed() > Duration::from_millis(150));
            rounds += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    stop.store(true, Ordering::Relaxed);
    flooder.join().unwrap();
    assert!(rounds > 100, "{rounds} rounds");
    assert!(late * 50 < rounds, "{late} of {rounds} messages were late");
}

fn subscribed_to_all(broker: &Broker, name: &str) -> TcpStream {
    let mut socket = socket(broker, name);
    socket.write_all(b"\x82\x06\x00\x01\x00\x01#\x00").unwrap();
    let mut suback = [0; 5];
    socket.read_exact(&mut suback).unwrap();
    socket
}

/// When the broker ends, the time limit for clients' last bytes is that of the broker, not that of a single close.
#[test]
fn a_slow_reader_has_the_whole_drain() {
    let broker = Setup::default().start();
    let mut slow = subscribed(&broker, "slow");
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    let message = message(100 << 10);
    for _ in 0..120 {
        publisher.send(&message);
    }
    publisher.ping();
    broker.signal(Signal::TERM);
    std::thread::sleep(Duration::from_secs(6));
    slow.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let mut got = Vec::new();
    slow.read_to_end(&mut got).unwrap();
    // It was slow before, so not everything arrived so far; but what waited for it did, to the last byte.
    assert!(got.len() > 3 << 20, "{} bytes", got.len());
    assert_eq!(got.len() % message.len(), 0, "{} bytes", got.len());
    let (status, log) = broker.wait();
    assert!(status.success(), "{status:?}\n{log}");
}

#[test]
fn closes_are_logged_with_client_and_address() {
    let broker = Broker::start();
    let name = "new\u{7f}client";
    let mut first = Client::connect(&broker, &Options::new(name).v5());
    let _second = Client::connect(&broker, &Options::new(name).v5());
    first.expect_closed();
    eventually("the close is logged", || {
        let log = broker.log();
        let line = log.lines().find(|line| line.contains("took over the session"));
        line.is_some_and(|line| line.contains("Client new\\u{7f}client (127.0.0.1:"))
    });
}

/// The flush that answers it is one of several: the output is sent in pieces, and only then is it dropped.
#[test]
fn who_ends_its_side_of_the_stream_gets_a_long_answer_whole() {
    let broker = Broker::start();
    for _ in 0..20 {
        let mut client = Client::connect(&broker, &Options::new("c"));
        client.subscribe("t", QoS::AtMostOnce);
        let payload = vec![7; 3 * limits::SENT_AT_ONCE_BYTES];
        client.send_publish("t", &payload, QoS::AtMostOnce, false);
        client.send(&[0xc0, 0]);
        client.end_stream();
        let got = client.read_to_end();
        assert!(got.len() > payload.len(), "{} bytes came", got.len());
        assert_eq!(got[got.len() - 2..], [0xd0, 0]);
    }
}
