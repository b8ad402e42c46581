//! Revocation lists (RFC 5280, section 5) for certificates of version 1; webpki handles those of version 3.
//!
//! Invariant: as with webpki, a certificate is refused if its issuer has no list, or a list that is out of date: an
//! operator who configures a list relies on it.
//! configures a list wants to know.

use std::collections::HashSet;
use std::path::Path;

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateRevocationListDer, UnixTime};
use x509_cert::certificate::Raw;
use x509_cert::crl::CertificateList;
use x509_cert::der::{AnyRef, Decode, SliceReader, Tag, Tagged};
use x509_cert::name::Name;

use super::TlsConfigError;
use super::certificate::{Certificate, Signed, without_leading_zeros};
use super::version1::is_signed_by;

/// The lists of known authorities.
#[derive(Debug, Default)]
pub(super) struct Revocations(Vec<List>);

#[derive(Debug)]
struct List {
    issuer: Name,
    next_update: UnixTime,
    serials: HashSet<Box<[u8]>>,
}

impl Revocations {
    /// Parses lists. Those of issuers that are not among the authorities are left to webpki, which may meet their
    /// issuer in a handshake.
    ///
    /// # Errors
    /// A list cannot be used, or the authority with its issuer's name did not sign it.
    pub(super) fn read(
        path: &Path,
        lists: &[CertificateRevocationListDer<'_>],
        authorities: &[Certificate],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Self, TlsConfigError> {
        let mut revocations = Self::default();
        for der in lists {
            let list =
                read_list(der, authorities, algorithms).map_err(|detail| TlsConfigError::Unusable {
                    what: "the revocation list (crlfile)",
                    path: path.to_owned(),
                    detail,
                })?;
            revocations.0.extend(list);
        }
        Ok(revocations)
    }

    /// Whether a certificate that this authority signed is revoked.
    pub(super) fn check(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let mut lists = self.0.iter().filter(|list| list.issuer == *issuer.subject());
        let Some(first) = lists.next() else {
            return Err(CertificateError::UnknownRevocationStatus);
        };
        let all = || std::iter::once(first).chain(lists.clone());
        if all().any(|list| list.serials.contains(certificate.serial())) {
            return Err(CertificateError::Revoked);
        }
        match all().map(|list| list.next_update).max() {
            Some(next_update) if next_update < now => Err(CertificateError::ExpiredRevocationListContext {
                time: now,
                next_update,
            }),
            _ => Ok(()),
        }
    }
}

fn read_list(
    der: &CertificateRevocationListDer<'_>,
    authorities: &[Certificate],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Option<List>, String> {
    let list = CertificateList::<Raw>::from_der(der).map_err(|error| match has_no_version(der) {
        true => VERSION_1.to_owned(),
        false => format!("it cannot be read ({error})"),
    })?;
    let fields = &list.tbs_cert_list;
    let extensions = fields.crl_extensions.as_ref().ok_or(VERSION_1)?;
    if extensions.iter().any(|extension| extension.critical) {
        return Err("it covers only some of the certificates; a list of all is required".to_owned());
    }
    let next_update = fields
        .next_update
        .ok_or("it has no date of its next update: openssl ca -gencrl -crldays 30")?;
    let signed = Signed::parse(der).ok_or("it cannot be read")?;
    let mut namesakes = authorities
        .iter()
        .filter(|authority| *authority.subject() == fields.issuer)
        .peekable();
    if namesakes.peek().is_none() {
        return Ok(None);
    }
    let is_signed = namesakes
        .filter(|authority| authority.may_sign_revocation_lists())
        .filter_map(Certificate::public_key)
        .any(|key| is_signed_by(&signed, &key, algorithms));
    if !is_signed {
        return Err(
            "the authority with its issuer's name did not sign it: openssl ca -gencrl with that authority's key"
                .to_owned(),
        );
    }
    let revoked = fields.revoked_certificates.iter().flatten();
    Ok(Some(List {
        issuer: fields.issuer.clone(),
        next_update: UnixTime::since_unix_epoch(next_update.to_unix_duration()),
        serials: revoked
            .map(|entry| without_leading_zeros(entry.serial_number.as_bytes()).into())
            .collect(),
    }))
}

/// Whether the list starts without the version field, which version 2 requires.
fn has_no_version(der: &[u8]) -> bool {
    let first_field = |der: &[u8]| -> Option<Tag> {
        let list = AnyRef::from_der(der).ok()?;
        let fields = AnyRef::decode(&mut SliceReader::new(list.value()).ok()?).ok()?;
        let first = AnyRef::decode(&mut SliceReader::new(fields.value()).ok()?).ok()?;
        Some(first.tag())
    };
    first_field(der) == Some(Tag::Sequence)
}

const VERSION_1: &str =
    "it is of version 1: set `crlnumber` in the authority's openssl.cnf, then openssl ca -gencrl";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_is_recognized() {
        let version_1 = b"\x30\x04\x30\x02\x30\x00";
        let version_2 = b"\x30\x05\x30\x03\x02\x01\x01";
        assert!(has_no_version(version_1));
        for other in [&version_2[..], b"", b"\x30\x00", b"\x30\x02\x30\x00", b"text"] {
            assert!(!has_no_version(other), "{other:x?}");
        }
    }
}
