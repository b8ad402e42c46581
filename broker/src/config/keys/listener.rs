//! Keys of a listener.
//!
//! Invariants: none.

use mqtt::QoS;

use super::key::{Key, Repetition, Show, Value, of_listener, or, shown, shown_if, with};
use crate::config::configuration::{AddressFamily, ListenerSocket, Protocol};
use crate::config::draft::{Draft, ProtocolDraft};
use crate::config::network::Network;
use crate::limits::{LISTENERS_MAX, MOUNT_POINT_BYTES_MAX};
use crate::settings::{ListenerSettings, UNLIMITED};
use crate::socket_path;

/// IFNAMSIZ without the terminating NUL.
const INTERFACE_BYTES_MAX: usize = 15;

pub(super) const KEYS: &[Key] = &[
    with(
        Repetition::Allowed,
        of_listener(
            "listener",
            "Listens on a port, on all addresses or on those of a host name; with `0 PATH` on a Unix socket, whose \
             file is made at the start and removed at the end. The keys below it apply to it. \
            May be given several \
             times.",
            Value::Text {
                shape: "PORT [ADDRESS] or 0 PATH",
                set: set_listener,
            },
            Show::Listener(|_, socket| shown(socket.place())),
        ),
    ),
    or(
        "0770",
        of_listener(
            "unix_socket_mode",
            "The permissions of the socket's file of `listener 0 PATH`, in octal: who may write to it may connect. \
             `0666` lets every user of this machine. The file belongs to the broker's user and its group.",
            Value::Word {
                shape: "octal number from 0600 to 0777",
                set: set_unix_mode,
            },
            Show::Listener(|_, socket| {
                shown_if(socket.unix.as_ref().map(|unix| format!("{:04o}", unix.mode)))
            }),
        ),
    ),
    or(
        "1883",
        of_listener(
            "port",
            "Port of the default listener, which has no `listener` line.",
            Value::Integer {
                ranges: &[(1, 65_535)],
                set: |draft, port| draft.default_listener.port = u16::try_from(port).ok(),
            },
            Show::Nothing,
        ),
    ),
    of_listener(
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
    of_listener(
        "socket_domain",
        "Listens on one address family only.",
        Value::Word {
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
        of_listener(
            "protocol",
            "The protocol of the listener. `websockets` is MQTT over WebSocket, at any path, with TLS if \
            there is a certificate. `http_api` is for operators: `/dashboard/` for a browser, `/metrics` \
            (OpenMetrics), `/healthz`, `/readyz`, and `/api/v1`, which `/api/v1/openapi.json` describes. It \
            asks for a user of the listener's `password_file` (HTTP Basic) or, with `require_certificate`, \
            for a certificate. With neither, lists, actions and the dashboard are available from this \
            machine only, and everybody who can reach the listener can read `/metrics`, `/api/v1/systree`, \
            `/api/v1/listeners` and `/api/v1/version`; a start warns of this if the listener is not on the \
            loopback addresses. Its `acl_file` (the common one, unless `per_listener_settings` is true) \
            applies to paths, as in mosquitto 2.1: `topic read /api/v1/#` allows viewing, `topic write \
            /api/v1/#` allows changes, `topic read /dashboard/#` allows the dashboard, `topic read \
            /metrics` the metrics, and `topic read /#` everything that can be read. `/healthz` and \
            `/readyz` need no right. Without an address it listens on the loopback addresses only.",
            Value::Word {
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
        of_listener(
            "max_connections",
            "Largest number of simultaneous connections to this listener; -1 or 0: no limit.",
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
        of_listener(
            "max_qos",
            "Highest QoS that clients may publish at; announced to MQTT 5.0 clients.",
            QOS,
            Show::Listener(show_qos),
        ),
    ),
    of_listener("maximum_qos", "The same as `max_qos`.", QOS, Show::Nothing),
    or(
        "10",
        of_listener(
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
    of_listener(
        "bind_interface",
        "Listens on one network interface only, for example `eth0`.",
        Value::Text {
            shape: "name of an interface",
            set: set_interface,
        },
        Show::Listener(|_, socket| shown_if(socket.interface.as_ref())),
    ),
    of_listener(
        "mount_point",
        "A prefix that is added to all topics of this listener's clients and is invisible to them: `m/` \
        keeps them below `m/`. Access rules apply to topics with the prefix.",
        Value::Text {
            shape: "a topic, at most 1000 bytes",
            set: set_mount_point,
        },
        Show::Listener(|settings, _| shown_if(settings.mount_point.as_ref())),
    ),
    or(
        "3, 4, 5",
        of_listener(
            "accept_protocol_versions",
            "Versions of MQTT that are accepted: 3 is 3.1, 4 is 3.1.1, 5 is 5.0.",
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
    of_listener(
        "enable_proxy_protocol",
        "The listener is behind a load balancer that begins each connection with a header of this version \
        of the PROXY protocol. Nobody else may be able to reach the listener. TLS ends at the load \
        balancer: with version 2 the header reports its result, which `require_certificate` and \
        `use_identity_as_username` then use.",
        Value::Integer {
            ranges: &[(1, 2)],
            set: |draft, version| draft.listener().proxy_version = u8::try_from(version).ok(),
        },
        Show::Listener(|_, socket| shown_if(socket.proxy.map(|proxy| proxy.version))),
    ),
    with(
        Repetition::Allowed,
        of_listener(
            "proxy_protocol_trusted",
            "Addresses of the load balancers: addresses or networks (`10.0.0.0/8`), separated by blanks. \
            May be given several times. Connections from other addresses are closed, because their headers \
            prove nothing; without this key, all addresses are accepted. Midge uses no other information \
            about a client's address, such as X-Forwarded-For.",
            Value::Text {
                shape: "addresses and networks",
                set: set_trusted_proxies,
            },
            Show::Listener(|_, socket| socket.trusted_proxies.iter().map(ToString::to_string).collect()),
        ),
    ),
    or(
        "false",
        of_listener(
            "proxy_protocol_v2_require_tls",
            "Clients must have connected to the load balancer over TLS.",
            Value::Flag(|draft, value| draft.listener().proxy_requires_tls = value),
            Show::Listener(|_, socket| shown_if(socket.proxy.map(|proxy| proxy.require_tls))),
        ),
    ),
    of_listener(
        "http_dir",
        "A folder whose files are served to requests for a page instead of an upgrade; for a folder, its \
        `index.html`. Only with `protocol websockets` or `http_api`. Symbolic links that lead out of the \
        folder are not followed.",
        Value::Path {
            shape: "path of a folder",
            is_folder: true,
            set: set_pages,
        },
        Show::Listener(|_, socket| shown_if(socket.pages.as_ref().map(|path| path.display()))),
    ),
    with(
        Repetition::Allowed,
        of_listener(
            "websockets_origin",
            "An origin whose pages may connect, as browsers send it in the Origin header: \
            `http://example.org:8080`. May be given several times; without it, all origins are accepted.",
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

fn show_qos(settings: &ListenerSettings, _: &ListenerSocket) -> Vec<String> {
    shown(settings.qos_max as u8)
}

fn set_listener(draft: &mut Draft, text: &str) -> Result<(), String> {
    let (port, host) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let port: u16 = port.parse().map_err(
        |_| "must be a port from 1 to 65535 and perhaps an address, or 0 and the path of a Unix socket",
    )?;
    if draft.listeners.len() >= LISTENERS_MAX {
        return Err(format!("more than {LISTENERS_MAX} listeners"));
    }
    if port == 0 {
        return set_unix_listener(draft, host.trim());
    }
    let (host, rest) = host.trim().split_once([' ', '\t']).unwrap_or((host, ""));
    let host = Some(host.trim()).filter(|host| !host.is_empty() && !host.starts_with('#'));
    if let Some(host) = host {
        draft.warn_of_rest("listener", &format!("{port} {host}"), rest);
    }
    draft.begin_listener(port, host);
    Ok(())
}

/// `listener 0 PATH`: the rest of the line is the path, as with mosquitto.
fn set_unix_listener(draft: &mut Draft, path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err(
            "the port must be from 1 to 65535; 0 needs the path of a Unix socket behind it".to_owned(),
        );
    }
    let absolute = draft.path(path);
    socket_path::check_length(&absolute).map_err(|error| error.to_string())?;
    draft.named.add_file(&absolute);
    draft.begin_unix_listener(absolute);
    Ok(())
}

fn set_unix_mode(draft: &mut Draft, text: &str) -> Result<(), String> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| (0o600..=0o777).contains(mode));
    let mode = mode.ok_or("must be permissions in octal, from 0600 to 0777, such as 0660")?;
    draft.listener().unix_mode = Some(mode);
    Ok(())
}

fn set_trusted_proxies(draft: &mut Draft, text: &str) -> Result<(), String> {
    for network in text.split_whitespace() {
        let network = Network::parse(network)?;
        draft.listener().trusted_proxies.push(network);
    }
    Ok(())
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
    draft.listener().protocol = match text {
        "mqtt" => ProtocolDraft::Mqtt,
        "websockets" => ProtocolDraft::WebSockets,
        "http_api" => ProtocolDraft::HttpApi,
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
