//! The files that `broker certs` creates, and what it refuses.

use std::os::unix::fs::PermissionsExt as _;

use transport::stream::SecureStream;
use transport::tls::{
    ClientTls, IdentityKind, ServerTls, TlsVersion, client_config, client_identity, server_config,
};

use super::*;

fn args(folder: &Path, names: &[&str], clients: &[&str]) -> CertsArgs {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    CertsArgs {
        folder: folder.to_owned(),
        names: owned(names),
        clients: owned(clients),
        days: 30,
    }
}

#[test]
fn the_files_serve_and_name_their_clients() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made/here");
    let text = make(&args(&folder, &[], &["publisher", "subscriber"])).unwrap();
    let path = |name: &str| folder.join(name);
    for line in [
        "listener 8883",
        "require_certificate true",
        "use_identity_as_username true",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    let (certificate, key, ca) = (path("server.crt"), path("server.key"), path("ca.crt"));
    let server = server_config(&ServerTls {
        client_ca: Some(&ca),
        require_client_certificate: true,
        accept_version_1: false,
        ..ServerTls::new(&certificate, &key)
    });
    let (certificate, key) = (path("publisher.crt"), path("publisher.key"));
    let client = client_config(&ClientTls {
        ca: Some(&ca),
        certificate: Some((&certificate, &key)),
        version: Some(TlsVersion::V1_3),
        ..ClientTls::default()
    });
    let (server, client) = (server.unwrap(), client.unwrap());
    for name in ["localhost", "127.0.0.1", "::1"] {
        let mut server = SecureStream::server(Some(&server)).unwrap();
        let mut client = SecureStream::client(Some(&client), name).unwrap();
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
        let identity = client_identity(&server, IdentityKind::CommonName);
        assert_eq!(identity.as_deref(), Ok("publisher"));
    }
}

#[test]
fn clients_may_be_added_later() {
    let folder = tempfile::tempdir().unwrap();
    make(&args(folder.path(), &["broker.example"], &[])).unwrap();
    let before = fs::read(folder.path().join("server.crt")).unwrap();
    let text = make(&args(folder.path(), &[], &["late"])).unwrap();
    assert!(text.contains("late.crt") && !text.contains("listener"), "{text}");
    assert_eq!(fs::read(folder.path().join("server.crt")).unwrap(), before);
    let certificate = fs::read_to_string(folder.path().join("late.crt")).unwrap();
    let authority = fs::read_to_string(folder.path().join("ca.crt")).unwrap();
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    assert_eq!(is_signed_by(&der, &authority), Ok(()));
    // Each name once.
    assert!(matches!(
        make(&args(folder.path(), &[], &["late"])),
        Err(CertsError::Exists(_))
    ));
}

#[test]
fn an_authority_of_somebody_else_signs_nothing() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for folder in &folders {
        make(&args(folder.path(), &[], &[])).unwrap();
    }
    fs::copy(folders[0].path().join("ca.crt"), folders[1].path().join("ca.crt")).unwrap();
    let error = make(&args(folders[1].path(), &[], &["late"])).unwrap_err();
    assert!(
        matches!(&error, CertsError::Authority { path, .. } if path.ends_with("ca.crt")),
        "{error}"
    );
    assert!(!folders[1].path().join("late.crt").exists());
}

#[test]
fn keys_are_their_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    make(&args(folder.path(), &["broker.example"], &["a"])).unwrap();
    for (name, mode) in [
        ("ca.key", 0o600),
        ("server.key", 0o600),
        ("a.key", 0o600),
        ("ca.crt", 0o644),
    ] {
        let found = fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(found & 0o177, mode & 0o177, "{name}");
    }
}

#[test]
fn nothing_is_replaced_and_nothing_half_is_left() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("server.key"), "mine").unwrap();
    let error = make(&args(folder.path(), &[], &["a"])).unwrap_err();
    assert!(
        matches!(&error, CertsError::Exists(path) if path.ends_with("server.key")),
        "{error}"
    );
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["server.key"]);
    assert_eq!(
        fs::read_to_string(folder.path().join("server.key")).unwrap(),
        "mine"
    );
}

#[test]
fn names_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    for clients in [
        &["a/b"][..],
        &["../x"],
        &[""],
        &["a+b"],
        &["ca"],
        &["a", "a"],
        &["é"],
        &[".hidden"],
    ] {
        let error = make(&args(folder.path(), &[], clients)).unwrap_err();
        assert!(matches!(error, CertsError::Name { .. }), "{clients:?}: {error}");
    }
    assert!(make(&args(folder.path(), &["bröker"], &[])).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
