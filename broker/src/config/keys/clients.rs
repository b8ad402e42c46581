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
        "Largest number of sessions in the whole broker, with or without a connection; a client that needs \
        one more is refused. -1: no limit.",
        Value::Integer {
            ranges: &[(-1, -1), (1, i64::MAX)],
            set: |draft, count| draft.settings.clients_max = u64::try_from(count).unwrap_or(UNLIMITED),
        },
        Show::Global(|c| shown(or_minus_one(c.settings.clients_max))),
    ),
    global(
        "global_max_connections",
        "-1",
        "Largest number of connected clients in the whole broker; further ones are refused. -1: no limit.",
        Value::Integer {
            ranges: &[(-1, -1), (1, i64::MAX)],
            set: |draft, count| draft.settings.connections_max = u64::try_from(count).unwrap_or(UNLIMITED),
        },
        Show::Global(|c| shown(or_minus_one(c.settings.connections_max))),
    ),
    global(
        "max_sessions_per_user",
        "0",
        "Largest number of sessions of one user, with or without a connection; a client that needs one more \
        is refused. Only users whose password or certificate was checked count. 0: no limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, count| draft.settings.user_sessions_max = or_unlimited(count),
        },
        Show::Global(|c| shown(or_zero(c.settings.user_sessions_max))),
    ),
    global(
        "clientid_prefixes",
        "",
        "The required beginning of client identifiers; others are refused.",
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
        "Longest Keep Alive in seconds. MQTT 5.0 clients that ask for a longer one, or for none, are given \
        this one. Older clients cannot be given a value, so they are refused with return code 2 (identifier \
        rejected), as in mosquitto. 0: no limit.",
        Value::Integer {
            ranges: &[(0, 0), (10, U16_MAX)],
            set: |draft, seconds| draft.settings.keep_alive_s_max = to_u16(seconds),
        },
        Show::Global(|c| shown(c.settings.keep_alive_s_max)),
    ),
    global(
        "connect_timeout",
        "15",
        "Seconds from the beginning of a connection until its client is authenticated: TLS handshake, \
        WebSocket request, CONNECT, password. After that the connection is closed. The time in which a \
        person types the passphrase of a key counts if the client has connected before it asks. Not in \
        mosquitto.",
        Value::Integer {
            ranges: &[(1, 600)],
            set: |draft, seconds| draft.settings.connect_timeout_s = to_u16(seconds),
        },
        Show::Global(|c| shown(c.settings.connect_timeout_s)),
    ),
    global(
        "persistent_client_expiration",
        "",
        "How long a persistent session is kept without a connection, for example `14d`; without this key, \
        for ever.",
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
        "Largest number of subscriptions of one client; more are refused with 0x97 (MQTT 5.0) or 0x80. 0: \
        the highest possible value, 2000000.",
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
        "Largest number of slashes in a topic name or filter (there is one more level); a client that uses \
        more is refused. mosquitto has the same limit built in, and counts in the same way.",
        Value::Integer {
            ranges: &[(1, U16_MAX)],
            set: |draft, levels| draft.settings.topic_levels_max = to_u16(levels),
        },
        Show::Global(|c| shown(c.settings.topic_levels_max)),
    ),
    global(
        "response_information",
        "",
        "The Response Information for MQTT 5.0 clients that request it: the beginning of the topics to \
        which answers may be sent. `%c` stands for the client identifier and `%u` for the user; a client \
        whose names cannot be a level of a topic gets nothing. `acl_file` must give the client the right to \
        read there. Not in mosquitto.",
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
