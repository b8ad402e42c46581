//! Keys of retained messages.
//!
//! Invariants: none.

use super::key::{Key, Show, Value, global, ignored, shown};
use super::numbers::{or_unlimited, or_zero};

pub(super) const KEYS: &[Key] = &[
    global(
        "retain_available",
        "true",
        "Retained messages are accepted; otherwise a client that publishes one is disconnected.",
        Value::Flag(|draft, value| draft.settings.retain_available = value),
        Show::Global(|c| shown(c.settings.retain_available)),
    ),
    global(
        "check_retain_source",
        "true",
        "On delivery of a retained message, its publisher's right to publish to the topic is checked again.",
        Value::Flag(|draft, value| draft.settings.check_retain_source = value),
        Show::Global(|c| shown(c.settings.check_retain_source)),
    ),
    global(
        "max_retained_messages",
        "0",
        "Largest number of retained messages in the broker, including those under `$SYS`. A message above \
        it is refused (at QoS 1 and 2 in MQTT 5.0 with 0x97), and a retained Will is published without \
        being retained. 0: no limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, count| draft.settings.retained_messages_max = or_unlimited(count),
        },
        Show::Global(|c| shown(or_zero(c.settings.retained_messages_max))),
    ),
    global(
        "max_retained_bytes",
        "1073741824",
        "Topic and payload bytes of all retained messages; handled as `max_retained_messages`. 0: no limit, \
        as in mosquitto.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, bytes| draft.settings.retained_bytes_max = or_unlimited(bytes),
        },
        Show::Global(|c| shown(or_zero(c.settings.retained_bytes_max))),
    ),
    ignored(
        "retain_expiry_interval",
        "How often, in minutes, expired retained messages are looked for.",
        "each is removed when its Message Expiry Interval is over",
    ),
];
