//! Keys of the store, which keeps sessions and messages beyond the process.
//!
//! Invariants: none.

use std::num::NonZeroU32;

use super::key::{Key, Show, Value, global, shown, shown_if};
use crate::config::configuration::{Configuration, Durability, Persistence};
use crate::config::draft::{Draft, PersistenceDraft};

/// `persistence_file` if it is not given, as in mosquitto.
const PERSISTENCE_FILE: &str = "mosquitto.db";
const MILLISECONDS_MAX: u32 = 3_600_000;
/// A smaller store has no room to move the records that it keeps.
const STORE_BYTES_MIN: i64 = 256 << 20;

pub(super) const KEYS: &[Key] = &[
    global(
        "persistence",
        "false",
        "Sessions, subscriptions, messages at QoS 1 and 2 and retained messages survive the end of the \
        process, however it ends: see [DURABILITY.md](DURABILITY.md).",
        Value::Flag(|draft, value| draft.persistence.is_on = value),
        Show::Global(|c| shown(c.persistence.is_some())),
    ),
    global(
        "persistence_location",
        "the working directory",
        "Folder that contains the store's own folder.",
        Value::Text {
            shape: "path",
            set: |draft, text| {
                draft.persistence.location = Some(draft.path(text));
                Ok(())
            },
        },
        Show::Global(|c| shown_if(chosen(c).map(|it| it.location.display()))),
    ),
    global(
        "persistence_file",
        "mosquitto.db",
        "The store is the folder of this name with `.midge` appended. A file of this name belongs to \
        mosquitto: it is neither read nor changed.",
        Value::Text {
            shape: "file name",
            set: set_file,
        },
        Show::Global(|c| shown_if(chosen(c).map(|it| &it.file))),
    ),
    global(
        "durability",
        "sync",
        "With `persistence true`: when acknowledged state is on the disk. `sync`: before the \
        acknowledgement is sent; neither kill -9 nor a power cut loses it. `interval MILLISECONDS`: at most \
        that much later, which is what a crash may lose. `none`: when the operating system writes it; a \
        crash of the machine may lose it.",
        Value::Text {
            shape: "sync, interval MILLISECONDS, or none",
            set: set_durability,
        },
        Show::Global(|c| shown_if(chosen(c).map(|it| durability(it.durability)))),
    ),
    global(
        "store_size_max",
        "",
        "Largest size of the store in bytes; without it, the store may fill the disk. When the store or the \
        disk is full, messages that would have to be stored are refused with 0x97 (Quota exceeded); those \
        of 3.x clients wait for 20 seconds, and then the connection is closed.",
        Value::Integer {
            ranges: &[(STORE_BYTES_MIN, i64::MAX)],
            set: |draft, bytes| draft.persistence.size_max = u64::try_from(bytes).ok(),
        },
        Show::Global(|c| shown_if(chosen(c).and_then(|it| it.size_max))),
    ),
    global(
        "autosave_interval",
        "",
        "Accepted, but not needed: changes are written when they happen.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, _| set_autosaves(draft),
        },
        Show::Nothing,
    ),
    global(
        "autosave_on_changes",
        "",
        "Accepted, but not needed: see `autosave_interval`.",
        Value::Flag(|draft, _| set_autosaves(draft)),
        Show::Nothing,
    ),
    global(
        "retained_persistence",
        "true",
        "With `persistence true`: retained messages survive the end of the process. If false, a start still \
        reads those that were stored before; changed ones are no longer stored.",
        Value::Flag(|draft, value| draft.settings.retained_persistence = value),
        Show::Global(|c| shown(c.settings.retained_persistence)),
    ),
];
/// The settings of the store, or `None` if nothing is stored.
pub(in crate::config) fn persistence(draft: &mut Draft) -> Option<Persistence> {
    let PersistenceDraft {
        is_on: true,
        location,
        file,
        durability,
        size_max,
        autosaves,
    } = &draft.persistence
    else {
        return None;
    };
    if *autosaves {
        let autosaves = "autosave_interval and autosave_on_changes have no effect: what happens is stored when it \
                         happens";
        draft.warnings.push(autosaves.to_owned());
    }
    let location = location
        .clone()
        .unwrap_or_else(|| std::path::absolute(".").unwrap_or_default());
    let file = file.as_deref().unwrap_or(PERSISTENCE_FILE).to_owned();
    Some(Persistence {
        folder: location.join(format!("{file}.midge")),
        location,
        file,
        durability: durability.unwrap_or_default(),
        size_max: *size_max,
    })
}

fn chosen(configuration: &Configuration) -> Option<&Persistence> {
    configuration.persistence.as_ref()
}

fn set_file(draft: &mut Draft, text: &str) -> Result<(), String> {
    if text.contains('/') || text == "." || text == ".." {
        return Err("must be a file name; fix: name the folder in persistence_location".to_owned());
    }
    draft.persistence.file = Some(text.to_owned());
    Ok(())
}

fn set_durability(draft: &mut Draft, text: &str) -> Result<(), String> {
    let words: Vec<_> = text.split_whitespace().collect();
    let milliseconds = |text: &str| {
        let number: Option<NonZeroU32> = text.parse().ok();
        number.filter(|number| number.get() <= MILLISECONDS_MAX)
    };
    let durability = match words.as_slice() {
        ["sync"] => Some(Durability::Sync),
        ["none"] => Some(Durability::None),
        ["interval", number] => milliseconds(number).map(Durability::Interval),
        _ => None,
    };
    let Some(durability) = durability else {
        return Err(format!(
            "must be sync, none, or interval and milliseconds from 1 to {MILLISECONDS_MAX}, such as interval 100"
        ));
    };
    draft.persistence.durability = Some(durability);
    Ok(())
}

fn durability(durability: Durability) -> String {
    match durability {
        Durability::Sync => "sync".to_owned(),
        Durability::Interval(milliseconds) => format!("interval {milliseconds}"),
        Durability::None => "none".to_owned(),
    }
}
/// One warning covers both keys, and only if anything is stored.
fn set_autosaves(draft: &mut Draft) {
    draft.persistence.autosaves = true;
}
