//! Keys of a bridge's connections: when there is one, and how it is.
//!
//! Invariants: none.

use std::num::NonZeroU16;

use super::bridge::{integer, of_bridge, text};
use super::key::{Key, Repetition, Value, or, shown, shown_if, with};
use super::numbers::{U16_MAX, to_u16, to_u32};
use crate::bridge_settings::{Notifications, RestartTimeout, StartType, TcpKeepAlive};
use crate::config::bridge::StartWord;
use crate::config::draft::Draft;

pub(super) const KEYS: &[Key] = &[
    or(
        "automatic",
        of_bridge(
            "start_type",
            "When the bridge connects. `automatic`: at once, and again when the connection fails. `lazy`: when \
             `threshold` messages wait, until nothing was carried for `idle_timeout`. `once`: at once, and not again.",
            Value::Word {
                shape: "automatic, lazy or once",
                set: set_start,
            },
            |bridge| {
                shown(match bridge.start {
                    StartType::Automatic => "automatic",
                    StartType::Lazy { .. } => "lazy",
                    StartType::Once => "once",
                })
            },
        ),
    ),
    or(
        "60",
        of_bridge(
            "idle_timeout",
            "Seconds without messages after which a lazy bridge disconnects.",
            integer(&[(1, u32::MAX as i64)], |draft, s| {
                draft.bridge().idle_s = Some(to_u32(s))
            }),
            |bridge| match bridge.start {
                StartType::Lazy { idle_s, .. } => shown(idle_s),
                _ => Vec::new(),
            },
        ),
    ),
    or(
        "10",
        of_bridge(
            "threshold",
            "Messages that wait before a lazy bridge connects. It connects earlier if `max_inflight_messages` is less.",
            integer(&[(1, u32::MAX as i64)], |draft, n| {
                draft.bridge().threshold = Some(to_u32(n))
            }),
            |bridge| match bridge.start {
                StartType::Lazy { threshold, .. } => shown(threshold),
                _ => Vec::new(),
            },
        ),
    ),
    with(
        Repetition::Allowed,
        or(
            "5 30",
            of_bridge(
                "restart_timeout",
                "`BASE CAP [STABLE]`: seconds before the bridge connects again, drawn between BASE and three times the \
                 last ones, up to CAP; a connection that lasted STABLE seconds begins at BASE again. `SECONDS` alone: \
                 always so many.",
                text("SECONDS, or BASE CAP [STABLE]", set_restart),
                |bridge| shown(restart(bridge.restart)),
            ),
        ),
    ),
    or(
        "60",
        of_bridge(
            "keepalive_interval",
            "Seconds after which an idle connection is tried by a PINGREQ; 5 at least.",
            integer(&[(0, U16_MAX)], set_keep_alive),
            |bridge| shown(bridge.keep_alive_s),
        ),
    ),
    or(
        "true",
        of_bridge(
            "notifications",
            "Whether the bridge is connected is published, retained, at both brokers: `1` if it is, `0` if it is not.",
            Value::Flag(|draft, value| draft.bridge().without_notifications = !value),
            |bridge| shown(bridge.notifications != Notifications::Off),
        ),
    ),
    or(
        "false",
        of_bridge(
            "notifications_local_only",
            "That is published at this broker alone.",
            Value::Flag(|draft, value| draft.bridge().notifies_here_alone = value),
            |bridge| match bridge.notifications {
                Notifications::Off => Vec::new(),
                Notifications::Local { .. } => shown(true),
                Notifications::Both { .. } => shown(false),
            },
        ),
    ),
    or(
        "$SYS/broker/connection/REMOTE_CLIENTID/state",
        of_bridge(
            "notification_topic",
            "The topic of that.",
            text("topic", |draft, text| {
                draft.bridge().notification_topic = Some(text.to_owned());
                Ok(())
            }),
            |bridge| shown_if(bridge.notifications.local_topic()),
        ),
    ),
    or(
        "true",
        of_bridge(
            "bridge_attempt_unsubscribe",
            "Topics that only go out are unsubscribed from at the other broker, which may have them from before.",
            Value::Flag(|draft, value| draft.bridge().keeps_subscriptions = !value),
            |bridge| shown(bridge.unsubscribes),
        ),
    ),
    or(
        "0",
        of_bridge(
            "bridge_max_packet_size",
            "Bytes that a packet to the other broker may have; a larger message is not carried, which is logged. 0: no \
             limit but that of the other broker.",
            integer(&[(0, u32::MAX as i64)], |draft, bytes| {
                draft.bridge().packet_bytes_max = Some(to_u32(bytes)).filter(|bytes| *bytes > 0);
            }),
            |bridge| shown(bridge.packet_bytes_max.unwrap_or(0)),
        ),
    ),
    or(
        "true",
        of_bridge(
            "bridge_outgoing_retain",
            "Messages may be retained at the other broker. If false, none is.",
            Value::Flag(|draft, value| draft.bridge().without_outgoing_retain = !value),
            |bridge| shown(bridge.outgoing_retain),
        ),
    ),
    of_bridge(
        "bridge_bind_address",
        "The address of this machine that the bridge connects from.",
        Value::Word {
            shape: "IP address",
            set: |draft, word| {
                let address = word
                    .parse()
                    .map_err(|_| "must be an IP address of this machine".to_owned())?;
                draft.bridge().bind_address = Some(address);
                Ok(())
            },
        },
        |bridge| shown_if(bridge.bind_address),
    ),
    or(
        "10",
        of_bridge(
            "bridge_max_topic_alias",
            "Topic Aliases that the other broker may use, with MQTT 5.0.",
            integer(&[(0, U16_MAX)], |draft, n| {
                draft.bridge().topic_alias_max = Some(to_u16(n))
            }),
            |bridge| shown(bridge.topic_alias_max),
        ),
    ),
    or(
        "max_inflight_messages",
        of_bridge(
            "bridge_receive_maximum",
            "Messages at QoS 1 and 2 that the other broker may send before they are acknowledged, with MQTT 5.0.",
            integer(&[(1, U16_MAX)], |draft, n| {
                draft.bridge().receive_max = NonZeroU16::new(to_u16(n));
            }),
            |bridge| shown_if(bridge.receive_max),
        ),
    ),
    or(
        "never, or 0 with cleansession",
        of_bridge(
            "bridge_session_expiry_interval",
            "Seconds for which the other broker keeps the bridge's session, with MQTT 5.0; 4294967295: for ever. In \
             mosquitto the default is 0, with which `cleansession false` keeps nothing.",
            integer(&[(0, u32::MAX as i64)], |draft, s| {
                draft.bridge().session_expiry_s = Some(to_u32(s));
            }),
            |bridge| shown_if(bridge.session_expiry_s),
        ),
    ),
    with(
        Repetition::Allowed,
        of_bridge(
            "bridge_tcp_keepalive",
            "Probes of TCP: seconds until the first one, seconds between them, and how many.",
            text("IDLE INTERVAL COUNT", set_tcp_keep_alive),
            |bridge| {
                let of = |it: TcpKeepAlive| format!("{} {} {}", it.idle_s, it.interval_s, it.probes);
                shown_if(bridge.tcp_keep_alive.map(of))
            },
        ),
    ),
    of_bridge(
        "bridge_tcp_user_timeout",
        "Milliseconds for which data may stay unacknowledged by TCP.",
        integer(&[(0, u32::MAX as i64)], |draft, ms| {
            draft.bridge().tcp_user_timeout_ms = Some(to_u32(ms));
        }),
        |bridge| shown_if(bridge.tcp_user_timeout_ms),
    ),
    or(
        "lazy",
        of_bridge(
            "bridge_reload_type",
            "When a change of these keys counts after a reload: `immediate` connects again, `lazy` waits until the \
             bridge does that by itself.",
            Value::Word {
                shape: "lazy or immediate",
                set: |draft, word| {
                    draft.bridge().reloads_at_once = match word {
                        "lazy" => false,
                        "immediate" => true,
                        _ => return Err("must be lazy or immediate".to_owned()),
                    };
                    Ok(())
                },
            },
            |bridge| {
                shown(if bridge.reloads_at_once {
                    "immediate"
                } else {
                    "lazy"
                })
            },
        ),
    ),
];

fn set_start(draft: &mut Draft, word: &str) -> Result<(), String> {
    draft.bridge().start = match word {
        "automatic" => StartWord::Automatic,
        "lazy" => StartWord::Lazy,
        "once" => StartWord::Once,
        "manual" => return Err("is RSMB's: take automatic, lazy or once".to_owned()),
        _ => return Err("must be automatic, lazy or once".to_owned()),
    };
    Ok(())
}

fn set_restart(draft: &mut Draft, line: &str) -> Result<(), String> {
    let wrong = || {
        "must be SECONDS, or BASE CAP [STABLE] with BASE from 1 to 3600 and CAP from BASE to 7200".to_owned()
    };
    let numbers: Result<Vec<u32>, _> = line.split_whitespace().map(str::parse).collect();
    let restart = match *numbers.map_err(|_| wrong())? {
        [constant] => RestartTimeout {
            base_s: constant,
            cap_s: constant,
            stable_s: 0,
        },
        [base_s, cap_s] => RestartTimeout {
            base_s,
            cap_s,
            stable_s: 0,
        },
        [base_s, cap_s, stable_s] => RestartTimeout {
            base_s,
            cap_s,
            stable_s,
        },
        _ => return Err(wrong()),
    };
    if !(1..=3600).contains(&restart.base_s) || !(restart.base_s..=7200).contains(&restart.cap_s) {
        return Err(wrong());
    }
    draft.bridge().restart = Some(restart);
    Ok(())
}

fn restart(it: RestartTimeout) -> String {
    match (it.cap_s, it.stable_s) {
        (cap_s, 0) if cap_s == it.base_s => cap_s.to_string(),
        (cap_s, 0) => format!("{} {cap_s}", it.base_s),
        (cap_s, stable_s) => format!("{} {cap_s} {stable_s}", it.base_s),
    }
}

/// mosquitto takes 5 for less, with a line in its log.
fn set_keep_alive(draft: &mut Draft, seconds: i64) {
    const SECONDS_MIN: i64 = 5;
    if seconds < SECONDS_MIN {
        draft.warn(&format!(
            "keepalive_interval {seconds}: is less than 5 seconds, which are taken"
        ));
    }
    draft.bridge().keep_alive_s = Some(to_u16(seconds.max(SECONDS_MIN)));
}

fn set_tcp_keep_alive(draft: &mut Draft, line: &str) -> Result<(), String> {
    let numbers: Vec<u32> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [idle_s, interval_s, probes] = *numbers else {
        return Err("must be three numbers: IDLE INTERVAL COUNT".to_owned());
    };
    if [idle_s, interval_s, probes]
        .iter()
        .any(|number| !(1..=32_767).contains(number))
    {
        return Err("each of the three must be 1 to 32767".to_owned());
    }
    draft.bridge().tcp_keep_alive = Some(TcpKeepAlive {
        idle_s,
        interval_s,
        probes,
    });
    Ok(())
}
