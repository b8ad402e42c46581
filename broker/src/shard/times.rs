//! The duration of turns, and the time that messages spend inside the broker.
//!
//! A message counts from the beginning of the turn in which its bytes were available until the end of the turn that
//! passed its copies to the sockets. A message from another shard counts from the turn in which that shard received
//! it. Messages that waited in the queue of a session are not counted: they waited for their client.
//!
//! Invariants: the clock is read once at the end of a turn, which the shard's timeout needs anyway. A copy is counted
//! once, in the turn that flushes it: while a queue to another shard is full nothing is flushed, and messages received
//! in the meantime keep their time. If a flush had no time for some connections, all copies up to then are counted
//! when the last of these has been flushed; connections that are delayed later are not waited for.

use crate::logic::{Batch, ShardCounters};
use crate::time::Timestamp;

/// The measurements of a shard's turns.
#[derive(Debug, Default)]
pub(super) struct TurnTimes {
    /// When the turn began; `None` before the first one.
    began_at: Option<Timestamp>,
    /// When the oldest messages that have not been flushed were received; `None` if all have.
    since: Option<Timestamp>,
    /// The copies that had been sent then.
    sent_before: Copies,
    /// For batches taken since: when they were received, and their copies.
    remote: Vec<(Timestamp, Copies)>,
    /// What the flush of this turn left.
    flushed: Option<Delayed>,
    /// Copies for connections for which a flush had no time.
    waiting: Option<WaitingCopies>,
}

/// Copies of messages, by their QoS.
type Copies = [u64; 3];

/// Connections for which flushes had no time: the total number so far, and how many of these have had their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delayed {
    pub(super) ever: u64,
    pub(super) over: u64,
}

/// Copies, in lots with the time at which each was received.
#[derive(Debug)]
struct WaitingCopies {
    lots: Vec<(Timestamp, Copies)>,
    /// The number of delayed connections that must have had their turn.
    until: u64,
}

impl TurnTimes {
    /// A turn begins: the received bytes are available.
    pub(super) fn begin(&mut self, now: Timestamp, counters: &ShardCounters) {
        self.began_at = Some(now);
        if self.since.is_none() {
            self.since = Some(now);
            self.sent_before = counters.sent_at_once();
        }
    }

    /// A batch was taken; `before` is what had been sent.
    pub(super) fn took(&mut self, batch: &Batch, before: &Copies, counters: &ShardCounters) {
        let copies = difference(&counters.sent_at_once(), before);
        if copies != [0; 3] {
            self.remote.push((batch.since, copies));
        }
    }

    /// The output was passed to the sockets, except for delayed connections.
    pub(super) fn flushed(&mut self, delayed: Delayed) {
        self.flushed = Some(delayed);
    }

    /// A turn ends: what it has flushed is counted.
    pub(super) fn end(&mut self, now: Timestamp, counters: &ShardCounters) {
        let (Some(began_at), Some(since)) = (self.began_at, self.since) else {
            // None has begun yet.
            return;
        };
        counters.turns.record(now.since_ns(began_at), 1);
        let Some(Delayed { ever, over }) = self.flushed.take() else {
            // A queue to another shard is full.
            return;
        };
        if let Some(waiting) = self.waiting.take_if(|waiting| waiting.until <= over) {
            record_all(counters, now, waiting.lots);
        }
        if self.waiting.is_some() {
            return;
        }
        self.since = None;
        let mut own = difference(&counters.sent_at_once(), &self.sent_before);
        let mut lots = std::mem::take(&mut self.remote);
        for (_, copies) in &lots {
            own = difference(&own, copies);
        }
        lots.push((since, own));
        if ever > over {
            self.waiting = Some(WaitingCopies { lots, until: ever });
        } else {
            record_all(counters, now, lots.drain(..));
            lots.clear();
            self.remote = lots;
        }
    }
}

fn record_all(counters: &ShardCounters, now: Timestamp, lots: impl IntoIterator<Item = (Timestamp, Copies)>) {
    for (received_at, copies) in lots {
        record(counters, now.since_ns(received_at), &copies);
    }
}

fn record(counters: &ShardCounters, took_ns: u64, copies: &Copies) {
    for (histogram, &copies) in counters.latency.iter().zip(copies) {
        if copies > 0 {
            histogram.record(took_ns, copies);
        }
    }
}

fn difference(more: &Copies, less: &Copies) -> Copies {
    let mut left = *more;
    for (left, less) in left.iter_mut().zip(less) {
        *left = left.saturating_sub(*less);
    }
    left
}

#[cfg(test)]
mod tests {
    use mqtt::QoS;

    use super::*;

    const ALL: Delayed = Delayed { ever: 7, over: 7 };

    fn counts(counters: &ShardCounters) -> [(u64, f64); 3] {
        [0, 1, 2].map(|qos| counters.latency[qos].count_and_sum())
    }

    fn send(counters: &ShardCounters, qos: QoS, copies: u64) {
        counters.publishes_sent.add(copies);
        (0..copies).for_each(|_| counters.count_sent_at(qos));
    }

    #[test]
    fn copies_are_counted_when_they_are_flushed() {
        let (counters, mut times) = (ShardCounters::default(), TurnTimes::default());
        times.end(Timestamp(900), &counters);
        times.begin(Timestamp(1000), &counters);
        send(&counters, QoS::AtLeastOnce, 3);
        // A queue is full: nothing is flushed.
        times.end(Timestamp(5000), &counters);
        assert_eq!(counts(&counters)[1].0, 0);
        times.begin(Timestamp(6000), &counters);
        send(&counters, QoS::AtMostOnce, 2);
        times.flushed(ALL);
        times.end(Timestamp(9000), &counters);
        let [at0, at1, at2] = counts(&counters);
        assert_eq!((at0.0, at1.0, at2.0), (2, 3, 0));
        assert!((at1.1 - 3.0 * 8e-6).abs() < 1e-9, "{at1:?}");
        assert_eq!(counters.turns.count_and_sum().0, 2);
    }

    /// It is always on, so it must cost almost nothing; docs/BENCHMARKING.md has the measured cost. The bound leaves
    /// room for a build without optimization on a busy machine.
    #[test]
    fn what_a_turn_costs() {
        let (counters, mut times) = (ShardCounters::default(), TurnTimes::default());
        let turns = 200_000;
        let begun = std::time::Instant::now();
        for turn in 0..turns {
            times.begin(Timestamp(turn * 20_000), &counters);
            counters.publishes_sent.add(1);
            times.flushed(ALL);
            times.end(Timestamp(turn * 20_000 + 15_000), &counters);
        }
        let ns = begun.elapsed().as_nanos() as f64 / turns as f64;
        println!("{ns:.1} ns a turn");
        assert_eq!(counts(&counters)[0].0, turns);
        assert!(ns < 10_000.0, "{ns}");
    }

    #[test]
    fn what_another_shard_received_counts_from_then() {
        let (counters, mut times) = (ShardCounters::default(), TurnTimes::default());
        times.begin(Timestamp(1_000_000), &counters);
        let before = counters.sent_at_once();
        send(&counters, QoS::ExactlyOnce, 5);
        let mut batch = Batch::default();
        batch.since = Timestamp(500_000);
        times.took(&batch, &before, &counters);
        send(&counters, QoS::ExactlyOnce, 1);
        // Messages of a queue do not count as latency.
        counters.publishes_sent.add(1);
        counters.count_sent_from_queue(QoS::ExactlyOnce);
        times.flushed(ALL);
        times.end(Timestamp(1_100_000), &counters);
        let (count, seconds) = counts(&counters)[2];
        assert_eq!(count, 6);
        assert!((seconds - (5.0 * 600e-6 + 100e-6)).abs() < 1e-9, "{seconds}");
    }

    #[test]
    fn copies_of_delayed_connections_are_counted_when_these_had_their_turn() {
        let (counters, mut times) = (ShardCounters::default(), TurnTimes::default());
        let mut turn = |at: u64, ever: u64, over: u64| {
            times.begin(Timestamp(at), &counters);
            send(&counters, QoS::AtMostOnce, 1);
            times.flushed(Delayed { ever, over });
            times.end(Timestamp(at + 500), &counters);
            let (count, seconds) = counts(&counters)[0];
            (count, (seconds * 1e9).round() as u64)
        };
        // Ten are left, and each later turn leaves more than it flushes.
        assert_eq!(turn(1000, 10, 0), (0, 0));
        assert_eq!(turn(2000, 20, 5), (0, 0));
        assert_eq!(turn(3000, 30, 10), (1, 2500), "those of the first turn");
        assert_eq!(turn(4000, 40, 20), (1, 2500));
        assert_eq!(turn(5000, 40, 30), (3, 2500 + 2 * 3500));
        assert_eq!(turn(6000, 40, 40).0, 6, "nothing is left");
    }
}
