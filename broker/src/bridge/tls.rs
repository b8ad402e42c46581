//! Makes the TLS configuration of each bridge from its files.
//!
//! Invariants: it is always made anew, so nothing of older files remains in it.

use std::sync::Arc;

use rustls::ClientConfig;
use transport::tls::{self, ClientTls, TlsConfigError};

use super::Bridge;
use crate::bridge_settings::{BridgeSettings, BridgeTls};
use crate::passphrase::Passphrases;

/// A bridge whose TLS cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("connection {bridge}: {source}")]
pub(crate) struct BridgeTlsError {
    /// The name of the bridge.
    pub(crate) bridge: String,
    /// What is wrong with which file.
    pub(crate) source: Box<TlsConfigError>,
}

/// The bridges with their TLS.
///
/// # Errors
/// A file cannot be read or used.
pub(crate) fn tls_of_bridges(
    bridges: &[BridgeSettings],
    passphrases: &Passphrases,
) -> Result<Vec<Bridge>, BridgeTlsError> {
    let make = |settings: &BridgeSettings| {
        let made = settings.tls.as_ref().map(|tls| tls_of(tls, passphrases));
        let tls = made.transpose().map_err(|source| BridgeTlsError {
            bridge: settings.name.clone(),
            source: Box::new(source),
        })?;
        Ok(Bridge {
            settings: Arc::new(settings.clone()),
            tls,
        })
    };
    bridges.iter().map(make).collect()
}

fn tls_of(tls: &BridgeTls, passphrases: &Passphrases) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let certificate = tls.certificate.as_ref();
    let wanted = ClientTls {
        ca: tls.ca.as_deref(),
        ca_folder: tls.ca_folder.as_deref(),
        certificate: certificate.map(|(chain, key)| (chain.as_path(), key.as_path())),
        insecure: false,
        // As OpenSSL does for mosquitto.
        cn_fallback: true,
        version: tls.version,
        any_name: tls.any_name,
        alpn: tls.alpn.as_deref(),
        ciphers: tls.ciphers.as_deref(),
        ciphers_tls13: tls.ciphers_tls13.as_deref(),
    };
    tls::client_config_with(&wanted, &passphrases.for_listener(None))
}
