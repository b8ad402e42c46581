//! The client's configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{TlsConfigError, TlsVersion, pem, provider};

/// What a TLS client is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientTls<'a> {
    /// PEM file: whose server certificates are trusted. Without it none is.
    pub ca: Option<&'a Path>,
    /// PEM files: the client's certificate chain and its private key.
    pub certificate: Option<(&'a Path, &'a Path)>,
    /// Trusts any server certificate: for tests of a server that one knows otherwise.
    pub insecure: bool,
    /// Only this version.
    pub version: Option<TlsVersion>,
}

/// Makes a configuration that never resumes a session: each connection is a full handshake.
///
/// # Errors
/// What is wrong with which file.
pub fn client_config(tls: &ClientTls<'_>) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let provider = provider();
    let none = || Path::new("-").to_owned();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(TlsVersion::supported(tls.version))
        .map_err(|source| TlsConfigError::Refused {
            certificate: none(),
            key: none(),
            source,
        })?;
    let builder = if tls.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnyone(provider)))
    } else {
        let roots = tls
            .ca
            .map_or_else(|| Ok(RootCertStore::empty()), pem::authorities)?;
        builder.with_root_certificates(roots)
    };
    let mut config = match tls.certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                pem::certificates(certificate, "the certificate file")?,
                pem::private_key(key)?,
            )
            .map_err(|source| TlsConfigError::Refused {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                source,
            })?,
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Checks that the server holds its certificate's key, and nothing about the certificate.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

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
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
