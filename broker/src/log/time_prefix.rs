//! The time at the beginning of a line of the log.
//!
//! Invariants: the configuration has checked the format.

use std::fmt;

use chrono::format::{Item, StrftimeItems};

use super::settings::LogTimestamp;

/// The timestamp at the beginning of a line.
#[derive(Debug)]
pub(super) enum TimePrefix {
    None,
    EpochSeconds,
    Format(Vec<Item<'static>>),
}

impl TimePrefix {
    /// The prefix of a setting whose format was checked.
    pub(super) fn new(setting: &LogTimestamp) -> Self {
        match setting {
            LogTimestamp::None => Self::None,
            LogTimestamp::EpochSeconds => Self::EpochSeconds,
            LogTimestamp::Format(format) => StrftimeItems::new(format)
                .parse_to_owned()
                .map_or(Self::EpochSeconds, Self::Format),
        }
    }

    /// The current time for a member of a JSON object, if lines have a time.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::EpochSeconds => {
                Some(chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
            }
            Self::Format(items) => Some(chrono::Local::now().format_with_items(items.iter()).to_string()),
        }
    }

    /// Writes the current time and the separator.
    pub(super) fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::EpochSeconds => write!(out, "{}: ", chrono::Utc::now().timestamp()),
            Self::Format(items) => write!(out, "{}: ", chrono::Local::now().format_with_items(items.iter())),
        }
    }
}
