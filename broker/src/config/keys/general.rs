//! Keys that speak of the whole broker.

use std::path::PathBuf;

use crate::limits;
use crate::log::{LogDestination, LogTimestamp, LogTypes, check_timestamp_format};
use crate::privileges;
use crate::settings::{SharedSubscriptionStrategy, UNLIMITED};

use super::super::Protocol;
use super::super::draft::Draft;
use super::{Key, Scope, Show, Status, Value, shown, shown_if};

const PACKET_BYTES_MIN: i64 = 20;
const PACKET_BYTES_MAX: i64 = 268_435_460;
const PAYLOAD_BYTES_MAX: i64 = 268_435_455;
const U16_MAX: i64 = 65_535;
const SUBSCRIPTIONS_MAX: i64 = limits::SUBSCRIPTIONS_PER_SESSION_MAX as i64;
/// `local0` of syslog(3).
const FACILITY_LOCAL0: u8 = 16;
const DAY_S: u64 = 86_400;

const NOT_ON_DISK: &str = "sessions and messages are kept in memory and are gone after a restart";

const fn effective(
    name: &'static str,
    default: &'static str,
    about: &'static str,
    value: Value,
    show: Show,
) -> Key {
    Key {
        name,
        scope: Scope::Global,
        default,
        about,
        status: Status::Effective(value, show),
    }
}

const fn without_effect(name: &'static str, about: &'static str, status: Status) -> Key {
    Key {
        name,
        scope: Scope::Global,
        default: "",
        about,
        status,
    }
}

/// A key of what is stored: its value is checked, and that is all so far.
const fn stored(name: &'static str, about: &'static str, value: Value) -> Key {
    effective(name, "", about, value, Show::Nothing)
}

const ANY_TEXT: Value = Value::Text {
    shape: "path; accepted, nothing is stored yet",
    set: |_, _| Ok(()),
};
const ANY_COUNT: Value = Value::Integer {
    ranges: &[(0, i64::MAX)],
    set: |_, _| {},
};
const ANY_FLAG: Value = Value::Flag(|_, _| {});

const fn ignored(name: &'static str, about: &'static str, why: &'static str) -> Key {
    without_effect(name, about, Status::Ignored(why))
}

pub(super) const KEYS: &[Key] = &[
    effective(
        "include_dir",
        "",
        "Reads the files of a folder that end in `.conf`, in the order of their names, as if they stood here. Only in the \
         main file.",
        Value::IncludeDirectory,
        Show::Nothing,
    ),
    effective(
        "max_packet_size",
        "2000000",
        "Largest packet that a client may send, in bytes; MQTT 5.0 clients are told. A client that sends a larger one is \
         disconnected.",
        Value::Integer {
            ranges: &[(PACKET_BYTES_MIN, PACKET_BYTES_MAX)],
            set: |draft, bytes| draft.settings.packet_bytes_max = to_u32(bytes),
        },
        Show::Global(|c| shown(c.settings.packet_bytes_max)),
    ),
    effective(
        "message_size_limit",
        "0",
        "Largest payload of a published message, in bytes; larger ones are not passed on. 0: no limit.",
        Value::Integer {
            ranges: &[(0, PAYLOAD_BYTES_MAX)],
            set: |draft, bytes| {
                draft.settings.payload_bytes_max = if bytes == 0 { u32::MAX } else { to_u32(bytes) }
            },
        },
        Show::Global(|c| match c.settings.payload_bytes_max {
            u32::MAX => shown(0),
            bytes => shown(bytes),
        }),
    ),
    effective(
        "max_inflight_messages",
        "20",
        "QoS 1 and 2 messages that may be in flight to one client, and from it (MQTT 5.0 clients are told). 0: 65535, \
         the most that the protocol has.",
        Value::Integer {
            ranges: &[(0, U16_MAX)],
            set: |draft, count| {
                draft.settings.inflight_messages_max = if count == 0 { u16::MAX } else { to_u16(count) };
            },
        },
        Show::Global(|c| shown(c.settings.inflight_messages_max)),
    ),
    effective(
        "max_inflight_bytes",
        "0",
        "Payload bytes of QoS 1 and 2 messages in flight to one client; the message that reaches it still goes. 0: no \
         limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, bytes| draft.settings.inflight_bytes_max = or_unlimited(bytes),
        },
        Show::Global(|c| shown(or_zero(c.settings.inflight_bytes_max))),
    ),
    effective(
        "max_queued_messages",
        "1000",
        "QoS 1 and 2 messages that wait for one client beyond those in flight; more are dropped. 0: no limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, count| draft.settings.queued_messages_max = or_unlimited(count),
        },
        Show::Global(|c| shown(or_zero(c.settings.queued_messages_max))),
    ),
    effective(
        "max_queued_bytes",
        "0",
        "Bytes of the messages that wait for one client beyond those in flight; more are dropped. 0: no limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, bytes| draft.settings.queued_bytes_max = or_unlimited(bytes),
        },
        Show::Global(|c| shown(or_zero(c.settings.queued_bytes_max))),
    ),
    effective(
        "queue_qos0_messages",
        "false",
        "QoS 0 messages wait for a client without a connection too.",
        Value::Flag(|draft, value| draft.settings.queue_qos0_messages = value),
        Show::Global(|c| shown(c.settings.queue_qos0_messages)),
    ),
    effective(
        "shared_subscription_strategy",
        "fair",
        "Who of the clients that share a subscription (`$share/NAME/FILTER`) gets a message: `fair` lets those that are \
         connected take turns, `sticky` keeps to the one that has been connected longest. One whose window or queue is \
         full is passed over.",
        Value::Text {
            shape: "fair or sticky",
            set: set_shared_subscription_strategy,
        },
        Show::Global(|c| {
            shown(match c.settings.shared_subscription_strategy {
                SharedSubscriptionStrategy::Fair => "fair",
                SharedSubscriptionStrategy::Sticky => "sticky",
            })
        }),
    ),
    effective(
        "max_keepalive",
        "0",
        "Longest keep alive in seconds. MQTT 5.0 clients that ask for a longer one, or for none, are told to use this \
         one; older clients, which cannot be told, are refused with the return code 2 (identifier rejected), as mosquitto \
         does. 0: any.",
        Value::Integer {
            ranges: &[(0, 0), (10, U16_MAX)],
            set: |draft, seconds| draft.settings.keep_alive_s_max = to_u16(seconds),
        },
        Show::Global(|c| shown(c.settings.keep_alive_s_max)),
    ),
    effective(
        "retain_available",
        "true",
        "Retained messages are accepted; otherwise a client that publishes one is disconnected.",
        Value::Flag(|draft, value| draft.settings.retain_available = value),
        Show::Global(|c| shown(c.settings.retain_available)),
    ),
    effective(
        "check_retain_source",
        "true",
        "Whether the publisher of a retained message may still publish there is checked again on delivery.",
        Value::Flag(|draft, value| draft.settings.check_retain_source = value),
        Show::Global(|c| shown(c.settings.check_retain_source)),
    ),
    effective(
        "persistent_client_expiration",
        "",
        "How long the session of a client that keeps it lives without a connection, such as `14d`; without it, for ever.",
        Value::Text {
            shape: "a number and one of s, h, d, w, m, y",
            set: set_persistent_client_expiration,
        },
        Show::Global(|c| {
            shown_if(c.settings.persistent_client_expiration_s.map(|s| {
                if s % 3600 == 0 {
                    format!("{}h", s / 3600)
                } else {
                    format!("{s}s")
                }
            }))
        }),
    ),
    effective(
        "sys_interval",
        "10",
        "Seconds between two updates of the topics under `$SYS`; 0 turns them off.",
        Value::Integer {
            ranges: &[(0, U16_MAX)],
            set: |draft, seconds| draft.settings.sys_interval_s = to_u32(seconds),
        },
        Show::Global(|c| shown(c.settings.sys_interval_s)),
    ),
    effective(
        "log_dest",
        "stderr",
        "Where the log goes: `stdout`, `stderr`, `syslog`, `file PATH` or `none`. May be given several times. Files are \
         opened anew on SIGHUP.",
        Value::Text {
            shape: "stdout, stderr, syslog, file PATH or none",
            set: set_log_destination,
        },
        Show::Global(|c| match c.log.destinations.as_slice() {
            [] => shown("none"),
            destinations => destinations.iter().map(show_log_destination).collect(),
        }),
    ),
    effective(
        "log_type",
        "error, warning, notice, information",
        "What is logged. May be given several times. `-v` is `all`.",
        Value::Text {
            shape: "error, warning, notice, information, debug, subscribe, unsubscribe, websockets, internal, all or none",
            set: set_log_type,
        },
        Show::Global(|c| c.log.types.names().into_iter().map(str::to_owned).collect()),
    ),
    effective(
        "log_timestamp",
        "true",
        "Each line of the log begins with the time.",
        Value::Flag(|draft, value| draft.log.without_timestamp = !value),
        Show::Global(|c| shown(c.log.timestamp != LogTimestamp::None)),
    ),
    effective(
        "log_timestamp_format",
        "",
        "Format of that time, as in strftime(3), such as `%Y-%m-%dT%H:%M:%S`; without it, seconds since 1970.",
        Value::Text {
            shape: "a format of strftime(3)",
            set: set_log_timestamp_format,
        },
        Show::Global(|c| match &c.log.timestamp {
            LogTimestamp::Format(format) => shown(format),
            LogTimestamp::None | LogTimestamp::EpochSeconds => Vec::new(),
        }),
    ),
    effective(
        "connection_messages",
        "true",
        "Clients that come and go are logged.",
        Value::Flag(|draft, value| draft.log.without_connection_messages = !value),
        Show::Global(|c| shown(c.log.connection_messages)),
    ),
    effective(
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
    effective(
        "pid_file",
        "",
        "File to write the process identifier to.",
        Value::Text {
            shape: "path",
            set: |draft, path| {
                draft.pid_file = Some(PathBuf::from(path));
                Ok(())
            },
        },
        Show::Global(|c| shown_if(c.pid_file.as_ref().map(|path| path.display()))),
    ),
    effective(
        "user",
        "",
        "The user to become when started as root, with its groups, once the ports are open and the files are read. Without \
         it `mosquitto`, or `nobody` if there is no such user, with a warning; `root` stays root. What SIGHUP reads again, and \
         `http_dir`, must be readable for that user.",
        Value::Text {
            shape: "user name",
            set: set_user,
        },
        Show::Global(|c| match &c.user {
            Some(user) => shown(&user.name),
            None => shown_if(c.stays_root.then_some("root")),
        }),
    ),
    effective(
        "set_tcp_nodelay",
        "true",
        "Accepted; Nagle's algorithm is always off.",
        Value::Flag(|draft, value| {
            if !value {
                draft.warn("set_tcp_nodelay false has no effect: Nagle's algorithm is always off");
            }
        }),
        Show::Nothing,
    ),
    effective(
        "persistence",
        "false",
        "Whether state outlives the process. Nothing is stored yet: `true` is accepted with a warning, sessions and messages \
         are kept in memory and are gone after a restart.",
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
    effective(
        "upgrade_outgoing_qos",
        "false",
        "Messages are delivered at the QoS of the subscription even if published at a lower one, which the specification does \
         not allow.",
        Value::Flag(|draft, value| draft.settings.upgrade_outgoing_qos = value),
        Show::Global(|c| shown(c.settings.upgrade_outgoing_qos)),
    ),
    ignored(
        "retain_expiry_interval",
        "How often, in minutes, expired retained messages are looked for.",
        "each is removed when its Message Expiry Interval is over",
    ),
    effective(
        "max_topic_alias_broker",
        "10",
        "Topic aliases that the broker uses towards an MQTT 5.0 client that takes some; 1024 at most are used.",
        Value::Integer {
            ranges: &[(0, U16_MAX)],
            set: |draft, count| draft.settings.topic_alias_outbound_max = to_u16(count),
        },
        Show::Global(|c| shown(c.settings.topic_alias_outbound_max)),
    ),
    effective(
        "response_information",
        "",
        "Midge's own. What an MQTT 5.0 client that asks for Response Information is told: the beginning of the topics that it \
         may have answers sent to. `%c` stands for its client identifier and `%u` for its user; a client whose names are no \
         level of a topic is told nothing. That it may read there is up to `acl_file`.",
        Value::Text {
            shape: "beginning of a topic",
            set: set_response_information,
        },
        Show::Global(|c| shown_if(c.settings.response_information.clone())),
    ),
    effective(
        "check_payload_format",
        "false",
        "Midge's own. Messages of MQTT 5.0 clients whose Payload Format Indicator says UTF-8 and whose payloads are not are \
         refused with 0x99, Wills too.",
        Value::Flag(|draft, value| draft.settings.check_payload_format = value),
        Show::Global(|c| shown(c.settings.check_payload_format)),
    ),
    effective(
        "max_retained_messages",
        "0",
        "Retained messages in the broker, those under `$SYS` too; a message that would be one more is refused (QoS 1 and 2 \
         in MQTT 5.0: with 0x97), and a retained Will is published without being retained. 0: no limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, count| draft.settings.retained_messages_max = or_unlimited(count),
        },
        Show::Global(|c| shown(or_zero(c.settings.retained_messages_max))),
    ),
    effective(
        "max_retained_bytes",
        "0",
        "Topic and payload bytes of all retained messages; as `max_retained_messages`. 0: no limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, bytes| draft.settings.retained_bytes_max = or_unlimited(bytes),
        },
        Show::Global(|c| shown(or_zero(c.settings.retained_bytes_max))),
    ),
    effective(
        "max_subscriptions",
        "200000",
        "Subscriptions of one client; more are refused with 0x97 (MQTT 5.0) or 0x80. 0: the most that there may be, 2000000.",
        Value::Integer {
            ranges: &[(0, SUBSCRIPTIONS_MAX)],
            set: |draft, count| {
                let count = usize::try_from(count).ok().filter(|&count| count > 0);
                draft.settings.subscriptions_max = count.unwrap_or(limits::SUBSCRIPTIONS_PER_SESSION_MAX);
            },
        },
        Show::Global(|c| shown(c.settings.subscriptions_max)),
    ),
    effective(
        "max_sessions_per_user",
        "0",
        "Sessions of one user, with or without a connection; a client that would need one more is refused. Users are those \
         whose password or certificate was checked. 0: no limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, count| draft.settings.user_sessions_max = or_unlimited(count),
        },
        Show::Global(|c| shown(or_zero(c.settings.user_sessions_max))),
    ),
    effective(
        "memory_limit",
        "0",
        "Bytes of memory (resident) above which nothing more is queued or retained, no session is made and less waits for \
         sockets, until less is in use; looked at twenty times a second. 0: no limit. systemd's MemoryMax= is a harder bound.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, bytes| draft.settings.memory_bytes_max = or_unlimited(bytes),
        },
        Show::Global(|c| shown(or_zero(c.settings.memory_bytes_max))),
    ),
    effective(
        "max_topic_levels",
        "200",
        "Levels that a topic name or filter may have; a client that uses more is refused. Not a key of mosquitto, which \
         has this number built in.",
        Value::Integer {
            ranges: &[(1, U16_MAX)],
            set: |draft, levels| draft.settings.topic_levels_max = to_u16(levels),
        },
        Show::Global(|c| shown(c.settings.topic_levels_max)),
    ),
    effective(
        "global_max_clients",
        "-1",
        "Sessions in the whole broker, with or without a connection; a client that would need one more is refused. -1: any \
         number.",
        Value::Integer {
            ranges: &[(-1, -1), (1, i64::MAX)],
            set: |draft, count| draft.settings.clients_max = u64::try_from(count).unwrap_or(UNLIMITED),
        },
        Show::Global(|c| shown(or_minus_one(c.settings.clients_max))),
    ),
    effective(
        "global_max_connections",
        "-1",
        "Connected clients in the whole broker; one more is refused. -1: any number.",
        Value::Integer {
            ranges: &[(-1, -1), (1, i64::MAX)],
            set: |draft, count| draft.settings.connections_max = u64::try_from(count).unwrap_or(UNLIMITED),
        },
        Show::Global(|c| shown(or_minus_one(c.settings.connections_max))),
    ),
    effective(
        "clientid_prefixes",
        "",
        "What client identifiers must begin with; others are refused.",
        Value::Text {
            shape: "text",
            set: |draft, prefix| {
                draft.settings.client_identifier_prefix = Some(prefix.to_owned());
                Ok(())
            },
        },
        Show::Global(|c| shown_if(c.settings.client_identifier_prefix.as_ref())),
    ),
    ignored(
        "allow_duplicate_messages",
        "Whether overlapping subscriptions bring a message twice.",
        "a client gets one copy",
    ),
    ignored(
        "retry_interval",
        "How often an unacknowledged message is sent again.",
        "messages are sent again after a reconnect only, as the specification says",
    ),
    ignored(
        "mptcp",
        "Whether a listener takes Multipath TCP.",
        "plain TCP is used",
    ),
    ignored(
        "packet_buffer_size",
        "Size of the buffer for reading.",
        "buffers grow and shrink by themselves",
    ),
    effective(
        "websockets_headers_size",
        "0",
        "Bytes that the header of a request for WebSocket or a page may have; with a longer one, such as many cookies, it is \
         refused. 0: 4096.",
        Value::Integer {
            ranges: &[(0, U16_MAX)],
            set: |draft, bytes| {
                draft.websocket_header_bytes_max = usize::try_from(bytes).ok().filter(|&bytes| bytes > 0);
            },
        },
        Show::Global(|c| {
            shown_if(c.listeners.iter().find_map(|listener| match &listener.protocol {
                Protocol::WebSockets(wanted) => Some(wanted.header_bytes_max),
                Protocol::Mqtt | Protocol::HttpApi => None,
            }))
        }),
    ),
];

fn set_shared_subscription_strategy(draft: &mut Draft, text: &str) -> Result<(), String> {
    draft.settings.shared_subscription_strategy = match text {
        "fair" => SharedSubscriptionStrategy::Fair,
        "sticky" => SharedSubscriptionStrategy::Sticky,
        _ => return Err("must be fair or sticky".to_owned()),
    };
    Ok(())
}

fn set_persistent_client_expiration(draft: &mut Draft, text: &str) -> Result<(), String> {
    let duration_s =
        duration_s(text).ok_or("must be a number from 1 and one of s, h, d, w, m, y, such as 14d")?;
    draft.settings.persistent_client_expiration_s = Some(duration_s);
    Ok(())
}

/// `90s`, `2h`, `14d`, `3w`, `1m` (30 days), `1y` (365 days), in seconds.
fn duration_s(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_s = match unit {
        "s" => 1,
        "h" => 3600,
        "d" => DAY_S,
        "w" => 7 * DAY_S,
        "m" => 30 * DAY_S,
        "y" => 365 * DAY_S,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()
        .filter(|&number| number > 0)?
        .checked_mul(unit_s)
}

fn set_log_destination(draft: &mut Draft, text: &str) -> Result<(), String> {
    let (kind, path) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    match (kind, path.trim()) {
        ("stdout", "") => draft.log.add_destination(LogDestination::Stdout),
        ("stderr", "") => draft.log.add_destination(LogDestination::Stderr),
        ("syslog", "") => draft.log.add_destination(LogDestination::Syslog),
        ("none", "") => draft.log.silent = true,
        ("file", "") => return Err("the path of the file is missing".to_owned()),
        ("file", path) => draft
            .log
            .add_destination(LogDestination::File(PathBuf::from(path))),
        ("topic" | "dlt" | "android", _) => {
            draft.warn(&format!(
                "log_dest {kind} is known but not supported yet, it has no effect: use stdout, stderr, syslog or file"
            ));
        }
        _ => return Err("must be stdout, stderr, syslog, file PATH or none".to_owned()),
    }
    Ok(())
}

fn show_log_destination(destination: &LogDestination) -> String {
    match destination {
        LogDestination::Stdout => "stdout".to_owned(),
        LogDestination::Stderr => "stderr".to_owned(),
        LogDestination::Syslog => "syslog".to_owned(),
        LogDestination::File(path) => format!("file {}", path.display()),
    }
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

fn set_user(draft: &mut Draft, name: &str) -> Result<(), String> {
    draft.stays_root = name == "root";
    if draft.stays_root {
        draft.user = None;
    } else if privileges::is_root() {
        draft.user = Some(privileges::find(name)?);
    } else {
        draft.warn("user has no effect: the broker was not started as root");
    }
    Ok(())
}

fn or_unlimited(number: i64) -> u64 {
    match u64::try_from(number) {
        Ok(0) | Err(_) => UNLIMITED,
        Ok(number) => number,
    }
}

fn or_zero(number: u64) -> u64 {
    if number == UNLIMITED { 0 } else { number }
}

fn or_minus_one(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

/// For numbers whose range was checked.
fn to_u32(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// For numbers whose range was checked.
fn set_response_information(draft: &mut Draft, text: &str) -> Result<(), String> {
    const BYTES_MAX: usize = 1000;
    if text.contains(['+', '#', '\0']) || text.len() > BYTES_MAX {
        return Err(format!(
            "must be the beginning of a topic of at most {BYTES_MAX} bytes, without + and #"
        ));
    }
    draft.settings.response_information = Some(text.to_owned());
    Ok(())
}

fn to_u16(number: i64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
