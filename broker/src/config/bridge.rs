//! A bridge while its lines are read, and what becomes of it.
//!
//! Invariants: no two bridges have a name, or a client identifier at this broker, in common.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use mqtt::ProtocolVersion;
use mqtt::topic;

use super::draft::Draft;
use crate::bridge_settings::{
    BridgeAddress, BridgeIdentity, BridgeSettings, BridgeTls, BridgeTopic, Notifications, RestartTimeout,
    Secret, StartType, TcpKeepAlive, Topics,
};
use crate::files::{FilePlace, FileProblem};

/// The values of a bridge while its lines are read.
#[derive(Clone, Debug, Default)]
pub(super) struct BridgeDraft {
    /// Where its `connection` line stands.
    pub(super) place: Option<FilePlace>,
    pub(super) name: String,
    pub(super) addresses: Vec<BridgeAddress>,
    pub(super) round_robin: bool,
    pub(super) topics: Vec<BridgeTopic>,
    pub(super) version: Option<ProtocolVersion>,
    pub(super) not_private: bool,
    pub(super) remote_client_identifier: Option<String>,
    pub(super) remote_user: Option<String>,
    pub(super) remote_password: Option<Secret>,
    pub(super) local_client_identifier: Option<String>,
    pub(super) local_user: Option<String>,
    pub(super) clean_session: bool,
    pub(super) local_clean_session: Option<bool>,
    pub(super) start: StartWord,
    pub(super) idle_s: Option<u32>,
    pub(super) threshold: Option<u32>,
    pub(super) restart: Option<RestartTimeout>,
    pub(super) keep_alive_s: Option<u16>,
    pub(super) without_notifications: bool,
    pub(super) notifies_here_alone: bool,
    pub(super) notification_topic: Option<String>,
    pub(super) keeps_subscriptions: bool,
    pub(super) packet_bytes_max: Option<u32>,
    pub(super) without_outgoing_retain: bool,
    pub(super) bind_address: Option<IpAddr>,
    pub(super) topic_alias_max: Option<u16>,
    pub(super) receive_max: Option<NonZeroU16>,
    pub(super) session_expiry_s: Option<u32>,
    pub(super) tcp_keep_alive: Option<TcpKeepAlive>,
    pub(super) tcp_user_timeout_ms: Option<u32>,
    pub(super) reloads_at_once: bool,
    pub(super) tls: BridgeTls,
    pub(super) certificate_chain: Option<PathBuf>,
    pub(super) private_key: Option<PathBuf>,
}

/// The word of `start_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StartWord {
    #[default]
    Automatic,
    Lazy,
    Once,
}

/// Without `restart_timeout`, as mosquitto.
pub(super) const RESTART: RestartTimeout = RestartTimeout {
    base_s: 5,
    cap_s: 30,
    stable_s: 0,
};
pub(super) const KEEP_ALIVE_S: u16 = 60;
pub(super) const IDLE_S: u32 = 60;
pub(super) const THRESHOLD: u32 = 10;
pub(super) const TOPIC_ALIAS_MAX: u16 = 10;

/// Where systems keep the authorities that they trust.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl Draft {
    /// The bridge that keys of `Scope::Bridge` belong to.
    pub(super) fn bridge(&mut self) -> &mut BridgeDraft {
        self.bridges.last_mut().unwrap_or(&mut self.no_bridge)
    }

    /// Begins a bridge: the keys that follow speak of it.
    pub(super) fn begin_bridge(&mut self, name: &str) -> Result<(), String> {
        let other = self.bridges.iter().find(|bridge| bridge.name == name);
        let other = other.and_then(|bridge| bridge.place.clone());
        self.bridges.push(BridgeDraft {
            place: self.place.clone(),
            name: name.to_owned(),
            ..BridgeDraft::default()
        });
        match other {
            Some(place) => Err(format!(
                "the bridge of {place} has this name already; fix: choose another name"
            )),
            None => Ok(()),
        }
    }

    /// The bridges, or what is wrong with them as problems.
    pub(super) fn take_bridges(&mut self) -> Vec<BridgeSettings> {
        let mut bridges: Vec<BridgeSettings> = Vec::new();
        for draft in std::mem::take(&mut self.bridges) {
            let place = draft.place.clone().unwrap_or_else(FilePlace::command_line);
            let name = draft.name.clone();
            if draft.topics.is_empty() {
                self.warnings.push(format!(
                    "{place}: the bridge {name} carries nothing: it has no `topic` line"
                ));
            }
            let made = draft.settings().and_then(|made| {
                let id = &made.local.client_identifier;
                match bridges.iter().find(|other| other.local.client_identifier == *id) {
                    Some(other) => Err(format!(
                        "it would be the client {id} of this broker, as the bridge {} is; fix: give one of them \
                         another local_clientid",
                        other.name
                    )),
                    None => Ok(made),
                }
            });
            match made {
                Ok(made) => bridges.push(made),
                Err(wrong) => self.problems.push(FileProblem {
                    place,
                    text: format!("connection {name}: {wrong}"),
                }),
            }
        }
        bridges
    }
}

impl BridgeDraft {
    fn settings(self) -> Result<BridgeSettings, String> {
        if self.addresses.is_empty() {
            return Err("the bridge has no address; fix: add `address HOST:PORT`".to_owned());
        }
        if self.remote_password.is_some() && self.remote_user.is_none() {
            return Err("remote_password needs remote_username".to_owned());
        }
        let tls = self.tls()?;
        let remote = self.remote_client_identifier.clone().unwrap_or_else(|| {
            let host = hostname();
            format!("{host}.{}", self.name)
        });
        let local = self
            .local_client_identifier
            .clone()
            .unwrap_or_else(|| format!("local.{remote}"));
        Ok(BridgeSettings {
            notifications: self.notifications(&remote)?,
            start: self.start(),
            name: self.name,
            addresses: self.addresses,
            round_robin: self.round_robin,
            topics: Topics(self.topics),
            version: self.version.unwrap_or(ProtocolVersion::V3_1_1),
            try_private: !self.not_private,
            remote: BridgeIdentity {
                client_identifier: remote,
                user: self.remote_user,
            },
            remote_password: self.remote_password,
            local: BridgeIdentity {
                client_identifier: local,
                user: self.local_user,
            },
            clean_session: self.clean_session,
            local_clean_session: self.local_clean_session.unwrap_or(self.clean_session),
            restart: self.restart.unwrap_or(RESTART),
            keep_alive_s: self.keep_alive_s.unwrap_or(KEEP_ALIVE_S),
            unsubscribes: !self.keeps_subscriptions,
            packet_bytes_max: self.packet_bytes_max,
            outgoing_retain: !self.without_outgoing_retain,
            bind_address: self.bind_address,
            topic_alias_max: self.topic_alias_max.unwrap_or(TOPIC_ALIAS_MAX),
            receive_max: self.receive_max,
            session_expiry_s: self.session_expiry_s,
            tcp_keep_alive: self.tcp_keep_alive,
            tcp_user_timeout_ms: self.tcp_user_timeout_ms,
            reloads_at_once: self.reloads_at_once,
            tls,
        })
    }

    fn start(&self) -> StartType {
        match self.start {
            StartWord::Automatic => StartType::Automatic,
            StartWord::Once => StartType::Once,
            StartWord::Lazy => StartType::Lazy {
                threshold: self.threshold.unwrap_or(THRESHOLD),
                idle_s: self.idle_s.unwrap_or(IDLE_S),
            },
        }
    }

    fn notifications(&self, remote: &str) -> Result<Notifications, String> {
        if self.without_notifications {
            return Ok(Notifications::Off);
        }
        let topic = match &self.notification_topic {
            Some(topic) => topic.clone(),
            None => format!("$SYS/broker/connection/{remote}/state"),
        };
        topic::check_name(&topic).map_err(|error| {
            format!(
                "its state would be published to {topic}, which is no topic name ({error}); fix: set \
                 notification_topic, or notifications false"
            )
        })?;
        Ok(match self.notifies_here_alone {
            true => Notifications::Local { topic },
            false => Notifications::Both { topic },
        })
    }

    fn tls(&self) -> Result<Option<BridgeTls>, String> {
        let mut tls = self.tls.clone();
        if tls.of_system && tls.ca.is_none() {
            let found = SYSTEM_AUTHORITIES.iter().find(|path| Path::new(path).exists());
            tls.ca = Some(PathBuf::from(found.ok_or(
                "bridge_tls_use_os_certs: this system has no file of authorities where one is expected; fix: name it \
                 in bridge_cafile",
            )?));
        }
        tls.certificate = match (&self.certificate_chain, &self.private_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => return Err("bridge_certfile needs bridge_keyfile, its private key".to_owned()),
            (None, Some(_)) => return Err("bridge_keyfile needs bridge_certfile, its certificate".to_owned()),
        };
        if tls == BridgeTls::default() {
            return Ok(None);
        }
        if tls.ca.is_none() && tls.ca_folder.is_none() {
            return Err(
                "the bridge would not use TLS: bridge_cafile, bridge_capath or bridge_tls_use_os_certs is missing"
                    .to_owned(),
            );
        }
        Ok(Some(tls))
    }
}

/// Reads one address of `address`: `HOST`, `HOST:PORT`, `[IPv6]:PORT` or an IPv6 address with a port behind it.
pub(super) fn address(text: &str) -> Result<BridgeAddress, String> {
    const DEFAULT_PORT: u16 = 1883;
    let (host, port) = match text.rsplit_once(':') {
        _ if text.ends_with(']') => (text, DEFAULT_PORT),
        None => (text, DEFAULT_PORT),
        Some((host, port)) => {
            let port = port.parse().ok().filter(|port| *port > 0);
            (
                host,
                port.ok_or_else(|| format!("{text}: the port must be 1 to 65535"))?,
            )
        }
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err(format!("{text}: the host is missing"));
    }
    Ok(BridgeAddress {
        host: host.to_owned(),
        port,
    })
}

/// The name of this machine.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
