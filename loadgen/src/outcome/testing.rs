//! Outcomes for the tests of the code that reads outcomes.
//!
//! Invariants: none.

use std::ffi::OsString;

use super::*;
use crate::measure::latency::Summary;
use crate::outcome::header::{Header, OutcomeKind};
use crate::outcome::validity::{LimitedBy, Verdict};
use crate::system::machine::Machine;

/// A valid outcome of the load that these options describe; nothing was measured.
pub(crate) fn outcome(options: &str) -> Outcome {
    let words = format!("loadgen {options}");
    let words = words.split_whitespace().map(OsString::from);
    Outcome {
        header: Header::new(OutcomeKind::Run),
        started_unix_s: 0,
        scenario: crate::options::parse(words).unwrap().scenario,
        broker: BrokerReport::default(),
        connect: ConnectReport::default(),
        churn: None,
        latency: None,
        never_came: None,
        service: None,
        acknowledged: None,
        lag: None,
        lag_own: None,
        read_delay: None,
        ledger: LedgerReport::default(),
        rates: Rates::default(),
        drain: DrainReport::default(),
        slow: None,
        windows: Vec::new(),
        series: Vec::new(),
        quantiles: Vec::new(),
        histograms: Histograms::default(),
        steadiness: None,
        generator: GeneratorReport::default(),
        machine: Machine::default(),
        verdict: valid(),
    }
}

/// The verdict of a run without any findings.
pub(crate) fn valid() -> Verdict {
    Verdict {
        exit_code: 0,
        valid: true,
        limited_by: LimitedBy::Nothing,
        findings: Vec::new(),
    }
}

/// The usage of a broker of which nothing is known.
pub(crate) fn usage() -> BrokerUse {
    BrokerUse {
        cpu_ns: 0,
        wall_ns: 0,
        deliveries: 0,
        cpu_ns_per_delivery: None,
        rss_bytes_before: None,
        rss_bytes_connected: None,
        rss_bytes_loaded: None,
        rss_bytes_peak: None,
        rss_bytes_drained: None,
        connect_cpu_ns: None,
    }
}

/// A latency with these percentiles.
pub(crate) fn latency(p50_ns: u64, p99_ns: u64) -> Summary {
    Summary {
        count: 100,
        min_ns: p50_ns / 2,
        mean_ns: p50_ns as f64,
        deviation_ns: 1.0,
        p50_ns,
        p90_ns: p50_ns,
        p99_ns,
        p99_9_ns: p99_ns,
        p99_99_ns: p99_ns,
        max_ns: p99_ns,
    }
}
