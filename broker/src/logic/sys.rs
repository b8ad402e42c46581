//! `$SYS`: figures of the broker itself, under mosquitto's names.
//!
//! Invariants: shard 0 owns the topics below `$SYS` and publishes them for all shards, from the counters of all
//! shards. It does so every `sys_interval`, with RETAIN, and only for values that have changed. The names are those of
//! mosquitto 2.1's manual, including the counters by packet type that mosquitto itself does not publish.

use std::sync::Arc;

use store::Statistics;

use crate::logic::Shard;
use crate::logic::counters::{Counter, ShardCounters};
use crate::logic::timer::Timer;
use crate::time::Timestamp;

/// The state of `$SYS` between two rounds.
#[derive(Debug, Default)]
pub(super) struct Sys {
    started_at: Option<Timestamp>,
    published_at: Timestamp,
    loads: [Load; LOADS.len()],
    clients_max: u64,
    /// Current and highest memory of the process; 0 if it is not known.
    resident_bytes: u64,
    resident_bytes_max: u64,
    /// The time of its timer.
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

/// The packets of `$SYS/broker/mqtt`, with the directions in which a broker counts them: received, sent.
const PACKETS: [(&str, bool, bool); 15] = [
    ("auth", true, true),
    ("connack", false, true),
    ("connect", true, false),
    ("disconnect", true, true),
    ("pingreq", true, false),
    ("pingresp", false, true),
    ("puback", true, true),
    ("pubcomp", true, true),
    ("publish", true, true),
    ("pubrec", true, true),
    ("pubrel", true, true),
    ("suback", false, true),
    ("subscribe", true, false),
    ("unsuback", false, true),
    ("unsubscribe", true, false),
];

/// The value of `$SYS/broker/version`.
pub const SYS_VERSION: &str = concat!("midge version ", env!("CARGO_PKG_VERSION"));

/// The figures of `$SYS`, for queries instead of a subscription.
#[derive(Clone, Debug, Default)]
pub struct SysFigures {
    /// Names below `$SYS/broker`, and numbers.
    pub numbers: Vec<(String, u64)>,
    /// The rates per minute, in the same form.
    pub loads: Vec<(String, f64)>,
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
            report_store(&store, &mut |name, number| {
                self.publish_figure(name, &number.to_string())
            });
        }
    }

    /// Sets the resident memory of the process for `$SYS`; the logic itself does not ask the system.
    #[inline]
    pub fn set_resident_bytes(&mut self, bytes: u64) {
        self.sys.resident_bytes = bytes;
        self.sys.resident_bytes_max = self.sys.resident_bytes_max.max(bytes);
    }

    /// Publishes a log line; `topic` follows `$SYS/broker/log/`.
    pub fn publish_log(&mut self, now: Timestamp, topic: &str, line: &[u8]) {
        self.begin(now);
        self.publish_of_broker(&format!("$SYS/broker/log/{topic}"), line, false);
    }

    /// Publishes a figure, unless it is unchanged.
    fn publish_figure(&mut self, name: &str, text: &str) {
        let topic = format!("$SYS/broker/{name}");
        let retained = self.retained.get(&topic);
        if retained.is_none_or(|message| message.payload() != text.as_bytes()) {
            self.publish_of_broker(&topic, text.as_bytes(), true);
        }
    }
}

/// Takes the name of a figure and its text.
type Publish<'a> = &'a mut dyn FnMut(&str, &str);

impl Sys {
    /// The current figures; the rates are those of the last round.
    pub(super) fn figures(&self, counters: &[ShardCounters]) -> SysFigures {
        let mut figures = SysFigures::default();
        self.report_numbers(counters, &mut |name, number| {
            figures.numbers.push((name.to_owned(), number));
        });
        self.report_loads(&mut |name, average| figures.loads.push((name.to_owned(), average)));
        figures
    }

    /// Publishes all figures; each is read when it is reported, so that it counts those before it.
    fn round(&mut self, now: Timestamp, counters: &[ShardCounters], publish: Publish<'_>) {
        let started_at = *self.started_at.get_or_insert_with(|| {
            self.published_at = now;
            now
        });
        publish("version", SYS_VERSION);
        publish("uptime", &format!("{} seconds", now.since_s(started_at)));
        let connected = sum(counters, |counters| &counters.clients_connected);
        self.clients_max = self.clients_max.max(connected);
        self.add_loads(now, counters);
        self.report_loads(&mut |name, average| publish(name, &format!("{average:.2}")));
        self.report_numbers(counters, &mut |name, number| publish(name, &number.to_string()));
        self.published_at = now;
    }

    fn report_numbers(&self, counters: &[ShardCounters], report: &mut dyn FnMut(&str, u64)) {
        for (name, read) in TOTALS {
            report(name, sum(counters, read));
        }
        let sessions = sum(counters, |counters| &counters.sessions);
        let connected = sum(counters, |counters| &counters.clients_connected);
        let away = sessions.saturating_sub(connected);
        report("clients/disconnected", away);
        report("clients/inactive", away);
        report("clients/maximum", self.clients_max.max(connected));
        let retained = sum(counters, |counters| &counters.retained);
        let stored = retained.saturating_add(sum(counters, |counters| &counters.queued_messages));
        report("messages/stored", stored);
        report("store/messages/count", stored);
        report(
            "store/messages/bytes",
            sum(counters, |counters| &counters.queued_bytes)
                .saturating_add(sum(counters, |counters| &counters.retained_bytes)),
        );
        report("retained messages/count", retained);
        report("heap/current", self.resident_bytes);
        report("heap/maximum", self.resident_bytes_max);
        report("packet/out/count", packets_waiting(counters));
        report_packets(counters, report);
    }

    fn add_loads(&mut self, now: Timestamp, counters: &[ShardCounters]) {
        let elapsed_s = now.since_ns(self.published_at) as f64 / 1e9;
        for ((_, read), load) in LOADS.into_iter().zip(&mut self.loads) {
            load.add(sum(counters, read), elapsed_s);
        }
    }

    fn report_loads(&self, report: &mut dyn FnMut(&str, f64)) {
        for ((name, _), load) in LOADS.into_iter().zip(&self.loads) {
            for ((minutes, _), average) in MINUTES.into_iter().zip(load.averages) {
                report(&format!("load/{name}/{minutes}"), average);
            }
        }
    }
}

/// The approximate number of packets that wait for sockets: their bytes divided by the mean length of a packet.
fn packets_waiting(counters: &[ShardCounters]) -> u64 {
    let waiting = u128::from(sum(counters, |counters| &counters.output_bytes));
    let packets = u128::from(sum(counters, |counters| &counters.packets_sent));
    let bytes = u128::from(sum(counters, |counters| &counters.bytes_sent));
    let about = (waiting * packets).checked_div(bytes).unwrap_or(waiting.min(1));
    u64::try_from(about.max(waiting.min(1))).unwrap_or(u64::MAX)
}

fn report_store(store: &Statistics, report: &mut dyn FnMut(&str, u64)) {
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
        report(name, number);
    }
}

fn report_packets(counters: &[ShardCounters], report: &mut dyn FnMut(&str, u64)) {
    let by_type: Vec<_> = counters.iter().map(ShardCounters::packets_by_type).collect();
    let of = |label: &str, direction: usize| -> u64 {
        let directions = by_type.iter().filter_map(|directions| directions.get(direction));
        let packets = directions.flatten().filter(|(other, _)| *other == label);
        packets.map(|(_, count)| count).sum()
    };
    for (label, is_received, is_sent) in PACKETS {
        if is_received {
            report(&format!("mqtt/{label}/received"), of(label, 0));
        }
        if is_sent {
            report(&format!("mqtt/{label}/sent"), of(label, 1));
        }
    }
    report(
        "mqtt/publish/dropped",
        sum(counters, |counters| &counters.publishes_dropped),
    );
}

fn sum(counters: &[ShardCounters], read: Read) -> u64 {
    let numbers = counters.iter().map(|counters| read(counters).get());
    numbers.fold(0, u64::wrapping_add)
}

impl Load {
    /// Adds a new total: the rate since the last one updates the averages.
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
