//! A configuration that was read and checked: typed, with all defaults applied.
//!
//! Invariants: no value has to be checked again. The part that the shards' logic reads is in [`crate::settings`].

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use transport::tls::{IdentityKind, TlsVersion};
use transport::websocket::handshake::Wanted;

use super::network::Network;
use crate::auth::AccessFiles;
use crate::bridge_settings::BridgeSettings;
use crate::log::LogSettings;
use crate::named_paths::NamedPaths;
use crate::privileges::SystemUser;
use crate::settings::Settings;

/// The whole configuration of a broker: settings of the logic, listeners, log, store and process.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The part that the logic of the shards reads.
    pub settings: Settings,
    /// What the shell reads of each listener; at the same index as in [`Settings::listeners`].
    pub listeners: Vec<ListenerSocket>,
    /// The bridges to other brokers: the keys from `connection` on.
    pub(crate) bridges: Vec<BridgeSettings>,
    /// What is logged, and where to.
    pub log: LogSettings,
    /// `--shards`: threads that serve clients.
    pub shards: NonZeroU16,
    /// `user`: the user to change to once the ports are open; only if the process runs as root.
    pub user: Option<SystemUser>,
    /// `user root`: the broker stays root if it was started as root.
    pub stays_root: bool,
    /// `pid_file`: where to write the process identifier.
    pub pid_file: Option<PathBuf>,
    /// `control_socket`: the path at which `broker ctl` finds the broker.
    pub control_socket: Option<PathBuf>,
    /// `bans_file`: where bans are kept; nowhere if they end with the process.
    pub bans_file: Option<PathBuf>,
    /// `persistence`: where state is stored; `None` if it ends with the process.
    pub persistence: Option<Persistence>,
    /// No listener was configured: only this machine can connect, without a user name.
    pub local_only: bool,
    /// Each setting that has no effect, or not the requested one: one line each, logged at start.
    pub warnings: Vec<String>,
    /// The paths that the configuration itself names.
    pub(crate) named: NamedPaths,
}

/// The values that only a start can apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedAtStart {
    pub(crate) user: Option<SystemUser>,
    pid_file: Option<PathBuf>,
    control_socket: Option<PathBuf>,
    bans_file: Option<PathBuf>,
    persistence: Option<Persistence>,
}

impl FixedAtStart {
    /// The keys whose values differ from those of another configuration.
    pub(crate) fn changed_keys(&self, other: &Self) -> Vec<&'static str> {
        let mut keys = vec![
            ("user", self.user != other.user),
            ("pid_file", self.pid_file != other.pid_file),
            ("control_socket", self.control_socket != other.control_socket),
            ("bans_file", self.bans_file != other.bans_file),
        ];
        match (&self.persistence, &other.persistence) {
            (Some(own), Some(other)) => keys.extend([
                ("persistence_location", own.location != other.location),
                ("persistence_file", own.file != other.file),
                ("durability", own.durability != other.durability),
                ("store_size_max", own.size_max != other.size_max),
            ]),
            (own, other) => keys.push(("persistence", own.is_some() != other.is_some())),
        }
        let changed = keys.into_iter().filter(|(_, has_changed)| *has_changed);
        changed.map(|(key, _)| key).collect()
    }
}

impl Configuration {
    /// The values that stay as they were when the rest is read again.
    pub(crate) fn fixed_at_start(&self) -> FixedAtStart {
        FixedAtStart {
            user: self.user.clone(),
            pid_file: self.pid_file.clone(),
            control_socket: self.control_socket.clone(),
            bans_file: self.bans_file.clone(),
            persistence: self.persistence.clone(),
        }
    }
}

/// `persistence true`: what survives the process, and where it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// The folder of the store: the name of `persistence_file` with `.midge` appended, in `persistence_location`.
    pub folder: PathBuf,
    /// `persistence_location`: where a file of mosquitto may be too.
    pub location: PathBuf,
    /// `persistence_file`: the file name that mosquitto would use.
    pub file: String,
    /// `durability`: when acknowledged state is on the disk.
    pub durability: Durability,
    /// `store_size_max`: the largest size of the store on the disk, in bytes.
    pub size_max: Option<u64>,
}

/// When records are made durable: the key `durability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `sync`: the disk has a record before it is acknowledged.
    #[default]
    Sync,
    /// `interval`: at most this many milliseconds later.
    Interval(NonZeroU32),
    /// `none`: when the operating system writes it.
    None,
}

/// The socket of a listener and its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSocket {
    /// `listener 0 PATH`: the Unix socket to listen on. There are no addresses then, and the port is 0.
    pub unix: Option<UnixSocket>,
    /// The addresses to listen on, at least one. Addresses that this machine does not have, or whose family it does
    /// not have, are left out as long as one of them can be bound. `[::]` means IPv6 only; `0.0.0.0` is listed in
    /// addition to it.
    pub addresses: Vec<SocketAddr>,
    /// The port; 0 stands for any free port, and is possible only from the command line.
    pub port: u16,
    /// The address or host name as it was given.
    pub host: Option<String>,
    /// `socket_domain`: the only address family to bind, or both if `None`.
    pub family: Option<AddressFamily>,
    /// `bind_interface`: only connections on this network interface are accepted.
    pub interface: Option<String>,
    /// TLS; `None` is plain TCP.
    pub tls: Option<ListenerTls>,
    /// `enable_proxy_protocol`: a load balancer reports the address of each client.
    pub proxy: Option<ProxyProtocol>,
    /// `proxy_protocol_trusted`: the addresses of load balancers; any address if it is empty.
    pub trusted_proxies: Vec<Network>,
    /// `password_file`, `acl_file`: which clients may use the listener, and for what.
    pub access: AccessFiles,
    /// `protocol`: the protocol of the listener.
    pub protocol: Protocol,
    /// `http_dir`: a folder whose files are served to requests for pages.
    pub pages: Option<PathBuf>,
}

/// The Unix socket of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// The path of its file, absolute.
    pub path: PathBuf,
    /// `unix_socket_mode`: the permissions of its file.
    pub mode: u32,
}

/// What is protocol of a listener: the key `protocol`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `mqtt`: MQTT over TCP or TLS.
    Mqtt,
    /// `websockets`: MQTT in binary frames, after an upgrade from HTTP.
    WebSockets(Wanted),
    /// `http_api`: the HTTP API for operators.
    HttpApi,
}

/// The one address family of a listener: the key `socket_domain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// `ipv4`: only IPv4 addresses.
    V4,
    /// `ipv6`: only IPv6 addresses.
    V6,
}

/// What a listener behind a load balancer expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// `enable_proxy_protocol`: the version of the header, 1 or 2.
    pub version: u8,
    /// `proxy_protocol_v2_require_tls`: clients must have connected to the load balancer over TLS.
    pub require_tls: bool,
    /// `require_certificate`: the load balancer must have verified a certificate of the client.
    pub require_certificate: bool,
    /// `use_identity_as_username`: the common name of that certificate is the user name.
    pub identity: bool,
}

/// The TLS of a listener. The files are read by whoever opens the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// `certfile`: the server's certificate chain, PEM.
    pub certificate_chain: PathBuf,
    /// `keyfile`: its private key, PEM.
    pub private_key: PathBuf,
    /// `key_passphrase_file`: the passphrase of the private key.
    pub key_passphrase_file: Option<PathBuf>,
    /// `cafile`: certificate authorities for client certificates, PEM.
    pub client_ca: Option<PathBuf>,
    /// `capath`: a folder of CA certificates that clients' certificates are checked with.
    pub client_ca_folder: Option<PathBuf>,
    /// `crlfile`: revoked client certificates, PEM.
    pub revocation_list: Option<PathBuf>,
    /// `require_certificate`: clients without a valid certificate are refused.
    pub require_client_certificate: bool,
    /// `allow_v1_certificates`: clients' certificates of X.509 version 1 are accepted.
    pub accept_version_1: bool,
    /// `disable_client_cert_date_checks`: clients' certificates are accepted outside their validity period too.
    pub ignore_client_dates: bool,
    /// `rustls_records`: rustls seals and opens records after the handshake too.
    pub rustls_records: bool,
    /// `use_identity_as_username`, `use_subject_as_username`: the part of the certificate that names the user.
    pub identity: Option<IdentityKind>,
    /// `tls_version`: the lowest version that is accepted.
    pub version_min: TlsVersion,
    /// `ciphers`: suites of TLS 1.2.
    pub ciphers: Option<String>,
    /// `ciphers_tls1.3`: suites of TLS 1.3.
    pub ciphers_tls13: Option<String>,
}

impl ListenerTls {
    /// TLS with this certificate chain and private key, and defaults for everything else.
    #[must_use]
    pub fn new(certificate_chain: PathBuf, private_key: PathBuf) -> Self {
        Self {
            certificate_chain,
            private_key,
            key_passphrase_file: None,
            client_ca: None,
            client_ca_folder: None,
            revocation_list: None,
            require_client_certificate: false,
            accept_version_1: true,
            ignore_client_dates: false,
            rustls_records: false,
            identity: None,
            version_min: TlsVersion::V1_2,
            ciphers: None,
            ciphers_tls13: None,
        }
    }
}

impl ListenerSocket {
    /// Where it is, as its `listener` line names it.
    pub(crate) fn place(&self) -> String {
        match (&self.unix, &self.host) {
            (Some(unix), _) => format!("0 {}", unix.path.display()),
            (None, Some(host)) => format!("{} {host}", self.port),
            (None, None) => self.port.to_string(),
        }
    }
}

impl Configuration {
    /// The password and ACL files of each listener.
    pub(crate) fn access_files(&self) -> Vec<AccessFiles> {
        let listeners = self.listeners.iter();
        listeners.map(|listener| listener.access.clone()).collect()
    }
}
