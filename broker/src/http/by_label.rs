//! Counters with a label for the reason, type or QoS.
//!
//! Invariants: those of `metrics.rs`.

use transport::http::open_metrics::OpenMetricsPage;

use super::api_counts::ApiCounts;
use crate::logic::{CounterLabel, CountersByCause, ShardCounters};

/// Appends the families of all shards together, and of the HTTP API.
pub(super) fn append(page: &mut OpenMetricsPage, shards: &[ShardCounters], api: &ApiCounts) {
    page.counters(
        "midge_dropped",
        "Messages dropped by reason; the sum is midge_publishes_dropped.",
        "reason",
        sums(shards, |counters| &counters.dropped),
    );
    page.counters(
        "midge_denied",
        "PUBLISH packets and Topic Filters that access rules denied, and messages withheld from subscribers (read).",
        "action",
        sums(shards, |counters| &counters.denied),
    );
    page.counters(
        "midge_connects_refused",
        "CONNECT packets refused, by the reason code of the CONNACK.",
        "reason",
        sums(shards, |counters| &counters.connects_refused),
    );
    page.counters(
        "midge_disconnects",
        "Connections of clients that ended, by who ended them and why.",
        "reason",
        sums(shards, |counters| &counters.disconnects),
    );
    let mut handshakes = sums(shards, |counters| &counters.handshakes);
    for (sum, value) in handshakes.iter_mut().zip(api.handshakes()) {
        sum.1 += value;
    }
    page.counters(
        "midge_tls_handshakes",
        "TLS handshakes by the version that was agreed on, or by how they failed.",
        "result",
        handshakes,
    );
    of_packets(page, shards);
}

fn of_packets(page: &mut OpenMetricsPage, shards: &[ShardCounters]) {
    let mut packets = Vec::new();
    let mut publishes = Vec::new();
    for (at, direction) in ["received", "sent"].into_iter().enumerate() {
        let mut by_type: Vec<(&str, u64)> = Vec::new();
        let mut by_qos = [0; 3];
        for counters in shards {
            let [received, sent] = counters.packets_by_type();
            let values = if at == 0 { received } else { sent };
            by_type.resize(values.len(), ("", 0));
            for (sum, (label, value)) in by_type.iter_mut().zip(values) {
                *sum = (label, sum.1 + value);
            }
            let of_qos = counters.publishes_by_qos();
            for (sum, value) in by_qos.iter_mut().zip(of_qos.get(at).into_iter().flatten()) {
                *sum += value;
            }
        }
        packets.extend(
            by_type
                .into_iter()
                .map(|(label, value)| ([direction, label], value)),
        );
        publishes.extend(
            ["0", "1", "2"]
                .into_iter()
                .zip(by_qos)
                .map(|(qos, value)| ([direction, qos], value)),
        );
    }
    page.labelled_counters(
        "midge_packets",
        "MQTT Control Packets by their type.",
        &["direction", "type"],
        packets,
    );
    page.labelled_counters(
        "midge_publishes",
        "PUBLISH packets by their QoS.",
        &["direction", "qos"],
        publishes,
    );
}

/// The sums over the shards.
fn sums<C: CounterLabel>(
    shards: &[ShardCounters],
    read: fn(&ShardCounters) -> &CountersByCause<C>,
) -> Vec<(&'static str, u64)> {
    let mut sums: Vec<_> = C::LABELS.iter().map(|label| (*label, 0)).collect();
    for counters in shards {
        for (sum, (_, value)) in sums.iter_mut().zip(read(counters).values()) {
            sum.1 += value;
        }
    }
    sums
}
