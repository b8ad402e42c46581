//! `$SYS`: figures of the broker itself, under mosquitto's names.
//!
//! Invariant: shard 0 publishes for all, from the counters of all, every `sys_interval`, retained, and only what
//! changed; it owns what is below `$SYS`.

use crate::logic::Shard;
use crate::logic::counters::{Counter, ShardCounters};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::timer::Timer;
use crate::time::Timestamp;

/// What `$SYS` has to remember from one round to the next.
#[derive(Debug, Default)]
pub(super) struct Sys {
    started_at: Option<Timestamp>,
    published_at: Timestamp,
    loads: [Load; LOADS.len()],
    clients_max: u64,
    /// What its timer is set to.
    pub(super) due_at: Timestamp,
}

/// A rate a minute, averaged over 1, 5 and 15 minutes.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    total: u64,
    averages: [f64; 3],
}

type Read = fn(&ShardCounters) -> &Counter;

const LOADS: [(&str, Read); 9] = [
    ("messages/received", |counters| &counters.packets_received),
    ("messages/sent", |counters| &counters.packets_sent),
    ("publish/dropped", |counters| &counters.publishes_dropped),
    ("publish/received", |counters| &counters.publishes_received),
    ("publish/sent", |counters| &counters.publishes_sent),
    ("bytes/received", |counters| &counters.bytes_received),
    ("bytes/sent", |counters| &counters.bytes_sent),
    ("sockets", |counters| &counters.connections_opened),
    ("connections", |counters| &counters.connects_accepted),
];

const TOTALS: [(&str, Read); 16] = [
    ("clients/connected", |counters| &counters.clients_connected),
    ("clients/active", |counters| &counters.clients_connected),
    ("clients/total", |counters| &counters.sessions),
    ("clients/expired", |counters| &counters.sessions_expired),
    ("messages/received", |counters| &counters.packets_received),
    ("messages/sent", |counters| &counters.packets_sent),
    ("bytes/received", |counters| &counters.bytes_received),
    ("bytes/sent", |counters| &counters.bytes_sent),
    ("publish/messages/dropped", |counters| &counters.publishes_dropped),
    ("publish/messages/received", |counters| {
        &counters.publishes_received
    }),
    ("publish/messages/sent", |counters| &counters.publishes_sent),
    ("publish/bytes/received", |counters| {
        &counters.publish_bytes_received
    }),
    ("publish/bytes/sent", |counters| &counters.publish_bytes_sent),
    ("subscriptions/count", |counters| &counters.subscriptions),
    ("shared_subscriptions/count", |counters| {
        &counters.shared_subscriptions
    }),
    ("inconsistencies", |counters| &counters.inconsistencies),
];

const MINUTES: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// The numbers under `$SYS/broker` that are counted, with their topics: those that a round of `$SYS` publishes.
pub fn sys_totals(shards: &[ShardCounters]) -> impl Iterator<Item = (String, u64)> {
    TOTALS.into_iter().map(|(name, read)| {
        let sum = shards
            .iter()
            .map(|counters| read(counters).get())
            .fold(0, u64::wrapping_add);
        (format!("$SYS/broker/{name}"), sum)
    })
}

impl Shard {
    /// Publishes a round and sets the timer for the next one.
    pub(super) fn publish_sys(&mut self) {
        let interval_s = u64::from(self.delivery.settings().sys_interval_s);
        if interval_s == 0 {
            return;
        }
        if self.sys.started_at.is_none() {
            self.sys.published_at = self.now;
        }
        let started_at = *self.sys.started_at.get_or_insert(self.now);
        self.sys.due_at = self.now.plus_s(interval_s);
        self.timers.set(self.sys.due_at, Timer::Sys);
        self.publish_text("version", concat!("midge version ", env!("CARGO_PKG_VERSION")));
        self.publish_text("uptime", &format!("{} seconds", self.now.since_s(started_at)));
        self.publish_clients();
        self.publish_loads();
        for (name, read) in TOTALS {
            self.publish_number(name, self.sum(read));
        }
        let retained = self.sum(|counters| &counters.retained);
        let stored = retained.saturating_add(self.sum(|counters| &counters.queued_messages));
        self.publish_number("messages/stored", stored);
        self.publish_number("store/messages/count", stored);
        self.publish_number(
            "store/messages/bytes",
            self.sum(|counters| &counters.queued_bytes),
        );
        self.publish_number("retained messages/count", retained);
        self.sys.published_at = self.now;
    }

    fn publish_clients(&mut self) {
        let sessions = self.sum(|counters| &counters.sessions);
        let connected = self.sum(|counters| &counters.clients_connected);
        self.sys.clients_max = self.sys.clients_max.max(connected);
        let away = sessions.saturating_sub(connected);
        self.publish_number("clients/disconnected", away);
        self.publish_number("clients/inactive", away);
        self.publish_number("clients/maximum", self.sys.clients_max);
    }

    fn publish_loads(&mut self) {
        let elapsed_s = self.now.since_ns(self.sys.published_at) as f64 / 1e9;
        for (at, (name, read)) in LOADS.into_iter().enumerate() {
            let total = self.sum(read);
            let Some(load) = self.sys.loads.get_mut(at) else {
                unreachable_state("a load without its averages");
                continue;
            };
            load.add(total, elapsed_s);
            for ((minutes, _), average) in MINUTES.into_iter().zip(load.averages) {
                self.publish_text(&format!("load/{name}/{minutes}"), &format!("{average:.2}"));
            }
        }
    }

    fn sum(&self, read: Read) -> u64 {
        self.delivery
            .all_counters()
            .iter()
            .map(|counters| read(counters).get())
            .fold(0, u64::wrapping_add)
    }

    fn publish_number(&mut self, name: &str, number: u64) {
        self.publish_text(name, &number.to_string());
    }

    fn publish_text(&mut self, name: &str, text: &str) {
        let topic = format!("$SYS/broker/{name}");
        if self
            .retained
            .get(&topic)
            .is_none_or(|message| message.payload() != text.as_bytes())
        {
            self.publish_own(&topic, text.as_bytes());
        }
    }
}

impl Load {
    /// Takes a new total in: the rate since the last one moves the averages.
    fn add(&mut self, total: u64, elapsed_s: f64) {
        let since = total.wrapping_sub(self.total);
        self.total = total;
        if elapsed_s <= 0.0 {
            return;
        }
        let a_minute = since as f64 * 60.0 / elapsed_s;
        for (average, (_, span_s)) in self.averages.iter_mut().zip(MINUTES) {
            *average = a_minute + (*average - a_minute) * (-elapsed_s / span_s).exp();
        }
    }
}
