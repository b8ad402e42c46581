//! Keys of clients and their sessions.
//!
//! Invariants: none.

use super::key::{Key, Show, Value, global, shown, shown_if};
use super::numbers::{U16_MAX, or_minus_one, or_unlimited, or_zero, to_u16};
use crate::config::draft::Draft;
use crate::limits;
use crate::settings::UNLIMITED;

const SUBSCRIPTIONS_MAX: i64 = limits::SUBSCRIPTIONS_PER_SESSION_MAX as i64;
const DAY_S: u64 = 86_400;

pub(super) const KEYS: &[Key] = &[
    global(
        "global_max_clients",
        "-1",
        "Sessions in the whole broker, with or without a connection; a client that would need one more is refused. -1: \
         any number.",
        Value::Integer {
            ranges: &[(-1, -1), (1, i64::MAX)],
            set: |draft, count| draft.settings.clients_max = u64::try_from(count).unwrap_or(UNLIMITED),
        },
        Show::Global(|c| shown(or_minus_one(c.settings.clients_max))),
    ),
    global(
        "global_max_connections",
        "-1",
        "Connected clients in the whole broker; one more is refused. -1: any number.",
        Value::Integer {
            ranges: &[(-1, -1), (1, i64::MAX)],
            set: |draft, count| draft.settings.connections_max = u64::try_from(count).unwrap_or(UNLIMITED),
        },
        Show::Global(|c| shown(or_minus_one(c.settings.connections_max))),
    ),
    global(
        "max_sessions_per_user",
        "0",
        "Sessions of one user, with or without a connection; a client that would need one more is refused. Users are \
         those whose password or certificate was checked. 0: no limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, count| draft.settings.user_sessions_max = or_unlimited(count),
        },
        Show::Global(|c| shown(or_zero(c.settings.user_sessions_max))),
    ),
    global(
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
    global(
        "max_keepalive",
        "0",
        "Longest keep alive in seconds. MQTT 5.0 clients that ask for a longer one, or for none, must use this one; \
         older clients, which cannot learn of it, are refused with the return code 2 (identifier rejected), as \
         mosquitto does. 0: any.",
        Value::Integer {
            ranges: &[(0, 0), (10, U16_MAX)],
            set: |draft, seconds| draft.settings.keep_alive_s_max = to_u16(seconds),
        },
        Show::Global(|c| shown(c.settings.keep_alive_s_max)),
    ),
    global(
        "connect_timeout",
        "15",
        "Midge's own. Seconds from the beginning of a connection until its client is known: TLS handshake, request for \
         WebSocket, CONNECT, password. Over: the connection is closed. A person who types the passphrase of a key has \
         connected already.",
        Value::Integer {
            ranges: &[(1, 600)],
            set: |draft, seconds| draft.settings.connect_timeout_s = to_u16(seconds),
        },
        Show::Global(|c| shown(c.settings.connect_timeout_s)),
    ),
    global(
        "persistent_client_expiration",
        "",
        "How long the session of a client that keeps it lives without a connection, such as `14d`; without it, for \
         ever.",
        Value::Word {
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
    global(
        "max_subscriptions",
        "200000",
        "Subscriptions of one client; more are refused with 0x97 (MQTT 5.0) or 0x80. 0: the most that there may be, \
         2000000.",
        Value::Integer {
            ranges: &[(0, SUBSCRIPTIONS_MAX)],
            set: |draft, count| {
                let count = usize::try_from(count).ok().filter(|&count| count > 0);
                draft.settings.subscriptions_max = count.unwrap_or(limits::SUBSCRIPTIONS_PER_SESSION_MAX);
            },
        },
        Show::Global(|c| shown(c.settings.subscriptions_max)),
    ),
    global(
        "max_topic_levels",
        "200",
        "Slashes that a topic name or filter may have, so one level more; a client that uses more is refused. Not a \
         key of mosquitto, which has this number built in and counts like this.",
        Value::Integer {
            ranges: &[(1, U16_MAX)],
            set: |draft, levels| draft.settings.topic_levels_max = to_u16(levels),
        },
        Show::Global(|c| shown(c.settings.topic_levels_max)),
    ),
    global(
        "response_information",
        "",
        "Midge's own. What an MQTT 5.0 client that asks for Response Information gets: the beginning of the topics \
         that it may have answers sent to. `%c` stands for its client identifier and `%u` for its user; a client whose \
         names are no level of a topic gets nothing. That it may read there is up to `acl_file`.",
        Value::Text {
            shape: "beginning of a topic",
            set: set_response_information,
        },
        Show::Global(|c| shown_if(c.settings.response_information.clone())),
    ),
];

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
