//! The counters of the shards as OpenMetrics and as JSON.
//!
//! Invariants: a page is one pass over the counters without a lock, so a request costs the shards nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde_json::{Map, Value};
use store::Statistics;
use transport::http::open_metrics::{HistogramSample, OpenMetricsPage};

use super::api_counts::ApiCounts;
use super::by_listener::{self, ListenerFigures};
use super::{by_label, by_shard};
use crate::logic::{CounterKind, SHOWN, SYS_VERSION, ShardCounters, SysFigures};

/// Figures of the process, beside the shards' counters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) started_at: SystemTime,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) descriptors_max: Option<u64>,
    pub(super) cpu_ns: Option<u64>,
    pub(super) memory_full: bool,
}

/// The data of a page.
pub(super) struct Figures<'a> {
    pub(super) shards: &'a [ShardCounters],
    pub(super) process: &'a Process,
    pub(super) store: Option<&'a Statistics>,
    pub(super) listeners: &'a [ListenerFigures],
    /// Messages in the queue from one shard to another.
    pub(super) queues: &'a [(u16, u16, usize)],
    /// The bridges, by their names, and whether they are connected.
    pub(super) bridges: &'a [(String, bool)],
    /// The counters of `http_api` listeners.
    pub(super) api: &'a ApiCounts,
}

/// Appends a page for Prometheus and similar programs to `page`.
pub(super) fn open_metrics(mut page: OpenMetricsPage, figures: &Figures<'_>) -> String {
    let Figures { shards, process, .. } = *figures;
    page.info(
        "midge_build",
        "The version of the broker.",
        "version",
        env!("CARGO_PKG_VERSION"),
    );
    for shown in SHOWN {
        let name = format!("midge_{}", shown.name);
        match shown.kind {
            CounterKind::Total => page.counter(&name, shown.about, shown.of(shards)),
            CounterKind::Now | CounterKind::Highest => page.gauge(&name, shown.about, shown.of(shards)),
        }
    }
    by_label::append(&mut page, shards, figures.api);
    page.counter(
        "midge_log_lines_lost",
        "Log lines that a destination did not accept, or not in time.",
        crate::log::lost_lines(),
    );
    page.counter(
        "midge_api_requests_refused",
        "Requests of operators that were answered with 503, because there was no room.",
        figures.api.turned_away(),
    );
    page.gauge("midge_shards", "Threads that serve clients.", shards.len());
    by_shard::append(&mut page, shards, figures.queues);
    by_listener::append(&mut page, figures.listeners);
    of_bridges(&mut page, figures.bridges);
    of_process(&mut page, process);
    if let Some(store) = figures.store {
        of_store(&mut page, store);
    }
    page.finish()
}

fn of_bridges(page: &mut OpenMetricsPage, bridges: &[(String, bool)]) {
    if !bridges.is_empty() {
        page.labelled_gauges(
            "midge_bridge_connected",
            "Whether a bridge is connected to its other broker.",
            &["bridge"],
            bridges
                .iter()
                .map(|(name, connected)| ([name.as_str()], u64::from(*connected))),
        );
    }
}

fn of_process(page: &mut OpenMetricsPage, process: &Process) {
    page.gauge(
        "midge_memory_full",
        "Whether memory_limit is nearly reached, so that nothing is queued or retained.",
        u8::from(process.memory_full),
    );
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory.",
            process.resident_bytes,
        ),
        ("process_open_fds", "Open descriptors.", process.open_descriptors),
        (
            "process_max_fds",
            "The most descriptors that may be open (ulimit -n).",
            process.descriptors_max,
        ),
    ];
    for (name, about, value) in gauges {
        if let Some(value) = value {
            page.gauge(name, about, value);
        }
    }
    if let Some(nanoseconds) = process.cpu_ns {
        page.counter(
            "process_cpu_seconds",
            "CPU time of all threads.",
            nanoseconds as f64 / 1e9,
        );
    }
    page.gauge(
        "process_start_time_seconds",
        "When the broker started, in seconds since 1970.",
        seconds_since_1970(process.started_at),
    );
}

fn of_store(page: &mut OpenMetricsPage, store: &Statistics) {
    for (name, about, value) in [
        ("commits", "Commits written to the store.", store.commits),
        (
            "bytes_written",
            "Bytes written to the store.",
            store.bytes_written,
        ),
        (
            "bytes_appended",
            "Bytes of records written.",
            store.bytes_appended,
        ),
        (
            "ignored",
            "Records about something that does not exist.",
            store.ignored,
        ),
        (
            "quarantined",
            "Commits and records that could not be read.",
            store.quarantined,
        ),
    ] {
        page.counter(&format!("midge_store_{name}"), about, value);
    }
    for (name, about, value) in [
        ("live_bytes", "Bytes of records that are live.", store.bytes_live),
        ("disk_bytes", "Bytes of the store on the disk.", store.bytes_total),
        (
            "segment_oldest",
            "Number of the oldest segment.",
            store.segment_oldest,
        ),
        (
            "segment_newest",
            "Number of the newest segment.",
            store.segment_newest,
        ),
    ] {
        page.gauge(&format!("midge_store_{name}"), about, value);
    }
    store_histogram(
        page,
        ("midge_store_sync_seconds", "seconds"),
        "Time until a commit was durable on the disk.",
        &store.sync_us,
        (SYNC_BOUNDS_US, 1e6),
    );
    store_histogram(
        page,
        ("midge_store_commit_bytes", "bytes"),
        "Bytes of records in a commit.",
        &store.commit_bytes,
        (COMMIT_BOUNDS, 1.0),
    );
}

/// Bounds that double: the first one and their number, in the unit that is counted.
type DoublingBounds = (u64, u32);

/// 64 µs to 2.1 s.
const SYNC_BOUNDS_US: DoublingBounds = (64, 16);
/// 256 B to 8 MiB.
const COMMIT_BOUNDS: DoublingBounds = (256, 16);

/// A histogram with a few buckets; `per_unit` counted units are one unit of the family.
fn store_histogram(
    page: &mut OpenMetricsPage,
    (name, unit): (&str, &str),
    about: &str,
    histogram: &Histogram<u64>,
    ((first, count), per_unit): (DoublingBounds, f64),
) {
    let bounds = (0..count).map(|doubled| first << doubled);
    let buckets: Vec<_> = bounds
        .map(|bound| (bound as f64 / per_unit, histogram.count_between(0, bound)))
        .collect();
    let recorded = histogram.iter_recorded();
    let sum: f64 = recorded
        .map(|value| value.value_iterated_to() as f64 * value.count_at_value() as f64)
        .sum();
    let sample = HistogramSample {
        labels: &[],
        buckets: &buckets,
        count: histogram.len(),
        sum: sum / per_unit,
    };
    page.histograms(name, unit, about, &[], &[sample]);
}

/// The figures in the format of mosquitto's `/api/v1/systree`; its dashboard reads the rates too.
pub(super) fn systree(figures: SysFigures, process: &Process) -> String {
    let uptime_s = process.started_at.elapsed().map_or(0, |uptime| uptime.as_secs());
    let numbers = figures
        .numbers
        .into_iter()
        .map(|(name, number)| (name, Value::from(number)));
    let loads = figures
        .loads
        .into_iter()
        .map(|(name, load)| (name, Value::from(load)));
    let itself = [
        ("uptime".to_owned(), Value::from(uptime_s)),
        ("version".to_owned(), Value::from(SYS_VERSION)),
    ];
    let tree: Map<String, Value> = itself
        .into_iter()
        .chain(numbers)
        .chain(loads)
        .map(|(name, value)| (format!("$SYS/broker/{name}"), value))
        .collect();
    format!("{:#}\n", Value::Object(tree))
}

fn seconds_since_1970(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::logic::{DropReason, Handshake, shard_counters};

    fn process() -> Process {
        Process {
            started_at: SystemTime::now() - Duration::from_secs(90),
            resident_bytes: Some(4096),
            open_descriptors: Some(20),
            descriptors_max: Some(1024),
            cpu_ns: Some(1_500_000_000),
            memory_full: false,
        }
    }

    /// The samples, after a check of the rules of OpenMetrics: a TYPE and a HELP before each family's samples,
    /// `_total` at the end of each counter, `# EOF` at the end.
    fn samples(page: &str) -> HashMap<String, f64> {
        let body = page.strip_suffix("# EOF\n").unwrap();
        let mut samples = HashMap::new();
        let mut lines = body.lines().peekable();
        while let Some(kind) = lines.next() {
            let (family, kind) = kind.strip_prefix("# TYPE ").unwrap().split_once(' ').unwrap();
            lines.next_if(|line| line.starts_with("# UNIT "));
            let help = lines.next().unwrap();
            assert!(
                help.starts_with(&format!("# HELP {family} ")) && help.ends_with('.'),
                "{help}"
            );
            let mut is_empty = true;
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                is_empty = false;
                let (name, value) = line.rsplit_once(' ').unwrap();
                let suffix = name.strip_prefix(family).unwrap();
                match kind {
                    "counter" => assert!(suffix == "_total" || suffix.starts_with("_total{"), "{suffix}"),
                    "gauge" => assert!(suffix.is_empty() || suffix.starts_with('{'), "{suffix}"),
                    "info" => assert!(suffix.starts_with("_info{"), "{suffix}"),
                    "histogram" => assert!(
                        ["_bucket{", "_count", "_sum"]
                            .iter()
                            .any(|known| suffix.starts_with(known)),
                        "{suffix}"
                    ),
                    other => panic!("{other}"),
                }
                assert!(
                    samples.insert(name.to_owned(), value.parse().unwrap()).is_none(),
                    "{name} twice"
                );
            }
            assert!(!is_empty, "{family}");
        }
        samples
    }

    #[test]
    fn every_counter_is_on_the_page() {
        let shards = shard_counters(2);
        for (counters, value) in shards.iter().zip([3, 4]) {
            counters.publishes_received.add(value);
            counters.sessions.add(value);
            counters.count_dropped(DropReason::QueueFull, value);
        }
        shards[0].latency[1].record(5_000, 3);
        let listeners = [ListenerFigures {
            name: "8883".to_owned(),
            open: 1,
            accepted: 5,
            refused: 2,
            certificate_not_after_s: Some(4_000_000_000),
        }];
        let api = ApiCounts::default();
        api.count_handshake(Handshake::Tls13);
        shards[0].handshakes.add(Handshake::Tls13, 2);
        let figures = Figures {
            shards: &shards,
            process: &process(),
            store: None,
            listeners: &listeners,
            bridges: &[("far".to_owned(), true)],
            queues: &[(0, 1, 7), (1, 0, 0)],
            api: &api,
        };
        let samples = samples(&open_metrics(OpenMetricsPage::default(), &figures));
        assert!(samples.len() > SHOWN.len());
        assert_eq!(samples["midge_publishes_received_total"], 7.0);
        assert_eq!(samples["midge_sessions"], 7.0);
        assert_eq!(samples["midge_publishes_dropped_total"], 7.0);
        assert_eq!(samples[r#"midge_dropped_total{reason="queue_full"}"#], 7.0);
        assert_eq!(samples[r#"midge_dropped_total{reason="expired"}"#], 0.0);
        assert_eq!(samples[r#"midge_denied_total{action="publish"}"#], 0.0);
        assert_eq!(samples["midge_shards"], 2.0);
        for (name, value) in [
            (r#"midge_latency_seconds_count{shard="0",qos="1"}"#, 3.0),
            (
                r#"midge_latency_seconds_bucket{shard="0",qos="1",le="8.192e-6"}"#,
                3.0,
            ),
            (
                r#"midge_latency_seconds_bucket{shard="0",qos="1",le="4.096e-6"}"#,
                0.0,
            ),
            (r#"midge_shard_queue_messages{from="0",to="1"}"#, 7.0),
            (r#"midge_shard_publishes_received_total{shard="1"}"#, 4.0),
            (
                r#"midge_listener_connections_refused_total{listener="8883"}"#,
                2.0,
            ),
            (
                r#"midge_certificate_not_after_timestamp_seconds{listener="8883"}"#,
                4e9,
            ),
            (r#"midge_packets_total{direction="received",type="publish"}"#, 7.0),
            (r#"midge_publishes_total{direction="sent",qos="2"}"#, 0.0),
            (r#"midge_connects_refused_total{reason="not_authorized"}"#, 0.0),
            (r#"midge_disconnects_total{reason="keep_alive_timeout"}"#, 0.0),
            (r#"midge_tls_handshakes_total{result="failed"}"#, 0.0),
            (r#"midge_tls_handshakes_total{result="TLSv1.3"}"#, 3.0),
            ("process_max_fds", 1024.0),
        ] {
            assert_eq!(samples.get(name), Some(&value), "{name}");
        }
        assert_eq!(samples["process_cpu_seconds_total"], 1.5);
    }

    #[test]
    fn the_figures_of_sys_as_json() {
        let figures = SysFigures {
            numbers: vec![("publish/messages/received".to_owned(), 7)],
            loads: vec![("load/sockets/1min".to_owned(), 1.5)],
        };
        let tree: Value = serde_json::from_str(&systree(figures, &process())).unwrap();
        assert_eq!(tree["$SYS/broker/publish/messages/received"], 7);
        assert_eq!(tree["$SYS/broker/load/sockets/1min"], 1.5);
        assert!(tree["$SYS/broker/uptime"].as_u64().unwrap() >= 90);
    }
}
