//! Writes percentiles in the text format of HdrHistogram's plotters, in ms.
//!
//! Invariants: none.

use std::fmt::Write as _;

use crate::measure::latency::Latency;

/// The content of the file.
pub(super) fn text(latency: &Latency) -> String {
    let histogram = latency.histogram();
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        let value_ms = step.value_iterated_to() as f64 / 1e6;
        let percentile = step.quantile_iterated_to();
        count += step.count_since_last_iteration();
        // Writing to a String cannot fail.
        let _ = if percentile < 1.0 {
            let inverse = 1.0 / (1.0 - percentile);
            writeln!(
                text,
                "{value_ms:>12.6} {percentile:>14.12} {count:>10} {inverse:>14.2}"
            )
        } else {
            writeln!(text, "{value_ms:>12.6} {percentile:>14.12} {count:>10}")
        };
    }
    let (mean, deviation) = (histogram.mean() / 1e6, histogram.stdev() / 1e6);
    let _ = write!(
        text,
        "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]\n\
         #[Max     = {:>12.6}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]\n",
        histogram.max() as f64 / 1e6,
        histogram.len(),
        histogram.buckets(),
        2_048
    );
    text
}

const TICKS_PER_HALF_DISTANCE: u32 = 5;
