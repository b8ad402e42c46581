//! Reads private keys from PEM files, including encrypted ones: PKCS#8 (RFC 5958) and the older form with the headers
//! of RFC 1421.
//!
//! Invariant: decrypted bytes are kept in buffers that are overwritten when dropped, until rustls has the key.

use std::io::{self, ErrorKind};
use std::path::Path;

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use des::TdesEde3;
use md5::{Digest, Md5};
use pkcs8::der::{AnyRef, Decode, asn1::UintRef};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use super::certificate::{RSA_ENCRYPTION, rsa_modulus_bits};
use super::files::{not_pem, read};
use super::passphrase::{KeyPassphrase, Passphrase};
use super::{PemBlock, TlsConfigError};

const WHAT: &str = "the private key file";
/// Number of wrong passphrases after which reading the key fails.
const ATTEMPTS_MAX: u32 = 3;

/// A private key, and whether its file could be read now.
#[derive(Debug)]
pub(super) struct PrivateKey {
    pub(super) key: PrivateKeyDer<'static>,
    /// Why the key is the one that was read earlier.
    pub(super) unreadable: Option<io::Error>,
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC1. `source` is used if it is encrypted.
pub(super) fn private_key(path: &Path, source: &dyn KeyPassphrase) -> Result<PrivateKey, TlsConfigError> {
    let (bytes, unreadable) = bytes_of(path, source)?;
    let bytes = Zeroizing::new(bytes);
    let key = match encrypted(&bytes) {
        Some(encrypted) => decrypt(path, &encrypted, source)?,
        None => PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|error| not_pem(path, WHAT, PemBlock::PrivateKey, &error))?,
    };
    Ok(PrivateKey { key, unreadable })
}

fn bytes_of(path: &Path, source: &dyn KeyPassphrase) -> Result<KeyBytes, TlsConfigError> {
    let bytes = read(path, WHAT, PemBlock::PrivateKey);
    if let Ok(bytes) = &bytes {
        source.keep_key(path, bytes);
    }
    or_kept(bytes, path, source)
}

/// Returns what was read. If this process may no longer read the file, returns the bytes from when it could be read,
/// with the reason: a server is often started as root and then changes its user.
pub(super) fn or_kept(
    bytes: Result<Vec<u8>, TlsConfigError>,
    path: &Path,
    source: &dyn KeyPassphrase,
) -> Result<KeyBytes, TlsConfigError> {
    match (bytes, source.kept_key(path)) {
        (Err(TlsConfigError::Unreadable { source: cause, .. }), Some(kept))
            if cause.kind() == ErrorKind::PermissionDenied =>
        {
            Ok((kept.as_bytes().to_vec(), Some(cause)))
        }
        (bytes, _) => bytes.map(|bytes| (bytes, None)),
    }
}

/// The bytes of a key, and the reason if they were read earlier.
type KeyBytes = (Vec<u8>, Option<io::Error>);

/// The size of an RSA key; `None` for other kinds and if it cannot be read.
pub(super) fn rsa_bits(key: &PrivateKeyDer<'_>) -> Option<u32> {
    match key {
        PrivateKeyDer::Pkcs1(key) => pkcs1_bits(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => {
            let info = PrivateKeyInfoRef::from_der(key.secret_pkcs8_der()).ok()?;
            (info.algorithm.oid == RSA_ENCRYPTION).then_some(())?;
            pkcs1_bits(info.private_key.as_bytes())
        }
        _ => None,
    }
}

/// RFC 8017, appendix A.1.2: version, modulus, and fields that are not needed here.
fn pkcs1_bits(der: &[u8]) -> Option<u32> {
    let mut fields = AnyRef::from_der(der).ok()?.value();
    let version = first_element(&mut fields)?;
    UintRef::from_der(version).ok()?;
    let modulus = UintRef::from_der(first_element(&mut fields)?).ok()?;
    Some(rsa_modulus_bits(modulus.as_bytes()))
}

fn first_element<'a>(fields: &mut &'a [u8]) -> Option<&'a [u8]> {
    use pkcs8::der::{Reader, SliceReader};
    let mut reader = SliceReader::new(fields).ok()?;
    let element = reader.tlv_bytes().ok()?;
    *fields = fields.get(element.len()..)?;
    Some(element)
}

/// An encrypted key as it is in the file.
struct Encrypted {
    block: ::pem::Pem,
    form: EncryptedForm,
}

enum EncryptedForm {
    /// A block `ENCRYPTED PRIVATE KEY`.
    Pkcs8,
    /// `Proc-Type: 4,ENCRYPTED`, which OpenSSL calls traditional; the value of `DEK-Info`.
    Traditional(String),
}

/// The first private key of the file, if it is encrypted.
fn encrypted(bytes: &[u8]) -> Option<Encrypted> {
    let blocks = ::pem::parse_many(bytes).ok()?;
    let block = blocks
        .into_iter()
        .find(|block| block.tag().ends_with("PRIVATE KEY"))?;
    if block.tag() == "ENCRYPTED PRIVATE KEY" {
        let form = EncryptedForm::Pkcs8;
        return Some(Encrypted { block, form });
    }
    let is_encrypted = block.headers().get("Proc-Type")?.contains("ENCRYPTED");
    let method = block.headers().get("DEK-Info").unwrap_or_default().to_owned();
    is_encrypted.then_some(Encrypted {
        block,
        form: EncryptedForm::Traditional(method),
    })
}

fn decrypt(
    path: &Path,
    encrypted: &Encrypted,
    source: &dyn KeyPassphrase,
) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    let owned = || path.to_owned();
    let mut refused = 0;
    while refused < ATTEMPTS_MAX {
        let answer = source.passphrase(path, refused);
        let Some(passphrase) = answer.map_err(|detail| TlsConfigError::NoPassphrase {
            path: owned(),
            detail,
        })?
        else {
            break;
        };
        match open(encrypted, &passphrase) {
            Ok(key) => return Ok(key),
            Err(Failure::Passphrase) => refused += 1,
            Err(Failure::Method(detail)) => {
                return Err(TlsConfigError::KeyEncryption {
                    path: owned(),
                    detail,
                });
            }
        }
    }
    Err(match refused {
        0 => TlsConfigError::EncryptedKey { path: owned() },
        _ => TlsConfigError::WrongPassphrase { path: owned() },
    })
}

enum Failure {
    Passphrase,
    Method(String),
}

fn open(encrypted: &Encrypted, passphrase: &Passphrase) -> Result<PrivateKeyDer<'static>, Failure> {
    let contents = encrypted.block.contents();
    match &encrypted.form {
        EncryptedForm::Pkcs8 => open_pkcs8(contents, passphrase),
        EncryptedForm::Traditional(method) => {
            let der = open_traditional(method, contents, passphrase)?;
            let der = der.to_vec();
            match encrypted.block.tag() {
                "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(der).into()),
                "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(der).into()),
                other => Err(Failure::Method(format!("a {other} cannot be used"))),
            }
        }
    }
}

/// RFC 5958, section 3, with PBES2 of RFC 8018, section 6.2.
fn open_pkcs8(der: &[u8], passphrase: &Passphrase) -> Result<PrivateKeyDer<'static>, Failure> {
    let info = EncryptedPrivateKeyInfoRef::from_der(der)
        .map_err(|_| Failure::Method("its encryption method is not known".to_owned()))?;
    match info.decrypt(passphrase.as_bytes()) {
        Ok(document) if PrivateKeyInfoRef::from_der(document.as_bytes()).is_ok() => {
            Ok(PrivatePkcs8KeyDer::from(document.as_bytes().to_vec()).into())
        }
        // A wrong passphrase gives random bytes, whose padding is right once in 256 times.
        Ok(_) | Err(pkcs8::Error::Asn1(_)) => Err(Failure::Passphrase),
        Err(pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed)) => {
            Err(Failure::Passphrase)
        }
        Err(error) => Err(Failure::Method(error.to_string())),
    }
}

/// OpenSSL's older form: `DEK-Info: CIPHER,IV`, the key from EVP_BytesToKey with MD5, one round, the IV's first 8
/// bytes as salt.
fn open_traditional(
    method: &str,
    ciphertext: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unknown = || Failure::Method(format!("DEK-Info: {method} is not known"));
    let (cipher, iv) = method.split_once(',').ok_or_else(unknown)?;
    let iv = hexadecimal(iv.trim()).ok_or_else(unknown)?;
    let salt = iv.get(..8).ok_or_else(unknown)?;
    let key = |length| bytes_to_key(passphrase.as_bytes(), salt, length);
    let plain = match cipher.trim() {
        "DES-EDE3-CBC" => cbc_open::<TdesEde3>(&key(24), &iv, ciphertext),
        "AES-128-CBC" => cbc_open::<Aes128>(&key(16), &iv, ciphertext),
        "AES-192-CBC" => cbc_open::<Aes192>(&key(24), &iv, ciphertext),
        "AES-256-CBC" => cbc_open::<Aes256>(&key(32), &iv, ciphertext),
        _ => return Err(unknown()),
    };
    // As above: right padding does not prove the passphrase.
    plain
        .filter(|der| AnyRef::from_der(der).is_ok())
        .ok_or(Failure::Passphrase)
}

fn bytes_to_key(passphrase: &[u8], salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut last = Zeroizing::new(Vec::new());
    while key.len() < length {
        let digest = Md5::new()
            .chain_update(&*last)
            .chain_update(passphrase)
            .chain_update(salt)
            .finalize();
        last = Zeroizing::new(digest.to_vec());
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}

fn cbc_open<C>(key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipherDecrypt + KeyInit,
{
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = cbc::Decryptor::<C>::new_from_slices(key, iv)
        .ok()?
        .decrypt_padded::<Pkcs7>(&mut buffer)
        .ok()?
        .len();
    buffer.truncate(length);
    Some(buffer)
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
