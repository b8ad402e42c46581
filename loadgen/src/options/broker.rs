//! Options of the broker: its address, TLS, WebSocket, and the identity of the clients.
//!
//! Invariant: TLS to a running broker is never used without a CA or `--insecure`.

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use mqtt::version::ProtocolVersion;

use super::hosts::HostWords;
use super::words::{default_port, version, web_socket_path};
use crate::scenario::Credentials;
use crate::system::cpus::Cpus;
use crate::system::hide_password::PASSWORD_VARIABLE;
use crate::target::certificates::{CLIENT, ServerKey};
use crate::target::request::{OwnRequest, TargetRequest, TlsRequest};

/// The default path of WebSocket: that of most brokers.
pub(crate) const WEB_SOCKET_PATH: &str = "/mqtt";

/// The options that describe the broker and the identity of the clients.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerArguments {
    /// Load this running broker instead of starting one; with several hosts, HOST or HOST:PORT separated by commas,
    /// client number n uses host n modulo their number, so that pair n is on one host
    #[arg(short, long, value_name = "HOST[,HOST]")]
    host: Option<HostWords>,
    /// Its port [default: 1883, with TLS 8883, with --ws 8083 and 8084]
    #[arg(short, long, value_name = "PORT", requires = "host")]
    port: Option<u16>,
    /// Process of the broker on this machine, to report its CPU time and memory
    #[arg(long, value_name = "PID", requires = "host")]
    broker_pid: Option<u32>,
    /// Shards of the started broker [default: half of the cores]
    #[arg(long, value_name = "N", conflicts_with = "host")]
    broker_shards: Option<NonZeroUsize>,
    /// CPUs for the started broker [default: those of this process]
    #[arg(long, value_name = "LIST", conflicts_with = "host")]
    broker_cpus: Option<Cpus>,
    /// Use TLS to the broker of -h; a started broker uses it anyway
    #[arg(long)]
    tls: bool,
    /// Do not use TLS to the started broker
    #[arg(long, conflicts_with = "tls")]
    no_tls: bool,
    /// Speak MQTT over WebSocket
    #[arg(long)]
    ws: bool,
    /// Path of the WebSocket upgrade
    #[arg(long, value_name = "PATH", default_value = WEB_SOCKET_PATH, value_parser = web_socket_path)]
    ws_path: String,
    /// Key type of the started broker's certificate
    #[arg(
        long,
        value_name = "p256|rsa2048",
        default_value = "p256",
        hide_possible_values = true
    )]
    broker_key: ServerKey,
    /// The started broker requires a certificate, a user name and a password from each client
    #[arg(long, conflicts_with_all = ["host", "no_tls", "username"])]
    users: bool,
    /// CA that issued the broker's certificate (implies --tls)
    #[arg(long, visible_aliases = ["cacertfile", "ca"], value_name = "FILE", requires = "host")]
    cafile: Option<PathBuf>,
    /// The clients' certificate (implies --tls); %i is the client's number
    #[arg(long, visible_alias = "certfile", value_name = "FILE", requires_all = ["host", "key"])]
    cert: Option<PathBuf>,
    /// Its private key; %i is the client's number
    #[arg(long, visible_alias = "keyfile", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// File with the passphrase of the keys; otherwise MIDGE_KEY_PASSPHRASE, or the terminal
    #[arg(long, value_name = "FILE", requires = "key")]
    key_pass_file: Option<PathBuf>,
    /// Accept the CN of a broker's certificate without subjectAltName as its name
    #[arg(long, requires = "host")]
    cn_fallback: bool,
    /// Trust any certificate (implies --tls)
    #[arg(long, requires = "host")]
    insecure: bool,
    /// User name; %i is the client's number
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; the environment variable MIDGE_PASSWORD can be used instead
    #[arg(
        short = 'P',
        long = "pw",
        visible_alias = "password",
        value_name = "TEXT",
        requires = "username"
    )]
    password: Option<String>,
    /// Protocol version of MQTT
    #[arg(short = 'V', long, value_name = "3|4|5", default_value = "mqttv311", value_parser = version)]
    pub(crate) protocol_version: ProtocolVersion,
    /// Keep alive of each client, seconds
    #[arg(short, long = "keepalive", value_name = "S", default_value_t = 60)]
    pub(crate) keep_alive: u16,
}

impl BrokerArguments {
    /// The broker that the options name, or what is wrong with them.
    pub(crate) fn target(&self, half_the_cores: usize) -> Result<TargetRequest, String> {
        let Some(host) = self.host.clone() else {
            if let Some(cpu) = self.broker_cpus.as_ref().and_then(Cpus::first_forbidden) {
                return Err(format!("--broker-cpus: this process may not use CPU {cpu}"));
            }
            return Ok(TargetRequest::OwnBroker(OwnRequest {
                shards: self.broker_shards.map_or(half_the_cores, NonZeroUsize::get),
                tls: !self.no_tls,
                web_socket: self.web_socket(),
                key: self.broker_key,
                cpus: self.broker_cpus.clone(),
                users: self.users,
            }));
        };
        let tls = self.tls_request();
        if tls.as_ref().is_some_and(|tls| tls.ca.is_none() && !tls.insecure) {
            return Err(
                "--tls needs --cafile FILE, the CA of the broker's certificate (or --insecure)".to_owned(),
            );
        }
        if host.0.len() > 1 && self.broker_pid.is_some() {
            return Err("--broker-pid supports one host only".to_owned());
        }
        let port = self.port.unwrap_or(default_port(tls.is_some(), self.ws));
        let hosts = host.0.into_iter();
        Ok(TargetRequest::Running {
            hosts: hosts.map(|host| (host.name, host.port.unwrap_or(port))).collect(),
            tls,
            web_socket: self.web_socket(),
            key_pass_file: self.key_pass_file.clone(),
            pid: self.broker_pid,
        })
    }

    fn tls_request(&self) -> Option<TlsRequest> {
        let wanted = self.tls || self.insecure || self.cafile.is_some() || self.cert.is_some();
        wanted.then(|| TlsRequest {
            ca: self.cafile.clone(),
            certificate: self.cert.clone().zip(self.key.clone()),
            insecure: self.insecure,
            cn_fallback: self.cn_fallback,
            ..TlsRequest::default()
        })
    }

    /// Whether TLS was requested, and is not only the default.
    pub(crate) fn asks_for_tls(&self) -> bool {
        self.tls
    }

    fn web_socket(&self) -> Option<String> {
        self.ws.then(|| self.ws_path.clone())
    }

    /// The password in the options, if any.
    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The credentials of the command line; for a started broker with users, a random password.
    pub(crate) fn credentials(&self) -> Result<Credentials, String> {
        if !self.users {
            let from_environment = || std::env::var(PASSWORD_VARIABLE).ok();
            let password = self.password.clone().or_else(from_environment);
            return Ok(Credentials {
                user_name: self.username.clone(),
                password: password.filter(|_| self.username.is_some()),
            });
        }
        let mut random = [0; 16];
        let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
        read.map_err(|error| format!("no random bytes for a password: {error}"))?;
        Ok(Credentials {
            user_name: Some(format!("{CLIENT}%i")),
            password: Some(format!("{:032x}", u128::from_ne_bytes(random))),
        })
    }
}
