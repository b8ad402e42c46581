//! The settings of the log: which types of messages, to which destinations, and with which timestamp.
//!
//! Invariants: none.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::format::StrftimeItems;

use super::types::LogTypes;

/// The facility of syslog(3) for services.
pub const FACILITY_DAEMON: u8 = 3;

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `log_type`: the types of messages that are logged.
    pub types: LogTypes,
    /// `log_dest`: where to; nothing is logged if it is empty.
    pub destinations: Vec<LogDestination>,
    /// `log_timestamp` and `log_timestamp_format`: how a line begins.
    pub timestamp: LogTimestamp,
    /// `connection_messages`: connects and disconnects of clients are logged.
    pub connection_messages: bool,
    /// `log_format`: the form of a line.
    pub format: LogFormat,
    /// `log_facility`: the facility of syslog(3), 3 (daemon) or 16 to 23 (local0 to local7).
    pub facility: u8,
}

impl LogSettings {
    /// The files that the log goes to.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.destinations
            .iter()
            .filter_map(|destination| match destination {
                LogDestination::File(path) => Some(path.as_path()),
                _ => None,
            })
    }
}

/// A destination of log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// The standard output of the process.
    Stdout,
    /// The standard error of the process.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
    /// The system log, by its socket.
    Syslog,
    /// The topics below `$SYS/broker/log`.
    Topic,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// As mosquitto writes it: the time and the text.
    #[default]
    Text,
    /// A JSON object with `time`, `type` and `message`.
    Json,
}

/// The timestamp at the beginning of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTimestamp {
    /// With the text, without a time.
    None,
    /// Each line begins with the seconds since 1970.
    EpochSeconds,
    /// With the local time in a format of strftime(3) that [`check_timestamp_format`] accepted.
    Format(String),
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            types: LogTypes::USUAL,
            destinations: vec![LogDestination::Stderr],
            timestamp: LogTimestamp::EpochSeconds,
            connection_messages: true,
            format: LogFormat::Text,
            facility: FACILITY_DAEMON,
        }
    }
}

/// Whether this is a usable format for [`LogTimestamp::Format`].
#[must_use]
pub fn check_timestamp_format(format: &str) -> bool {
    let mut out = String::new();
    let items = StrftimeItems::new(format).parse();
    items.is_ok_and(|items| write!(out, "{}", chrono::Local::now().format_with_items(items.iter())).is_ok())
}
