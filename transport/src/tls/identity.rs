//! The identity of a client from its certificate: the common name, or the subject in the form of RFC 2253.
//!
//! Invariant: an identity never contains what MQTT or an access rule would interpret: no control character, no `+`,
//! `#` or `/`. A certificate with such a name causes an error.

use std::fmt::Write as _;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Encode, Tag, Tagged};
use x509_cert::name::Name;

use super::certificate::Certificate;
use crate::stream::SecureStream;

/// Which part of a certificate names its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// The first common name (`use_identity_as_username`).
    CommonName,
    /// The subject as RFC 2253 writes it, as OpenSSL's `-nameopt RFC2253` does (`use_subject_as_username`).
    Subject,
}

/// Why a client's certificate does not give it an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The client sent no certificate.
    #[error(
        "the client sent no certificate, so it has no user name: `require_certificate true` makes certificates \
         a requirement"
    )]
    NoCertificate,
    /// The certificate cannot be parsed.
    #[error("the client's certificate cannot be read: {0}")]
    Unreadable(String),
    /// It has no such name.
    #[error(
        "the client's certificate has no common name: issue one with a CN, for example `openssl req -new -subj \
         /CN=NAME`"
    )]
    NoName,
    /// The name cannot be a user name.
    #[error(
        "the name {name:?} in the client's certificate cannot be a user name: {why}; issue one with a plain name in \
         UTF-8"
    )]
    Unusable {
        /// The name, escaped so that a log can show it.
        name: String,
        /// Why the name cannot be used.
        why: &'static str,
    },
}

/// The identity of the client at the other end of a server's stream, after its handshake.
///
/// # Errors
/// Why the certificate gives no identity.
pub fn client_identity(stream: &SecureStream, kind: IdentityKind) -> Result<String, IdentityError> {
    let leaf = stream.client_certificate();
    let leaf = leaf.ok_or(IdentityError::NoCertificate)?;
    let certificate = Certificate::parse(leaf).map_err(IdentityError::Unreadable)?;
    let name = match kind {
        IdentityKind::CommonName => common_name(certificate.subject())?.ok_or(IdentityError::NoName)?,
        IdentityKind::Subject => rfc2253(certificate.subject())?,
    };
    checked(name)
}

/// Requirement V27 of the operators' table: neither wildcards nor level separators, and nothing that would garble a
/// log. Returns the name, unless it cannot be a user name.
///
/// # Errors
/// It is empty, or contains characters with a meaning in topics or terminals.
pub fn checked(name: String) -> Result<String, IdentityError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.contains(['+', '#', '/']) {
        "it contains one of + # /, which have a meaning in topics"
    } else if name.contains(char::is_control) {
        "it contains control characters"
    } else {
        return Ok(name);
    };
    Err(unusable(name.as_bytes(), why))
}

fn unusable(name: &[u8], why: &'static str) -> IdentityError {
    let name = name.escape_ascii().to_string();
    IdentityError::Unusable { name, why }
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The first common name.
pub(super) fn common_name(subject: &Name) -> Result<Option<String>, IdentityError> {
    let found = subject.iter().find(|attribute| attribute.oid == COMMON_NAME);
    found.map(text).transpose()
}

/// A subject for messages: never fails.
pub(super) fn shown(subject: &Name) -> String {
    rfc2253(subject).unwrap_or_else(|_| subject.to_string().escape_default().to_string())
}

/// The subject, last part first, as OpenSSL's XN_FLAG_RFC2253: bytes outside ASCII are escaped as `\XX`, attributes
/// without a short name are written in hexadecimal.
pub(super) fn rfc2253(subject: &Name) -> Result<String, IdentityError> {
    let parts: Vec<_> = subject.iter_rdn().collect();
    let mut out = String::new();
    for (index, part) in parts.iter().rev().enumerate() {
        if index > 0 {
            out.push(',');
        }
        // OpenSSL also reverses the order within a multi-valued part.
        let attributes: Vec<_> = part.iter().collect();
        for (index, attribute) in attributes.iter().rev().enumerate() {
            if index > 0 {
                out.push('+');
            }
            push_attribute(&mut out, attribute)?;
        }
    }
    Ok(out)
}

fn push_attribute(out: &mut String, attribute: &AttributeTypeAndValue) -> Result<(), IdentityError> {
    let oid = attribute.oid.to_string();
    match SHORT_NAMES.iter().find(|(known, _)| *known == oid) {
        Some((_, name)) => {
            let value = text(attribute)?;
            // Writing to a String cannot fail.
            let _ = write!(out, "{name}=");
            push_escaped(out, &value);
        }
        None => {
            let der = attribute
                .value
                .to_der()
                .map_err(|error| IdentityError::Unreadable(error.to_string()))?;
            let _ = write!(out, "{oid}=#");
            for byte in der {
                let _ = write!(out, "{byte:02X}");
            }
        }
    }
    Ok(())
}

/// Appends a value, escaped as in RFC 2253, 2.4.
fn push_escaped(out: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (index, byte) in value.bytes().enumerate() {
        let at_an_end = (index == 0 && matches!(byte, b' ' | b'#')) || (index == last && byte == b' ');
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
            _ if at_an_end => out.extend(['\\', char::from(byte)]),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

/// The value of an attribute as text, from the kinds of strings that are UTF-8 or ASCII.
fn text(attribute: &AttributeTypeAndValue) -> Result<String, IdentityError> {
    let bytes = attribute.value.value();
    match attribute.value.tag() {
        Tag::BmpString => utf16(bytes),
        _ => std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| unusable(bytes, "it is not UTF-8")),
    }
}

fn utf16(bytes: &[u8]) -> Result<String, IdentityError> {
    let units = bytes
        .chunks(2)
        .map(|pair| <[u8; 2]>::try_from(pair).map(u16::from_be_bytes));
    let units: Result<Vec<u16>, _> = units.collect();
    units
        .ok()
        .and_then(|units| String::from_utf16(&units).ok())
        .ok_or_else(|| unusable(bytes, "it is not text"))
}

/// The short names that OpenSSL uses for types of attributes.
const SHORT_NAMES: [(&str, &str); 19] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];
