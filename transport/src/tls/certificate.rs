//! Parses the parts of an X.509 certificate (RFC 5280) that webpki does not report: names, sizes, versions, purposes.
//!
//! Invariant: this file never decides that a certificate is trusted. webpki decides that, and [`super::version1`] for
//! version 1.

use std::fmt;

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_cert::certificate::{CertificateInner, Raw, TbsCertificateInner, Version};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{AnyRef, Decode, Encode, Reader, SliceReader, asn1::BitStringRef};
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName, name::GeneralName,
};
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::identity;

/// rsaEncryption (RFC 8017, appendix C).
pub(super) const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
/// Signature algorithms whose hash is broken.
const WEAK_SIGNATURES: [(ObjectIdentifier, &str); 4] = [
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"), "SHA-1"),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"), "SHA-1"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"), "MD5"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2"), "MD2"),
];

/// Smallest number of bits of an RSA key: the minimum of aws-lc-rs.
pub(super) const RSA_BITS_MIN: u32 = 2048;

/// A certificate that could be parsed.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    der: CertificateDer<'static>,
    inner: CertificateInner<Raw>,
}

/// The purpose of a certificate: a server's or a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

impl Purpose {
    pub(super) fn word(self) -> &'static str {
        match self {
            Purpose::Server => "server",
            Purpose::Client => "client",
        }
    }
}

/// The signed part of a certificate or a revocation list, and its signature.
pub(super) struct Signed<'a> {
    pub(super) message: &'a [u8],
    /// The content of the AlgorithmIdentifier, without its outer header, as `pki_types::AlgorithmIdentifier` has it.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl Certificate {
    /// Parses a certificate.
    ///
    /// # Errors
    /// Why it cannot be parsed.
    pub(super) fn parse(der: &CertificateDer<'_>) -> Result<Self, String> {
        let inner = CertificateInner::from_der(der).map_err(|error| error.to_string())?;
        Ok(Self {
            der: der.clone().into_owned(),
            inner,
        })
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    fn fields(&self) -> &TbsCertificateInner<Raw> {
        self.inner.tbs_certificate()
    }

    /// X.509 version 1 or 2: created before extensions existed, or by `openssl x509 -req` of OpenSSL before 3.2.
    pub(super) fn is_old_version(&self) -> bool {
        self.fields().version() != Version::V3
    }

    /// The X.509 version: 1, 2 or 3.
    pub(super) fn version(&self) -> u8 {
        match self.fields().version() {
            Version::V1 => 1,
            Version::V2 => 2,
            Version::V3 => 3,
        }
    }

    /// Whether it has extensions at all.
    pub(super) fn has_extensions(&self) -> bool {
        self.fields().extensions().is_some()
    }

    pub(super) fn subject(&self) -> &Name {
        self.fields().subject()
    }

    pub(super) fn issuer(&self) -> &Name {
        self.fields().issuer()
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.subject() == self.issuer()
    }

    /// The first common name, if it is text.
    pub(super) fn common_name(&self) -> Option<String> {
        identity::common_name(self.subject()).ok().flatten()
    }

    pub(super) fn serial(&self) -> &[u8] {
        without_leading_zeros(self.fields().serial_number().as_bytes())
    }

    pub(super) fn not_before(&self) -> Time {
        self.fields().validity().not_before
    }

    pub(super) fn not_after(&self) -> Time {
        self.fields().validity().not_after
    }

    pub(super) fn is_expired(&self, now: UnixTime) -> bool {
        self.not_after().to_unix_duration().as_secs() < now.as_secs()
    }

    pub(super) fn is_not_yet_valid(&self, now: UnixTime) -> bool {
        now.as_secs() < self.not_before().to_unix_duration().as_secs()
    }

    /// The size of an RSA key; `None` for other kinds.
    pub(super) fn rsa_bits(&self) -> Option<u32> {
        let key = self.fields().subject_public_key_info();
        (key.algorithm.oid == RSA_ENCRYPTION).then_some(())?;
        // RFC 8017, appendix A.1.1: modulus and exponent.
        let fields = AnyRef::from_der(key.subject_public_key.as_bytes()?).ok()?;
        let mut reader = SliceReader::new(fields.value()).ok()?;
        let modulus = AnyRef::decode(&mut reader).ok()?;
        Some(rsa_modulus_bits(modulus.value()))
    }

    /// The bits of the RSA key, if they are fewer than [`RSA_BITS_MIN`].
    pub(super) fn weak_key_bits(&self) -> Option<u32> {
        self.rsa_bits().filter(|bits| *bits < RSA_BITS_MIN)
    }

    /// The name of the broken hash that the signature is made with. A root's own signature does not matter.
    pub(super) fn weak_signature(&self) -> Option<&'static str> {
        if self.is_self_issued() {
            return None;
        }
        let signature = self.inner.signature_algorithm().oid;
        WEAK_SIGNATURES
            .iter()
            .find(|(algorithm, _)| *algorithm == signature)
            .map(|(_, hash)| *hash)
    }

    /// basicConstraints: `Some(true)` for an authority, `None` if there is no such extension.
    pub(super) fn is_authority(&self) -> Option<bool> {
        let (_, constraints) = self.fields().get_extension::<BasicConstraints>().ok()??;
        Some(constraints.ca)
    }

    /// Whether it may sign certificates, according to its extensions. Version 1 has none and may.
    pub(super) fn may_sign_certificates(&self) -> bool {
        let usage = self.fields().get_extension::<KeyUsage>();
        let by_usage = match usage {
            Ok(None) => true,
            Ok(Some((_, usage))) => usage.key_cert_sign(),
            Err(_) => false,
        };
        by_usage && self.is_authority() != Some(false)
    }

    /// Whether it may sign revocation lists.
    pub(super) fn may_sign_revocation_lists(&self) -> bool {
        match self.fields().get_extension::<KeyUsage>() {
            Ok(None) => true,
            Ok(Some((_, usage))) => usage.crl_sign(),
            Err(_) => false,
        }
    }

    /// Whether it restricts the names of the certificates that it signs.
    pub(super) fn has_name_constraints(&self) -> bool {
        !matches!(self.fields().get_extension::<NameConstraints>(), Ok(None))
    }

    /// Whether the extended key usage allows this use; without the extension it is allowed.
    pub(super) fn allows(&self, purpose: Purpose) -> bool {
        let wanted = match purpose {
            Purpose::Server => SERVER_AUTH,
            Purpose::Client => CLIENT_AUTH,
        };
        match self.fields().get_extension::<ExtendedKeyUsage>() {
            Ok(Some((_, usage))) => usage.0.contains(&wanted) || usage.0.contains(&ANY_PURPOSE),
            _ => true,
        }
    }

    /// The DNS names and addresses for which it is valid; `None` without the extension.
    pub(super) fn alternative_names(&self) -> Option<Vec<String>> {
        let (_, names) = self.fields().get_extension::<SubjectAltName>().ok()??;
        let text = |name: &GeneralName| match name {
            GeneralName::DnsName(name) => Some(name.to_string()),
            GeneralName::IpAddress(address) => ip_address(address.as_bytes()),
            _ => None,
        };
        Some(names.0.iter().filter_map(text).collect())
    }

    /// Whether there is such an extension, readable or not.
    pub(super) fn has_alternative_names(&self) -> bool {
        !matches!(self.fields().get_extension::<SubjectAltName>(), Ok(None))
    }

    pub(super) fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'static>> {
        let der = self.fields().subject_public_key_info().to_der().ok()?;
        Some(SubjectPublicKeyInfoDer::from(der))
    }

    pub(super) fn signed(&self) -> Option<Signed<'_>> {
        Signed::parse(&self.der)
    }
}

/// For messages: the common name, or the whole subject, escaped.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.common_name() {
            Some(name) => write!(f, "CN={}", name.escape_default()),
            None => write!(f, "{}", identity::shown(self.subject())),
        }
    }
}

impl<'a> Signed<'a> {
    /// Splits a `SEQUENCE { message, AlgorithmIdentifier, BIT STRING }`, the structure of both certificates and
    /// revocation lists (RFC 5280, 4.1.1 and 5.1.1).
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let content = AnyRef::from_der(der).ok()?.value();
        let mut reader = SliceReader::new(content).ok()?;
        let message = reader.tlv_bytes().ok()?;
        let algorithm = AnyRef::decode(&mut reader).ok()?.value();
        let signature = BitStringRef::decode(&mut reader).ok()?.as_bytes()?;
        reader.is_finished().then_some(Self {
            message,
            algorithm,
            signature,
        })
    }
}

/// The number of bits of a big-endian modulus.
pub(super) fn rsa_modulus_bits(modulus: &[u8]) -> u32 {
    let modulus = without_leading_zeros(modulus);
    let Some(first) = modulus.first() else {
        return 0;
    };
    (modulus.len() as u32)
        .saturating_mul(8)
        .saturating_sub(first.leading_zeros())
}

pub(super) fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn ip_address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| std::net::IpAddr::from(octets).to_string());
    let v6 = <[u8; 16]>::try_from(bytes).map(|octets| std::net::IpAddr::from(octets).to_string());
    v4.or(v6).ok()
}
