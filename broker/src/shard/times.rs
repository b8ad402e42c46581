//! How long turns take, and how long messages are inside of the broker.
//!
//! A message counts from the beginning of the turn in which its bytes were there until the end of the turn that gave
//! its copies to the sockets. What came from another shard counts from the turn in which that shard received it.
//! Messages that waited in the queue of a session are not counted: they waited for their client.
//!
//! Invariants: one look at the clock at the end of a turn, which is also what the shard's timeout is computed from. A
//! copy is counted once, in the turn that flushes it: while a queue to another shard is full nothing is flushed, and
//! what was received meanwhile keeps its time.

use crate::logic::{Batch, ShardCounters};
use crate::time::Timestamp;

/// What a shard measures of its turns.
#[derive(Debug, Default)]
pub(super) struct TurnTimes {
    /// When the turn began; `None` before the first one.
    began_at: Option<Timestamp>,
    /// When that was received which has not been flushed; `None` if all has.
    since: Option<Timestamp>,
    /// What had been sent then.
    sent_before: Copies,
    /// Of batches that were taken since: when they were received, and their copies.
    remote: Vec<(Timestamp, Copies)>,
    has_flushed: bool,
}

/// Copies of messages, by their QoS.
type Copies = [u64; 3];

impl TurnTimes {
    /// A turn begins: what has come is there.
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

    /// What was written went to the sockets.
    pub(super) fn flushed(&mut self) {
        self.has_flushed = true;
    }

    /// A turn ends: what it has flushed is counted.
    pub(super) fn end(&mut self, now: Timestamp, counters: &ShardCounters) {
        let (Some(began_at), Some(since)) = (self.began_at, self.since) else {
            // None has begun yet.
            return;
        };
        counters.turns.record(now.since_ns(began_at), 1);
        if !std::mem::take(&mut self.has_flushed) {
            return;
        }
        self.since = None;
        let mut own = difference(&counters.sent_at_once(), &self.sent_before);
        for (received_at, copies) in self.remote.drain(..) {
            own = difference(&own, &copies);
            record(counters, now.since_ns(received_at), &copies);
        }
        record(counters, now.since_ns(since), &own);
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
        times.flushed();
        times.end(Timestamp(9000), &counters);
        let [at0, at1, at2] = counts(&counters);
        assert_eq!((at0.0, at1.0, at2.0), (2, 3, 0));
        assert!((at1.1 - 3.0 * 8e-6).abs() < 1e-9, "{at1:?}");
        assert_eq!(counters.turns.count_and_sum().0, 2);
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
        // Messages of a queue are nobody's latency.
        counters.publishes_sent.add(1);
        counters.count_sent_from_queue(QoS::ExactlyOnce);
        times.flushed();
        times.end(Timestamp(1_100_000), &counters);
        let (count, seconds) = counts(&counters)[2];
        assert_eq!(count, 6);
        assert!((seconds - (5.0 * 600e-6 + 100e-6)).abs() < 1e-9, "{seconds}");
    }
}
