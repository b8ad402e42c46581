//! Keys of the log.
//!
//! Invariants: none.

use std::path::PathBuf;

use super::key::{Key, Repetition, Show, Value, global, shown, shown_if, with};
use crate::config::draft::Draft;
use crate::log::{LogDestination, LogFormat, LogTimestamp, LogTypes, check_timestamp_format};

/// The facility `local0` of syslog(3).
const FACILITY_LOCAL0: u8 = 16;

pub(super) const KEYS: &[Key] = &[
    with(
        Repetition::Allowed,
        global(
            "log_dest",
            "stderr",
            "Where the log is written: `stdout`, `stderr`, `syslog`, `topic`, `file PATH` or `none`. May be \
            given several times. Files are reopened on SIGHUP and SIGRTMIN. `topic` publishes each line \
            except those of `debug` below `$SYS/broker/log`, on `E`, `W`, `N`, `I`, `M/subscribe` and \
            `M/unsubscribe`. The lines have QoS 0, so that none is queued; mosquitto uses QoS 2.",
            Value::Text {
                shape: "stdout, stderr, syslog, topic, file PATH or none",
                set: set_log_destination,
            },
            Show::Global(|c| match c.log.destinations.as_slice() {
                [] => shown("none"),
                destinations => destinations.iter().map(show_log_destination).collect(),
            }),
        ),
    ),
    global(
        "log_type",
        "error, warning, notice, information",
        "What is logged. May be given several times. `-v` means `all`.",
        Value::Word {
            shape: "error, warning, notice, information, debug, subscribe, unsubscribe, websockets, internal, all or \
                    none",
            set: set_log_type,
        },
        Show::Global(|c| c.log.types.names().into_iter().map(str::to_owned).collect()),
    ),
    global(
        "log_format",
        "text",
        "Format of a line: `text` as mosquitto writes it, or `json`, one object with `time` (RFC 3339, or \
        `log_timestamp_format`), `type` and `message`. Not in mosquitto.",
        Value::Word {
            shape: "text or json",
            set: set_log_format,
        },
        Show::Global(|c| {
            shown(match c.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            })
        }),
    ),
    global(
        "log_timestamp",
        "true",
        "Each log line begins with the time.",
        Value::Flag(|draft, value| draft.log.without_timestamp = !value),
        Show::Global(|c| shown(c.log.timestamp != LogTimestamp::None)),
    ),
    global(
        "log_timestamp_format",
        "",
        "Format of that time, as in strftime(3), for example `%Y-%m-%dT%H:%M:%S`; without it, seconds since \
        1970.",
        Value::Text {
            shape: "a format of strftime(3)",
            set: set_log_timestamp_format,
        },
        Show::Global(|c| match &c.log.timestamp {
            LogTimestamp::Format(format) => shown(format),
            LogTimestamp::None | LogTimestamp::EpochSeconds => Vec::new(),
        }),
    ),
    global(
        "log_facility",
        "",
        "The facility of syslog: 0 is `local0`, 7 is `local7`; without it, `daemon`.",
        Value::Integer {
            ranges: &[(0, 7)],
            set: |draft, local| {
                draft.log.facility = u8::try_from(local).ok().map(|local| FACILITY_LOCAL0 + local)
            },
        },
        Show::Global(|c| shown_if(c.log.facility.checked_sub(FACILITY_LOCAL0))),
    ),
    global(
        "connection_messages",
        "true",
        "Connects and disconnects of clients are logged.",
        Value::Flag(|draft, value| draft.log.without_connection_messages = !value),
        Show::Global(|c| shown(c.log.connection_messages)),
    ),
];

fn set_log_destination(draft: &mut Draft, text: &str) -> Result<(), String> {
    let (kind, path) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    if kind != "file" {
        draft.warn_of_rest("log_dest", kind, path);
    }
    match (kind, path.trim()) {
        ("stdout", _) => draft.log.add_destination(LogDestination::Stdout),
        ("stderr", _) => draft.log.add_destination(LogDestination::Stderr),
        ("syslog", _) => draft.log.add_destination(LogDestination::Syslog),
        ("topic", _) => draft.log.add_destination(LogDestination::Topic),
        ("none", _) => draft.log.silent = true,
        ("file", "") => return Err("the path of the file is missing".to_owned()),
        ("file", path) => draft
            .log
            .add_destination(LogDestination::File(PathBuf::from(path))),
        ("dlt" | "android", _) => {
            draft.warn(&format!(
                "log_dest {kind} is known but not supported yet, it has no effect: use stdout, stderr, syslog, topic \
                 or file"
            ));
        }
        _ => return Err("must be stdout, stderr, syslog, topic, file PATH or none".to_owned()),
    }
    Ok(())
}

fn show_log_destination(destination: &LogDestination) -> String {
    match destination {
        LogDestination::Stdout => "stdout".to_owned(),
        LogDestination::Stderr => "stderr".to_owned(),
        LogDestination::Syslog => "syslog".to_owned(),
        LogDestination::Topic => "topic".to_owned(),
        LogDestination::File(path) => format!("file {}", path.display()),
    }
}

fn set_log_format(draft: &mut Draft, text: &str) -> Result<(), String> {
    draft.log.format = match text {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => return Err("must be text or json".to_owned()),
    };
    Ok(())
}

fn set_log_type(draft: &mut Draft, text: &str) -> Result<(), String> {
    let types = LogTypes::from_name(text).ok_or_else(|| {
        "must be error, warning, notice, information, debug, subscribe, unsubscribe, websockets, internal, all or none"
            .to_owned()
    })?;
    draft.log.types = Some(match draft.log.types {
        Some(before) if types != LogTypes::NONE => before.with(types),
        _ => types,
    });
    Ok(())
}

fn set_log_timestamp_format(draft: &mut Draft, text: &str) -> Result<(), String> {
    if !check_timestamp_format(text) {
        return Err("must be a format of strftime(3), such as %Y-%m-%dT%H:%M:%S".to_owned());
    }
    draft.log.timestamp_format = Some(text.to_owned());
    Ok(())
}
