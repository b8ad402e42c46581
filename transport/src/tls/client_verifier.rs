//! Verifies clients' certificates: webpki's check, a second check for X.509 version 1, and a sentence for every
//! refusal.
//!
//! Invariants: webpki checks first, and only webpki decides about certificates of version 3, except that the operator
//! may accept expired ones. A client that is refused gets webpki's error, and so its alert. A certificate that webpki
//! accepts is not parsed again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ProtocolVersion, SignatureScheme,
};

use super::certificate::{Certificate, Purpose};
use super::issue::Issue;
use super::peer_check::{HandshakeSignature, PeerCheck};
use super::refusal;
use super::revocation::Revocations;

/// Largest number of certificates that were warned about; beyond it nothing is reported any more.
const WARNED_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) webpki: Arc<dyn ClientCertVerifier>,
    pub(super) check: PeerCheck,
    /// The revocation lists, and the name of their file.
    pub(super) revocations: Option<(Revocations, String)>,
    pub(super) ignore_dates: bool,
    /// The certificates of version 1 that were warned about.
    pub(super) warned: Mutex<HashSet<Box<[u8]>>>,
}

impl ClientVerifier {
    /// Checks a certificate that webpki refused: version 1 and expired ones may be accepted.
    fn second_look(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        error: Error,
    ) -> Result<ClientCertVerified, Error> {
        let certificate = match Certificate::parse(leaf) {
            Ok(certificate) => certificate,
            Err(cause) => {
                refusal::leave_reason(format!("the client's certificate cannot be read: {cause}"));
                return Err(error);
            }
        };
        let verified = if self.check.accepts_version_of(&certificate) {
            self.verify_old_version(&certificate, now)
        } else if self.ignore_dates && is_of_dates(&error) {
            self.verify_at_another_time(leaf, intermediates, &certificate, error)
        } else {
            Err(error)
        };
        verified.inspect_err(|error| self.leave_reason(&certificate, error, now))
    }

    fn verify_old_version(
        &self,
        certificate: &Certificate,
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let at = if self.ignore_dates {
            valid_time(certificate)
        } else {
            now
        };
        let issuer = self.check.verify_version_1(certificate, at)?;
        if let Some((revocations, _)) = &self.revocations {
            revocations.check(certificate, issuer, now)?;
        }
        self.warn_once(certificate);
        Ok(ClientCertVerified::assertion())
    }

    /// webpki cannot ignore the time, so it is called with a time at which the certificate was valid.
    fn verify_at_another_time(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        certificate: &Certificate,
        error: Error,
    ) -> Result<ClientCertVerified, Error> {
        self.webpki
            .verify_client_cert(leaf, intermediates, valid_time(certificate))
            .map_err(|other| if is_of_dates(&other) { error } else { other })
    }

    fn warn_once(&self, certificate: &Certificate) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < WARNED_MAX && warned.insert(certificate.serial().into()) {
            refusal::leave_warning(format!(
                "the client's certificate {certificate} is of X.509 version {}, which cannot state its purpose; \
                 it is accepted, but replace it with one of version 3: {}",
                certificate.version(),
                Issue::again(Purpose::Client, Some(certificate)).sign()
            ));
        }
    }

    fn leave_reason(&self, certificate: &Certificate, error: &Error, now: UnixTime) {
        let list = self.revocations.as_ref().map(|(_, file)| file.as_str());
        refusal::leave_reason(self.check.sentence(certificate, error, list, now));
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.webpki
            .verify_client_cert(leaf, intermediates, now)
            .or_else(|error| self.second_look(leaf, intermediates, now, error))
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
        self.webpki.supported_verify_schemes()
    }
}

fn is_of_dates(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}

fn valid_time(certificate: &Certificate) -> UnixTime {
    UnixTime::since_unix_epoch(certificate.not_before().to_unix_duration())
}
