//! Reads certificates, authorities and revocation lists from PEM files and folders.
//!
//! Invariants: an error names the file. A file without a certificate or list is also an error.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::certificate::Certificate;
use super::{PemBlock, TlsConfigError};

/// Largest size of a PEM file; a larger one is probably the wrong file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Trusted authorities, as webpki requires them and in parsed form.
pub(super) struct Authorities {
    pub(super) roots: RootCertStore,
    pub(super) certificates: Vec<Certificate>,
    /// The file or folder from which they came, for messages.
    pub(super) source: String,
}

/// All certificates of a file, at least one.
pub(super) fn certificates(
    path: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    blocks(path, what, PemBlock::Certificate)
}

/// All revocation lists of a file, at least one.
pub(super) fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsConfigError> {
    blocks(path, "the revocation list (crlfile)", PemBlock::RevocationList)
}

/// All blocks of one kind, at least one.
fn blocks<T: PemObject>(path: &Path, what: &'static str, block: PemBlock) -> Result<Vec<T>, TlsConfigError> {
    let bytes = read(path, what, block)?;
    let found: Result<Vec<T>, _> = T::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(not_pem(path, what, block, &pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(not_pem(path, what, block, &error)),
    }
}

/// The authorities of a file, of a folder, or of both.
pub(super) fn authorities(file: Option<&Path>, folder: Option<&Path>) -> Result<Authorities, TlsConfigError> {
    let mut paths: Vec<PathBuf> = file.map(Path::to_owned).into_iter().collect();
    if let Some(folder) = folder {
        paths.extend(hashed_files(folder)?);
    }
    let mut authorities = Authorities {
        roots: RootCertStore::empty(),
        certificates: Vec::new(),
        source: [file, folder]
            .into_iter()
            .flatten()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(" and "),
    };
    for path in &paths {
        authorities.add_file(path)?;
    }
    Ok(authorities)
}

impl Authorities {
    fn add_file(&mut self, path: &Path) -> Result<(), TlsConfigError> {
        for der in certificates(path, "the CA file")? {
            let unusable = |detail: String| TlsConfigError::Authority {
                path: path.to_owned(),
                detail,
            };
            let parsed = Certificate::parse(&der).map_err(|_| unusable(damaged(path)))?;
            self.certificates.push(parsed);
            self.roots.add(der).map_err(|_| unusable(damaged(path)))?;
        }
        Ok(())
    }
}

/// What is wrong with an authority's certificate that cannot be parsed.
fn damaged(path: &Path) -> String {
    format!(
        "one of its CERTIFICATE blocks is not a certificate, or is damaged; check it with `openssl storeutl \
         -certs -text {}`, and use the original file of the authority",
        path.display()
    )
}

/// The files of a CA folder that OpenSSL would use: those named by the hash of a subject, `0a1b2c3d.0`. The others may
/// be anything, for example a server's certificate, and must not become trusted.
fn hashed_files(folder: &Path) -> Result<Vec<PathBuf>, TlsConfigError> {
    let what = "the CA folder (capath)";
    let unreadable = |source| TlsConfigError::Unreadable {
        what,
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_hashed)
        {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(TlsConfigError::Authority {
            path: folder.to_owned(),
            detail: format!(
                "no certificate in this folder is named by its hash, as capath requires: run `openssl rehash {}`",
                folder.display()
            ),
        });
    }
    Ok(paths)
}

fn is_hashed(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        let is_hash = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(super) fn read(path: &Path, what: &'static str, block: PemBlock) -> Result<Vec<u8>, TlsConfigError> {
    let unreadable = |source| TlsConfigError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(not_pem(path, what, block, &pem::Error::SectionTooLarge));
    }
    fs::read(path).map_err(unreadable)
}

pub(super) fn not_pem(
    path: &Path,
    what: &'static str,
    block: PemBlock,
    error: &pem::Error,
) -> TlsConfigError {
    let detail = match error {
        pem::Error::NoItemsFound => format!("there is no {} in it", block.label()),
        pem::Error::MissingSectionEnd { .. } => {
            "it ends within a block, before the END line: it was cut off".to_owned()
        }
        pem::Error::IllegalSectionStart { .. } => "one of its BEGIN lines is damaged".to_owned(),
        pem::Error::SectionTooLarge => "it is too large".to_owned(),
        _ => "one of its blocks is not base64: it is damaged".to_owned(),
    };
    TlsConfigError::NotPem {
        what,
        block,
        path: path.to_owned(),
        detail,
    }
}
