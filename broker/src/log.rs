//! Log lines as mosquitto writes them: `<time>: text`, each on one line.
//!
//! Invariants: a line never holds a control character of its own, whatever a client put into its identifier or topic
//! (test `v29_control_characters_are_escaped`); a destination that cannot be written never stops the broker; an event whose
//! type is off costs one look at a cached flag.
//!
//! The types of mosquitto that are no level of `tracing` are targets: `tracing::info!(target: log::NOTICE, ...)`.

mod syslog;

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chrono::format::{Item, StrftimeItems};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

use self::syslog::Syslog;

/// The facility of syslog(3) for services.
pub const FACILITY_DAEMON: u8 = 3;
/// Target of what an operator wants to see once: start, end, reload.
pub const NOTICE: &str = "notice";
/// Target of clients that come and go.
pub const CONNECTION: &str = "connection";
/// Target of subscriptions that were made.
pub const SUBSCRIBE: &str = "subscribe";
/// Target of subscriptions that were ended.
pub const UNSUBSCRIBE: &str = "unsubscribe";

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `log_type`: which messages.
    pub types: LogTypes,
    /// `log_dest`: where to; nothing is logged if it is empty.
    pub destinations: Vec<LogDestination>,
    /// `log_timestamp` and `log_timestamp_format`.
    pub timestamp: LogTimestamp,
    /// `connection_messages`: clients that come and go are logged.
    pub connection_messages: bool,
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
                LogDestination::Stdout | LogDestination::Stderr | LogDestination::Syslog => None,
            })
    }
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file.
    File(PathBuf),
    /// The system's log, by its socket.
    Syslog,
}

/// How a line begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTimestamp {
    /// With the text.
    None,
    /// With the seconds since 1970.
    EpochSeconds,
    /// With the local time in a format of strftime(3) that [`check_timestamp_format`] accepted.
    Format(String),
}

/// A set of mosquitto's log types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogTypes(u16);

/// The log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file cannot be opened.
    #[error("the log file {} cannot be opened: {cause}: check log_dest and the folder's permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// The system's log has no socket.
    #[error("the system's log cannot be reached: {0}: choose another log_dest")]
    Syslog(#[source] io::Error),
    /// The process has a log already.
    #[error("the log was started twice")]
    Started,
}

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
    let output = Output::open(settings)?;
    let (filter, filter_handle) = reload::Layer::new(filter(settings));
    let layer = tracing_subscriber::fmt::layer()
        .event_format(Lines)
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
    output: Output,
    filter: reload::Handle<Filter, Registry>,
}

/// Destinations that are open, to be used by [`Log::change`].
#[derive(Debug)]
pub struct PreparedLog {
    open: Arc<Open>,
    filter: Filter,
}

impl PreparedLog {
    /// Opens the destinations: files that another program has moved away are made anew.
    ///
    /// # Errors
    /// A log file cannot be opened.
    pub fn open(settings: &LogSettings) -> Result<Self, LogError> {
        Ok(Self {
            open: Arc::new(Open::new(settings)?),
            filter: filter(settings),
        })
    }
}

impl Log {
    /// From the next line on the log is this one.
    pub fn change(&self, prepared: PreparedLog) {
        *self.output.0.write().unwrap_or_else(PoisonError::into_inner) = prepared.open;
        // It fails only where the subscriber is gone, and with it everything that is logged.
        let _gone = self.filter.reload(prepared.filter);
    }
}

type Filter = FilterFn<Box<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>>;

fn filter(settings: &LogSettings) -> Filter {
    let types = if settings.destinations.is_empty() {
        LogTypes::NONE
    } else {
        settings.types
    };
    let connections = settings.connection_messages;
    let wanted = move |event: &Metadata<'_>| {
        types.contains(type_of(event)) && (connections || event.target() != CONNECTION)
    };
    let wanted: Box<dyn Fn(&Metadata<'_>) -> bool + Send + Sync> = Box::new(wanted);
    FilterFn::new(wanted).with_max_level_hint(types.level_max())
}

/// Whether this is a usable format for [`LogTimestamp::Format`].
#[must_use]
pub fn check_timestamp_format(format: &str) -> bool {
    let mut out = String::new();
    let items = StrftimeItems::new(format).parse();
    items.is_ok_and(|items| write!(out, "{}", chrono::Local::now().format_with_items(items.iter())).is_ok())
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            types: LogTypes::USUAL,
            destinations: vec![LogDestination::Stderr],
            timestamp: LogTimestamp::EpochSeconds,
            connection_messages: true,
            facility: FACILITY_DAEMON,
        }
    }
}

impl LogTypes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The broker cannot go on, or a part of it.
    pub const ERROR: Self = Self(1);
    /// Something the operator should mend.
    pub const WARNING: Self = Self(1 << 1);
    /// Start, end, reload.
    pub const NOTICE: Self = Self(1 << 2);
    /// Clients that come and go.
    pub const INFORMATION: Self = Self(1 << 3);
    /// Packets.
    pub const DEBUG: Self = Self(1 << 4);
    /// Subscriptions made.
    pub const SUBSCRIBE: Self = Self(1 << 5);
    /// Subscriptions ended.
    pub const UNSUBSCRIBE: Self = Self(1 << 6);
    /// WebSockets.
    pub const WEBSOCKETS: Self = Self(1 << 7);
    /// What only developers ask for.
    pub const INTERNAL: Self = Self(1 << 8);
    /// Everything.
    pub const ALL: Self = Self((1 << 9) - 1);
    /// What is logged if nothing else is said.
    pub const USUAL: Self = Self(0b1111);

    /// The names in `log_type`.
    const NAMES: [(&'static str, Self); 11] = [
        ("error", Self::ERROR),
        ("warning", Self::WARNING),
        ("notice", Self::NOTICE),
        ("information", Self::INFORMATION),
        ("debug", Self::DEBUG),
        ("subscribe", Self::SUBSCRIBE),
        ("unsubscribe", Self::UNSUBSCRIBE),
        ("websockets", Self::WEBSOCKETS),
        ("internal", Self::INTERNAL),
        ("all", Self::ALL),
        ("none", Self::NONE),
    ];

    /// The type of a name in `log_type`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, types)| types)
    }

    /// The names that make up the set; `none` for the empty one.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let is_single = |types: Self| types.0.is_power_of_two();
        let names = Self::NAMES
            .iter()
            .filter(|&&(_, types)| is_single(types) && self.contains(types));
        let names: Vec<_> = names.map(|&(name, _)| name).collect();
        if names.is_empty() { vec!["none"] } else { names }
    }

    /// Both sets.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a part of `other` is in the set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn level_max(self) -> LevelFilter {
        let targets = Self::NOTICE
            .with(Self::INFORMATION)
            .with(Self::SUBSCRIBE)
            .with(Self::UNSUBSCRIBE);
        match self {
            types if types.contains(Self::DEBUG) => LevelFilter::DEBUG,
            types if types.contains(targets) => LevelFilter::INFO,
            types if types.contains(Self::WARNING) => LevelFilter::WARN,
            types if types.contains(Self::ERROR) => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        }
    }
}

fn type_of(event: &Metadata<'_>) -> LogTypes {
    match (event.target(), *event.level()) {
        (NOTICE | CONNECTION, _) => LogTypes::NOTICE,
        (SUBSCRIBE, _) => LogTypes::SUBSCRIBE,
        (UNSUBSCRIBE, _) => LogTypes::UNSUBSCRIBE,
        (_, Level::ERROR) => LogTypes::ERROR,
        (_, Level::WARN) => LogTypes::WARNING,
        (_, Level::INFO) => LogTypes::INFORMATION,
        _ => LogTypes::DEBUG,
    }
}

/// Where lines go and how they begin; shared, so that both can change while lines are written.
#[derive(Clone, Debug)]
struct Output(Arc<RwLock<Arc<Open>>>);

#[derive(Debug)]
struct Open {
    timestamp: Timestamp,
    destinations: Destinations,
}

impl Output {
    fn open(settings: &LogSettings) -> Result<Self, LogError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(Open::new(settings)?)))))
    }

    fn get(&self) -> Arc<Open> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Open {
    fn new(settings: &LogSettings) -> Result<Self, LogError> {
        Ok(Self {
            timestamp: Timestamp::new(&settings.timestamp),
            destinations: Destinations::open(settings)?,
        })
    }
}

/// The form of a line, without the time: syslog has its own.
struct Lines;

#[derive(Debug)]
enum Timestamp {
    None,
    EpochSeconds,
    Format(Vec<Item<'static>>),
}

impl Timestamp {
    fn new(setting: &LogTimestamp) -> Self {
        match setting {
            LogTimestamp::None => Self::None,
            LogTimestamp::EpochSeconds => Self::EpochSeconds,
            LogTimestamp::Format(format) => StrftimeItems::new(format)
                .parse_to_owned()
                .map_or(Self::EpochSeconds, Self::Format),
        }
    }

    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::EpochSeconds => write!(out, "{}: ", chrono::Utc::now().timestamp()),
            Self::Format(items) => write!(out, "{}: ", chrono::Local::now().format_with_items(items.iter())),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Escaped(&mut out);
        match *event.metadata().level() {
            Level::ERROR => line.write_str("Error: ")?,
            Level::WARN => line.write_str("Warning: ")?,
            _ => {}
        }
        let mut fields = Fields {
            out: &mut line,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        out.write_char('\n')
    }
}

/// The text of an event, then its other fields as ` name=value`.
struct Fields<'a, W> {
    out: &'a mut W,
    result: fmt::Result,
}

impl<W: fmt::Write> Visit for Fields<'_, W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let result = match field.name() {
            "message" => write!(self.out, "{value:?}"),
            name => write!(self.out, " {name}={value:?}"),
        };
        self.result = self.result.and(result);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Writes control characters as `\u{1b}`, and those that change the direction of writing.
struct Escaped<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_unsafe) {
            let (safe, tail) = rest.split_at(at);
            self.0.write_str(safe)?;
            let mut characters = tail.chars();
            for character in characters.by_ref().take(1) {
                write!(self.0, "{}", character.escape_unicode())?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || ('\u{202a}'..='\u{202e}').contains(&character)
        || ('\u{2066}'..='\u{2069}').contains(&character)
}

/// The open destinations. A line that one of them does not take is lost there.
#[derive(Debug)]
struct Destinations {
    stdout: bool,
    stderr: bool,
    syslog: Option<Syslog>,
    files: Vec<Mutex<File>>,
}

impl Destinations {
    fn open(settings: &LogSettings) -> Result<Self, LogError> {
        let destinations = &settings.destinations;
        let files = settings
            .files()
            .map(|path| open_file(path).map(Mutex::new))
            .collect::<Result<Vec<_>, _>>()?;
        let wants_syslog = destinations.contains(&LogDestination::Syslog);
        Ok(Self {
            stdout: destinations.contains(&LogDestination::Stdout),
            stderr: destinations.contains(&LogDestination::Stderr),
            syslog: wants_syslog
                .then(|| Syslog::open(settings.facility))
                .transpose()
                .map_err(LogError::Syslog)?,
            files,
        })
    }

    fn write(&self, line: &[u8]) {
        // A full disk or a closed terminal must not stop the broker, and there is nowhere left to tell.
        if self.stdout {
            let _lost = io::stdout().lock().write_all(line);
        }
        if self.stderr {
            let _lost = io::stderr().lock().write_all(line);
        }
        for file in &self.files {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let _lost = file.write_all(line);
        }
    }
}

fn open_file(path: &Path) -> Result<File, LogError> {
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path);
    opened.map_err(|cause| LogError::File {
        path: path.to_owned(),
        cause,
    })
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            open: self.get(),
            types: LogTypes::INFORMATION,
        }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line {
        Line {
            open: self.get(),
            types: type_of(event),
        }
    }
}

/// Takes one line, whole, without its time.
struct Line {
    open: Arc<Open>,
    types: LogTypes,
}

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Open {
            timestamp,
            destinations,
        } = &*self.open;
        if let Some(syslog) = &destinations.syslog {
            syslog.send(self.types, line);
        }
        let mut time = String::new();
        // The format was checked; a time that cannot be written is left out.
        let _written = timestamp.write(&mut Escaped(&mut time));
        let mut bytes = time.into_bytes();
        bytes.extend_from_slice(line);
        destinations.write(&bytes);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
