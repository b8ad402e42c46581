//! The TLS tutorial and everything that can go wrong in it, with certificates created by the real `openssl`.
//!
//! Without `openssl` these tests print a line on stderr and pass; if `CI` is `true` they fail.

mod clients;
pub(crate) mod configurations;
mod differential;
mod forged_records;
mod identities;
mod issued;
mod keys;
mod openssl_clients;
mod pki;
mod records;
mod servers;

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};

use super::certificate::Certificate;
use super::{ClientTls, ServerTls, TlsVersion, client_config, files};
use crate::stream::SecureStream;
use pki::Pki;

const VERSIONS: [TlsVersion; 2] = [TlsVersion::V1_2, TlsVersion::V1_3];

/// The result of a handshake in memory.
struct Met {
    server: SecureStream,
    server_error: Option<String>,
    client_error: Option<String>,
    warning: Option<String>,
}

fn meet(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Met {
    let mut client = SecureStream::client(Some(client), name).unwrap();
    let mut met = Met {
        server: SecureStream::server(Some(server)).unwrap(),
        server_error: None,
        client_error: None,
        warning: None,
    };
    let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    client.start(&mut to_server);
    while !to_server.is_empty() || !to_client.is_empty() {
        let wire = std::mem::take(&mut to_server);
        if met.server_error.is_none() {
            match met.server.open(&wire, &mut plain, &mut to_client) {
                Ok(opened) => met.warning = met.warning.or(opened.warning.map(String::from)),
                Err(error) => met.server_error = Some(error.to_string()),
            }
        }
        let wire = std::mem::take(&mut to_client);
        if met.client_error.is_none()
            && let Err(error) = client.open(&wire, &mut plain, &mut to_server)
        {
            met.client_error = Some(error.to_string());
        }
    }
    met
}

/// A client that sends this certificate without checking it first.
fn careless_client(pki: &Pki, name: &str, version: TlsVersion) -> Arc<ClientConfig> {
    let made = client_config(&ClientTls {
        insecure: true,
        version: Some(version),
        ..ClientTls::default()
    });
    let mut config = Arc::unwrap_or_clone(made.unwrap());
    let chain = files::certificates(&pki.path(&format!("{name}.crt")), "the certificate file").unwrap();
    let key = super::private_key::private_key(&pki.path(&format!("{name}.key")), &super::NoPassphrase)
        .unwrap()
        .key;
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(chain, key);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    Arc::new(config)
}

/// A server that requires clients' certificates.
fn demanding<'a>(paths: &'a Paths) -> ServerTls<'a> {
    ServerTls {
        client_ca: Some(&paths.ca),
        require_client_certificate: true,
        ..ServerTls::new(&paths.certificate, &paths.key)
    }
}

/// Files of a server.
struct Paths {
    certificate: std::path::PathBuf,
    key: std::path::PathBuf,
    ca: std::path::PathBuf,
}

impl Paths {
    fn of(pki: &Pki, name: &str) -> Self {
        Self {
            certificate: pki.path(&format!("{name}.crt")),
            key: pki.path(&format!("{name}.key")),
            ca: pki.path("ca.crt"),
        }
    }
}

fn certificate(pki: &Pki, name: &str) -> Certificate {
    let chain = files::certificates(&pki.path(&format!("{name}.crt")), "the certificate file").unwrap();
    Certificate::parse(&chain[0]).unwrap()
}

#[track_caller]
fn assert_message(text: Option<&str>, words: &[&str]) {
    let text = text.unwrap_or_default();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}
