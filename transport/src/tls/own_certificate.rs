//! Checks the program's own certificate and key. What makes them unusable is an error, what some peers will refuse is
//! a warning.
//!
//! Invariants: none.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey};

use super::certificate::{Certificate, Purpose, RSA_BITS_MIN};
use super::issue::Issue;
use super::passphrase::KeyPassphrase;
use super::private_key::{self, PrivateKey};
use super::{TlsConfigError, files};

/// A certificate chain with its key, and the warnings about them.
pub(super) struct OwnCertificate {
    pub(super) certified: CertifiedKey,
    pub(super) warnings: Vec<String>,
    /// When it expires, in seconds since 1970; `None` if it could not be parsed.
    pub(super) not_after_s: Option<u64>,
}

/// Reads a certificate chain and its private key, and checks that they can be used together.
pub(super) fn own_certificate(
    paths: (&Path, &Path),
    purpose: Purpose,
    passphrase: &dyn KeyPassphrase,
    provider: &CryptoProvider,
) -> Result<OwnCertificate, TlsConfigError> {
    let (certificate_path, key_path) = paths;
    let chain = files::certificates(certificate_path, "the certificate file")?;
    let looked_into = chain.first().map(Certificate::parse);
    match (&looked_into, chain.first()) {
        (Some(Ok(certificate)), _) => check_certificate(certificate, certificate_path, purpose)?,
        (Some(Err(_)), Some(first)) if ParsedCertificate::try_from(first).is_err() => {
            return Err(TlsConfigError::Unusable {
                what: "the certificate file",
                path: certificate_path.to_owned(),
                detail: format!(
                    "its first CERTIFICATE block is not a certificate: check it with `openssl x509 -in {} \
                     -noout -text`, and use the file as it was issued",
                    certificate_path.display()
                ),
            });
        }
        _ => {}
    }
    let again = Issue::again(
        purpose,
        looked_into.as_ref().and_then(|parsed| parsed.as_ref().ok()),
    );
    let PrivateKey { key, unreadable } = private_key::private_key(key_path, passphrase)?;
    let key = signing_key(key, paths, &again, provider)?;
    let (mut warnings, mut not_after_s) = (Vec::new(), None);
    match &looked_into {
        Some(Ok(certificate)) => {
            not_after_s = Some(certificate.not_after().to_unix_duration().as_secs());
            check_pair(certificate, &*key, paths, unreadable.as_ref())?;
            warnings = warnings_about(certificate, purpose)
                .into_iter()
                .map(|text| format!("{}: {text}", certificate_path.display()))
                .collect();
        }
        Some(Err(cause)) => warnings.push(format!(
            "{}: parts of the certificate do not conform to X.509 ({cause}), so its names, dates and purpose \
             are not checked here and some clients may refuse it; issue it again: {}",
            certificate_path.display(),
            again.sign()
        )),
        None => {}
    }
    warnings.extend(unreadable.map(|cause| kept_key(key_path, &cause)));
    warnings.extend(readable_by_all(key_path));
    let certified = CertifiedKey::new(chain, key);
    Ok(OwnCertificate {
        certified,
        warnings,
        not_after_s,
    })
}

fn check_certificate(certificate: &Certificate, path: &Path, purpose: Purpose) -> Result<(), TlsConfigError> {
    let again = Issue::again(purpose, Some(certificate));
    let detail = if let Some(bits) = certificate.weak_key_bits() {
        weak_key(bits, &again)
    } else if let Some(hash) = certificate.weak_signature() {
        format!(
            "it is signed with {hash}, which is broken and which clients refuse; sign it again: {}",
            again.sign()
        )
    } else {
        return Ok(());
    };
    Err(TlsConfigError::Unusable {
        what: "the certificate file",
        path: path.to_owned(),
        detail,
    })
}

fn signing_key(
    key: PrivateKeyDer<'static>,
    (certificate_path, key_path): (&Path, &Path),
    again: &Issue,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, TlsConfigError> {
    let bits = private_key::rsa_bits(&key).filter(|bits| *bits < RSA_BITS_MIN);
    if let Some(bits) = bits {
        return Err(TlsConfigError::Unusable {
            what: "the private key file",
            path: key_path.to_owned(),
            detail: weak_key(bits, again),
        });
    }
    provider
        .key_provider
        .load_private_key(key)
        .map_err(|source| TlsConfigError::Refused {
            certificate: certificate_path.to_owned(),
            key: key_path.to_owned(),
            source,
        })
}

/// rustls's check cannot read certificates of version 1.
pub(super) fn check_pair(
    certificate: &Certificate,
    key: &dyn SigningKey,
    (certificate_path, key_path): (&Path, &Path),
    unreadable: Option<&io::Error>,
) -> Result<(), TlsConfigError> {
    let of_key = key.public_key();
    let of_certificate = certificate.public_key();
    match of_key.zip(of_certificate) {
        Some((of_key, of_certificate)) if of_key.as_ref() != of_certificate.as_ref() => {
            let (certificate, key) = (certificate_path.to_owned(), key_path.to_owned());
            Err(match unreadable {
                None => TlsConfigError::NotTogether { certificate, key },
                Some(cause) => TlsConfigError::NotOfKeptKey {
                    certificate,
                    key,
                    cause: cause.to_string(),
                },
            })
        }
        _ => Ok(()),
    }
}

/// What some peers refuse. Dates are warnings too: the clock may be set after the start, so they do not prevent a
/// start.
fn warnings_about(certificate: &Certificate, purpose: Purpose) -> Vec<String> {
    let now = UnixTime::now();
    let again = Issue::again(purpose, Some(certificate));
    let mut warnings = Vec::new();
    if certificate.is_expired(now) {
        let at = certificate.not_after();
        warnings.push(format!(
            "the certificate expired at {at}, so peers will refuse it; issue it again: {}",
            again.sign()
        ));
    }
    if certificate.is_not_yet_valid(now) {
        let at = certificate.not_before();
        warnings.push(format!(
            "the certificate is valid only from {at}, so peers will refuse it until then; check this machine's clock \
             with `date`"
        ));
    }
    if certificate.is_authority() == Some(true) && !certificate.is_self_issued() {
        warnings.push(format!(
            "it is the certificate of an authority (CA:TRUE), which some peers refuse; issue one with CA:FALSE: {}",
            again.sign()
        ));
    }
    if !certificate.allows(purpose) {
        let usage = match purpose {
            Purpose::Server => "serverAuth",
            Purpose::Client => "clientAuth",
        };
        warnings.push(format!(
            "the certificate's extended key usage lacks {usage}, so peers will refuse it; issue one that has it: {}",
            again.with_usage(usage).sign()
        ));
    }
    warnings.extend(names(certificate, purpose));
    warnings
}

fn names(certificate: &Certificate, purpose: Purpose) -> Option<String> {
    let version = certificate.version();
    let again = Issue::again(purpose, Some(certificate));
    if purpose == Purpose::Server && !certificate.has_alternative_names() {
        let only_cn = match version {
            3 => "the name of the certificate is only in its CN".to_owned(),
            _ => format!("the certificate is of X.509 version {version} and its name is only in its CN"),
        };
        return Some(format!(
            "{only_cn}, which many clients refuse (Go, rustls, browsers); issue one with subjectAltName: {}",
            again.sign()
        ));
    }
    (version < 3).then(|| {
        format!(
            "the certificate is of X.509 version {version}, which many peers refuse; use one of version 3: {}",
            again.sign()
        )
    })
}

fn weak_key(bits: u32, again: &Issue) -> String {
    format!(
        "its RSA key has {bits} bits, and at least {RSA_BITS_MIN} are required; create a new key and certificate: {}",
        again.new_key()
    )
}

pub(super) fn kept_key(key: &Path, cause: &io::Error) -> String {
    format!(
        "{}: the private key file can no longer be read ({cause}), so the key that was read at the start is used, \
         and a new key in the file has no effect; let the user who runs this read the file, or restart it as root",
        key.display()
    )
}

fn readable_by_all(key: &Path) -> Option<String> {
    let mode = fs::metadata(key).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| {
        let key = key.display();
        format!("{key}: every user of this machine may read the private key: chmod 600 {key}")
    })
}

/// Warnings about authorities whose clients' certificates will be refused, now or soon.
pub(super) fn warnings_about_authorities(authorities: &files::Authorities) -> Vec<String> {
    let now = UnixTime::now();
    let mut warnings = Vec::new();
    for authority in &authorities.certificates {
        if let Some(bits) = authority.weak_key_bits() {
            warnings.push(format!(
                "{}: the RSA key of the authority {authority} has {bits} bits, so every certificate that it signed is \
                 refused; create a new authority: openssl req -new -x509 -newkey rsa:2048 -days 3650 -keyout ca.key \
                 -out ca.crt",
                authorities.source
            ));
        }
        if authority.is_expired(now) {
            warnings.push(format!(
                "{}: the certificate of the authority {authority} expired at {}; clients that check it \
                 refuse it: openssl x509 -in ca.crt -signkey ca.key -days 3650 -out ca.crt",
                authorities.source,
                authority.not_after()
            ));
        }
    }
    warnings
}
