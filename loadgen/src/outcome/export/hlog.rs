//! Writes the latency of each interval as HdrHistogram's interval log: V2, compressed, with the maximum in ms.
//!
//! Invariants: none.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use crate::outcome::Histograms;

/// The bytes of the file, for a run that began at this time.
///
/// # Errors
/// The error of the writer.
pub(super) fn bytes(histograms: &Histograms, started_unix_s: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let start = UNIX_EPOCH + Duration::from_secs(started_unix_s);
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("Logged by loadgen: latency from intended send time to receive, ns")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(1e6);
    let mut writer = builder.begin_log_with(&mut bytes, &mut serializer)?;
    let Some(series) = &histograms.series else {
        return Ok(bytes);
    };
    for (from, length, latency) in series.histograms() {
        let written = writer.write_histogram(latency.histogram(), from, length, Tag::new("latency"));
        written.map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(format!("{error:?}")),
        })?;
    }
    Ok(bytes)
}
