//! Certificates for one run: a CA, a server's certificate and, if wanted, clients' certificates. They are deleted
//! with the run.
//!
//! Invariant: the file of a private key is readable by its owner only from the moment it exists, and the CA's key is
//! never written.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};

/// PEM files in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificates {
    /// The CA that clients trust.
    pub ca: PathBuf,
    /// The server's certificate for localhost and 127.0.0.1.
    pub certificate: PathBuf,
    /// The private key of the server.
    pub key: PathBuf,
}

/// The kind of the server's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerKey {
    /// ECDSA P-256.
    #[default]
    P256,
    /// RSA, 2048 bits.
    Rsa2048,
}

/// Creates a CA and a server certificate for localhost in `folder`.
///
/// # Errors
/// The errors of writing the files.
pub fn make(folder: &Path) -> io::Result<ServerCertificates> {
    make_with_clients(folder, ServerKey::P256, 0)
}

/// As [`make`], and certificates for this many clients, each with a key (ECDSA P-256) and a unique CN: the files
/// are those of [`client_files`].
///
/// # Errors
/// The errors of writing the files.
pub fn make_with_clients(folder: &Path, key: ServerKey, clients: u32) -> io::Result<ServerCertificates> {
    let (ca, issuer) = authority().map_err(io::Error::other)?;
    let (certificate, key) = server(&issuer, key).map_err(io::Error::other)?;
    let files = ServerCertificates {
        ca: folder.join("ca.crt"),
        certificate: folder.join("server.crt"),
        key: folder.join("server.key"),
    };
    write_private(&files.ca, &ca)?;
    write_private(&files.certificate, &certificate)?;
    write_private(&files.key, &key)?;
    for number in 0..clients {
        let (certificate, key) = client(&issuer, number).map_err(io::Error::other)?;
        let (certificate_path, key_path) = client_files(folder, number);
        write_private(&certificate_path, &certificate)?;
        write_private(&key_path, &key)?;
    }
    Ok(files)
}

/// The files of a client's certificate and key.
pub fn client_files(folder: &Path, number: u32) -> (PathBuf, PathBuf) {
    (
        folder.join(format!("{CLIENT}{number}.crt")),
        folder.join(format!("{CLIENT}{number}.key")),
    )
}

/// Writes a new file that only its owner may read.
///
/// # Errors
/// The errors of opening and writing; `AlreadyExists` if the file exists.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn authority() -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name = named("loadgen CA of one run");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca_certificate = ca.self_signed(&ca_key)?;
    Ok((ca_certificate.pem(), Issuer::new(ca, ca_key)))
}

fn server(issuer: &Issuer<'_, KeyPair>, key: ServerKey) -> Result<(String, String), rcgen::Error> {
    let key = match key {
        ServerKey::P256 => KeyPair::generate()?,
        ServerKey::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
    };
    let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name = named("localhost");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = server.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn client(issuer: &Issuer<'_, KeyPair>, number: u32) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut client = CertificateParams::default();
    client.distinguished_name = named(&format!("{CLIENT}{number}"));
    client.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = client.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// The start of a client's name; its number follows.
pub const CLIENT: &str = "client-";

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use transport::stream::SecureStream;
    use transport::tls::{ClientTls, ServerTls, client_config, server_config};

    #[test]
    fn a_client_that_trusts_the_ca_shakes_hands_for_both_names() {
        for key in [ServerKey::P256, ServerKey::Rsa2048] {
            shakes_hands(key);
        }
    }

    fn shakes_hands(key: ServerKey) {
        let folder = tempfile::tempdir().unwrap();
        let files = make_with_clients(folder.path(), key, 0).unwrap();
        let server = server_config(&ServerTls::new(&files.certificate, &files.key));
        let server = server.unwrap();
        let client = client_config(&ClientTls {
            ca: Some(&files.ca),
            ..ClientTls::default()
        })
        .unwrap();
        for name in ["localhost", "127.0.0.1"] {
            let mut client = SecureStream::client(Some(&client), name).unwrap();
            let mut server = SecureStream::server(Some(&server)).unwrap();
            let (mut there, mut back, mut plain) = (Vec::new(), Vec::new(), Vec::new());
            client.start(&mut there);
            while !there.is_empty() {
                server
                    .open(&std::mem::take(&mut there), &mut plain, &mut back)
                    .unwrap();
                client
                    .open(&std::mem::take(&mut back), &mut plain, &mut there)
                    .unwrap();
            }
            assert!(!client.is_handshaking() && !server.is_handshaking(), "{name}");
        }
    }

    #[test]
    fn the_key_is_its_owners_alone_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let files = make(folder.path()).unwrap();
        assert_eq!(
            std::fs::metadata(files.key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            make(folder.path()).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }
}
