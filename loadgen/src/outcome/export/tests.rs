//! What was written is read again by independent readers of the formats.

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
            // How every compressed V2 histogram starts: its cookie in Base64.
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

#[test]
fn what_is_no_regular_file_is_written_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();

    for target in ["there", "new"] {
        std::fs::write(path("there"), "a longer text than that of the outcome").unwrap();
        let link = format!("link-{target}");
        std::os::unix::fs::symlink(target, path(&link)).unwrap();
        write_json(&[1], &path(&link)).unwrap();
        assert_eq!(read(target), "[\n  1\n]\n");
        assert!(std::fs::symlink_metadata(path(&link)).unwrap().is_symlink());
    }

    let made = std::process::Command::new("mkfifo").arg(path("pipe")).status();
    assert!(made.unwrap().success());
    let pipe = path("pipe");
    let reader = std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap());
    write_json(&[2], &path("pipe")).unwrap();
    assert_eq!(reader.join().unwrap(), "[\n  2\n]\n");
    let kind = std::fs::symlink_metadata(path("pipe")).unwrap().file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kind));

    std::os::unix::fs::symlink("no-such-folder/file", path("nowhere")).unwrap();
    assert!(write_json(&[3], &path("nowhere")).is_err());
    assert!(std::fs::symlink_metadata(path("nowhere")).unwrap().is_symlink());
    let entries = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 6, "no temporary file is left");
}
