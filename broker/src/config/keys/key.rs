//! The type of an entry of the table of keys, and the functions that make entries.
//!
//! Invariants: none.

use crate::bridge_settings::BridgeSettings;
use crate::config::configuration::{Configuration, ListenerSocket};
use crate::config::draft::Draft;
use crate::settings::ListenerSettings;

/// An entry of the table of keys.
pub(in crate::config) struct Key {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) scope: Scope,
    /// What holds if the key is not given; empty if there is no default.
    pub(in crate::config) default: &'static str,
    /// What the key does, in one or a few sentences.
    pub(in crate::config) about: &'static str,
    pub(in crate::config) repetition: Repetition,
    pub(in crate::config) status: Status,
}

/// What a second line of a key means, for the broker or for one listener, whichever the key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Repetition {
    /// A second line is a mistake if the value is text or a path: otherwise the last of two lines would count
    /// silently, and could open the broker to the wrong clients. For other values the last line counts. mosquitto does
    /// the same.
    OfItsValue,
    /// A second line is a mistake.
    Mistake,
    /// A second line adds to the lines before it, or replaces them.
    Allowed,
}

/// What a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Scope {
    /// The key belongs to the broker as a whole.
    Global,
    /// The key belongs to the last `listener` line above it, or to the default listener if there is no such line.
    Listener,
    /// The key belongs to the broker as a whole, or with `per_listener_settings true` as [`Scope::Listener`].
    Either,
    /// The key belongs to the last `connection` line above it, a bridge.
    Bridge,
}

/// How the broker treats a key. The text of the last two variants gives the reason, and what to do instead.
pub(in crate::config) enum Status {
    /// The key is supported and has an effect.
    Effective(Value, Show),
    /// The key is read and has no effect, on purpose: a warning.
    Ignored(&'static str),
    /// The key will not be supported: an error.
    Refused(&'static str),
}

/// The values that a key accepts, and what each sets.
pub(in crate::config) enum Value {
    /// `true` or `false` (also `1` and `0`).
    Flag(fn(&mut Draft, bool)),
    /// A whole number inside one of the ranges.
    Integer {
        ranges: &'static [(i64, i64)],
        set: fn(&mut Draft, i64),
    },
    /// One word; `set` returns what is wrong with it.
    Word {
        shape: &'static str,
        set: fn(&mut Draft, &str) -> Result<(), String>,
    },
    /// The rest of the line; `set` returns what is wrong with it.
    Text {
        shape: &'static str,
        set: fn(&mut Draft, &str) -> Result<(), String>,
    },
    /// As [`Value::Text`]: the path of a file, or of a folder with its contents, that nothing else may write to.
    Path {
        shape: &'static str,
        is_folder: bool,
        set: fn(&mut Draft, &str) -> Result<(), String>,
    },
    /// The rest of the line, which is never shown.
    Secret(fn(&mut Draft, &str)),
    /// The files of a folder are read at this place.
    IncludeDirectory,
}

/// How `--test-config` shows a key; each string is a line.
pub(in crate::config) enum Show {
    /// From the configuration as a whole.
    Global(fn(&Configuration) -> Vec<String>),
    /// From each listener, below its `listener` line.
    Listener(fn(&ListenerSettings, &ListenerSocket) -> Vec<String>),
    /// From each bridge, below its `connection` line.
    Bridge(fn(&BridgeSettings) -> Vec<String>),
    /// Not shown, because its effect shows at another key.
    Nothing,
}

impl Key {
    /// Whether a second line of the key is a mistake.
    pub(in crate::config) fn may_stand_once(&self) -> bool {
        match self.repetition {
            Repetition::OfItsValue => {
                matches!(
                    self.status,
                    Status::Effective(Value::Text { .. } | Value::Path { .. } | Value::Secret(_), _)
                )
            }
            Repetition::Mistake => true,
            Repetition::Allowed => false,
        }
    }
}

impl Value {
    /// The accepted values, for messages and documentation.
    pub(in crate::config) fn shape(&self) -> String {
        match self {
            Self::Flag(_) => "true or false".to_owned(),
            Self::Integer { ranges, .. } => ranges.iter().map(range_shape).collect::<Vec<_>>().join(" or "),
            Self::Word { shape, .. } | Self::Text { shape, .. } | Self::Path { shape, .. } => {
                (*shape).to_owned()
            }
            Self::Secret(_) => "password".to_owned(),
            Self::IncludeDirectory => "folder".to_owned(),
        }
    }
}

fn range_shape(&(minimum, maximum): &(i64, i64)) -> String {
    match (minimum, maximum) {
        (minimum, i64::MAX) => format!("{minimum} or more"),
        (minimum, maximum) if minimum == maximum => minimum.to_string(),
        (minimum, maximum) => format!("{minimum} to {maximum}"),
    }
}

/// One value as `--test-config` shows it.
pub(super) fn shown(value: impl ToString) -> Vec<String> {
    vec![value.to_string()]
}

/// As [`shown`], nothing if there is no value.
pub(super) fn shown_if(value: Option<impl ToString>) -> Vec<String> {
    value.into_iter().map(|value| value.to_string()).collect()
}

/// A value that is the path of a file.
pub(super) const fn file_path(set: fn(&mut Draft, &str) -> Result<(), String>) -> Value {
    Value::Path {
        shape: "path",
        is_folder: false,
        set,
    }
}

/// A key of the whole broker.
pub(super) const fn global(
    name: &'static str,
    default: &'static str,
    about: &'static str,
    value: Value,
    show: Show,
) -> Key {
    or(
        default,
        key(name, Scope::Global, about, Status::Effective(value, show)),
    )
}

/// A key of the last `listener` above it.
pub(super) const fn of_listener(name: &'static str, about: &'static str, value: Value, show: Show) -> Key {
    key(name, Scope::Listener, about, Status::Effective(value, show))
}

/// A key of the whole broker, or of a listener with `per_listener_settings true`.
pub(super) const fn either(name: &'static str, about: &'static str, value: Value, show: Show) -> Key {
    key(name, Scope::Either, about, Status::Effective(value, show))
}

/// A key of the whole broker that is accepted without effect.
pub(super) const fn ignored(name: &'static str, about: &'static str, why: &'static str) -> Key {
    key(name, Scope::Global, about, Status::Ignored(why))
}

/// A key without a default, or with one that needs no mention.
pub(super) const fn key(name: &'static str, scope: Scope, about: &'static str, status: Status) -> Key {
    Key {
        name,
        scope,
        default: "",
        about,
        repetition: Repetition::OfItsValue,
        status,
    }
}

/// The same key with a default.
pub(super) const fn or(default: &'static str, key: Key) -> Key {
    Key {
        name: key.name,
        scope: key.scope,
        default,
        about: key.about,
        repetition: key.repetition,
        status: key.status,
    }
}

/// The same key with another rule for a second line.
pub(super) const fn with(repetition: Repetition, key: Key) -> Key {
    Key {
        name: key.name,
        scope: key.scope,
        default: key.default,
        about: key.about,
        repetition,
        status: key.status,
    }
}
