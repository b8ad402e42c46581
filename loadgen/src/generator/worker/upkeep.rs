//! Work that is done ten times a second, and at the end.
//!
//! Invariant: nothing here is done for more clients in a turn than the interval allows.

use transport::clock::monotonic_ns;

use super::{Event, LOOK_AROUND, Role, Worker};
use crate::connection::login;
use crate::connection::opening::Stage;
use crate::generator::measure::WorkerOutcome;
use crate::measure::timeline::nanoseconds;
use crate::outcome::series::IntervalPart;

impl Worker<'_> {
    /// Work that is done about ten times a second.
    pub(super) fn check_periodically(&mut self) {
        let now_ns = monotonic_ns();
        if let Some(times) = self.run.timeline.times() {
            self.load.times = Some(times);
            self.usage.sample(&times, now_ns);
            if now_ns >= self.load.interval_ends_ns {
                self.end_interval(times.start_ns, now_ns);
            }
        }
        if now_ns.saturating_sub(self.looked_at_ns) < nanoseconds(LOOK_AROUND) {
            return;
        }
        self.looked_at_ns = now_ns;
        self.ping_idle(now_ns);
        self.give_up_stalled(now_ns);
        self.stall_slow(now_ns);
        self.reconnect_lost(now_ns);
        self.flush_dirty();
    }

    /// Reports the events of the interval and begins the one that contains `now_ns`.
    fn end_interval(&mut self, start_ns: u64, now_ns: u64) {
        let interval_ns = self.run.interval_ns;
        let index = now_ns.saturating_sub(start_ns) / interval_ns;
        let next = IntervalPart {
            thread: self.index,
            index: index as usize,
            ..IntervalPart::default()
        };
        self.load.interval_ends_ns = start_ns + (index + 1) * interval_ns;
        let ended = std::mem::replace(&mut self.load.interval, Box::new(next));
        // The coordinator outlives its threads.
        let _ = self.events.send(Event::Interval(ended));
    }

    /// Sends PINGREQ on some of the connections that have been silent for half of their Keep Alive; all connections
    /// are checked within a quarter of it.
    fn ping_idle(&mut self, now_ns: u64) {
        let keep_alive_ns = u64::from(self.run.scenario.keep_alive_s) * 1_000_000_000;
        let looks = keep_alive_ns / 4 / nanoseconds(LOOK_AROUND);
        if looks == 0 {
            return;
        }
        for _ in 0..self.clients.len().div_ceil(looks as usize) {
            let slot = self.ping_cursor;
            self.ping_cursor = if slot + 1 < self.clients.len() {
                slot + 1
            } else {
                0
            };
            let Some(client) = self.clients.get_mut(slot) else {
                return;
            };
            let silent_ns = now_ns.saturating_sub(client.connection.sent_at_ns());
            if client.opening.stage == Stage::Ready && silent_ns > keep_alive_ns / 2 {
                mqtt::encode::pingreq(client.connection.out());
                self.mark_dirty(slot);
            }
        }
    }

    /// Sends DISCONNECT on every connection and returns the measurements.
    pub(super) fn finish(mut self) -> WorkerOutcome {
        self.publish_gauges();
        let now_ns = monotonic_ns();
        if let Some(times) = self.run.timeline.times() {
            self.usage.sample(&times, now_ns);
        }
        if let Some(times) = self.load.times {
            self.end_interval(times.start_ns, now_ns);
        }
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.opening.stage == Stage::Ready)
        {
            login::disconnect(self.run.scenario.version, client.connection.out());
            client.connection.close(&mut self.ring, &mut self.scratch, now_ns);
        }
        let mut outcome = WorkerOutcome {
            given_up: self.load.given_up,
            refused: self.load.refused,
            differences: self.load.differences,
            reconnected: self.load.reconnected,
            slow_broken: self.load.slow_broken,
            broken: self.load.causes,
            usage: self.usage.whole(),
            measurements: self.load.measurements,
            ..WorkerOutcome::default()
        };
        drop(self.ring);
        let times = self.run.timeline.times();
        for client in self.clients {
            match client.role {
                Role::Subscriber(subscriber) if subscriber.is_slow() => {
                    outcome.slow_ledgers.push(subscriber.into_ledger());
                }
                Role::Subscriber(subscriber) => outcome.ledgers.push(subscriber.into_ledger()),
                Role::Publisher(mut publisher) => {
                    outcome.sent.push((publisher.number(), publisher.sent()));
                    outcome.without_alias += u64::from(publisher.lacks_alias());
                    outcome.unsent += times.map_or(0, |times| publisher.unsent(&times));
                }
            }
        }
        outcome
    }
}
