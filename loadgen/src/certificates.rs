//! Certificates for one run: a CA and a server certificate, gone with the run.
//!
//! Invariant: private keys are readable by their owner only from the moment the file exists, and the CA's key is
//! never written.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// PEM files in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificates {
    /// The CA that clients trust.
    pub ca: PathBuf,
    /// The server's certificate for localhost and 127.0.0.1.
    pub certificate: PathBuf,
    /// Its key (ECDSA P-256).
    pub key: PathBuf,
}

/// Makes a CA and a server certificate for localhost in `folder`.
///
/// # Errors
/// What writing the files gives.
pub fn make(folder: &Path) -> io::Result<ServerCertificates> {
    let (ca, certificate, key) = generate().map_err(io::Error::other)?;
    let files = ServerCertificates {
        ca: folder.join("ca.crt"),
        certificate: folder.join("server.crt"),
        key: folder.join("server.key"),
    };
    write_private(&files.ca, &ca)?;
    write_private(&files.certificate, &certificate)?;
    write_private(&files.key, &key)?;
    Ok(files)
}

/// Writes a new file that only its owner may read.
///
/// # Errors
/// What opening or writing gives; `AlreadyExists` if it is there.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn generate() -> Result<(String, String, String), rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name = named("loadgen CA of one run");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name = named("localhost");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = server.signed_by(&key, &issuer)?;
    Ok((ca_certificate.pem(), certificate.pem(), key.serialize_pem()))
}

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
        let folder = tempfile::tempdir().unwrap();
        let files = make(folder.path()).unwrap();
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
