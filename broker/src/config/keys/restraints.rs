//! Keys of what clients may not do: send too much, come and go too often, come at all.
//!
//! Invariants: none.

use super::key::{Key, Show, Value, file_path, global, of_listener, shown, shown_if};
use super::numbers::{U32_MAX, to_u32};

pub(super) const KEYS: &[Key] = &[
    of_listener(
        "max_messages_per_second",
        "PUBLISH packets that each client may send in a second. One that sends more is not read from until it is \
         within that again, so it slows down; a second's worth may come at once. What one read brings is handled \
         whole. A client that is 30 seconds ahead is disconnected, in MQTT 5.0 with 0x96 (Message rate too high). 0: \
         any number.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, count| draft.listener().settings.rates.messages_per_second = rate(count),
        },
        Show::Listener(|settings, _| shown_if(settings.rates.messages_per_second)),
    ),
    of_listener(
        "max_bytes_per_second",
        "Bytes of packets that each client may send in a second, without those of TLS and WebSocket; as \
         `max_messages_per_second`, with 0x97 (Quota exceeded). 0: any number.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, count| draft.listener().settings.rates.bytes_per_second = rate(count),
        },
        Show::Listener(|settings, _| shown_if(settings.rates.bytes_per_second)),
    ),
    global(
        "bans_file",
        "",
        "File in which bans (`broker ctl ban`, POST /api/v1/bans) are kept over a restart; its folder has to be \
         writable for the broker's user. Without it they end with the process. Those of `flapping_connects` always \
         do.",
        file_path(|draft, text| {
            draft.bans_file = Some(draft.path(text));
            Ok(())
        }),
        Show::Global(|c| shown_if(c.bans_file.as_ref().map(|path| path.display()))),
    ),
    global(
        "flapping_connects",
        "0",
        "A client identifier that connects more often than this within `flapping_window` is disconnected and banned \
         for `flapping_ban`; 0: none is. Connections that are refused do not count.",
        Value::Integer {
            ranges: &[(0, U32_MAX)],
            set: |draft, count| draft.flapping[0] = Some(to_u32(count)),
        },
        Show::Global(|c| shown(c.settings.flapping.map_or(0, |rule| rule.connects_max))),
    ),
    global(
        "flapping_window",
        "60",
        "Seconds in which the connections of a client are counted for `flapping_connects`.",
        Value::Integer {
            ranges: &[(1, U32_MAX)],
            set: |draft, seconds| draft.flapping[1] = Some(to_u32(seconds)),
        },
        Show::Global(|c| shown_if(c.settings.flapping.map(|rule| rule.window_s))),
    ),
    global(
        "flapping_ban",
        "300",
        "Seconds for which a client is banned that has connected too often.",
        Value::Integer {
            ranges: &[(1, U32_MAX)],
            set: |draft, seconds| draft.flapping[2] = Some(to_u32(seconds)),
        },
        Show::Global(|c| shown_if(c.settings.flapping.map(|rule| rule.ban_s))),
    ),
];

/// A rate, or none.
fn rate(count: i64) -> Option<u64> {
    u64::try_from(count).ok().filter(|&count| count > 0)
}
