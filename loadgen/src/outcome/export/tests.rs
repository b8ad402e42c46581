//! What was written is read again as those do who know the forms.

use std::time::Duration;

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::*;
use crate::measure::latency::Latency;
use crate::outcome::Histograms;
use crate::outcome::series::{IntervalPart, Series};

fn latency(values_ns: &[u64]) -> Latency {
    let mut latency = Latency::new();
    values_ns.iter().for_each(|&value| latency.record(value));
    latency
}

#[test]
fn percentiles_end_at_the_maximum() {
    let text = hgrm::text(&latency(&[1_000_000, 2_000_000, 3_000_000]));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("Percentile"));
    let last = lines.iter().rfind(|line| !line.starts_with('#')).unwrap();
    let words: Vec<&str> = last.split_whitespace().collect();
    assert_eq!((words[1], words[2], words.len()), ("1.000000000000", "3", 3));
    assert!((words[0].parse::<f64>().unwrap() - 3.0).abs() < 0.01, "{last}");
    assert!(text.contains("Total count    =            3"), "{text}");
}

#[test]
fn the_log_gives_the_histograms_back() {
    let mut series = Series::new(1_000_000_000, 1);
    for (index, values_ns) in [&[5_000_u64, 7_000][..], &[9_000]].into_iter().enumerate() {
        series.add(&IntervalPart {
            index,
            latency: latency(values_ns),
            ..IntervalPart::default()
        });
    }
    let histograms = Histograms {
        series: Some(series),
        ..Histograms::default()
    };
    let bytes = hlog::bytes(&histograms, 1_700_000_000).unwrap();
    let mut maxima_ms = Vec::new();
    for entry in IntervalLogIterator::new(&bytes) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            assert_eq!(interval.duration(), Duration::from_secs(1));
            assert_eq!(
                interval.tag().map(|tag| tag.as_str().to_owned()).as_deref(),
                Some("latency")
            );
            // What every compressed V2 histogram begins with: its cookie in Base64.
            assert!(interval.encoded_histogram().starts_with("HISTFA"));
            maxima_ms.push(interval.max());
        }
    }
    assert_eq!(maxima_ms, [0.007, 0.009]);
}

#[test]
fn the_series_has_a_line_for_each_interval() {
    let mut series = Series::new(100, 1);
    series.add(&IntervalPart {
        sent: 3,
        ..IntervalPart::default()
    });
    let times = crate::measure::timeline::Times {
        start_ns: 0,
        measure_from_ns: 0,
        stop_ns: 100,
    };
    let text = String::from_utf8(windows::csv(&series.reports(&times)).unwrap()).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(
        text.lines().nth(1).unwrap().starts_with("0.000,measured,3,0,0,"),
        "{text}"
    );
}
