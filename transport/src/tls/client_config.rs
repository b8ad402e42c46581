//! A client's configuration, created from files.
//!
//! Invariants: only [`ClientTls::insecure`] trusts a certificate that no authority signed, and with it only
//! [`ClientTls::any_name`] one for another name.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore, SignatureScheme};

use super::certificate::{Certificate, Purpose};
use super::own_certificate::own_certificate;
use super::passphrase::{KeyPassphrase, NoPassphrase};
use super::peer_check::{HandshakeSignature, PeerCheck};
use super::server_verifier::ServerVerifier;
use super::{TlsConfigError, TlsVersion, ciphers, files, provider};

/// The settings of a TLS client.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientTls<'a> {
    /// PEM file of the CAs whose server certificates are trusted. Without it none is.
    pub ca: Option<&'a Path>,
    /// Folder of such files, each with the hash of its subject as its name, as `openssl rehash` makes it.
    pub ca_folder: Option<&'a Path>,
    /// PEM files: the client's certificate chain and its private key.
    pub certificate: Option<(&'a Path, &'a Path)>,
    /// Trusts any server certificate: for tests of a server that is identified in another way.
    pub insecure: bool,
    /// Accepts the CN of a server certificate as its name if it has no subjectAltName, as OpenSSL does; such
    /// certificates may be of X.509 version 1. The chain is checked all the same.
    pub cn_fallback: bool,
    /// The only version to use; without it all supported ones.
    pub version: Option<TlsVersion>,
    /// Whether the server's certificate may be for any name; the chain is checked all the same.
    pub any_name: bool,
    /// The application protocol to request (RFC 7301).
    pub alpn: Option<&'a str>,
    /// Suites of TLS 1.2 in OpenSSL's names; without it all supported ones.
    pub ciphers: Option<&'a str>,
    /// Suites of TLS 1.3 in OpenSSL's names; without it all supported ones.
    pub ciphers_tls13: Option<&'a str>,
}

/// [`client_config_with`] for callers that have no passphrases.
///
/// # Errors
/// The file and what is wrong with it.
pub fn client_config(tls: &ClientTls<'_>) -> Result<Arc<ClientConfig>, TlsConfigError> {
    client_config_with(tls, &NoPassphrase)
}

/// Creates a configuration that never resumes a session: each connection has a full handshake. `passphrase` is called
/// if the private key is encrypted.
///
/// # Errors
/// The file and what is wrong with it.
pub fn client_config_with(
    tls: &ClientTls<'_>,
    passphrase: &dyn KeyPassphrase,
) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let provider = restricted(tls)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(TlsVersion::supported(tls.version))
        .map_err(|source| TlsConfigError::Refused {
            certificate: Path::new("-").to_owned(),
            key: Path::new("-").to_owned(),
            source,
        })?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(server_verifier(tls, &provider)?);
    let mut config = match tls.certificate {
        None => builder.with_no_client_auth(),
        Some(paths) => {
            let own = own_certificate(paths, Purpose::Client, passphrase, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified)))
        }
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = tls
        .alpn
        .map(|name| name.as_bytes().to_vec())
        .into_iter()
        .collect();
    Ok(Arc::new(config))
}

/// The provider with the configured suites.
fn restricted(tls: &ClientTls<'_>) -> Result<Arc<CryptoProvider>, TlsConfigError> {
    if tls.ciphers.is_none() && tls.ciphers_tls13.is_none() {
        return Ok(provider());
    }
    let mut provider = CryptoProvider::clone(&provider());
    // The warnings are about unknown or old names, in addition to those that are used.
    let _warnings =
        ciphers::restrict(&mut provider, tls.ciphers, tls.ciphers_tls13).map_err(TlsConfigError::Ciphers)?;
    Ok(Arc::new(provider))
}

fn server_verifier(
    tls: &ClientTls<'_>,
    provider: &CryptoProvider,
) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
    let algorithms = provider.signature_verification_algorithms;
    if tls.insecure {
        return Ok(Arc::new(TrustAnyone(algorithms)));
    }
    let authorities = match (tls.ca, tls.ca_folder) {
        (None, None) => files::Authorities {
            roots: RootCertStore::empty(),
            certificates: Vec::new(),
            source: String::new(),
        },
        (file, folder) => files::authorities(file, folder)?,
    };
    Ok(Arc::new(ServerVerifier {
        roots: authorities.roots,
        check: PeerCheck {
            peer: Purpose::Server,
            authorities: authorities.certificates,
            source: authorities.source,
            algorithms,
            accept_version_1: tls.cn_fallback,
        },
        cn_fallback: tls.cn_fallback,
        any_name: tls.any_name,
    }))
}

/// Checks that the server has its certificate's key, but not the certificate itself.
#[derive(Debug)]
struct TrustAnyone(WebPkiSupportedAlgorithms);

impl TrustAnyone {
    fn verify_signature(&self, proof: &HandshakeSignature<'_>) -> Result<HandshakeSignatureValid, Error> {
        let certificate =
            Certificate::parse(proof.leaf).map_err(|_| rustls::CertificateError::BadEncoding)?;
        proof.verify_by_key(&certificate, &self.0)
    }
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(&HandshakeSignature {
            version: ProtocolVersion::TLSv1_2,
            message,
            leaf,
            signature,
        })
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(&HandshakeSignature {
            version: ProtocolVersion::TLSv1_3,
            message,
            leaf,
            signature,
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
