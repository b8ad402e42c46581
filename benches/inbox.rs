//! The queue between shards: a batch a turn with its buffer given back, against the alternatives, and the logic
//! around it.
//!
//! An element is one message of 64 B. `queue` moves messages between two threads, which takes two free cores to mean
//! anything: both spin, then yield. The receiver copies each message, as a shard does into an `out`. `across shards`
//! is [`broker::logic::Shard`] on both sides in one thread, from the bytes of a read in one shard to the subscriber's
//! `out` in the other, so that the difference to `within a shard` is the cost of two shards without that of two
//! caches.
#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot make its packets or its clients has nothing to measure"
)]

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use benches::{PAYLOAD, Shell, publish, quick, subscribe};
use broker::limits;
use broker::logic::{Batch, ConnectionId};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::Backoff;
use mqtt::packet::QoS;

/// Messages in a batch.
const MESSAGES: [usize; 3] = [1, 32, 256];

/// Messages that wait where they go one by one.
const SINGLES_MAX: usize = 64 * limits::SHARD_QUEUE_MESSAGES_MAX;

/// One way of moving messages: `push` and `pop` are of different threads and say whether they did anything.
trait Link: Sync {
    type Sender: Send;
    type Receiver: Send;
    fn push(&self, sender: &mut Self::Sender, messages: usize) -> bool;
    /// Appends what came to `out`.
    fn pop(&self, receiver: &mut Self::Receiver, out: &mut Vec<u8>) -> bool;
}

/// The broker's: batches in a bounded queue, the buffers go back through another one.
struct GivenBack {
    batches: ArrayQueue<Batch>,
    returned: ArrayQueue<Batch>,
}

impl GivenBack {
    fn new() -> Self {
        Self {
            batches: ArrayQueue::new(limits::SHARD_QUEUE_MESSAGES_MAX),
            returned: ArrayQueue::new(limits::SHARD_QUEUE_MESSAGES_MAX),
        }
    }
}

impl Link for GivenBack {
    type Sender = ();
    type Receiver = ();

    fn push(&self, (): &mut (), messages: usize) -> bool {
        if self.batches.is_full() {
            return false;
        }
        let mut batch = self.returned.pop().unwrap_or_default();
        batch.publishes.clear();
        fill(&mut batch.publishes, messages);
        self.batches.push(batch).is_ok()
    }

    fn pop(&self, (): &mut (), out: &mut Vec<u8>) -> bool {
        let Some(batch) = self.batches.pop() else {
            return false;
        };
        out.extend_from_slice(&batch.publishes);
        let _ = self.returned.push(batch);
        true
    }
}

/// Batches in the same queue, each in memory of its own.
struct Queue(ArrayQueue<Vec<u8>>);

impl Link for Queue {
    type Sender = ();
    type Receiver = ();

    fn push(&self, (): &mut (), messages: usize) -> bool {
        !self.0.is_full() && self.0.push(filled(messages)).is_ok()
    }

    fn pop(&self, (): &mut (), out: &mut Vec<u8>) -> bool {
        self.0.pop().map(|batch| out.extend_from_slice(&batch)).is_some()
    }
}

/// Bounded channels keep the sender from asking whether there is room: a refused batch is kept for the next try.
struct Channel;

impl Link for Channel {
    type Sender = (channel::Sender<Vec<u8>>, Option<Vec<u8>>);
    type Receiver = channel::Receiver<Vec<u8>>;

    fn push(&self, (sender, refused): &mut Self::Sender, messages: usize) -> bool {
        let batch = refused.take().unwrap_or_else(|| filled(messages));
        match sender.try_send(batch) {
            Ok(()) => true,
            Err(error) => {
                *refused = Some(error.into_inner());
                false
            }
        }
    }

    fn pop(&self, receiver: &mut Self::Receiver, out: &mut Vec<u8>) -> bool {
        receiver
            .try_recv()
            .map(|batch| out.extend_from_slice(&batch))
            .is_ok()
    }
}

/// The same of the standard library.
struct StdChannel;

impl Link for StdChannel {
    type Sender = (mpsc::SyncSender<Vec<u8>>, Option<Vec<u8>>);
    type Receiver = mpsc::Receiver<Vec<u8>>;

    fn push(&self, (sender, refused): &mut Self::Sender, messages: usize) -> bool {
        let batch = refused.take().unwrap_or_else(|| filled(messages));
        match sender.try_send(batch) {
            Ok(()) => true,
            Err(mpsc::TrySendError::Full(batch) | mpsc::TrySendError::Disconnected(batch)) => {
                *refused = Some(batch);
                false
            }
        }
    }

    fn pop(&self, receiver: &mut Self::Receiver, out: &mut Vec<u8>) -> bool {
        receiver
            .try_recv()
            .map(|batch| out.extend_from_slice(&batch))
            .is_ok()
    }
}

fn fill(log: &mut Vec<u8>, messages: usize) {
    for _ in 0..messages {
        log.extend_from_slice(black_box(&PAYLOAD));
    }
}

fn filled(messages: usize) -> Vec<u8> {
    let mut log = Vec::with_capacity(messages * PAYLOAD.len());
    fill(&mut log, messages);
    log
}

/// Time until so many batches are on the other side.
fn transfer<L: Link>(
    link: &L,
    ends: (&mut L::Sender, &mut L::Receiver),
    batches: u64,
    messages: usize,
) -> Duration {
    let (sender, receiver) = ends;
    thread::scope(|scope| {
        let start = Instant::now();
        scope.spawn(move || repeat(batches, || link.push(sender, messages)));
        let mut out = Vec::new();
        repeat(batches, || {
            out.clear();
            link.pop(receiver, black_box(&mut out))
        });
        start.elapsed()
    })
}

/// Until it succeeded so often.
fn repeat(times: u64, mut attempt: impl FnMut() -> bool) {
    let backoff = Backoff::new();
    let mut done = 0;
    while done < times {
        if attempt() {
            done += 1;
            backoff.reset();
        } else {
            backoff.snooze();
        }
    }
}

fn bench_queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    for messages in MESSAGES {
        group.throughput(Throughput::Elements(messages as u64));
        let link = GivenBack::new();
        group.bench_function(BenchmarkId::new("batches given back", messages), |b| {
            b.iter_custom(|batches| transfer(&link, (&mut (), &mut ()), batches, messages));
        });
        let link = Queue(ArrayQueue::new(limits::SHARD_QUEUE_MESSAGES_MAX));
        group.bench_function(BenchmarkId::new("batches", messages), |b| {
            b.iter_custom(|batches| transfer(&link, (&mut (), &mut ()), batches, messages));
        });
        let (sender, mut receiver) = channel::bounded(limits::SHARD_QUEUE_MESSAGES_MAX);
        let mut sender = (sender, None);
        group.bench_function(BenchmarkId::new("crossbeam channel of batches", messages), |b| {
            b.iter_custom(|batches| transfer(&Channel, (&mut sender, &mut receiver), batches, messages));
        });
        let (sender, mut receiver) = mpsc::sync_channel(limits::SHARD_QUEUE_MESSAGES_MAX);
        let mut sender = (sender, None);
        group.bench_function(BenchmarkId::new("std channel of batches", messages), |b| {
            b.iter_custom(|batches| transfer(&StdChannel, (&mut sender, &mut receiver), batches, messages));
        });
    }
    group.throughput(Throughput::Elements(1));
    let link = Queue(ArrayQueue::new(SINGLES_MAX));
    group.bench_function("single messages", |b| {
        b.iter_custom(|messages| transfer(&link, (&mut (), &mut ()), messages, 1));
    });
    group.finish();
}

/// So many publishes, of that many topics in turn: those of one topic go as one record.
fn read_of(messages: usize, topics: usize) -> Vec<u8> {
    let mut read = Vec::new();
    for number in 0..messages {
        publish(
            &format!("sensors/{:02}/temperature", number % topics),
            None,
            &mut read,
        );
    }
    read
}

fn publisher_and_subscriber(publishing: &mut Shell, subscribing: Option<&mut Shell>) -> ConnectionId {
    let publisher = publishing.connect("publisher");
    let shell = subscribing.unwrap_or(publishing);
    let subscriber = shell.connect("subscriber");
    shell.receive(
        subscriber,
        &subscribe(&["sensors/+/temperature"], QoS::AtMostOnce),
    );
    shell.empty_outs(|_, _| {});
    publisher
}

fn bench_shards(c: &mut Criterion) {
    for (name, topics) in [("one topic", 1), ("16 topics in turn", 16)] {
        let mut group = c.benchmark_group(format!("across shards, {name}"));
        for messages in MESSAGES {
            let read = read_of(messages, topics);
            group.throughput(Throughput::Elements(messages as u64));
            group.bench_function(BenchmarkId::new("across shards", messages), |b| {
                let (mut here, mut there) = Shell::pair();
                let publisher = publisher_and_subscriber(&mut here, Some(&mut there));
                let (back, link) = (GivenBack::new(), GivenBack::new());
                hand_over(&mut there, &mut here, (1, 0), &back);
                b.iter(|| {
                    here.receive(publisher, black_box(&read));
                    hand_over(&mut here, &mut there, (0, 1), &link);
                    assert_eq!(there.empty_outs(|_, _| {}), read.len());
                });
            });
            group.bench_function(BenchmarkId::new("within a shard", messages), |b| {
                let mut shell = Shell::alone();
                let publisher = publisher_and_subscriber(&mut shell, None);
                b.iter(|| {
                    shell.receive(publisher, black_box(&read));
                    assert_eq!(shell.empty_outs(|_, _| {}), read.len());
                });
            });
        }
        group.finish();
    }
}

/// What the shells do in a turn of each: take back, push, pop, receive, give back.
fn hand_over(from: &mut Shell, to: &mut Shell, (from_index, to_index): (u16, u16), link: &GivenBack) {
    while let Some(batch) = link.returned.pop() {
        from.recycle_batch(batch);
    }
    while let Some(batch) = from.take_batch(to_index) {
        link.batches.push(batch).unwrap();
    }
    while let Some(batch) = link.batches.pop() {
        to.receive_batch(from_index, &batch);
        let _ = link.returned.push(batch);
    }
}

criterion_group!(name = benches; config = quick(); targets = bench_queue, bench_shards);
criterion_main!(benches);
