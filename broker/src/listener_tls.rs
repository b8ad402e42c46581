//! Makes the TLS configuration of each listener from its files.
//!
//! Invariants: a TLS configuration is always built anew, so it contains nothing of an older authority or revocation
//! list.

use std::sync::Arc;

use rustls::KeyLog;
use transport::tls::{self, KeyLogFile, ServerTls, ServerTlsConfig, TlsConfigError};

use crate::config::{Configuration, ListenerTls};
use crate::passphrase::Passphrases;

/// The TLS of every listener, at the index of the listener; `None` for plain ones. Asks for passphrases.
///
/// # Errors
/// A file cannot be read or used.
pub(crate) fn tls_of_listeners(
    configuration: &Configuration,
    passphrases: &Passphrases,
    key_log: Option<&Arc<KeyLogFile>>,
) -> Result<Vec<Option<ServerTlsConfig>>, TlsConfigError> {
    let make = |tls: &ListenerTls| {
        let made = tls_of(tls, passphrases, key_log)?;
        for warning in &made.warnings {
            tracing::warn!("{warning}");
        }
        Ok(made)
    };
    configuration
        .listeners
        .iter()
        .map(|listener| listener.tls.as_ref().map(make).transpose())
        .collect()
}

/// The TLS of a listener from its files as they are now, with warnings. Its secrets go to `key_log`, if there is
/// one.
///
/// # Errors
/// A file cannot be read or used.
pub(crate) fn tls_of(
    tls: &ListenerTls,
    passphrases: &Passphrases,
    key_log: Option<&Arc<KeyLogFile>>,
) -> Result<ServerTlsConfig, TlsConfigError> {
    let wanted = ServerTls {
        certificate_chain: &tls.certificate_chain,
        private_key: &tls.private_key,
        client_ca: tls.client_ca.as_deref(),
        client_ca_folder: tls.client_ca_folder.as_deref(),
        revocation_list: tls.revocation_list.as_deref(),
        require_client_certificate: tls.require_client_certificate,
        accept_version_1: tls.accept_version_1,
        ignore_client_dates: tls.ignore_client_dates,
        rustls_records: tls.rustls_records,
        version_min: tls.version_min,
        ciphers: tls.ciphers.as_deref(),
        ciphers_tls13: tls.ciphers_tls13.as_deref(),
    };
    let source = passphrases.for_listener(tls.key_passphrase_file.as_deref());
    let mut made = tls::server_config_with(&wanted, &source)?;
    if let Some(file) = key_log {
        Arc::make_mut(&mut made.config).key_log = Arc::clone(file) as Arc<dyn KeyLog>;
    }
    Ok(made)
}
