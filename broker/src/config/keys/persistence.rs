//! Keys of what outlives the process. Nothing does yet.
//!
//! Invariants: none.

use super::key::{Key, Show, Value, global};

const NOT_ON_DISK: &str = "sessions and messages are kept in memory and are gone after a restart";

const ANY_TEXT: Value = Value::Text {
    shape: "path; accepted, nothing is stored yet",
    set: |_, _| Ok(()),
};
const ANY_COUNT: Value = Value::Integer {
    ranges: &[(0, i64::MAX)],
    set: |_, _| {},
};
const ANY_FLAG: Value = Value::Flag(|_, _| {});

pub(super) const KEYS: &[Key] = &[
    global(
        "persistence",
        "false",
        "Whether state outlives the process. Nothing is stored yet: `true` is accepted with a warning, sessions and \
         messages are kept in memory and are gone after a restart.",
        Value::Flag(|draft, value| {
            if value {
                draft.warn(&format!(
                    "persistence true: nothing is stored on disk yet, {NOT_ON_DISK}"
                ));
            }
        }),
        Show::Nothing,
    ),
    stored("persistence_location", "Folder of the stored state.", ANY_TEXT),
    stored("persistence_file", "File of the stored state.", ANY_TEXT),
    stored(
        "autosave_interval",
        "Seconds after which the state is stored.",
        ANY_COUNT,
    ),
    stored(
        "autosave_on_changes",
        "Whether `autosave_interval` counts changes.",
        ANY_FLAG,
    ),
    stored(
        "retained_persistence",
        "Whether retained messages are stored.",
        ANY_FLAG,
    ),
];

/// A key of what is stored: its value is checked, and that is all so far.
const fn stored(name: &'static str, about: &'static str, value: Value) -> Key {
    global(name, "", about, value, Show::Nothing)
}
