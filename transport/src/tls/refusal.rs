//! The reason of a failed handshake, in words for the log: the certificate, what is wrong with it, and the command
//! that fixes it.
//!
//! rustls has no place for such a text that would not change the alert that the peer gets. A verifier runs inside
//! [`crate::stream::SecureStream::open`], on the same thread. So it leaves its text in a thread-local cell, and `open`
//! takes it from there.
//!
//! Invariant: `open` takes the text whenever a handshake fails, so no text outlives its connection.

use std::cell::RefCell;

use rustls::pki_types::UnixTime;
use rustls::{CertRevocationListError, CertificateError, Error};
use x509_cert::der::DateTime;

use super::certificate::{Certificate, Purpose};
use super::fault::{certificate_fault, list_fault};
use super::identity;
use super::issue::Issue;

thread_local! {
    static REASON: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
    static WARNING: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// Leaves the text about a refusal.
pub(super) fn leave_reason(text: String) {
    REASON.set(Some(text.into()));
}

/// Leaves a warning about something that was accepted.
pub(super) fn leave_warning(text: String) {
    WARNING.set(Some(text.into()));
}

pub(crate) fn take_reason() -> Option<Box<str>> {
    REASON.take()
}

pub(crate) fn take_warning() -> Option<Box<str>> {
    WARNING.take()
}

/// What a verifier knows in addition to the certificate.
pub(super) struct Scene<'a> {
    /// The kind of certificate that was refused: a server's or a client's.
    pub(super) peer: Purpose,
    pub(super) authorities: &'a [Certificate],
    /// The path of the CA file or folder.
    pub(super) source: &'a str,
    /// The revocation list, if there is one.
    pub(super) revocation_list: Option<&'a str>,
    pub(super) now: UnixTime,
}

impl Scene<'_> {
    /// The sentence about a certificate that was refused with `error`.
    pub(super) fn sentence(&self, certificate: &Certificate, error: &Error) -> String {
        let peer = self.peer.word();
        let cause = self.cause(certificate, error);
        format!("the {peer}'s certificate {certificate} is refused: {cause}")
    }

    fn again(&self, certificate: &Certificate) -> Issue {
        Issue::again(self.peer, Some(certificate))
    }

    fn cause(&self, certificate: &Certificate, error: &Error) -> String {
        if let Some(cause) = self.by_error(certificate, error) {
            return cause;
        }
        if let Some(bits) = certificate.weak_key_bits() {
            return format!(
                "its RSA key has {bits} bits, and at least 2048 are required; create a new key and certificate: {}",
                self.again(certificate).new_key()
            );
        }
        if let Some(hash) = certificate.weak_signature() {
            return format!(
                "it is signed with {hash}, which is broken; sign it again: {}",
                self.again(certificate).sign()
            );
        }
        if certificate.is_old_version() {
            if let Some(cause) = self.of_issuer(certificate, error) {
                return cause;
            }
            return format!(
                "it is of X.509 version {}, which is not accepted here; use one of version 3: {}",
                certificate.version(),
                self.again(certificate).sign()
            );
        }
        if let Some(cause) = self.of_issuer(certificate, error) {
            return cause;
        }
        self.of_purpose(certificate).unwrap_or_else(|| {
            format!(
                "{}; issue it again: {}",
                certificate_fault(error),
                self.again(certificate).sign()
            )
        })
    }

    /// The sentence for errors that do not depend on the certificate's content.
    fn by_error(&self, certificate: &Certificate, error: &Error) -> Option<String> {
        let error = match error {
            Error::InvalidCertificate(error) => error,
            Error::InvalidCertRevocationList(error) => return Some(self.of_list(error)),
            _ => return None,
        };
        let list = self.revocation_list.unwrap_or("the revocation list");
        Some(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => self.expired(certificate),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
                "it is valid only from {}, and the time here is {}; set the clock that is wrong, or issue it again",
                certificate.not_before(),
                time(self.now)
            ),
            CertificateError::Revoked => format!(
                "it is revoked in {list}; give that {} a new certificate: {}",
                self.peer.word(),
                self.again(certificate).sign()
            ),
            CertificateError::UnknownRevocationStatus => format!(
                "{list} has no revocation list of its issuer {}; add one: openssl ca -gencrl -out crl.pem",
                identity::shown(certificate.issuer())
            ),
            CertificateError::ExpiredRevocationList => expired_list(list, None),
            CertificateError::ExpiredRevocationListContext { next_update, .. } => {
                expired_list(list, Some(*next_update))
            }
            CertificateError::NotValidForNameContext { expected, presented } => format!(
                "it is for {} and not for {}; connect to a name that it contains, or issue it again: {}",
                names(certificate, presented),
                expected.to_str(),
                Issue::for_server(&expected.to_str()).sign()
            ),
            _ => return None,
        })
    }

    fn expired(&self, certificate: &Certificate) -> String {
        if !certificate.is_expired(self.now) {
            return "a certificate between it and its authority expired; renew that one".to_owned();
        }
        format!(
            "it expired at {}; issue it again: {}",
            certificate.not_after(),
            self.again(certificate).sign()
        )
    }

    fn of_list(&self, error: &CertRevocationListError) -> String {
        let list = self.revocation_list.unwrap_or("the revocation list");
        format!(
            "{list} cannot be used, {}; create it again with the authority's key: openssl ca -gencrl -out crl.pem",
            list_fault(error)
        )
    }

    fn of_issuer(&self, certificate: &Certificate, error: &Error) -> Option<String> {
        let (issuer, source) = (identity::shown(certificate.issuer()), self.source);
        let is_known = self
            .authorities
            .iter()
            .any(|authority| authority.subject() == certificate.issuer());
        let fix = format!(
            "put its issuer's certificate there, or have it signed by one that is there: {}",
            self.again(certificate).sign()
        );
        match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) if source.is_empty() => Some(
                "no CA file was given to check it with; name one, for example --cafile ca.crt".to_owned(),
            ),
            Error::InvalidCertificate(CertificateError::UnknownIssuer) if certificate.is_self_issued() => {
                Some(format!("it is self-signed and not in {source}; {fix}"))
            }
            Error::InvalidCertificate(CertificateError::UnknownIssuer) if !is_known => {
                Some(format!("its issuer {issuer} is not in {source}; {fix}"))
            }
            Error::InvalidCertificate(CertificateError::BadSignature | CertificateError::UnknownIssuer)
                if is_known =>
            {
                Some(format!(
                    "{source} contains an authority named {issuer}, which did not sign it: perhaps a former authority \
                     of the same name did; {fix}"
                ))
            }
            _ => None,
        }
    }

    fn of_purpose(&self, certificate: &Certificate) -> Option<String> {
        let word = self.peer.word();
        if certificate.is_authority() == Some(true) {
            return Some(format!(
                "it is an authority's certificate (CA:TRUE) and not a {word}'s; issue one with CA:FALSE: {}",
                self.again(certificate).sign()
            ));
        }
        if !certificate.allows(self.peer) {
            let purpose = match self.peer {
                Purpose::Server => "serverAuth",
                Purpose::Client => "clientAuth",
            };
            return Some(format!(
                "its extended key usage lacks {purpose}; issue one that has it: {}",
                self.again(certificate).with_usage(purpose).sign()
            ));
        }
        None
    }
}

fn names(certificate: &Certificate, presented: &[String]) -> String {
    if let Some(names) = certificate.alternative_names().filter(|names| !names.is_empty()) {
        return names.join(", ").escape_default().to_string();
    }
    if presented.is_empty() {
        return "no name (it has only a CN and no subjectAltName)".to_owned();
    }
    presented.join(", ").escape_default().to_string()
}

fn expired_list(list: &str, next_update: Option<UnixTime>) -> String {
    let since = next_update.map_or(String::new(), |at| format!(" since {}", time(at)));
    format!(
        "{list} is out of date{since}, so it is unknown whether the certificate is revoked; renew it: \
         openssl ca -gencrl -out crl.pem"
    )
}

fn time(at: UnixTime) -> String {
    let duration = std::time::Duration::from_secs(at.as_secs());
    DateTime::from_unix_duration(duration).map_or_else(|_| at.as_secs().to_string(), |time| time.to_string())
}
