//! The client's configuration.

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
use super::server_verifier::ServerVerifier;
use super::version1;
use super::{TlsConfigError, TlsVersion, files, provider};

/// What a TLS client is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientTls<'a> {
    /// PEM file: whose server certificates are trusted. Without it none is.
    pub ca: Option<&'a Path>,
    /// PEM files: the client's certificate chain and its private key.
    pub certificate: Option<(&'a Path, &'a Path)>,
    /// Trusts any server certificate: for tests of a server that one knows otherwise.
    pub insecure: bool,
    /// Takes the CN of a server certificate for its name if it has no subjectAltName, as OpenSSL does; such certificates
    /// may be of X.509 version 1. The chain is checked all the same.
    pub cn_fallback: bool,
    /// Only this version.
    pub version: Option<TlsVersion>,
}

/// [`client()`] for those who have no passphrases.
///
/// # Errors
/// What is wrong with which file.
pub fn client_config(tls: &ClientTls<'_>) -> Result<Arc<ClientConfig>, TlsConfigError> {
    client(tls, &NoPassphrase)
}

/// Makes a configuration that never resumes a session: each connection is a full handshake. `passphrase` is asked if the
/// private key is encrypted.
///
/// # Errors
/// What is wrong with which file.
pub fn client(
    tls: &ClientTls<'_>,
    passphrase: &dyn KeyPassphrase,
) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let provider = provider();
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
    Ok(Arc::new(config))
}

fn server_verifier(
    tls: &ClientTls<'_>,
    provider: &CryptoProvider,
) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
    let algorithms = provider.signature_verification_algorithms;
    if tls.insecure {
        return Ok(Arc::new(TrustAnyone(algorithms)));
    }
    let authorities = match tls.ca {
        Some(path) => files::authorities(Some(path), None)?,
        None => files::Authorities {
            roots: RootCertStore::empty(),
            certificates: Vec::new(),
            source: String::new(),
        },
    };
    Ok(Arc::new(ServerVerifier {
        roots: authorities.roots,
        authorities: authorities.certificates,
        source: authorities.source,
        algorithms,
        cn_fallback: tls.cn_fallback,
    }))
}

/// Checks that the server holds its certificate's key, and nothing about the certificate.
#[derive(Debug)]
struct TrustAnyone(WebPkiSupportedAlgorithms);

impl TrustAnyone {
    fn verify_signature(
        &self,
        version: ProtocolVersion,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate =
            Certificate::parse(certificate).map_err(|_| rustls::CertificateError::BadEncoding)?;
        version1::verify_handshake(version, message, &certificate, signature, &self.0)
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
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(ProtocolVersion::TLSv1_2, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(ProtocolVersion::TLSv1_3, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
