//! Clients' certificates: which are accepted, which are not, and what is logged.

use std::path::PathBuf;

use super::pki::{Pki, pki};
use super::{Met, Paths, VERSIONS, assert_message, careless_client, demanding, meet};
use crate::tls::{ServerTls, TlsConfigError, TlsVersion, server_config};

/// What to change in a server's settings.
type Change = for<'a> fn(ServerTls<'a>) -> ServerTls<'a>;

fn attempt_with(pki: &Pki, client: &str, version: TlsVersion, list: Option<&str>, change: Change) -> Met {
    let paths = Paths::of(pki, "server");
    let list: Option<PathBuf> = list.map(|name| pki.path(name));
    let tls = ServerTls {
        revocation_list: list.as_deref(),
        ..demanding(&paths)
    };
    let server = server_config(&change(tls)).unwrap();
    meet(&server, &careless_client(pki, client, version), "localhost")
}

fn attempt(pki: &Pki, client: &str, version: TlsVersion) -> Met {
    attempt_with(pki, client, version, None, |tls| tls)
}

#[test]
fn good_certificates_are_let_in_without_a_word() {
    let Some(pki) = pki() else { return };
    for version in VERSIONS {
        let met = attempt(pki, "good", version);
        assert_eq!(
            (met.server_error, met.client_error, met.warning),
            (None, None, None)
        );
    }
}

#[test]
fn version_1_is_let_in_with_a_warning() {
    let Some(pki) = pki() else { return };
    for version in VERSIONS {
        for client in ["publisher", "old"] {
            let met = attempt(pki, client, version);
            assert_eq!(
                (met.server_error, met.client_error),
                (None, None),
                "{client} {version:?}"
            );
            let name = format!("CN={client}");
            assert_message(
                met.warning.as_deref(),
                &[&name, "version 1", "openssl x509 -req", "-extfile"],
            );
        }
    }
}

#[test]
fn version_1_is_warned_about_once() {
    let Some(pki) = pki() else { return };
    let paths = Paths::of(pki, "server");
    let server = server_config(&demanding(&paths)).unwrap();
    let client = careless_client(pki, "old", TlsVersion::V1_3);
    assert!(meet(&server, &client, "localhost").warning.is_some());
    assert!(meet(&server, &client, "localhost").warning.is_none());
}

/// The client, and what the log must contain in addition to its name.
const REFUSED: [(&str, &[&str]); 14] = [
    ("expired", &["expired at 2021-01-01", "openssl x509 -req"]),
    ("early", &["valid only from 2099-01-01", "clock"]),
    ("old_expired", &["expired at", "openssl x509 -req"]),
    ("ca_true", &["CA:TRUE", "basicConstraints=CA:FALSE"]),
    (
        "server_only",
        &["lacks clientAuth", "extendedKeyUsage=clientAuth"],
    ),
    ("sha1", &["SHA-1", "-sha256"]),
    ("old_sha1", &["SHA-1", "-sha256"]),
    ("stranger", &["issuer CN=Other-CA is not in", "ca.crt"]),
    ("old_stranger", &["issuer CN=Other-CA is not in", "ca.crt"]),
    ("impostor", &["an authority named CN=Test-CA", "did not sign it"]),
    (
        "old_impostor",
        &["an authority named CN=Test-CA", "did not sign it"],
    ),
    ("server_sha1", &["SHA-1"]),
    ("lonely", &["self-signed", "ca.crt"]),
    ("other", &["CA:TRUE"]),
];

#[test]
fn everything_else_is_refused_in_words() {
    let Some(pki) = pki() else { return };
    for version in VERSIONS {
        for (client, words) in REFUSED {
            let met = attempt(pki, client, version);
            let subject = super::certificate(pki, client).common_name().unwrap();
            assert_message(
                met.server_error.as_deref(),
                &[&format!("CN={subject} is refused")],
            );
            assert_message(met.server_error.as_deref(), words);
            assert_message(
                met.client_error.as_deref(),
                &["the server refuses the client's certificate"],
            );
        }
    }
}

#[test]
fn alerts_stay_those_of_the_cause() {
    let Some(pki) = pki() else { return };
    let paths = Paths::of(pki, "server");
    let server = server_config(&demanding(&paths)).unwrap();
    for (client, alert) in [("expired", 45), ("stranger", 48), ("server_only", 43)] {
        let config = careless_client(pki, client, TlsVersion::V1_2);
        let mut client = crate::stream::SecureStream::client(Some(&config), "localhost").unwrap();
        let mut stream = crate::stream::SecureStream::server(Some(&server)).unwrap();
        let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        client.start(&mut to_server);
        stream.open(&to_server, &mut plain, &mut to_client).unwrap();
        to_server.clear();
        client.open(&to_client, &mut plain, &mut to_server).unwrap();
        to_client.clear();
        stream.open(&to_server, &mut plain, &mut to_client).unwrap_err();
        // RFC 5246, 7.2: type alert, version, length, fatal, description.
        assert_eq!(to_client, [21, 3, 3, 0, 2, 2, alert]);
    }
}

#[test]
fn no_certificate() {
    let Some(pki) = pki() else { return };
    let paths = Paths::of(pki, "server");
    let server = server_config(&demanding(&paths)).unwrap();
    for version in VERSIONS {
        let client = crate::tls::client_config(&crate::tls::ClientTls {
            ca: Some(&paths.ca),
            version: Some(version),
            ..Default::default()
        });
        let met = meet(&server, &client.unwrap(), "localhost");
        assert_message(
            met.server_error.as_deref(),
            &["sent no certificate", "--cert FILE"],
        );
        assert!(met.client_error.is_some());
    }
}

#[test]
fn none_is_asked_for_unless_required() {
    let Some(pki) = pki() else { return };
    for version in VERSIONS {
        let change: Change = |tls| ServerTls {
            require_client_certificate: false,
            ..tls
        };
        let met = attempt_with(pki, "stranger", version, None, change);
        assert_eq!((met.server_error, met.client_error), (None, None));
    }
}

#[test]
fn version_1_can_be_forbidden() {
    let Some(pki) = pki() else { return };
    let change: Change = |tls| ServerTls {
        accept_version_1: false,
        ..tls
    };
    for version in VERSIONS {
        for client in ["publisher", "old"] {
            let met = attempt_with(pki, client, version, None, change);
            assert_message(
                met.server_error.as_deref(),
                &[client, "version 1, which is not accepted", "-extfile"],
            );
        }
        assert_eq!(
            attempt_with(pki, "good", version, None, change).server_error,
            None
        );
    }
}

#[test]
fn dates_can_be_ignored() {
    let Some(pki) = pki() else { return };
    let change: Change = |tls| ServerTls {
        ignore_client_dates: true,
        ..tls
    };
    for version in VERSIONS {
        for client in ["expired", "early", "good"] {
            let met = attempt_with(pki, client, version, None, change);
            assert_eq!(met.server_error, None, "{client}");
        }
        let met = attempt_with(pki, "stranger", version, None, change);
        assert_message(met.server_error.as_deref(), &["CN=Other-CA"]);
    }
}

#[test]
fn revocation_lists() {
    let Some(pki) = pki() else { return };
    for version in VERSIONS {
        for client in ["gone", "old_gone"] {
            assert_eq!(attempt(pki, client, version).server_error, None, "without a list");
            let met = attempt_with(pki, client, version, Some("crl.pem"), |tls| tls);
            let name = format!("CN={client}");
            assert_message(met.server_error.as_deref(), &[&name, "revoked in", "crl.pem"]);
        }
        for client in ["good", "old"] {
            let met = attempt_with(pki, client, version, Some("crl.pem"), |tls| tls);
            assert_eq!(met.server_error, None, "{client}");
            let met = attempt_with(pki, client, version, Some("stale.pem"), |tls| tls);
            assert_message(met.server_error.as_deref(), &["out of date since", "-gencrl"]);
            let met = attempt_with(pki, client, version, Some("other.pem"), |tls| tls);
            assert_message(met.server_error.as_deref(), &["no revocation list of its issuer"]);
        }
    }
}

#[test]
fn a_list_by_another_key_refuses_the_start() {
    let Some(pki) = pki() else { return };
    let paths = Paths::of(pki, "server");
    let forged = pki.path("forged.pem");
    let tls = ServerTls {
        revocation_list: Some(&forged),
        ..demanding(&paths)
    };
    let error = server_config(&tls).unwrap_err();
    assert!(matches!(error, TlsConfigError::Unusable { .. }));
    assert_message(Some(&error.to_string()), &["forged.pem", "did not sign it"]);
}

#[test]
fn folder_of_authorities() {
    let Some(pki) = pki() else { return };
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::of(pki, "server");
    let tls = ServerTls {
        client_ca: None,
        client_ca_folder: Some(folder.path()),
        ..demanding(&paths)
    };
    let hash = pki.openssl_text("x509 -noout -hash -in ca.crt");
    std::fs::copy(pki.path("ca.crt"), folder.path().join("ca.crt")).unwrap();
    assert_message(
        Some(&server_config(&tls).unwrap_err().to_string()),
        &["openssl rehash"],
    );
    std::fs::copy(
        pki.path("ca.crt"),
        folder.path().join(format!("{}.0", hash.trim())),
    )
    .unwrap();
    // A file that is not named by a hash is not trusted.
    std::fs::copy(pki.path("other.crt"), folder.path().join("other.crt")).unwrap();
    let server = server_config(&tls).unwrap();
    for version in VERSIONS {
        let meet = |client| meet(&server, &careless_client(pki, client, version), "localhost").server_error;
        assert_eq!(meet("good"), None);
        assert_eq!(meet("publisher"), None);
        assert_message(meet("stranger").as_deref(), &["CN=Other-CA"]);
    }
}

#[test]
fn a_changed_file_makes_another_configuration() {
    let Some(pki) = pki() else { return };
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths {
        ca: folder.path().join("ca.crt"),
        ..Paths::of(pki, "server")
    };
    std::fs::copy(pki.path("ca.crt"), &paths.ca).unwrap();
    let before = server_config(&demanding(&paths)).unwrap();
    std::fs::copy(pki.path("other.crt"), &paths.ca).unwrap();
    let after = server_config(&demanding(&paths)).unwrap();
    let client = |name| careless_client(pki, name, TlsVersion::V1_3);
    assert_eq!(meet(&before, &client("good"), "localhost").server_error, None);
    assert!(meet(&after, &client("good"), "localhost").server_error.is_some());
    assert_eq!(meet(&after, &client("stranger"), "localhost").server_error, None);
    std::fs::write(&paths.ca, "nonsense").unwrap();
    assert!(matches!(
        server_config(&demanding(&paths)),
        Err(TlsConfigError::NotPem { .. })
    ));
}
