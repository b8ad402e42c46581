//! The common part of checking clients' and servers' certificates: the authorities, certificates of X.509 version 1,
//! the signature of the handshake, and the sentence about a refusal.
//!
//! Invariants: webpki checks first. The second check accepts only certificates of version 1, and those only if
//! `accept_version_1` is set.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, ProtocolVersion};

use super::certificate::{Certificate, Purpose};
use super::refusal::{self, Scene};
use super::version1;

/// One side's check of the other side's certificate.
#[derive(Debug)]
pub(super) struct PeerCheck {
    pub(super) peer: Purpose,
    pub(super) authorities: Vec<Certificate>,
    /// The file or folder of the authorities.
    pub(super) source: String,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) accept_version_1: bool,
}

/// The signature with which the peer proves that it has the key of its certificate.
pub(super) struct HandshakeSignature<'a> {
    pub(super) version: ProtocolVersion,
    pub(super) message: &'a [u8],
    pub(super) leaf: &'a CertificateDer<'a>,
    pub(super) signature: &'a DigitallySignedStruct,
}

impl PeerCheck {
    /// Whether the certificate is of version 1 and is to be checked with [`PeerCheck::verify_version_1`].
    pub(super) fn accepts_version_of(&self, certificate: &Certificate) -> bool {
        certificate.is_old_version() && self.accept_version_1
    }

    /// The authority that signed this certificate of version 1.
    pub(super) fn verify_version_1(
        &self,
        certificate: &Certificate,
        at: UnixTime,
    ) -> Result<&Certificate, CertificateError> {
        version1::verify(certificate, &self.authorities, &self.algorithms, at)
    }

    /// Checks the signature; if it is refused and the certificate can be parsed, leaves the reason.
    pub(super) fn verify_signature(
        &self,
        proof: &HandshakeSignature<'_>,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = match proof.version {
            ProtocolVersion::TLSv1_3 => {
                verify_tls13_signature(proof.message, proof.leaf, proof.signature, &self.algorithms)
            }
            _ => verify_tls12_signature(proof.message, proof.leaf, proof.signature, &self.algorithms),
        };
        verified.or_else(|error| self.verify_signature_again(proof, error))
    }

    /// What webpki refused with `error` may be of version 1.
    fn verify_signature_again(
        &self,
        proof: &HandshakeSignature<'_>,
        error: Error,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Ok(certificate) = Certificate::parse(proof.leaf) else {
            return Err(error);
        };
        let verified = if self.accepts_version_of(&certificate) {
            proof.verify_by_key(&certificate, &self.algorithms)
        } else {
            Err(error)
        };
        verified.inspect_err(|error| {
            if certificate.weak_key_bits().is_some() {
                let sentence = self.sentence(&certificate, error, None, UnixTime::now());
                return refusal::leave_reason(sentence);
            }
            let peer = self.peer.word();
            refusal::leave_reason(format!(
                "the {peer} with the certificate {certificate} does not prove that it has the key: {error}"
            ));
        })
    }

    /// The sentence about a certificate that was refused with `error`.
    pub(super) fn sentence(
        &self,
        certificate: &Certificate,
        error: &Error,
        revocation_list: Option<&str>,
        now: UnixTime,
    ) -> String {
        let scene = Scene {
            peer: self.peer,
            authorities: &self.authorities,
            source: &self.source,
            revocation_list,
            now,
        };
        scene.sentence(certificate, error)
    }
}

impl HandshakeSignature<'_> {
    /// Checks the signature with the key of the certificate, and nothing else about the certificate.
    pub(super) fn verify_by_key(
        &self,
        certificate: &Certificate,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        version1::verify_handshake(
            self.version,
            self.message,
            certificate,
            self.signature,
            algorithms,
        )
    }
}
