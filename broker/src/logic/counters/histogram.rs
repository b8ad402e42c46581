//! Durations, counted in buckets of powers of two.
//!
//! Invariants: only the shard that owns a histogram writes it. The bounds are the same for all, so that those of
//! several shards may be added up.

use super::Counter;

/// Buckets of a histogram: up to 2 µs, 4 µs, and so on to 17 s; the last one has all longer durations.
const BUCKETS: usize = 25;
/// The smallest bound is this power of two in nanoseconds.
const FIRST_BOUND_BITS: u32 = 10;

/// The number of durations in each bucket.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter]>,
    sum_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Counter::default()).collect(),
            sum_ns: Counter::default(),
        }
    }
}

impl Histogram {
    /// Counts `times` durations of this length; only for the shard that owns it.
    #[inline]
    pub fn record(&self, took_ns: u64, times: u64) {
        let bits = u64::BITS - (took_ns >> FIRST_BOUND_BITS).leading_zeros();
        if let Some(bucket) = self.buckets.get((bits as usize).min(BUCKETS - 1)) {
            bucket.add(times);
        }
        self.sum_ns.add(took_ns.saturating_mul(times));
    }

    /// The buckets with a bound: the bound in seconds, and how many durations were at most as long.
    #[must_use]
    pub fn at_most(&self) -> Vec<(f64, u64)> {
        let mut sum = 0;
        let bounded = self.buckets.iter().take(BUCKETS - 1).enumerate();
        bounded
            .map(|(at, bucket)| {
                sum += bucket.get();
                let bound_ns = 1_u64 << (FIRST_BOUND_BITS + at as u32);
                (bound_ns as f64 / 1e9, sum)
            })
            .collect()
    }

    /// The number of durations, and their sum in seconds.
    #[must_use]
    pub fn count_and_sum(&self) -> (u64, f64) {
        let count = self.buckets.iter().map(Counter::get).sum();
        (count, self.sum_ns.get() as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_the_bucket_of_its_bound() {
        let histogram = Histogram::default();
        for (took_ns, times) in [(0, 1), (1023, 1), (1024, 3), (3_000_000, 2), (u64::MAX, 1)] {
            histogram.record(took_ns, times);
        }
        let buckets = histogram.at_most();
        assert_eq!(buckets[0], (1.024e-6, 2));
        assert_eq!(buckets[1], (2.048e-6, 5));
        let of_3_ms = buckets.iter().position(|(bound, _)| *bound >= 3e-3).unwrap();
        assert_eq!((buckets[of_3_ms - 1].1, buckets[of_3_ms].1), (5, 7));
        assert_eq!(buckets.last().unwrap().1, 7, "the longest one has no bound");
        assert_eq!(histogram.count_and_sum().0, 8);
    }
}
