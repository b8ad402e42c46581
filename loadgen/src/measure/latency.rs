//! Latency histograms: one set for each thread, merged at the end.
//!
//! Invariants: recording never fails and never allocates (a value beyond the range counts as its end); merging is
//! exact. All values are nanoseconds.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Values above ten minutes count as ten minutes.
const VALUE_NS_MAX: u64 = 600 * 1_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram of durations in ns.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// An empty histogram: 1 ns to ten minutes, three significant digits.
    #[expect(
        clippy::expect_used,
        reason = "the bounds are constants that the crate accepts"
    )]
    pub fn new() -> Latency {
        Latency(Histogram::new_with_bounds(1, VALUE_NS_MAX, SIGNIFICANT_DIGITS).expect("constant bounds"))
    }

    /// Records one duration; beyond the range it counts as its end.
    #[inline]
    pub fn record(&mut self, duration_ns: u64) {
        self.0.saturating_record(duration_ns);
    }

    /// Records the same duration `count` times.
    pub fn record_many(&mut self, duration_ns: u64, count: u64) {
        self.0.saturating_record_n(duration_ns, count);
    }

    /// Adds everything that `other` recorded.
    pub fn merge(&mut self, other: &Latency) {
        // Fails only if `other` has a wider range, but all have the same.
        let merged = self.0.add(&other.0);
        debug_assert!(merged.is_ok());
    }

    /// Number of recorded durations.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that the share `quantile` (0 to 1) does not exceed.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// Number of durations that are at most this long.
    pub fn count_at_most(&self, duration_ns: u64) -> u64 {
        if self.0.is_empty() {
            0
        } else {
            self.0.count_between(0, duration_ns)
        }
    }

    /// The figures of a report; `None` if nothing was recorded.
    pub fn summary(&self) -> Option<Summary> {
        (!self.0.is_empty()).then(|| Summary {
            count: self.0.len(),
            min_ns: self.0.min(),
            mean_ns: self.0.mean(),
            deviation_ns: self.0.stdev(),
            p50_ns: self.quantile_ns(0.50),
            p90_ns: self.quantile_ns(0.90),
            p99_ns: self.quantile_ns(0.99),
            p99_9_ns: self.quantile_ns(0.999),
            p99_99_ns: self.quantile_ns(0.9999),
            max_ns: self.0.max(),
        })
    }

    /// The latency at quantiles that are spaced evenly on the scale of 1 / (1 - quantile), as far as there are values.
    pub fn quantiles(&self) -> Vec<(f64, u64)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let steps = (0..).map(|step| 10_f64.powf(f64::from(step) / 8.0));
        let count = self.0.len() as f64;
        steps
            .take_while(|inverse| *inverse <= count)
            .map(|inverse| 1.0 - 1.0 / inverse)
            .chain([1.0])
            .map(|quantile| (quantile, self.quantile_ns(quantile)))
            .collect()
    }

    /// The histogram itself, for exporters.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency::new()
    }
}

/// Percentiles of one histogram, in ns.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name has its figure and unit")]
pub struct Summary {
    pub count: u64,
    pub min_ns: u64,
    pub mean_ns: f64,
    pub deviation_ns: f64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p99_9_ns: u64,
    pub p99_99_ns: u64,
    pub max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_recorded_has_no_summary() {
        assert_eq!(Latency::new().summary(), None);
    }

    #[test]
    fn values_beyond_the_range_count_as_its_end() {
        let mut latency = Latency::new();
        latency.record(u64::MAX);
        latency.record(0);
        let summary = latency.summary().unwrap();
        assert_eq!(summary.count, 2);
        assert!(summary.max_ns >= VALUE_NS_MAX);
    }

    #[test]
    fn quantiles_rise_to_the_maximum() {
        let mut latency = Latency::new();
        assert!(latency.quantiles().is_empty());
        (1..=1_000).for_each(|value| latency.record(value));
        let quantiles = latency.quantiles();
        assert!(
            quantiles.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1),
            "{quantiles:?}"
        );
        assert_eq!(quantiles.last(), Some(&(1.0, 1_000)));
    }

    proptest! {
        #[test]
        fn merged_threads_are_as_one_thread_would_be(
            values in proptest::collection::vec(0_u64..1 << 40, 1..500), threads in 1_usize..5,
        ) {
            let mut whole = Latency::new();
            let mut parts = vec![Latency::new(); threads];
            for (index, &value) in values.iter().enumerate() {
                whole.record(value);
                parts[index % threads].record(value);
            }
            let mut merged = Latency::new();
            parts.iter().for_each(|part| merged.merge(part));
            prop_assert_eq!(merged.summary(), whole.summary());
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let median = sorted[(sorted.len() - 1) / 2];
            let off = merged.quantile_ns(0.5).abs_diff(median);
            prop_assert!(off as f64 <= 1.0 + median as f64 * 0.001, "{} against {median}", merged.quantile_ns(0.5));
        }
    }
}
