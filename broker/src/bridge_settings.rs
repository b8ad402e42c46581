//! What a `connection` of the configuration asks for, typed: one bridge to another broker.
//!
//! `topics.rs` has the topics that it carries.
//!
//! Invariants: every value is usable as it stands; a password is never shown.

mod topics;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use mqtt::ProtocolVersion;
use transport::tls::TlsVersion;

pub(crate) use self::topics::{BridgeTopic, Topics};

/// A bridge: the other broker, who connects there and here, and what is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeSettings {
    /// `connection`: its name, which no other bridge has.
    pub(crate) name: String,
    /// `address`: where the other broker is; at least one.
    pub(crate) addresses: Vec<BridgeAddress>,
    /// `round_robin`: all addresses are equals; else the first one is preferred.
    pub(crate) round_robin: bool,
    /// `topic`: what is carried.
    pub(crate) topics: Topics,
    /// `bridge_protocol_version`: what is spoken with the other broker.
    pub(crate) version: ProtocolVersion,
    /// `try_private`: the other broker is asked to treat this client as a bridge.
    pub(crate) try_private: bool,
    /// Who it is at the other broker.
    pub(crate) remote: BridgeIdentity,
    /// `remote_password`, if there is one.
    pub(crate) remote_password: Option<Secret>,
    /// Who it is at this broker.
    pub(crate) local: BridgeIdentity,
    /// `cleansession`: the other broker forgets it when the connection ends.
    pub(crate) clean_session: bool,
    /// `local_cleansession`: this broker forgets it when the connection ends.
    pub(crate) local_clean_session: bool,
    /// `start_type`: when it connects.
    pub(crate) start: StartType,
    /// `restart_timeout`: when it connects again.
    pub(crate) restart: RestartTimeout,
    /// `keepalive_interval`: seconds of silence before a PINGREQ.
    pub(crate) keep_alive_s: u16,
    /// `notifications`: where its state is published.
    pub(crate) notifications: Notifications,
    /// `bridge_attempt_unsubscribe`: topics that only go out are unsubscribed from at the other broker.
    pub(crate) unsubscribes: bool,
    /// `bridge_max_packet_size`: bytes of a packet to the other broker.
    pub(crate) packet_bytes_max: Option<u32>,
    /// `bridge_outgoing_retain`: messages may be retained at the other broker.
    pub(crate) outgoing_retain: bool,
    /// `bridge_bind_address`: the address of this machine that it connects from.
    pub(crate) bind_address: Option<IpAddr>,
    /// `bridge_max_topic_alias`: Topic Aliases that the other broker may use.
    pub(crate) topic_alias_max: u16,
    /// `bridge_receive_maximum`: unacknowledged messages that the other broker may send.
    pub(crate) receive_max: Option<NonZeroU16>,
    /// `bridge_session_expiry_interval` in seconds, where it is given.
    pub(crate) session_expiry_s: Option<u32>,
    /// `bridge_tcp_keepalive`: probes of TCP.
    pub(crate) tcp_keep_alive: Option<TcpKeepAlive>,
    /// `bridge_tcp_user_timeout`: milliseconds that data may stay unacknowledged by TCP.
    pub(crate) tcp_user_timeout_ms: Option<u32>,
    /// `bridge_reload_type`: a change counts at once, and not when it connects the next time.
    pub(crate) reloads_at_once: bool,
    /// TLS to the other broker; `None` is plain TCP.
    pub(crate) tls: Option<BridgeTls>,
}

/// An address of the other broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeAddress {
    /// A name or an IP address, which its certificate has to be for.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Who a bridge is at one of the two brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeIdentity {
    pub(crate) client_identifier: String,
    pub(crate) user: Option<String>,
}

/// When a bridge connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartType {
    /// At once, and again when the connection is lost.
    Automatic,
    /// When `threshold` messages wait; it ends when nothing was carried for `idle_s` seconds.
    Lazy { threshold: u32, idle_s: u32 },
    /// At once, and never again.
    Once,
}

/// How long a bridge waits before it connects again, in seconds: drawn anew between `base_s` and `cap_s` each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RestartTimeout {
    pub(crate) base_s: u32,
    pub(crate) cap_s: u32,
    /// A connection that lasted so long begins at the base again.
    pub(crate) stable_s: u32,
}

/// Where a bridge publishes whether it is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notifications {
    Off,
    /// At this broker alone.
    Local {
        topic: String,
    },
    /// At this broker and at the other one.
    Both {
        topic: String,
    },
}

/// The probes of TCP on a connection that is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpKeepAlive {
    pub(crate) idle_s: u32,
    pub(crate) interval_s: u32,
    pub(crate) probes: u32,
}

/// The files of a bridge's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BridgeTls {
    /// `bridge_cafile`, or the file of the system with `bridge_tls_use_os_certs`.
    pub(crate) ca: Option<PathBuf>,
    /// `bridge_capath`: a folder of such files.
    pub(crate) ca_folder: Option<PathBuf>,
    /// `bridge_tls_use_os_certs`: `ca` is the system's.
    pub(crate) of_system: bool,
    /// `bridge_certfile` and `bridge_keyfile`: its own certificate.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// `bridge_insecure`: the certificate may be for another name.
    pub(crate) any_name: bool,
    /// `bridge_alpn`: the protocol that is asked for.
    pub(crate) alpn: Option<String>,
    /// `bridge_tls_version`: the one version.
    pub(crate) version: Option<TlsVersion>,
    /// `bridge_ciphers`: suites of TLS 1.2.
    pub(crate) ciphers: Option<String>,
    /// `bridge_ciphers_tls1.3`: suites of TLS 1.3.
    pub(crate) ciphers_tls13: Option<String>,
}

/// A password: its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl fmt::Display for BridgeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        write!(f, "{host}:{port}")
    }
}

impl Notifications {
    /// The topic at this broker, if there is one.
    pub(crate) fn local_topic(&self) -> Option<&str> {
        match self {
            Self::Off => None,
            Self::Local { topic } | Self::Both { topic } => Some(topic),
        }
    }

    /// The topic at the other broker, if there is one.
    pub(crate) fn remote_topic(&self) -> Option<&str> {
        match self {
            Self::Both { topic } => Some(topic),
            Self::Off | Self::Local { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(format!("{:?}", Secret("hush".to_owned())), "(secret)");
    }
}
