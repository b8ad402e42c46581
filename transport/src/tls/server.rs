//! The server's configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::{TlsConfigError, TlsVersion, pem, provider};

/// What a TLS listener is made of.
#[derive(Clone, Copy, Debug)]
pub struct ServerTls<'a> {
    /// PEM file: the server's certificate, then its intermediates.
    pub certificate_chain: &'a Path,
    /// PEM file: the private key.
    pub private_key: &'a Path,
    /// PEM file: whose client certificates are trusted.
    pub client_ca: Option<&'a Path>,
    /// Whether a client without a certificate is refused.
    pub require_client_certificate: bool,
    /// The lowest version that is spoken.
    pub version_min: TlsVersion,
}

/// Makes a configuration: sessions resume by tickets, one a handshake, and nothing is kept per client.
///
/// # Errors
/// What is wrong with which file.
pub fn server_config(tls: &ServerTls<'_>) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let certificates = pem::certificates(tls.certificate_chain, "the certificate file")?;
    let key = pem::private_key(tls.private_key)?;
    let refused = |source| TlsConfigError::Refused {
        certificate: tls.certificate_chain.to_owned(),
        key: tls.private_key.to_owned(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(tls.version_min.and_newer())
        .map_err(refused)?;
    let builder = match tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            builder.with_client_cert_verifier(client_verifier(path, tls.require_client_certificate)?)
        }
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(refused)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(refused)?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn client_verifier(
    path: &Path,
    required: bool,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsConfigError> {
    let roots = Arc::new(pem::authorities(path)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if !required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| TlsConfigError::Authority {
        path: path.to_owned(),
        detail: error.to_string(),
    })
}
