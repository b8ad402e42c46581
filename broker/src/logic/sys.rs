//! `$SYS`: figures of the broker itself, under mosquitto's names.
//!
//! Invariants: shard 0 owns the topics below `$SYS` and publishes them for all shards, from the counters of all shards.
//! It does so every `sys_interval`, with RETAIN, and only for values that changed.

use std::sync::Arc;

use store::Statistics;

use crate::logic::Shard;
use crate::logic::counters::{Counter, ShardCounters};
use crate::logic::timer::Timer;
use crate::time::Timestamp;

/// What `$SYS` has to remember from one round to the next.
#[derive(Debug, Default)]
pub(super) struct Sys {
    started_at: Option<Timestamp>,
    published_at: Timestamp,
    loads: [Load; LOADS.len()],
    clients_max: u64,
    /// Memory of the process now, and the most of it; 0 if it is not known.
    resident_bytes: u64,
    resident_bytes_max: u64,
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

const TOTALS: [(&str, Read); 18] = [
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
    ("connections/socket/count", |counters| {
        &counters.connections_opened
    }),
    ("packet/out/bytes", |counters| &counters.output_bytes),
    ("inconsistencies", |counters| &counters.inconsistencies),
];

const MINUTES: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// The numbers under `$SYS/broker` that are counted, with their topics: those that a round of `$SYS` publishes.
pub fn sys_totals(shards: &[ShardCounters]) -> impl Iterator<Item = (String, u64)> {
    TOTALS
        .into_iter()
        .map(|(name, read)| (format!("$SYS/broker/{name}"), sum(shards, read)))
}

impl Shard {
    /// Publishes a round and sets the timer for the next one.
    pub(super) fn publish_sys(&mut self) {
        let interval_s = u64::from(self.delivery.settings().sys_interval_s);
        if interval_s == 0 {
            return;
        }
        self.sys.due_at = self.now.plus_s(interval_s);
        self.timers.set(self.sys.due_at, Timer::Sys);
        let (now, counters) = (self.now, Arc::clone(self.delivery.all_counters()));
        let mut sys = std::mem::take(&mut self.sys);
        sys.round(now, &counters, &mut |name, text| self.publish_figure(name, text));
        self.sys = sys;
        if let Some(store) = self.delivery.journal.statistics() {
            self.publish_store(&store);
        }
    }

    /// The resident memory of the process, for `$SYS`; logic itself does not ask the system.
    #[inline]
    pub fn set_resident_bytes(&mut self, bytes: u64) {
        self.sys.resident_bytes = bytes;
        self.sys.resident_bytes_max = self.sys.resident_bytes_max.max(bytes);
    }

    /// Publishes a line of the log; `topic` is what follows `$SYS/broker/log/`.
    pub fn publish_log(&mut self, now: Timestamp, topic: &str, line: &[u8]) {
        self.begin(now);
        self.publish_event(&format!("$SYS/broker/log/{topic}"), line);
    }

    fn publish_store(&mut self, store: &Statistics) {
        for (name, number) in [
            ("store/commits", store.commits),
            ("store/bytes/written", store.bytes_written),
            ("store/bytes/live", store.bytes_live),
            ("store/bytes/disk", store.bytes_total),
            ("store/segments/oldest", store.segment_oldest),
            ("store/quarantined", store.quarantined),
            (
                "store/sync/p99 microseconds",
                store.sync_us.value_at_quantile(0.99),
            ),
        ] {
            self.publish_figure(name, &number.to_string());
        }
    }

    fn publish_figure(&mut self, name: &str, text: &str) {
        let topic = format!("$SYS/broker/{name}");
        let retained = self.retained.get(&topic);
        if retained.is_none_or(|message| message.payload() != text.as_bytes()) {
            self.publish_sys_message(&topic, text.as_bytes());
        }
    }
}

/// Takes the name of a figure and its text.
type Publish<'a> = &'a mut dyn FnMut(&str, &str);

impl Sys {
    /// Reports all figures; each is read when it is reported, so that it counts those before it.
    fn round(&mut self, now: Timestamp, counters: &[ShardCounters], publish: Publish<'_>) {
        let started_at = *self.started_at.get_or_insert_with(|| {
            self.published_at = now;
            now
        });
        publish("version", concat!("midge version ", env!("CARGO_PKG_VERSION")));
        publish("uptime", &format!("{} seconds", now.since_s(started_at)));
        self.report_clients(counters, publish);
        self.report_loads(now, counters, publish);
        let mut report = |name: &str, number: u64| publish(name, &number.to_string());
        for (name, read) in TOTALS {
            report(name, sum(counters, read));
        }
        let retained = sum(counters, |counters| &counters.retained);
        let stored = retained.saturating_add(sum(counters, |counters| &counters.queued_messages));
        report("messages/stored", stored);
        report("store/messages/count", stored);
        report(
            "store/messages/bytes",
            sum(counters, |counters| &counters.queued_bytes),
        );
        report("retained messages/count", retained);
        report("heap/current", self.resident_bytes);
        report("heap/maximum", self.resident_bytes_max);
        self.published_at = now;
    }

    fn report_clients(&mut self, counters: &[ShardCounters], publish: Publish<'_>) {
        let sessions = sum(counters, |counters| &counters.sessions);
        let connected = sum(counters, |counters| &counters.clients_connected);
        self.clients_max = self.clients_max.max(connected);
        let away = sessions.saturating_sub(connected).to_string();
        publish("clients/disconnected", &away);
        publish("clients/inactive", &away);
        publish("clients/maximum", &self.clients_max.to_string());
    }

    fn report_loads(&mut self, now: Timestamp, counters: &[ShardCounters], publish: Publish<'_>) {
        let elapsed_s = now.since_ns(self.published_at) as f64 / 1e9;
        for ((name, read), load) in LOADS.into_iter().zip(&mut self.loads) {
            load.add(sum(counters, read), elapsed_s);
            for ((minutes, _), average) in MINUTES.into_iter().zip(load.averages) {
                publish(&format!("load/{name}/{minutes}"), &format!("{average:.2}"));
            }
        }
    }
}

fn sum(counters: &[ShardCounters], read: Read) -> u64 {
    let numbers = counters.iter().map(|counters| read(counters).get());
    numbers.fold(0, u64::wrapping_add)
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
