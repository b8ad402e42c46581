//! One publisher, many subscribers, one shard: from the bytes of a read to the `out` of each subscriber.
//!
//! An element is one delivered message: at 100 Melem/s the logic spends 10 ns on each. The sockets' cost is not in
//! it. At QoS 1 each subscriber answers with one read of PUBACKs for all it got, and the reads of these are in the
//! figure, as is making them here (about 2 ns each).
#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot make its packets or its clients has nothing to measure"
)]

use std::hint::black_box;

use benches::{Shell, publish, quick, subscribe};
use broker::logic::ConnectionId;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mqtt::packet::{PacketIdentifier, QoS};

const TOPIC: &str = "sensors/17/temperature";

/// Where the Packet Identifier of a PUBLISH of [`TOPIC`] is: after a fixed header of two bytes and the Topic Name.
const IDENTIFIER_AT: usize = 2 + 2 + TOPIC.len();

const SUBSCRIBERS: [u16; 4] = [1, 10, 100, 1000];

/// Publishes that one read brings. QoS 1 keeps at most 20 in flight to a subscriber.
const PUBLISHES: [u16; 2] = [1, 16];

/// A shard with subscribers to [`TOPIC`] and a publisher.
fn shard(subscribers: u16, qos: QoS) -> (Shell, ConnectionId) {
    let mut shell = Shell::alone();
    for number in 0..subscribers {
        let id = shell.connect(&format!("subscriber-{number}"));
        shell.receive(id, &subscribe(&[TOPIC], qos));
    }
    let publisher = shell.connect("publisher");
    shell.empty_outs(|_, _| {});
    (shell, publisher)
}

/// The bytes of so many publishes, one after the other.
fn read_of(publishes: u16, qos: QoS) -> Vec<u8> {
    let mut read = Vec::new();
    for number in 1..=publishes {
        let identifier = PacketIdentifier::new(number).filter(|_| qos != QoS::AtMostOnce);
        publish(TOPIC, identifier, &mut read);
    }
    read
}

fn bench_qos_0(c: &mut Criterion) {
    for publishes in PUBLISHES {
        let mut group = c.benchmark_group(format!("fan-out QoS 0, {publishes} a read"));
        let read = read_of(publishes, QoS::AtMostOnce);
        for subscribers in SUBSCRIBERS {
            let (mut shell, publisher) = shard(subscribers, QoS::AtMostOnce);
            let delivered = usize::from(subscribers) * usize::from(publishes);
            group.throughput(Throughput::Elements(delivered as u64));
            group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
                b.iter(|| {
                    shell.receive(publisher, black_box(&read));
                    let bytes = shell.empty_outs(|_, out| {
                        black_box(out);
                    });
                    assert_eq!(bytes, read.len() * usize::from(subscribers));
                });
            });
        }
        group.finish();
    }
}

fn bench_qos_1(c: &mut Criterion) {
    for publishes in PUBLISHES {
        let mut group = c.benchmark_group(format!("fan-out QoS 1, {publishes} a read"));
        let read = read_of(publishes, QoS::AtLeastOnce);
        let publish_bytes = read.len() / usize::from(publishes);
        for subscribers in SUBSCRIBERS {
            let (mut shell, publisher) = shard(subscribers, QoS::AtLeastOnce);
            let mut clients = Subscribers::new(publisher, publish_bytes);
            let delivered = usize::from(subscribers) * usize::from(publishes);
            group.throughput(Throughput::Elements(delivered as u64));
            group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
                b.iter(|| {
                    shell.receive(publisher, black_box(&read));
                    shell.empty_outs(|id, out| clients.read(id, out));
                    assert_eq!(clients.send(&mut shell), delivered);
                });
            });
        }
        group.finish();
    }
}

/// The subscribers' side of QoS 1.
struct Subscribers {
    publisher: ConnectionId,
    publish_bytes: usize,
    /// PUBACKs of all, one after the other, and whose up to where they are.
    acknowledgements: Vec<u8>,
    ends: Vec<(ConnectionId, usize)>,
}

impl Subscribers {
    fn new(publisher: ConnectionId, publish_bytes: usize) -> Self {
        Self {
            publisher,
            publish_bytes,
            acknowledgements: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Takes PUBLISH packets; the publisher's own PUBACKs are of no use.
    fn read(&mut self, id: ConnectionId, out: &[u8]) {
        if id == self.publisher {
            return;
        }
        for packet in out.chunks_exact(self.publish_bytes) {
            let identifier = packet.get(IDENTIFIER_AT..IDENTIFIER_AT + 2).unwrap();
            self.acknowledgements.extend_from_slice(&[0x40, 2]);
            self.acknowledgements.extend_from_slice(identifier);
        }
        self.ends.push((id, self.acknowledgements.len()));
    }

    /// Sends the PUBACKs, a read for each subscriber; returns how many.
    fn send(&mut self, shell: &mut Shell) -> usize {
        let mut start = 0;
        for (id, end) in self.ends.drain(..) {
            shell.receive(id, self.acknowledgements.get(start..end).unwrap());
            start = end;
        }
        self.acknowledgements.clear();
        start / 4
    }
}

criterion_group!(name = benches; config = quick(); targets = bench_qos_0, bench_qos_1);
criterion_main!(benches);
