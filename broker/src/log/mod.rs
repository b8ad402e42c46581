//! Log lines as mosquitto writes them: `<time>: text`, each on one line.
//!
//! `settings.rs` has the settings, `types.rs` the types of messages, `line.rs` the text of a line, `time_prefix.rs`
//! its time, `json.rs` the same as JSON. `output.rs`, `syslog.rs` and `topic.rs` are the destinations, `sink.rs` the
//! queue of one destination, `trace_file.rs` the file of a trace. `seldom.rs` logs frequent events once in a while.
//!
//! Invariants: a line never contains a control character, whatever a client put into its identifier or topic (test
//! `v29_control_characters_are_escaped`). A destination that cannot be written, or that is not read, never stops the
//! broker or makes it wait. An event whose type is off costs the check of a cached flag.
//!
//! The types of mosquitto that are not a level of `tracing` are targets: `tracing::info!(target: log::NOTICE, ...)`.

mod json;
mod line;
mod output;
mod seldom;
mod settings;
mod sink;
mod syslog;
#[cfg(test)]
mod tests;
mod time_prefix;
mod topic;
mod trace_file;
mod types;

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Registry, reload};

use self::line::LineFormat;
pub(crate) use self::line::{escaped, is_unsafe};
pub use self::output::LogError;
use self::output::{LogOutput, OpenLog};
pub(crate) use self::seldom::SeldomLogged;
pub use self::settings::{
    FACILITY_DAEMON, LogDestination, LogFormat, LogSettings, LogTimestamp, check_timestamp_format,
};
pub use self::sink::lost_lines;
pub(crate) use self::topic::topic_lines;
pub(crate) use self::trace_file::TraceFile;
use self::types::type_of;
pub use self::types::{CONNECTION, LogTypes, NOTICE, PACKET, SUBSCRIBE, TRACE, UNSUBSCRIBE};

/// Starts the log of this process.
///
/// # Errors
/// A log file cannot be opened, or the process has a log already.
pub fn start(settings: &LogSettings) -> Result<Log, LogError> {
    let (subscriber, log) = subscriber(settings)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Started)?;
    Ok(log)
}

fn subscriber(settings: &LogSettings) -> Result<(impl Subscriber + Send + Sync, Log), LogError> {
    let output = LogOutput::open(settings)?;
    let (filter, filter_handle) = reload::Layer::new(filter(settings));
    let layer = tracing_subscriber::fmt::layer()
        .event_format(LineFormat)
        .with_writer(output.clone());
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    let log = Log {
        output,
        filter: filter_handle,
    };
    Ok((subscriber, log))
}

/// The log of this process, to change it.
#[derive(Clone, Debug)]
pub struct Log {
    output: LogOutput,
    filter: reload::Handle<LogFilter, Registry>,
}

/// Open destinations, to be used by [`Log::change`].
#[derive(Debug)]
pub struct PreparedLog {
    open: Arc<OpenLog>,
    filter: LogFilter,
}

impl PreparedLog {
    /// Opens the destinations; files that another program has moved away are created anew.
    ///
    /// # Errors
    /// A log file cannot be opened.
    pub fn open(settings: &LogSettings) -> Result<Self, LogError> {
        Ok(Self {
            open: Arc::new(OpenLog::new(settings)?),
            filter: filter(settings),
        })
    }
}

impl Log {
    /// Waits, for a bounded time, until the lines so far are written; the process may end then.
    pub fn drain(&self) {
        self.output.drain();
    }

    /// Whether traces that go to the log are shown there.
    #[must_use]
    pub fn shows_traces() -> bool {
        tracing::enabled!(target: TRACE, tracing::Level::INFO)
    }

    /// Reopens the current destinations, because another program may have moved the files away. The configuration is
    /// not read.
    ///
    /// # Errors
    /// A log file cannot be opened; lines go to the previous files.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.output.reopen()
    }

    /// Uses this log from the next line on.
    pub fn change(&self, prepared: PreparedLog) {
        self.output.replace(prepared.open);
        // It fails only if the subscriber is gone, and with it everything that is logged.
        let _gone = self.filter.reload(prepared.filter);
    }
}

type LogFilter = FilterFn<Box<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>>;

fn filter(settings: &LogSettings) -> LogFilter {
    // A traced client could subscribe to its own trace, so those lines are not published.
    let shows_traces = settings
        .destinations
        .iter()
        .any(|destination| *destination != LogDestination::Topic);
    let types = if settings.destinations.is_empty() {
        LogTypes::NONE
    } else {
        settings.types
    };
    let connections = settings.connection_messages;
    let is_silent = types == LogTypes::NONE;
    let wanted = move |event: &Metadata<'_>| match event.target() {
        // An operator has switched it on while the broker runs.
        TRACE => shows_traces && !is_silent,
        CONNECTION => connections && types.contains(LogTypes::NOTICE),
        _ => types.contains(type_of(event)),
    };
    let level_max = match types.level_max() {
        LevelFilter::OFF => LevelFilter::OFF,
        level => level.max(LevelFilter::INFO),
    };
    let wanted: Box<dyn Fn(&Metadata<'_>) -> bool + Send + Sync> = Box::new(wanted);
    FilterFn::new(wanted).with_max_level_hint(level_max)
}
