//! The time series as CSV.
//!
//! Invariants: the columns keep their names and their order.

use std::io;

use crate::outcome::series::IntervalReport;

/// One line for each interval, after the column names.
///
/// # Errors
/// The error of the writer.
pub(super) fn csv(series: &[IntervalReport]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "from_s",
        "part",
        "sent",
        "received",
        "backlog",
        "p50_ns",
        "p99_ns",
        "p99_9_ns",
        "max_ns",
        "lag_p50_ns",
        "lag_p99_ns",
    ])?;
    for interval in series {
        let IntervalReport {
            from_s,
            part,
            sent,
            received,
            backlog,
            p50_ns,
            p99_ns,
            p99_9_ns,
            max_ns,
            lag_p50_ns,
            lag_p99_ns,
        } = *interval;
        let counts = [
            sent, received, backlog, p50_ns, p99_ns, p99_9_ns, max_ns, lag_p50_ns, lag_p99_ns,
        ];
        let head = [format!("{from_s:.3}"), part.word().to_owned()];
        writer.write_record(head.into_iter().chain(counts.map(|count| count.to_string())))?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}
