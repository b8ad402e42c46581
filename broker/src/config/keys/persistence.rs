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
/// Below it a store has no room to move what it keeps.
const STORE_BYTES_MIN: i64 = 256 << 20;

pub(super) const KEYS: &[Key] = &[
    global(
        "persistence",
        "false",
        "Sessions, subscriptions, messages at QoS 1 and 2 and retained messages outlive the process, whatever ends it: \
         see [DURABILITY.md](DURABILITY.md).",
        Value::Flag(|draft, value| draft.persistence.is_on = value),
        Show::Global(|c| shown(c.persistence.is_some())),
    ),
    global(
        "persistence_location",
        "the working directory",
        "Folder in which the store's own folder is.",
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
        "The store is the folder of this name with `.midge` behind it. A file of this name is mosquitto's: it is left \
         as it is, and not read.",
        Value::Text {
            shape: "file name",
            set: set_file,
        },
        Show::Global(|c| shown_if(chosen(c).map(|it| &it.file))),
    ),
    global(
        "durability",
        "sync",
        "When what is acknowledged is on the disk, with `persistence true`. `sync`: before the acknowledgement \
         leaves; neither kill -9 nor a power cut loses it. `interval MILLISECONDS`: so much later at most, which is \
         what a crash may cost. `none`: when the system writes it; a crash of the machine may cost it.",
        Value::Text {
            shape: "sync, interval MILLISECONDS, or none",
            set: set_durability,
        },
        Show::Global(|c| shown_if(chosen(c).map(|it| durability(it.durability)))),
    ),
    global(
        "store_size_max",
        "",
        "Bytes that the store may have on the disk; without it as many as there are. When it is full, and when the \
         disk is, messages that would have to be stored are refused with 0x97 (Quota exceeded); those of 3.x clients \
         wait for 20 seconds, then their connections are closed.",
        Value::Integer {
            ranges: &[(STORE_BYTES_MIN, i64::MAX)],
            set: |draft, bytes| draft.persistence.size_max = u64::try_from(bytes).ok(),
        },
        Show::Global(|c| shown_if(chosen(c).and_then(|it| it.size_max))),
    ),
    global(
        "autosave_interval",
        "",
        "Accepted, and not needed: what happens is written when it happens.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, _| set_autosaves(draft),
        },
        Show::Nothing,
    ),
    global(
        "autosave_on_changes",
        "",
        "Accepted, and not needed, as `autosave_interval`.",
        Value::Flag(|draft, _| set_autosaves(draft)),
        Show::Nothing,
    ),
    global(
        "retained_persistence",
        "true",
        "Retained messages outlive the process, with `persistence true`. If false, a start still reads those that \
             were stored before; one that changes is no longer stored.",
        Value::Flag(|draft, value| draft.settings.retained_persistence = value),
        Show::Global(|c| shown(c.settings.retained_persistence)),
    ),
];

/// What outlives the process, if anything does.
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

/// One line speaks of both keys, where anything is stored.
fn set_autosaves(draft: &mut Draft) {
    draft.persistence.autosaves = true;
}
