//! Figures of each shard, which show whether the load is balanced.
//!
//! Invariants: those of `metrics.rs`.

use transport::http::open_metrics::{HistogramSample, OpenMetricsPage};

use crate::logic::{Histogram, SHOWN, ShardCounters};

/// Counters that are also shown for each shard, with their names there.
const OF_EACH: [(&str, bool); 5] = [
    ("clients_connected", false),
    ("publishes_received", true),
    ("publishes_sent", true),
    ("batch_records_sent", true),
    ("output_bytes", false),
];

/// Appends the families of each shard, and of the queues between each pair of shards.
pub(super) fn append(page: &mut OpenMetricsPage, shards: &[ShardCounters], queues: &[(u16, u16, usize)]) {
    for (name, is_total) in OF_EACH {
        let Some(shown) = SHOWN.iter().find(|shown| shown.name == name) else {
            continue;
        };
        let name = format!("midge_shard_{name}");
        let samples = shards
            .iter()
            .enumerate()
            .map(|(shard, counters)| ([shard.to_string()], (shown.read)(counters).get()));
        if is_total {
            page.labelled_counters(&name, shown.about, &["shard"], samples);
        } else {
            page.labelled_gauges(&name, shown.about, &["shard"], samples);
        }
    }
    page.labelled_counters(
        "midge_shard_busy_seconds",
        "Time during which a shard was not waiting.",
        &["shard"],
        shards.iter().enumerate().map(|(shard, counters)| {
            let (_, busy_s) = counters.turns.count_and_sum();
            ([shard.to_string()], busy_s)
        }),
    );
    page.labelled_gauges(
        "midge_shard_queue_messages",
        "Batches and connections in the queue from one shard to another.",
        &["from", "to"],
        queues
            .iter()
            .map(|(from, to, waiting)| ([from.to_string(), to.to_string()], waiting)),
    );
    let turns = shards
        .iter()
        .enumerate()
        .map(|(shard, counters)| (vec![shard.to_string()], &counters.turns));
    histograms(
        page,
        "midge_shard_turn_seconds",
        "Duration of a turn of the loop; other work waits for as long.",
        &["shard"],
        turns.collect(),
    );
    let latencies = shards.iter().enumerate().flat_map(|(shard, counters)| {
        let of_qos = counters.latency.iter().enumerate();
        of_qos.map(move |(qos, histogram)| (vec![shard.to_string(), qos.to_string()], histogram))
    });
    histograms(
        page,
        "midge_latency_seconds",
        "Time from the receipt of a message until a copy was passed to the socket, without the queues of sessions.",
        &["shard", "qos"],
        latencies.collect(),
    );
}

fn histograms(
    page: &mut OpenMetricsPage,
    name: &str,
    about: &str,
    labels: &[&str],
    histograms: Vec<(Vec<String>, &Histogram)>,
) {
    let buckets: Vec<_> = histograms
        .iter()
        .map(|(_, histogram)| histogram.at_most())
        .collect();
    let samples: Vec<_> = histograms
        .iter()
        .zip(&buckets)
        .map(|((labels, histogram), buckets)| {
            let (count, sum) = histogram.count_and_sum();
            HistogramSample {
                labels,
                buckets,
                count,
                sum,
            }
        })
        .collect();
    page.histograms(name, "seconds", about, labels, &samples);
}
