//! A certificate created for a test, and both sides' configurations with it.

use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};

use crate::tls::{ClientTls, ServerTls, TlsVersion, client_config, server_config};

pub(crate) fn configurations() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    configurations_of(None, None)
}

/// With this version and the cipher suite of this name only.
pub(crate) fn configurations_of(
    version: Option<TlsVersion>,
    suite: Option<&str>,
) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let is_tls13 = version == Some(TlsVersion::V1_3);
    let server = ServerTls {
        ciphers: suite.filter(|_| !is_tls13),
        ciphers_tls13: suite.filter(|_| is_tls13),
        ..ServerTls::new(&certificate, &key)
    };
    let client = ClientTls {
        ca: Some(&certificate),
        version,
        ..ClientTls::default()
    };
    (server_config(&server).unwrap(), client_config(&client).unwrap())
}
