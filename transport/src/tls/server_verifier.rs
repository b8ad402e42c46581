//! Verifies servers' certificates, for clients that are to accept what OpenSSL's clients accept: a certificate whose
//! name is only in its CN, and perhaps of X.509 version 1.
//!
//! Invariant: the chain is always checked. The only difference from webpki is where, and whether, the name is looked
//! up.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore, SignatureScheme,
};

use super::certificate::Certificate;
use super::peer_check::{HandshakeSignature, PeerCheck};
use super::refusal;

#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) roots: RootCertStore,
    /// It accepts certificates of version 1 if `cn_fallback` is set: they have no other place for the name.
    pub(super) check: PeerCheck,
    /// Whether a certificate without alternative names may have the name in its CN.
    pub(super) cn_fallback: bool,
    /// Whether the name is ignored.
    pub(super) any_name: bool,
}

impl ServerVerifier {
    fn verify_by_webpki(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.check.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, algorithms)?;
        if self.any_name {
            return Ok(());
        }
        verify_server_name(&leaf, name)
    }

    /// `error` is webpki's. webpki checks the chain before the name, so an error of the name proves that the chain is
    /// right.
    fn verify_by_common_name(
        &self,
        certificate: &Certificate,
        name: &ServerName<'_>,
        now: UnixTime,
        error: Error,
    ) -> Result<(), Error> {
        if !self.cn_fallback {
            return Err(error);
        }
        if self.check.accepts_version_of(certificate) {
            self.check.verify_version_1(certificate, now)?;
        } else if !is_of_name(&error) || certificate.has_alternative_names() {
            return Err(error);
        }
        let common_name = certificate.common_name();
        if self.any_name || common_name.is_some_and(|common_name| is_for(&common_name, name)) {
            return Ok(());
        }
        Err(CertificateError::NotValidForNameContext {
            expected: name.to_owned(),
            presented: certificate.common_name().into_iter().collect(),
        }
        .into())
    }

    fn leave_reason(&self, certificate: &Certificate, error: &Error, now: UnixTime) {
        let mut sentence = self.check.sentence(certificate, error, None, now);
        if !self.cn_fallback && !certificate.has_alternative_names() {
            sentence.push_str("; or accept the name in its CN: --cn-fallback");
        }
        refusal::leave_reason(sentence);
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .verify_by_webpki(leaf, intermediates, name, now)
            .or_else(|error| match Certificate::parse(leaf) {
                Err(_) => Err(error),
                Ok(certificate) => self
                    .verify_by_common_name(&certificate, name, now, error)
                    .inspect_err(|error| self.leave_reason(&certificate, error, now)),
            });
        verified.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check.verify_signature(&HandshakeSignature {
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
        self.check.verify_signature(&HandshakeSignature {
            version: ProtocolVersion::TLSv1_3,
            message,
            leaf,
            signature,
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.check.algorithms.supported_schemes()
    }
}

fn is_of_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

/// RFC 6125, 6.4.4: a whole DNS name, or `*` for its first label. An address never matches a CN.
fn is_for(common_name: &str, name: &ServerName<'_>) -> bool {
    let ServerName::DnsName(name) = name else {
        return false;
    };
    let name = name.as_ref();
    if common_name.eq_ignore_ascii_case(name) {
        return true;
    }
    let rest = name.split_once('.').map(|(_, rest)| rest);
    let pattern = common_name.strip_prefix("*.");
    // `*.com` would match too many names.
    pattern
        .zip(rest)
        .is_some_and(|(pattern, rest)| pattern.contains('.') && pattern.eq_ignore_ascii_case(rest))
}
