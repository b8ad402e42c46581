//! Keys that speak of a listener, and those for authentication and access.

use mqtt::QoS;

use crate::settings::UNLIMITED;

use super::super::draft::{Draft, Spoken};
use super::super::{AddressFamily, Protocol};
use super::{Key, Scope, Show, Status, Value, shown, shown_if};

const AUTO_ID_PREFIX_BYTES_MAX: usize = 50;
const MOUNT_POINT_BYTES_MAX: usize = 1000;
/// IFNAMSIZ without its end.
const INTERFACE_BYTES_MAX: usize = 15;
const LISTENERS_MAX: usize = 1000;

pub(super) const fn key(name: &'static str, scope: Scope, about: &'static str, status: Status) -> Key {
    Key {
        name,
        scope,
        default: "",
        about,
        status,
    }
}

pub(super) const fn effective(name: &'static str, about: &'static str, value: Value, show: Show) -> Key {
    key(name, Scope::Listener, about, Status::Effective(value, show))
}

pub(super) const fn or(default: &'static str, key: Key) -> Key {
    Key {
        name: key.name,
        scope: key.scope,
        default,
        about: key.about,
        status: key.status,
    }
}

const fn either(name: &'static str, about: &'static str, value: Value, show: Show) -> Key {
    key(name, Scope::Either, about, Status::Effective(value, show))
}

pub(super) const KEYS: &[Key] = &[
    effective(
        "listener",
        "Listens on a port, on all addresses or on those of a host name. The keys below it speak of it. May be given \
         several times.",
        Value::Text {
            shape: "PORT [ADDRESS]",
            set: set_listener,
        },
        Show::Listener(|_, socket| match &socket.host {
            Some(host) => shown(format!("{} {host}", socket.port)),
            None => shown(socket.port),
        }),
    ),
    or(
        "1883",
        effective(
            "port",
            "Port of the default listener, the one without a `listener` line.",
            Value::Integer {
                ranges: &[(1, 65_535)],
                set: |draft, port| draft.default_listener.port = u16::try_from(port).ok(),
            },
            Show::Nothing,
        ),
    ),
    effective(
        "bind_address",
        "Address or host name of the default listener.",
        Value::Text {
            shape: "address or host name",
            set: |draft, host| {
                draft.default_listener.host = Some(host.to_owned());
                Ok(())
            },
        },
        Show::Nothing,
    ),
    effective(
        "socket_domain",
        "Listens on one address family only.",
        Value::Text {
            shape: "ipv4 or ipv6",
            set: set_socket_domain,
        },
        Show::Listener(|_, socket| {
            shown_if(socket.family.map(|family| match family {
                AddressFamily::V4 => "ipv4",
                AddressFamily::V6 => "ipv6",
            }))
        }),
    ),
    or(
        "mqtt",
        effective(
            "protocol",
            "What is spoken on the listener: `websockets` is MQTT over WebSocket, at any path, with TLS if there is a \
             certificate. `http_api` is for operators: `/metrics` (OpenMetrics), `/healthz`, `/readyz`, and as in mosquitto \
             2.1 `/api/v1/systree`, `/api/v1/listeners` and `/api/v1/version`; it asks for no user, so without an address it \
             listens on the loopback addresses only.",
            Value::Text {
                shape: "mqtt, websockets or http_api",
                set: set_protocol,
            },
            Show::Listener(|_, socket| match socket.protocol {
                Protocol::Mqtt => shown("mqtt"),
                Protocol::WebSockets(_) => shown("websockets"),
                Protocol::HttpApi => shown("http_api"),
            }),
        ),
    ),
    or(
        "-1",
        effective(
            "max_connections",
            "Connections to this listener at the same time; -1 or 0: any number.",
            Value::Integer {
                ranges: &[(-1, i64::MAX)],
                set: |draft, count| {
                    let limit = u64::try_from(count).ok().filter(|&count| count > 0);
                    draft.listener().settings.connections_max = limit.unwrap_or(UNLIMITED);
                },
            },
            Show::Listener(|settings, _| match settings.connections_max {
                UNLIMITED => shown(-1),
                count => shown(count),
            }),
        ),
    ),
    or(
        "2",
        effective(
            "max_qos",
            "Highest QoS that clients may publish at; MQTT 5.0 clients are told.",
            QOS,
            Show::Listener(show_qos),
        ),
    ),
    effective("maximum_qos", "The same as `max_qos`.", QOS, Show::Nothing),
    or(
        "10",
        effective(
            "max_topic_alias",
            "Topic aliases that an MQTT 5.0 client may use.",
            Value::Integer {
                ranges: &[(0, 65_535)],
                set: |draft, count| {
                    draft.listener().settings.topic_alias_max = u16::try_from(count).unwrap_or(u16::MAX)
                },
            },
            Show::Listener(|settings, _| shown(settings.topic_alias_max)),
        ),
    ),
    effective(
        "bind_interface",
        "Listens on one network interface only, such as `eth0`.",
        Value::Text {
            shape: "name of an interface",
            set: set_interface,
        },
        Show::Listener(|_, socket| shown_if(socket.interface.as_ref())),
    ),
    effective(
        "mount_point",
        "A prefix before all topics of this listener's clients, which they do not see: `m/` keeps them below `m/`. Access \
         rules speak of topics with it.",
        Value::Text {
            shape: "a topic, at most 1000 bytes",
            set: set_mount_point,
        },
        Show::Listener(|settings, _| shown_if(settings.mount_point.as_ref())),
    ),
    or(
        "3, 4, 5",
        effective(
            "accept_protocol_versions",
            "Versions of MQTT that are let in: 3 is 3.1, 4 is 3.1.1, 5 is 5.0.",
            Value::Text {
                shape: "3, 4 and 5, separated by commas",
                set: set_accepted_versions,
            },
            Show::Listener(|settings, _| {
                let versions = [
                    ("3", settings.accept_v3_1),
                    ("4", settings.accept_v3_1_1),
                    ("5", settings.accept_v5),
                ];
                let accepted = versions
                    .iter()
                    .filter(|(_, accepted)| *accepted)
                    .map(|(version, _)| *version);
                shown(accepted.collect::<Vec<_>>().join(", "))
            }),
        ),
    ),
    effective(
        "enable_proxy_protocol",
        "The listener is behind a load balancer that introduces each client by the PROXY protocol of this version; nobody else \
         may reach it. TLS is the load balancer's: with version 2 it says what came of it, and `require_certificate` and \
         `use_identity_as_username` go by that.",
        Value::Integer {
            ranges: &[(1, 2)],
            set: |draft, version| draft.listener().proxy_version = u8::try_from(version).ok(),
        },
        Show::Listener(|_, socket| shown_if(socket.proxy.map(|proxy| proxy.version))),
    ),
    or(
        "false",
        effective(
            "proxy_protocol_v2_require_tls",
            "Clients must have come to the load balancer by TLS.",
            Value::Flag(|draft, value| draft.listener().proxy_requires_tls = value),
            Show::Listener(|_, socket| shown_if(socket.proxy.map(|proxy| proxy.require_tls))),
        ),
    ),
    effective(
        "http_dir",
        "A folder whose files are served to those who ask for a page instead of an upgrade, `index.html` for a folder. Only \
         with `protocol websockets` or `http_api`. Symbolic links that lead out of it are not followed.",
        Value::Text {
            shape: "path of a folder",
            set: set_pages,
        },
        Show::Listener(|_, socket| shown_if(socket.pages.as_ref().map(|path| path.display()))),
    ),
    effective(
        "websockets_origin",
        "A page that browsers may come from, as they name it in the Origin header: `http://example.org:8080`. May be given \
         several times; without it, any.",
        Value::Text {
            shape: "an origin",
            set: |draft, origin| {
                draft.listener().origins.push(origin.to_owned());
                Ok(())
            },
        },
        Show::Listener(|_, socket| match &socket.protocol {
            Protocol::WebSockets(wanted) => wanted.origins.clone(),
            Protocol::Mqtt | Protocol::HttpApi => Vec::new(),
        }),
    ),
];

pub(super) const ACCESS_KEYS: &[Key] = &[
    or(
        "false",
        key(
            "per_listener_settings",
            Scope::Global,
            "Keys of this section speak of the listener above them instead of all listeners. Must stand above them.",
            Status::Effective(
                Value::Flag(Draft::set_per_listener_settings),
                Show::Global(|_| shown(true)),
            ),
        ),
    ),
    or(
        "false; true if no listener, TLS, password_file or acl_file is configured",
        either(
            "allow_anonymous",
            "Clients without a user name are let in.",
            Value::Flag(|draft, value| draft.access().allow_anonymous = Some(value)),
            Show::Listener(|settings, _| shown(settings.allow_anonymous)),
        ),
    ),
    effective(
        "listener_allow_anonymous",
        "`allow_anonymous` for one listener, whatever the key for all says.",
        Value::Flag(|draft, value| draft.listener().allow_anonymous = Some(value)),
        Show::Nothing,
    ),
    or(
        "true",
        either(
            "allow_zero_length_clientid",
            "A client without a client identifier gets one.",
            Value::Flag(|draft, value| draft.access().allow_zero_length_client_identifier = Some(value)),
            Show::Listener(|settings, _| shown(settings.allow_zero_length_client_identifier)),
        ),
    ),
    or(
        "auto-",
        either(
            "auto_id_prefix",
            "What such client identifiers begin with.",
            Value::Text {
                shape: "at most 50 bytes",
                set: |draft, prefix| {
                    draft.access().assigned_client_identifier_prefix = Some(checked_prefix(prefix)?);
                    Ok(())
                },
            },
            Show::Listener(|settings, _| shown(&settings.assigned_client_identifier_prefix)),
        ),
    ),
    effective(
        "listener_auto_id_prefix",
        "`auto_id_prefix` for one listener.",
        Value::Text {
            shape: "at most 50 bytes",
            set: |draft, prefix| {
                draft.listener().assigned_client_identifier_prefix = Some(checked_prefix(prefix)?);
                Ok(())
            },
        },
        Show::Nothing,
    ),
    either(
        "password_file",
        "Users and the hashes of their passwords, as `broker passwd` and mosquitto_passwd write them. Users with a \
         SCRAM-SHA-256 verifier (`broker passwd -H scram-sha-256`, or copied from PostgreSQL) may also prove themselves by \
         AUTH packets. A relative path is \
         looked for in the working directory, then beside the configuration file. Read again at SIGHUP.",
        Value::Text {
            shape: "path",
            set: |draft, path| {
                draft.access().files.password_file = Some(draft.path(path));
                Ok(())
            },
        },
        Show::Listener(|_, socket| shown_if(socket.access.password_file.as_ref().map(|path| path.display()))),
    ),
    either(
        "acl_file",
        "Who may read and write which topics, in the syntax of mosquitto. A relative path is looked for as that of \
         `password_file`. Read again at SIGHUP.",
        Value::Text {
            shape: "path",
            set: |draft, path| {
                draft.access().files.acl_file = Some(draft.path(path));
                Ok(())
            },
        },
        Show::Listener(|_, socket| shown_if(socket.access.acl_file.as_ref().map(|path| path.display()))),
    ),
    or(
        "false",
        effective(
            "use_username_as_clientid",
            "The user name replaces the client identifier, so that no user can end another's connection. Who has no user name \
             is refused.",
            Value::Flag(|draft, value| draft.listener().settings.user_name_is_client_identifier = value),
            Show::Listener(|settings, _| shown(settings.user_name_is_client_identifier)),
        ),
    ),
];

const QOS: Value = Value::Integer {
    ranges: &[(0, 2)],
    set: |draft, qos| {
        draft.listener().settings.qos_max = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
    },
};

fn show_qos(settings: &crate::settings::ListenerSettings, _: &super::ListenerSocket) -> Vec<String> {
    shown(settings.qos_max as u8)
}

fn set_listener(draft: &mut Draft, text: &str) -> Result<(), String> {
    let (port, host) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let port: u16 = port
        .parse()
        .map_err(|_| "must be a port from 1 to 65535 and perhaps an address")?;
    let host = Some(host.trim()).filter(|host| !host.is_empty());
    match (port, host) {
        (0, Some(_)) => Err("Unix sockets are known but not supported yet: name a port".to_owned()),
        (0, None) => Err("the port must be from 1 to 65535".to_owned()),
        (_, Some(host)) if host.contains(char::is_whitespace) => {
            Err("must be one port and one address".to_owned())
        }
        _ if draft.listeners.len() >= LISTENERS_MAX => Err(format!("more than {LISTENERS_MAX} listeners")),
        _ => {
            draft.begin_listener(port, host);
            Ok(())
        }
    }
}

fn set_socket_domain(draft: &mut Draft, text: &str) -> Result<(), String> {
    draft.listener().family = Some(match text {
        "ipv4" => AddressFamily::V4,
        "ipv6" => AddressFamily::V6,
        _ => return Err("must be ipv4 or ipv6".to_owned()),
    });
    Ok(())
}

fn set_interface(draft: &mut Draft, name: &str) -> Result<(), String> {
    if name.len() > INTERFACE_BYTES_MAX || name.contains(['/', ' ', '\t']) {
        return Err("must be the name of a network interface, such as eth0".to_owned());
    }
    draft.listener().interface = Some(name.to_owned());
    Ok(())
}

fn set_mount_point(draft: &mut Draft, prefix: &str) -> Result<(), String> {
    if prefix.len() > MOUNT_POINT_BYTES_MAX || prefix.contains(['+', '#']) {
        return Err(format!(
            "must be a topic without + and #, at most {MOUNT_POINT_BYTES_MAX} bytes"
        ));
    }
    draft.listener().settings.mount_point = Some(prefix.to_owned());
    Ok(())
}

fn set_protocol(draft: &mut Draft, text: &str) -> Result<(), String> {
    draft.listener().spoken = match text {
        "mqtt" => Spoken::Mqtt,
        "websockets" => Spoken::WebSockets,
        "http_api" => Spoken::HttpApi,
        _ => return Err("must be mqtt, websockets or http_api".to_owned()),
    };
    Ok(())
}

fn set_pages(draft: &mut Draft, text: &str) -> Result<(), String> {
    let path = draft.path(text);
    if !path.is_dir() {
        return Err(format!("{} is not a folder", path.display()));
    }
    draft.listener().pages = Some(path);
    Ok(())
}

fn set_accepted_versions(draft: &mut Draft, text: &str) -> Result<(), String> {
    let settings = &mut draft.listener().settings;
    (settings.accept_v3_1, settings.accept_v3_1_1, settings.accept_v5) = (false, false, false);
    for version in text.split(',') {
        match version.trim() {
            "3" => settings.accept_v3_1 = true,
            "4" => settings.accept_v3_1_1 = true,
            "5" => settings.accept_v5 = true,
            _ => return Err("must be 3, 4 and 5, separated by commas".to_owned()),
        }
    }
    Ok(())
}

fn checked_prefix(prefix: &str) -> Result<String, String> {
    if prefix.len() > AUTO_ID_PREFIX_BYTES_MAX {
        return Err(format!("must be at most {AUTO_ID_PREFIX_BYTES_MAX} bytes"));
    }
    Ok(prefix.to_owned())
}
