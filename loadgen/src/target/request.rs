//! Which broker is wanted: one that the generator starts, or one that already runs.
//!
//! Invariants: none.

use std::path::PathBuf;

use transport::tls::{ClientTls, TlsVersion};

use super::certificates::ServerKey;
use crate::system::cpus::Cpus;

/// The broker to put under load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetRequest {
    /// Our broker, started for the run.
    OwnBroker(OwnRequest),
    /// A broker that already runs.
    Running {
        /// Names or addresses with their ports: at least one.
        hosts: Vec<(String, u16)>,
        /// The TLS options; `None` for plain TCP.
        tls: Option<TlsRequest>,
        /// Path of WebSocket, if it is used.
        web_socket: Option<String>,
        /// File with the passphrase of the clients' keys.
        key_pass_file: Option<PathBuf>,
        /// Its process, if it is on this machine: for its CPU time and memory.
        pid: Option<u32>,
    },
}

/// A broker that the generator starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRequest {
    /// The number of its shards.
    pub shards: usize,
    /// Whether it listens with TLS.
    pub tls: bool,
    /// The kind of key of its certificate.
    pub key: ServerKey,
    /// Path of WebSocket, if clients use it.
    pub web_socket: Option<String>,
    /// The CPUs that it may use.
    pub cpus: Option<Cpus>,
    /// Whether clients must have certificates, user names and passwords, as in the TLS tutorial.
    pub users: bool,
}

/// How to trust a running broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsRequest {
    /// PEM file of the CA.
    pub ca: Option<PathBuf>,
    /// Folder of PEM files of CAs, by the hashes of their subjects.
    pub ca_folder: Option<PathBuf>,
    /// PEM files of the client's certificate and key; `%i` in their paths is the number of the client.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether any certificate is accepted.
    pub insecure: bool,
    /// Accept a CN as the broker's name.
    pub cn_fallback: bool,
    /// The only version of TLS to use; without it all supported ones.
    pub version: Option<TlsVersion>,
}

impl TlsRequest {
    /// The same options as the transport's type.
    pub fn as_client(&self) -> ClientTls<'_> {
        let certificate = self.certificate.as_ref();
        ClientTls {
            ca: self.ca.as_deref(),
            ca_folder: self.ca_folder.as_deref(),
            certificate: certificate.map(|(chain, key)| (chain.as_path(), key.as_path())),
            insecure: self.insecure,
            cn_fallback: self.cn_fallback,
            version: self.version,
            ..ClientTls::default()
        }
    }
}
