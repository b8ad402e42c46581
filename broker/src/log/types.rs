//! mosquitto's log types, and the targets that stand for those which are no level of `tracing`.
//!
//! Invariants: none.

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};

/// Target of rare events for operators: start, end, reload.
pub const NOTICE: &str = "notice";
/// Target of connects and disconnects.
pub const CONNECTION: &str = "connection";
/// Target of subscriptions that were created.
pub const SUBSCRIBE: &str = "subscribe";
/// Target of subscriptions that were ended.
pub const UNSUBSCRIBE: &str = "unsubscribe";

/// Target of packets, and of what is shown with each one.
pub const PACKET: &str = "packet";
/// Target of the lines of a client's trace: they are logged whatever `log_type` is.
pub const TRACE: &str = "trace";

/// A set of mosquitto's log types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogTypes(u16);

impl LogTypes {
    /// No message at all.
    pub const NONE: Self = Self(0);
    /// The broker, or a part of it, cannot continue.
    pub const ERROR: Self = Self(1);
    /// Something that the operator should fix.
    pub const WARNING: Self = Self(1 << 1);
    /// The start, the end and reloads.
    pub const NOTICE: Self = Self(1 << 2);
    /// Clients that connect and disconnect.
    pub const INFORMATION: Self = Self(1 << 3);
    /// Each packet, and how it was handled.
    pub const DEBUG: Self = Self(1 << 4);
    /// Subscriptions that were created.
    pub const SUBSCRIBE: Self = Self(1 << 5);
    /// Subscriptions that were ended.
    pub const UNSUBSCRIBE: Self = Self(1 << 6);
    /// Events of WebSocket listeners.
    pub const WEBSOCKETS: Self = Self(1 << 7);
    /// Internal details, for the developers of the broker.
    pub const INTERNAL: Self = Self(1 << 8);
    /// All of mosquitto's types.
    pub const ALL: Self = Self((1 << 9) - 1);
    /// The default of `log_type`.
    pub const USUAL: Self = Self(0b1111);

    /// The names of the types in `log_type`.
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

    /// Both sets of types together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a part of `other` is in the set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The names of a single type in `log_type`.
    pub(super) fn name(self) -> &'static str {
        self.names().first().copied().unwrap_or("none")
    }

    /// The end of the topic to which a line of the type is published; debug has none, because each published line
    /// could cause another one.
    pub(super) fn topic(self) -> Option<&'static str> {
        match self {
            Self::ERROR => Some("E"),
            Self::WARNING => Some("W"),
            Self::NOTICE => Some("N"),
            Self::INFORMATION => Some("I"),
            Self::SUBSCRIBE => Some("M/subscribe"),
            Self::UNSUBSCRIBE => Some("M/unsubscribe"),
            Self::WEBSOCKETS => Some("WS"),
            _ => None,
        }
    }

    /// The level above which no event can be of one of the types.
    pub(super) fn level_max(self) -> LevelFilter {
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

/// The log type of an event, from its level and target.
pub(super) fn type_of(event: &Metadata<'_>) -> LogTypes {
    match (event.target(), *event.level()) {
        (NOTICE | CONNECTION, _) => LogTypes::NOTICE,
        (SUBSCRIBE, _) => LogTypes::SUBSCRIBE,
        (UNSUBSCRIBE, _) => LogTypes::UNSUBSCRIBE,
        (PACKET | TRACE, _) => LogTypes::DEBUG,
        (_, Level::ERROR) => LogTypes::ERROR,
        (_, Level::WARN) => LogTypes::WARNING,
        (_, Level::INFO) => LogTypes::INFORMATION,
        _ => LogTypes::DEBUG,
    }
}
