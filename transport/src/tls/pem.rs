//! Certificates and keys out of PEM files.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsConfigError;

/// All certificates of a file, at least one.
pub(super) fn certificates(
    path: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let bytes = read(path, what)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let not_pem = |detail: String| TlsConfigError::NotPem {
        what,
        path: path.to_owned(),
        detail,
    };
    match found {
        Ok(found) if found.is_empty() => Err(not_pem("no CERTIFICATE".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(not_pem(error.to_string())),
    }
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC1.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    let bytes = read(path, "the private key file")?;
    if is_encrypted(&bytes) {
        return Err(TlsConfigError::EncryptedKey {
            path: path.to_owned(),
        });
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| TlsConfigError::NotPem {
        what: "the private key file",
        path: path.to_owned(),
        detail: match error {
            pem::Error::NoItemsFound => "no PRIVATE KEY".to_owned(),
            other => other.to_string(),
        },
    })
}

/// The trusted certificates of a CA file.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "the CA file")? {
        roots
            .add(certificate)
            .map_err(|error| TlsConfigError::Authority {
                path: path.to_owned(),
                detail: error.to_string(),
            })?;
    }
    Ok(roots)
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsConfigError> {
    std::fs::read(path).map_err(|source| TlsConfigError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}

/// Both ways in which OpenSSL marks an encrypted key: PKCS#8's label, and RFC 1421's header.
fn is_encrypted(bytes: &[u8]) -> bool {
    let contains = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    contains(b"BEGIN ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED")
}
