//! Private keys in every form in which OpenSSL writes them.

use std::cell::RefCell;
use std::path::Path;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;

use super::pki::{Pki, pki};
use super::{assert_message, certificate};
use crate::tls::own_certificate::{check_pair, kept_key};
use crate::tls::private_key::{or_kept, private_key};
use crate::tls::{KeyPassphrase, NoPassphrase, Passphrase, TlsConfigError};

/// Returns these passphrases one after the other, and counts how often it was called.
struct Script(&'static [&'static str], RefCell<u32>);

impl KeyPassphrase for Script {
    fn passphrase(&self, _: &Path, refused: u32) -> Result<Option<Passphrase>, String> {
        assert_eq!(refused, *self.1.borrow());
        *self.1.borrow_mut() += 1;
        let next = self.0.get(refused as usize);
        Ok(next.map(|text| Passphrase::new(text.as_bytes().to_vec())))
    }
}

fn script(answers: &'static [&'static str]) -> Script {
    Script(answers, RefCell::new(0))
}

struct Silent;

impl KeyPassphrase for Silent {
    fn passphrase(&self, _: &Path, _: u32) -> Result<Option<Passphrase>, String> {
        Err("there is no terminal to ask for its passphrase".to_owned())
    }
}

/// Name, the command that encrypts the plain key.
const FORMS: [(&str, &str); 14] = [
    ("rsa_pkcs8_3des", "pkcs8 -topk8 -v2 des3 -in publisher.key"),
    (
        "rsa_pkcs8_aes128",
        "pkcs8 -topk8 -v2 aes-128-cbc -in publisher.key",
    ),
    (
        "rsa_pkcs8_aes192",
        "pkcs8 -topk8 -v2 aes-192-cbc -in publisher.key",
    ),
    (
        "rsa_pkcs8_aes256",
        "pkcs8 -topk8 -v2 aes-256-cbc -in publisher.key",
    ),
    (
        "rsa_pkcs8_sha1",
        "pkcs8 -topk8 -v2 des3 -v2prf hmacWithSHA1 -in publisher.key",
    ),
    (
        "rsa_pkcs8_sha512",
        "pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA512 -in publisher.key",
    ),
    ("rsa_pkcs8_scrypt", "pkcs8 -topk8 -scrypt -in publisher.key"),
    ("ec_pkcs8_aes256", "pkcs8 -topk8 -v2 aes-256-cbc -in good.key"),
    ("rsa_old_3des", "rsa -traditional -des3 -in publisher.key"),
    ("rsa_old_aes128", "rsa -traditional -aes128 -in publisher.key"),
    ("rsa_old_aes192", "rsa -traditional -aes192 -in publisher.key"),
    ("rsa_old_aes256", "rsa -traditional -aes256 -in publisher.key"),
    ("ec_old_3des", "ec -des3 -in good.key"),
    ("ec_old_aes256", "ec -aes256 -in good.key"),
];

fn public_key(key: &PrivateKeyDer<'_>) -> Vec<u8> {
    let key = any_supported_type(key).unwrap();
    key.public_key().unwrap().to_vec()
}

fn encrypt(pki: &Pki, name: &str, command: &str) -> std::path::PathBuf {
    pki.openssl(&format!("{command} -passout pass:secret -out {name}.pem"));
    pki.path(&format!("{name}.pem"))
}

#[test]
fn every_form_is_opened_by_its_passphrase() {
    let Some(pki) = pki() else { return };
    let plain = |name: &str| public_key(&private_key(&pki.path(name), &NoPassphrase).unwrap().key);
    for (name, command) in FORMS {
        let path = encrypt(pki, name, command);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("ENCRYPTED"), "{name}");
        let source = script(&["secret"]);
        let key = private_key(&path, &source).unwrap().key;
        assert_eq!(*source.1.borrow(), 1, "{name}: asked once");
        let original = if name.starts_with("ec") {
            "good.key"
        } else {
            "publisher.key"
        };
        assert_eq!(public_key(&key), plain(original), "{name}");
    }
}

#[test]
fn wrong_passphrases() {
    let Some(pki) = pki() else { return };
    for (name, command) in FORMS.iter().step_by(4) {
        let path = encrypt(pki, &format!("wrong_{name}"), command);
        let error = private_key(&path, &script(&["wrong"])).unwrap_err();
        assert_message(
            Some(&error.to_string()),
            &["wrong passphrase", name, "openssl pkey"],
        );
        assert!(
            private_key(&path, &script(&["wrong", "", "secret"])).is_ok(),
            "{name}"
        );
        let source = script(&["1", "2", "3", "secret"]);
        assert!(matches!(
            private_key(&path, &source),
            Err(TlsConfigError::WrongPassphrase { .. })
        ));
        assert_eq!(*source.1.borrow(), 3, "three attempts");
    }
}

#[test]
fn no_wrong_passphrase_ever_passes() {
    let Some(pki) = pki() else { return };
    // Padding alone would accept one wrong passphrase in 256.
    let path = encrypt(pki, "many", "ec -aes128 -in good.key");
    for number in 0..1000u32 {
        struct Number(u32);
        impl KeyPassphrase for Number {
            fn passphrase(&self, _: &Path, refused: u32) -> Result<Option<Passphrase>, String> {
                Ok((refused == 0).then(|| Passphrase::new(self.0.to_string().into_bytes())))
            }
        }
        assert!(matches!(
            private_key(&path, &Number(number)),
            Err(TlsConfigError::WrongPassphrase { .. })
        ));
    }
}

#[test]
fn no_passphrase_at_all() {
    let Some(pki) = pki() else { return };
    let path = encrypt(pki, "silent", FORMS[0].1);
    let error = private_key(&path, &Silent).unwrap_err();
    assert_message(
        Some(&error.to_string()),
        &["silent.pem is encrypted, and there is no terminal"],
    );
    let error = private_key(&path, &NoPassphrase).unwrap_err();
    assert!(matches!(error, TlsConfigError::EncryptedKey { .. }));
}

/// A broker that was root when it read the key, and no longer is.
struct Kept(std::path::PathBuf);

impl KeyPassphrase for Kept {
    fn passphrase(&self, _: &Path, _: u32) -> Result<Option<Passphrase>, String> {
        Ok(None)
    }

    fn kept_key(&self, _: &Path) -> Option<Passphrase> {
        std::fs::read(&self.0).ok().map(Passphrase::new)
    }
}

#[test]
fn a_key_of_an_earlier_time_is_reported() {
    let Some(pki) = pki() else { return };
    let path = pki.path("good.key");
    let refused = || TlsConfigError::Unreadable {
        what: "the private key file",
        path: pki.path("good.key"),
        source: std::io::ErrorKind::PermissionDenied.into(),
    };
    let none = Kept(pki.path("no-such-file"));
    assert!(or_kept(Err(refused()), &path, &none).is_err());
    let (bytes, cause) = or_kept(Err(refused()), &path, &Kept(path.clone())).unwrap();
    assert_eq!(bytes, std::fs::read(&path).unwrap());

    let cause = cause.unwrap();
    assert_message(
        Some(&kept_key(&path, &cause)),
        &[
            "good.key",
            "can no longer be read (permission denied)",
            "read at the start",
            "restart",
        ],
    );
    let key = any_supported_type(&private_key(&path, &NoPassphrase).unwrap().key).unwrap();
    let new = pki.path("server.crt");
    let error = check_pair(&certificate(pki, "server"), &*key, (&new, &path), Some(&cause)).unwrap_err();
    assert_message(
        Some(&error.to_string()),
        &[
            "good.key",
            "can no longer be read (permission denied)",
            "server.crt",
            "fix: let the user",
        ],
    );
}

#[test]
fn plain_keys_ask_for_nothing() {
    let Some(pki) = pki() else { return };
    pki.openssl("rsa -traditional -in publisher.key -out plain_pkcs1.pem");
    pki.openssl("ec -in good.key -out plain_sec1.pem");
    for name in ["publisher.key", "plain_pkcs1.pem", "plain_sec1.pem"] {
        assert!(private_key(&pki.path(name), &Silent).is_ok(), "{name}");
    }
}

#[test]
fn ways_of_encryption_that_are_not_supported() {
    let Some(pki) = pki() else { return };
    let path = encrypt(pki, "pbes1", "pkcs8 -topk8 -v1 PBE-SHA1-3DES -in publisher.key");
    let error = private_key(&path, &script(&["secret"])).unwrap_err();
    assert_message(
        Some(&error.to_string()),
        &["pbes1.pem", "not supported", "openssl pkey -aes256"],
    );
}

#[test]
fn broken_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.key");
    let block = |tag: &str, headers: &str, body: &str| {
        format!("-----BEGIN {tag}-----\n{headers}{body}\n-----END {tag}-----\n")
    };
    let old = "Proc-Type: 4,ENCRYPTED\nDEK-Info: ";
    let texts = [
        String::new(),
        "no key".to_owned(),
        block("ENCRYPTED PRIVATE KEY", "", ""),
        block("ENCRYPTED PRIVATE KEY", "", "AAAA"),
        block("ENCRYPTED PRIVATE KEY", "", "MAA="),
        block("RSA PRIVATE KEY", &format!("{old}DES-EDE3-CBC,00\n\n"), "AAAA"),
        block(
            "RSA PRIVATE KEY",
            &format!("{old}DES-EDE3-CBC,0011223344556677\n\n"),
            "AAAA",
        ),
        block("RSA PRIVATE KEY", &format!("{old}AES-128-CBC,é\n\n"), "AAAA"),
        block(
            "RSA PRIVATE KEY",
            &format!("{old}ROT13,0011223344556677\n\n"),
            "AAAAAAAAAAA=",
        ),
        block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\n", "AAAA"),
        block(
            "DSA PRIVATE KEY",
            &format!("{old}AES-128-CBC,00112233445566770011223344556677\n\n"),
            "",
        ),
    ];
    for text in texts {
        std::fs::write(&path, &text).unwrap();
        let error = private_key(&path, &script(&["secret"])).unwrap_err();
        assert!(error.to_string().contains("broken.key"), "{text}: {error}");
    }
}

#[test]
fn a_passphrase_does_not_show() {
    let passphrase = Passphrase::new(b"secret".to_vec());
    assert_eq!(format!("{passphrase:?}"), "Passphrase(..)");
}
