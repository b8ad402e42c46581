//! Certificates of X.509 version 1, which webpki refuses: `openssl x509 -req` before OpenSSL 3.2 creates them, and so
//! does every older tutorial.
//!
//! Invariants: such a certificate is accepted only if an authority that the operator named signed it directly; it has
//! no extensions that could be overlooked; an authority whose extensions forbid signing, or restrict names, signs
//! none. Signatures are checked with the same algorithms as everywhere, so weak keys and hashes remain refused.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, ProtocolVersion};
use x509_cert::der::{AnyRef, Decode, Reader, SliceReader, asn1::BitStringRef};

use super::certificate::{Certificate, Signed};

/// The authority that signed this certificate of an old version, if everything is right with it.
pub(super) fn verify<'a>(
    certificate: &Certificate,
    authorities: &'a [Certificate],
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Result<&'a Certificate, CertificateError> {
    if certificate.has_extensions() {
        return Err(CertificateError::BadEncoding);
    }
    if certificate.weak_key_bits().is_some() {
        return Err(CertificateError::BadSignature);
    }
    let mut namesakes = authorities
        .iter()
        .filter(|authority| authority.subject() == certificate.issuer())
        .filter(|authority| authority.may_sign_certificates() && !authority.has_name_constraints())
        .peekable();
    if namesakes.peek().is_none() {
        return Err(CertificateError::UnknownIssuer);
    }
    let signed = certificate.signed().ok_or(CertificateError::BadEncoding)?;
    let issuer = namesakes
        .find(|authority| {
            authority
                .public_key()
                .is_some_and(|key| is_signed_by(&signed, &key, algorithms))
        })
        .ok_or(CertificateError::BadSignature)?;
    check_dates(certificate, now)?;
    Ok(issuer)
}

fn check_dates(certificate: &Certificate, now: UnixTime) -> Result<(), CertificateError> {
    let at = |time: x509_cert::time::Time| UnixTime::since_unix_epoch(time.to_unix_duration());
    if certificate.is_not_yet_valid(now) {
        let not_before = at(certificate.not_before());
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        });
    }
    if certificate.is_expired(now) {
        let not_after = at(certificate.not_after());
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    Ok(())
}

/// Whether `signed` was signed by the key.
pub(super) fn is_signed_by(
    signed: &Signed<'_>,
    key: &SubjectPublicKeyInfoDer<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let Some((key_algorithm, key)) = take_apart(key) else {
        return false;
    };
    algorithms
        .all
        .iter()
        .filter(|algorithm| algorithm.signature_alg_id().as_ref() == signed.algorithm)
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm)
        .any(|algorithm| {
            algorithm
                .verify_signature(key, signed.message, signed.signature)
                .is_ok()
        })
}

/// Verifies the signature of a handshake with the key of a certificate.
pub(super) fn verify_handshake(
    version: ProtocolVersion,
    message: &[u8],
    certificate: &Certificate,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = certificate.public_key().ok_or(CertificateError::BadEncoding)?;
    if version == ProtocolVersion::TLSv1_3 {
        return verify_tls13_signature_with_raw_key(message, &key, signature, algorithms);
    }
    let (key_algorithm, key) = take_apart(&key).ok_or(CertificateError::BadEncoding)?;
    // RFC 5246, 4.7: in TLS 1.2 one scheme means several algorithms, depending on the curve of the key.
    let (_, candidates) = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signature.scheme)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let is_valid = candidates
        .iter()
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm)
        .any(|algorithm| {
            algorithm
                .verify_signature(key, message, signature.signature())
                .is_ok()
        });
    if is_valid {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

/// A SubjectPublicKeyInfo's algorithm, without the outer header, and its key.
fn take_apart<'a>(key: &'a SubjectPublicKeyInfoDer<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let content = AnyRef::from_der(key).ok()?.value();
    let mut reader = SliceReader::new(content).ok()?;
    let algorithm = AnyRef::decode(&mut reader).ok()?.value();
    let key = BitStringRef::decode(&mut reader).ok()?.as_bytes()?;
    reader.is_finished().then_some((algorithm, key))
}
