//! Keys of bridges to other brokers.
//!
//! `bridge_course.rs` has those of their connections, `bridge_tls.rs` those of TLS.
//!
//! Invariants: none.

use mqtt::ProtocolVersion;

use super::key::{Key, Repetition, Scope, Show, Status, Value, key, or, shown, shown_if, with};
use crate::bridge_settings::{BridgeSettings, Secret, Topics};
use crate::config::bridge::address;
use crate::config::draft::Draft;

/// A key of the last `connection` above it.
pub(super) const fn of_bridge(
    name: &'static str,
    about: &'static str,
    value: Value,
    show: fn(&BridgeSettings) -> Vec<String>,
) -> Key {
    key(
        name,
        Scope::Bridge,
        about,
        Status::Effective(value, Show::Bridge(show)),
    )
}

/// The older name of a key.
const fn older(name: &'static str, about: &'static str, value: Value) -> Key {
    key(
        name,
        Scope::Bridge,
        about,
        Status::Effective(value, Show::Nothing),
    )
}

pub(super) const fn text(shape: &'static str, set: fn(&mut Draft, &str) -> Result<(), String>) -> Value {
    Value::Text { shape, set }
}

pub(super) const fn integer(ranges: &'static [(i64, i64)], set: fn(&mut Draft, i64)) -> Value {
    Value::Integer { ranges, set }
}

const REMOTE_CLIENT_IDENTIFIER: Value = text("client identifier", |draft, text| {
    draft.bridge().remote_client_identifier = Some(text.to_owned());
    Ok(())
});
const REMOTE_USER: Value = text("user name", |draft, text| {
    draft.bridge().remote_user = Some(text.to_owned());
    Ok(())
});
const REMOTE_PASSWORD: Value = Value::Secret(|draft, text| {
    draft.bridge().remote_password = Some(Secret(text.to_owned()));
});
const ADDRESS: Value = text("addresses: HOST, HOST:PORT, [IPV6]:PORT", set_addresses);

pub(super) const KEYS: &[Key] = &[
    with(
        Repetition::Allowed,
        of_bridge(
            "connection",
            "Begins a bridge to another broker with this name; the keys behind it speak of it. A bridge is a client of \
             both brokers: its session here keeps what is to go out, and a message is acknowledged where it comes from \
             once it is acknowledged where it goes.",
            text("name", |draft, name| draft.begin_bridge(name)),
            |bridge| shown(&bridge.name),
        ),
    ),
    with(
        Repetition::Allowed,
        or(
            "port 1883",
            of_bridge(
                "address",
                "Where the other broker is; several addresses are tried one after the other. An address of IPv6 needs \
                 its port.",
                ADDRESS,
                |bridge| {
                    let all: Vec<_> = bridge.addresses.iter().map(shown_address).collect();
                    vec![all.join(" ")]
                },
            ),
        ),
    ),
    with(
        Repetition::Allowed,
        older("addresses", "The same as `address`.", ADDRESS),
    ),
    or(
        "false",
        of_bridge(
            "round_robin",
            "All addresses are equals: a connection stays until it fails, then the next one is tried. If false, the \
             first one is the main one, and a bridge that is connected to another one goes back to it.",
            Value::Flag(|draft, value| draft.bridge().round_robin = value),
            |bridge| shown(bridge.round_robin),
        ),
    ),
    with(
        Repetition::Allowed,
        of_bridge(
            "topic",
            "What is carried: `PATTERN [DIRECTION [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]`. The direction is `out`, `in` \
             or `both`; messages have this QoS at most. The prefixes stand before the pattern at this and at the other \
             broker, `\"\"` is an empty one; an empty pattern carries the one topic that the prefixes are.",
            text("topic", |draft, line| {
                let topic = Topics::parse_line(line)?;
                draft.bridge().topics.push(topic);
                Ok(())
            }),
            |bridge| bridge.topics.0.iter().map(|topic| topic.line()).collect(),
        ),
    ),
    or(
        "mqttv311",
        of_bridge(
            "bridge_protocol_version",
            "What is spoken with the other broker.",
            Value::Word {
                shape: "mqttv31, mqttv311 or mqttv50",
                set: set_version,
            },
            |bridge| shown(version(bridge.version)),
        ),
    ),
    or(
        "true",
        of_bridge(
            "try_private",
            "The other broker is asked to treat this client as a bridge, so that it gets nothing back of what it \
             published, and retained messages stay so. A broker that does not know of bridges is connected to as by \
             any client. MQTT 5.0 has options for the same.",
            Value::Flag(|draft, value| draft.bridge().not_private = !value),
            |bridge| shown(bridge.try_private),
        ),
    ),
    or(
        "HOSTNAME.NAME",
        of_bridge(
            "remote_clientid",
            "Client identifier at the other broker.",
            REMOTE_CLIENT_IDENTIFIER,
            |bridge| shown(&bridge.remote.client_identifier),
        ),
    ),
    older(
        "clientid",
        "The older name of `remote_clientid`.",
        REMOTE_CLIENT_IDENTIFIER,
    ),
    of_bridge(
        "remote_username",
        "User at the other broker.",
        REMOTE_USER,
        |bridge| shown_if(bridge.remote.user.as_ref()),
    ),
    older("username", "The older name of `remote_username`.", REMOTE_USER),
    of_bridge(
        "remote_password",
        "Password of `remote_username`. It is never shown.",
        REMOTE_PASSWORD,
        |_| Vec::new(),
    ),
    older(
        "password",
        "The older name of `remote_password`.",
        REMOTE_PASSWORD,
    ),
    or(
        "local.REMOTE_CLIENTID",
        of_bridge(
            "local_clientid",
            "Client identifier at this broker, whose session the bridge has.",
            text("client identifier", |draft, text| {
                draft.bridge().local_client_identifier = Some(text.to_owned());
                Ok(())
            }),
            |bridge| shown(&bridge.local.client_identifier),
        ),
    ),
    of_bridge(
        "local_username",
        "User at this broker: the bridge may do what the ACL file of the first listener allows that user. Without it \
         the bridge may do everything, as in mosquitto.",
        text("user name", |draft, text| {
            draft.bridge().local_user = Some(text.to_owned());
            Ok(())
        }),
        |bridge| shown_if(bridge.local.user.as_ref()),
    ),
    older(
        "local_password",
        "Accepted, and not needed: the broker knows its own bridges.",
        Value::Secret(|_, _| {}),
    ),
    or(
        "false",
        of_bridge(
            "cleansession",
            "The other broker forgets the bridge when the connection ends. If false, it keeps its subscriptions and \
             messages.",
            Value::Flag(|draft, value| draft.bridge().clean_session = value),
            |bridge| shown(bridge.clean_session),
        ),
    ),
    or(
        "cleansession",
        of_bridge(
            "local_cleansession",
            "The same of this broker. If false, messages at QoS 1 and 2 wait while the other broker is away, as many \
             as `max_queued_messages` says; with `persistence true` they outlive this one.",
            Value::Flag(|draft, value| draft.bridge().local_clean_session = Some(value)),
            |bridge| shown(bridge.local_clean_session),
        ),
    ),
];

fn set_addresses(draft: &mut Draft, line: &str) -> Result<(), String> {
    for word in line.split_whitespace() {
        let address = address(word)?;
        draft.bridge().addresses.push(address);
    }
    Ok(())
}

fn set_version(draft: &mut Draft, word: &str) -> Result<(), String> {
    draft.bridge().version = Some(match word {
        "mqttv31" => ProtocolVersion::V3_1,
        "mqttv311" => ProtocolVersion::V3_1_1,
        "mqttv50" => ProtocolVersion::V5,
        _ => return Err("must be mqttv31, mqttv311 or mqttv50".to_owned()),
    });
    Ok(())
}

fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V3_1 => "mqttv31",
        ProtocolVersion::V3_1_1 => "mqttv311",
        ProtocolVersion::V5 => "mqttv50",
    }
}

fn shown_address(address: &crate::bridge_settings::BridgeAddress) -> String {
    match address.host.contains(':') {
        true => format!("[{}]:{}", address.host, address.port),
        false => address.to_string(),
    }
}
