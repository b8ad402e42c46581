//! Lines as they are written, and lines that are not written.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tracing::level_filters::LevelFilter;

use super::*;
use crate::limits;

/// What the log writes to a file while `events` runs.
fn logged(types: LogTypes, timestamp: LogTimestamp, events: impl FnOnce()) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let settings = LogSettings {
        types,
        destinations: vec![LogDestination::File(path.clone())],
        timestamp,
        ..LogSettings::default()
    };
    let (subscriber, log) = subscriber(&settings).unwrap();
    tracing::subscriber::with_default(subscriber, events);
    log.drain();
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn lines_of_each_type() {
    let text = logged(LogTypes::ALL, LogTimestamp::None, || {
        tracing::error!("a");
        tracing::warn!("b");
        tracing::info!("c");
        tracing::info!(target: NOTICE, "d");
        tracing::debug!("e {}", 1);
        tracing::info!(client = "x", port = 5, "f");
    });
    assert_eq!(text, "Error: a\nWarning: b\nc\nd\ne 1\nf client=x port=5\n");
}

#[test]
fn only_chosen_types_are_logged() {
    let text = logged(
        LogTypes::ERROR.with(LogTypes::SUBSCRIBE),
        LogTimestamp::None,
        || {
            tracing::error!("error");
            tracing::warn!("warning");
            tracing::info!("information");
            tracing::info!(target: NOTICE, "notice");
            tracing::info!(target: SUBSCRIBE, "subscribe");
            tracing::info!(target: UNSUBSCRIBE, "unsubscribe");
            tracing::debug!("debug");
        },
    );
    assert_eq!(text, "Error: error\nsubscribe\n");
}

/// V29: no control character of a client gets into the log.
#[test]
fn v29_control_characters_are_escaped() {
    let text = logged(LogTypes::ALL, LogTimestamp::None, || {
        let identifier = "a\x1b[31m\r\nError: b\u{9b}\u{202e}\u{7f}é";
        tracing::info!(id = identifier, "client {identifier}");
    });
    assert_eq!(text.lines().count(), 1);
    assert!(text.ends_with('\n'));
    assert!(
        text.starts_with(r"client a\u{1b}[31m\u{d}\u{a}Error: b\u{9b}\u{202e}\u{7f}é id=a\u{1b}[31m"),
        "{text}"
    );
}

#[test]
fn timestamps() {
    let epoch = logged(LogTypes::ALL, LogTimestamp::EpochSeconds, || tracing::info!("x"));
    let seconds: i64 = epoch.strip_suffix(": x\n").unwrap().parse().unwrap();
    assert!((chrono::Utc::now().timestamp() - seconds).abs() < 60);

    let format = LogTimestamp::Format("%Y-%m-%dT%H:%M:%S".to_owned());
    let text = logged(LogTypes::ALL, format, || tracing::info!("x"));
    let time = text.strip_suffix(": x\n").unwrap();
    assert!(
        chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S").is_ok(),
        "{time}"
    );
}

#[test]
fn timestamp_formats_are_checked() {
    assert!(check_timestamp_format("%Y-%m-%d %H:%M:%S%z"));
    assert!(check_timestamp_format("no field"));
    assert!(!check_timestamp_format("%!"));
    assert!(!check_timestamp_format("100 %"));
}

#[test]
fn types_and_their_names() {
    assert_eq!(LogTypes::from_name("notice"), Some(LogTypes::NOTICE));
    assert_eq!(LogTypes::from_name("all").unwrap().names().len(), 9);
    assert_eq!(
        LogTypes::USUAL.names(),
        ["error", "warning", "notice", "information"]
    );
    assert_eq!(LogTypes::NONE.names(), ["none"]);
    assert_eq!(LogTypes::from_name("loud"), None);
}

#[test]
fn levels_follow_the_types() {
    assert_eq!(LogTypes::ALL.level_max(), LevelFilter::DEBUG);
    assert_eq!(LogTypes::USUAL.level_max(), LevelFilter::INFO);
    assert_eq!(LogTypes::SUBSCRIBE.level_max(), LevelFilter::INFO);
    assert_eq!(
        LogTypes::ERROR.with(LogTypes::WARNING).level_max(),
        LevelFilter::WARN
    );
    assert_eq!(LogTypes::NONE.level_max(), LevelFilter::OFF);
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named() {
    let error = start(&LogSettings {
        destinations: vec![LogDestination::File(PathBuf::from("/nonexistent/broker.log"))],
        ..LogSettings::default()
    });
    let text = error.unwrap_err().to_string();
    assert!(
        text.starts_with("the log file /nonexistent/broker.log cannot be opened: No such file"),
        "{text}"
    );
}

#[test]
fn a_change_holds_from_the_next_line_on_and_makes_moved_files_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let mut settings = LogSettings {
        types: LogTypes::ERROR,
        destinations: vec![LogDestination::File(path.clone())],
        timestamp: LogTimestamp::None,
        ..LogSettings::default()
    };
    let (subscriber, log) = subscriber(&settings).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let log_line = |text| tracing::info!("{text}");
        log_line("not wanted");
        tracing::error!("first");
        log.drain();
        std::fs::rename(&path, &moved).unwrap();
        settings.types = LogTypes::USUAL;
        log.change(PreparedLog::open(&settings).unwrap());
        log_line("wanted now");
        settings.destinations = vec![LogDestination::File(folder.path().join("no/log"))];
        assert!(PreparedLog::open(&settings).is_err());
        log_line("still");
    });
    log.drain();
    assert_eq!(std::fs::read_to_string(moved).unwrap(), "Error: first\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "wanted now\nstill\n");
}

/// A client identifier may have 65,535 bytes; a line of the log may not.
#[test]
fn long_lines_are_cut_visibly() {
    let long = "é".repeat(limits::LOG_LINE_BYTES_MAX);
    let text = logged(LogTypes::ALL, LogTimestamp::None, || tracing::info!("x{long}"));
    assert!(text.ends_with("é... (2002 bytes, cut)\n"), "{text}");
    assert!(text.len() < limits::LOG_LINE_BYTES_MAX + 50);
    let short = "é".repeat(400);
    let text = logged(LogTypes::ALL, LogTimestamp::None, || tracing::info!("{short}"));
    assert_eq!(text, format!("{short}\n"));
}

#[test]
fn a_trace_waits_for_no_pipe_and_no_device() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
    assert!(TraceFile::open(&pipe).is_err());
    let refused = TraceFile::open(Path::new("/dev/full")).unwrap_err();
    assert!(
        format!("{refused:?}").contains("needs a regular file"),
        "{refused:?}"
    );
    assert!(TraceFile::open(&folder.path().join("trace")).is_ok());
}
