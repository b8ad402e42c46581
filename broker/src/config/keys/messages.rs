//! Keys of messages: their sizes, the windows of clients, and the queues of sessions.
//!
//! Invariants: none.

use super::key::{Key, Show, Value, global, ignored, shown};
use super::numbers::{U16_MAX, or_unlimited, or_zero, to_u16, to_u32};
use crate::config::draft::Draft;
use crate::limits;
use crate::settings::SharedSubscriptionStrategy;

const PACKET_BYTES_MIN: i64 = 20;
const PACKET_BYTES_MAX: i64 = limits::PACKET_BYTES_MAX as i64;
/// Of a packet without its fixed header.
const PAYLOAD_BYTES_MAX: i64 = PACKET_BYTES_MAX - 5;

pub(super) const KEYS: &[Key] = &[
    global(
        "max_packet_size",
        "2000000",
        "Largest packet that a client may send, in bytes; announced to MQTT 5.0 clients. A client that sends a larger \
         one is disconnected.",
        Value::Integer {
            ranges: &[(PACKET_BYTES_MIN, PACKET_BYTES_MAX)],
            set: |draft, bytes| draft.settings.packet_bytes_max = to_u32(bytes),
        },
        Show::Global(|c| shown(c.settings.packet_bytes_max)),
    ),
    global(
        "message_size_limit",
        "0",
        "Largest payload of a published message, in bytes; larger messages are not delivered. 0: no limit.",
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
    global(
        "max_inflight_messages",
        "20",
        "Largest number of QoS 1 and 2 messages in flight to one client, and from it (announced to MQTT 5.0 \
        clients). 0: 65535, the maximum of the protocol.",
        Value::Integer {
            ranges: &[(0, U16_MAX)],
            set: |draft, count| {
                draft.settings.inflight_messages_max = if count == 0 { u16::MAX } else { to_u16(count) };
            },
        },
        Show::Global(|c| shown(c.settings.inflight_messages_max)),
    ),
    global(
        "max_inflight_bytes",
        "0",
        "Payload bytes of QoS 1 and 2 messages in flight to one client; the message that reaches the limit \
        is still sent. 0: no limit.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, bytes| draft.settings.inflight_bytes_max = or_unlimited(bytes),
        },
        Show::Global(|c| shown(or_zero(c.settings.inflight_bytes_max))),
    ),
    global(
        "max_queued_messages",
        "1000",
        "Largest number of QoS 1 and 2 messages that wait for one client beyond those in flight; more are \
        dropped. 0 or -1: no limit.",
        Value::Integer {
            ranges: &[(-1, i64::MAX)],
            set: |draft, count| draft.settings.queued_messages_max = or_unlimited(count),
        },
        Show::Global(|c| shown(or_zero(c.settings.queued_messages_max))),
    ),
    global(
        "max_queued_bytes",
        "67108864",
        "Bytes of the messages that wait for one client beyond those in flight; more are dropped. 0: no \
        limit, which is mosquitto's default.",
        Value::Integer {
            ranges: &[(0, i64::MAX)],
            set: |draft, bytes| draft.settings.queued_bytes_max = or_unlimited(bytes),
        },
        Show::Global(|c| shown(or_zero(c.settings.queued_bytes_max))),
    ),
    global(
        "queue_qos0_messages",
        "false",
        "QoS 0 messages are queued too for a client without a connection.",
        Value::Flag(|draft, value| draft.settings.queue_qos0_messages = value),
        Show::Global(|c| shown(c.settings.queue_qos0_messages)),
    ),
    global(
        "upgrade_outgoing_qos",
        "false",
        "Messages are delivered at the QoS of the subscription even if they were published at a lower one, \
        which the specification does not allow.",
        Value::Flag(|draft, value| draft.settings.upgrade_outgoing_qos = value),
        Show::Global(|c| shown(c.settings.upgrade_outgoing_qos)),
    ),
    global(
        "shared_subscription_strategy",
        "fair",
        "Which member of a Shared Subscription (`$share/NAME/FILTER`) gets a message: with `fair` the \
        connected members take turns; `sticky` selects the one that has been connected longest. A member \
        whose window or queue is full is skipped.",
        Value::Word {
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
    global(
        "max_topic_alias_broker",
        "10",
        "Topic aliases that the broker uses towards an MQTT 5.0 client that accepts some; at most 1024 are \
        used.",
        Value::Integer {
            ranges: &[(0, U16_MAX)],
            set: |draft, count| draft.settings.topic_alias_outbound_max = to_u16(count),
        },
        Show::Global(|c| shown(c.settings.topic_alias_outbound_max)),
    ),
    global(
        "check_payload_format",
        "false",
        "Messages of MQTT 5.0 clients whose Payload Format Indicator says UTF-8 but whose payload is not \
        UTF-8 are refused with 0x99; so are such Wills. Not in mosquitto.",
        Value::Flag(|draft, value| draft.settings.check_payload_format = value),
        Show::Global(|c| shown(c.settings.check_payload_format)),
    ),
    ignored(
        "allow_duplicate_messages",
        "Whether overlapping subscriptions deliver a message twice.",
        "a client gets one copy",
    ),
    ignored(
        "retry_interval",
        "How often an unacknowledged message is sent again.",
        "messages are sent again after a reconnect only, as the specification says",
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
