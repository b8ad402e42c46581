//! The server's own certificate and key, and clients that check them.

use super::pki::{Pki, pki};
use super::{Met, Paths, VERSIONS, assert_message, meet};
use crate::tls::{
    ClientTls, NoPassphrase, ServerTls, TlsConfigError, TlsVersion, client_config, server_config_with,
};

/// A server with this certificate and key: its warnings, or its error.
fn warnings(pki: &Pki, certificate: &str, key: &str) -> Result<Vec<String>, String> {
    let (certificate, key, authority) = (pki.path(certificate), pki.path(key), pki.path("ca.crt"));
    let server = ServerTls {
        client_ca: Some(&authority),
        ..ServerTls::new(&certificate, &key)
    };
    server_config_with(&server, &NoPassphrase)
        .map(|made| made.warnings)
        .map_err(|error| error.to_string())
}

fn visit(pki: &Pki, server_name: &str, version: TlsVersion, client: &ClientTls<'_>, name: &str) -> Met {
    let paths = Paths::of(pki, server_name);
    let made = server_config_with(&ServerTls::new(&paths.certificate, &paths.key), &NoPassphrase).unwrap();
    let client = ClientTls {
        version: Some(version),
        ..*client
    };
    meet(&made.config, &client_config(&client).unwrap(), name)
}

#[test]
fn a_good_certificate_has_no_warnings() {
    let Some(pki) = pki() else { return };
    assert_eq!(warnings(pki, "server.crt", "server.key"), Ok(Vec::new()));
}

/// As with servers that use OpenSSL: clients that know only the root receive the intermediates.
#[test]
fn a_certificate_alone_is_completed_from_the_authorities() {
    let Some(pki) = pki() else { return };
    for (name, by, number, extensions) in [
        ("middle", "ca", 7001, "authority"),
        ("below", "middle", 7002, "local"),
    ] {
        pki.openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out \
             {name}.csr"
        ));
        pki.openssl(&format!(
            "x509 -req -in {name}.csr -CA {by}.crt -CAkey {by}.key -days 30 -sha256 -set_serial {number} -extfile \
             openssl.cnf -extensions {extensions} -out {name}.crt"
        ));
    }
    let text = |name: &str| std::fs::read_to_string(pki.path(name)).unwrap();
    std::fs::write(pki.path("both.crt"), text("ca.crt") + &text("middle.crt")).unwrap();
    let (certificate, key) = (pki.path("below.crt"), pki.path("below.key"));
    let root = pki.path("ca.crt");
    let client = client_config(&ClientTls {
        ca: Some(&root),
        ..ClientTls::default()
    });
    let client = client.unwrap();
    for (authorities, is_whole) in [(Some("both.crt"), true), (Some("ca.crt"), false), (None, false)] {
        let authorities = authorities.map(|name| pki.path(name));
        let server = ServerTls {
            client_ca: authorities.as_deref(),
            ..ServerTls::new(&certificate, &key)
        };
        let made = server_config_with(&server, &NoPassphrase).unwrap();
        let met = meet(&made.config, &client, "localhost");
        assert_eq!(met.client_error.is_none(), is_whole, "{:?}", met.client_error);
        if is_whole {
            assert_eq!(made.warnings, Vec::<String>::new());
        } else {
            assert_message(
                Some(&made.warnings.join("")),
                &["below.crt", "CN=middle", "fix: append"],
            );
        }
    }
}

/// A root that signs the server's certificate directly is not missing, and nothing shows that it is a root: the
/// warning is still true for clients without it, and disappears with a file that contains it.
#[test]
fn a_root_that_signs_directly_is_not_called_missing() {
    let Some(pki) = pki() else { return };
    let (alone, key, root) = (pki.path("server.crt"), pki.path("server.key"), pki.path("ca.crt"));
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let both = pki.path("with_root.crt");
    std::fs::write(&both, text(&alone) + &text(&root)).unwrap();
    let client = client_config(&ClientTls {
        ca: Some(&root),
        ..ClientTls::default()
    });
    let client = client.unwrap();
    for (certificate, authority, warns) in [
        (&alone, None, true),
        (&alone, Some(&*root), false),
        (&both, None, false),
    ] {
        let server = ServerTls {
            client_ca: authority,
            ..ServerTls::new(certificate, &key)
        };
        let made = server_config_with(&server, &NoPassphrase).unwrap();
        let met = meet(&made.config, &client, "localhost");
        assert_eq!(met.client_error, None, "the client has the root");
        if warns {
            let parts = [
                "server.crt",
                "clients that do not have its certificate",
                "if it is a root",
            ];
            assert_message(Some(&made.warnings.join("")), &parts);
        } else {
            assert_eq!(made.warnings, Vec::<String>::new());
        }
    }
}

/// What cannot be used as `cafile` is reported in our own words, with what to do.
#[test]
fn an_authority_that_is_none_is_reported_with_what_to_do() {
    let Some(pki) = pki() else { return };
    let good = std::fs::read_to_string(pki.path("ca.crt")).unwrap();
    let cut_off = &good[..good.len() / 2];
    let no_base64 = good.replacen("MI", "!!", 1);
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = std::fs::read_to_string(pki.path("server.key")).unwrap();
    let begins_with = "fix: name a file with a block that begins with `-----BEGIN CERTIFICATE-----`";
    let cases: [(&str, &str, &str); 7] = [
        ("", "there is no CERTIFICATE in it", begins_with),
        ("nonsense", "there is no CERTIFICATE in it", begins_with),
        (&key, "there is no CERTIFICATE in it", "openssl x509 -inform DER"),
        (cut_off, "it was cut off", begins_with),
        (&no_base64, "is not base64", begins_with),
        ("-----BEGIN CERTIFICATE\n", "BEGIN lines is damaged", begins_with),
        (
            no_certificate,
            "is not a certificate",
            "openssl storeutl -certs -text",
        ),
    ];
    let authority = pki.path("garbage.crt");
    for (text, what, fix) in cases {
        std::fs::write(&authority, text).unwrap();
        let (certificate, key) = (pki.path("server.crt"), pki.path("server.key"));
        let server = ServerTls {
            client_ca: Some(&authority),
            ..ServerTls::new(&certificate, &key)
        };
        let error = server_config_with(&server, &NoPassphrase)
            .map(|_| ())
            .unwrap_err();
        assert_message(Some(&error.to_string()), &["garbage.crt", what, fix]);
    }
}

#[test]
fn what_some_clients_refuse_is_warned_about() {
    let Some(pki) = pki() else { return };
    let cases: [(&str, &[&str]); 6] = [
        ("cn_only", &["only in its CN", "subjectAltName=DNS:localhost"]),
        (
            "localhost",
            &["version 1", "only in its CN", "subjectAltName=DNS:localhost"],
        ),
        ("expired", &["expired at 2021-01-01", "openssl x509 -req"]),
        ("early", &["valid only from 2099-01-01"]),
        ("server_ca_true", &["CA:TRUE", "basicConstraints=CA:FALSE"]),
        ("old_expired", &["version 1", "subjectAltName=DNS:old_expired"]),
    ];
    for (name, words) in cases {
        let warnings = warnings(pki, &format!("{name}.crt"), &format!("{name}.key")).unwrap();
        assert_message(Some(&warnings.join("\n")), words);
        assert_message(Some(&warnings[0]), &[&format!("{name}.crt")]);
    }
}

/// V28 of the operators' table.
#[test]
fn v28_a_key_that_everybody_may_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(pki) = pki() else { return };
    let open = pki.path("open.key");
    std::fs::copy(pki.path("server.key"), &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = warnings(pki, "server.crt", "open.key").unwrap();
    assert_message(Some(&warnings.join("")), &["chmod 600", "open.key"]);
}

/// Valid base64 of something that is not a certificate.
#[test]
fn a_block_that_is_no_certificate_refuses_the_start() {
    let Some(pki) = pki() else { return };
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(pki.path("no.crt"), text).unwrap();
    assert_message(
        warnings(pki, "no.crt", "server.key").err().as_deref(),
        &["no.crt", "is not a certificate", "openssl x509 -in"],
    );
}

#[test]
fn what_no_client_takes_refuses_the_start() {
    let Some(pki) = pki() else { return };
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            "weak.crt",
            "weak.key",
            &["weak.crt", "1024 bits", "openssl genrsa -out server.key 2048"],
        ),
        ("weak_old.crt", "weak_old.key", &["1024 bits", "openssl genrsa"]),
        (
            "server.crt",
            "weak.key",
            &["weak.key", "1024 bits", "openssl genrsa"],
        ),
        (
            "server.crt",
            "good.key",
            &["do not belong together", "openssl pkey -pubout"],
        ),
        ("localhost.crt", "publisher.key", &["do not belong together"]),
        ("server_sha1.crt", "server_sha1.key", &["SHA-1", "-sha256"]),
    ];
    for (certificate, key, words) in cases {
        assert_message(warnings(pki, certificate, key).err().as_deref(), words);
    }
}

#[test]
fn files_that_are_something_else() {
    let Some(pki) = pki() else { return };
    let cases: [(&str, &str, &[&str]); 4] = [
        ("missing.crt", "server.key", &["missing.crt", "cannot read"]),
        ("server.key", "server.key", &["no CERTIFICATE"]),
        ("server.crt", "server.crt", &["no PRIVATE KEY"]),
        ("openssl.cnf", "server.key", &["openssl.cnf"]),
    ];
    for (certificate, key, words) in cases {
        assert_message(warnings(pki, certificate, key).err().as_deref(), words);
    }
}

#[test]
fn the_tutorials_server_is_met_by_its_cn() {
    let Some(pki) = pki() else { return };
    let ca = pki.path("ca.crt");
    let trusting = ClientTls {
        ca: Some(&ca),
        cn_fallback: true,
        ..ClientTls::default()
    };
    for version in VERSIONS {
        for name in ["server", "cn_only", "localhost"] {
            let met = visit(pki, name, version, &trusting, "localhost");
            assert_eq!((met.client_error, met.server_error), (None, None), "{name}");
        }
        for name in ["cn_only", "localhost"] {
            let met = visit(pki, name, version, &trusting, "127.0.0.1");
            assert_message(
                met.client_error.as_deref(),
                &["not for 127.0.0.1", "subjectAltName=IP:127.0.0.1"],
            );
        }
        // A CN does not count if there is a subjectAltName.
        let met = visit(pki, "other_name", version, &trusting, "localhost");
        assert_message(
            met.client_error.as_deref(),
            &["broker.example", "not for localhost"],
        );
    }
}

#[test]
fn without_the_fallback_a_cn_is_no_name() {
    let Some(pki) = pki() else { return };
    let ca = pki.path("ca.crt");
    let strict = ClientTls {
        ca: Some(&ca),
        ..ClientTls::default()
    };
    for version in VERSIONS {
        assert_eq!(
            visit(pki, "server", version, &strict, "localhost").client_error,
            None
        );
        assert_eq!(
            visit(pki, "server", version, &strict, "127.0.0.1").client_error,
            None
        );
        for name in ["cn_only", "localhost"] {
            let met = visit(pki, name, version, &strict, "localhost");
            assert_message(
                met.client_error.as_deref(),
                &["CN=localhost is refused", "--cn-fallback"],
            );
            assert_message(
                met.server_error.as_deref(),
                &["client refuses this server's certificate"],
            );
        }
    }
}

#[test]
fn the_chain_is_checked_with_the_fallback_too() {
    let Some(pki) = pki() else { return };
    let other = pki.path("other.crt");
    let namesake = pki.path("namesake.crt");
    for version in VERSIONS {
        for ca in [&other, &namesake] {
            for name in ["server", "cn_only", "localhost"] {
                let client = ClientTls {
                    ca: Some(ca),
                    cn_fallback: true,
                    ..ClientTls::default()
                };
                let met = visit(pki, name, version, &client, "localhost");
                assert_message(
                    met.client_error.as_deref(),
                    &["server's certificate CN=localhost is refused"],
                );
                assert!(met.server_error.is_some());
            }
        }
    }
}

#[test]
fn an_insecure_client_takes_any_server() {
    let Some(pki) = pki() else { return };
    let insecure = ClientTls {
        insecure: true,
        ..ClientTls::default()
    };
    for version in VERSIONS {
        for name in ["server", "localhost", "expired", "stranger"] {
            let met = visit(pki, name, version, &insecure, "anything.example");
            assert_eq!((met.client_error, met.server_error), (None, None), "{name}");
        }
    }
}

#[test]
fn a_client_without_authorities_trusts_nobody() {
    let Some(pki) = pki() else { return };
    let met = visit(
        pki,
        "server",
        TlsVersion::V1_3,
        &ClientTls::default(),
        "localhost",
    );
    assert_message(met.client_error.as_deref(), &["no CA file", "--cafile"]);
}

#[test]
fn a_client_with_version_1_and_an_encrypted_key() {
    let Some(pki) = pki() else { return };
    struct Secret;
    impl crate::tls::KeyPassphrase for Secret {
        fn passphrase(&self, _: &std::path::Path, _: u32) -> Result<Option<crate::tls::Passphrase>, String> {
            Ok(Some(crate::tls::Passphrase::new(b"secret".to_vec())))
        }
    }
    pki.openssl("rsa -des3 -in publisher.key -passout pass:secret -out publisher_secret.key");
    let (certificate, key) = (pki.path("publisher.crt"), pki.path("publisher_secret.key"));
    let paths = Paths::of(pki, "localhost");
    let server = crate::tls::server_config(&super::demanding(&paths)).unwrap();
    for version in VERSIONS {
        let tls = ClientTls {
            ca: Some(&paths.ca),
            certificate: Some((&certificate, &key)),
            cn_fallback: true,
            version: Some(version),
            ..ClientTls::default()
        };
        let client = crate::tls::client_config_with(&tls, &Secret).unwrap();
        let met = meet(&server, &client, "localhost");
        assert_eq!((met.client_error, met.server_error), (None, None));
        assert!(matches!(
            client_config(&tls),
            Err(TlsConfigError::EncryptedKey { .. })
        ));
    }
}

#[test]
fn suites_and_versions_are_those_that_were_chosen() {
    let Some(pki) = pki() else { return };
    let paths = Paths::of(pki, "server");
    let tls = ServerTls {
        ciphers: Some("ECDHE-ECDSA-CHACHA20-POLY1305:AES128-SHA"),
        ciphers_tls13: Some("TLS_AES_128_GCM_SHA256"),
        ..ServerTls::new(&paths.certificate, &paths.key)
    };
    let made = server_config_with(&tls, &NoPassphrase).unwrap();
    assert_message(Some(&made.warnings.join("")), &["AES128-SHA"]);
    let client = |version| {
        client_config(&ClientTls {
            ca: Some(&paths.ca),
            version: Some(version),
            ..ClientTls::default()
        })
    };
    for (version, suite) in [
        (
            TlsVersion::V1_2,
            "TLS 1.2 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
        (TlsVersion::V1_3, "TLS 1.3 TLS_AES_128_GCM_SHA256"),
    ] {
        let met = meet(&made.config, &client(version).unwrap(), "localhost");
        assert_eq!(met.server.negotiated().as_deref(), Some(suite));
    }
    let only_13 = ServerTls {
        version_min: TlsVersion::V1_3,
        ..ServerTls::new(&paths.certificate, &paths.key)
    };
    let made = server_config_with(&only_13, &NoPassphrase).unwrap();
    let met = meet(&made.config, &client(TlsVersion::V1_2).unwrap(), "localhost");
    assert_message(met.server_error.as_deref(), &["no version of TLS"]);
    assert_message(met.client_error.as_deref(), &["no version of TLS in common"]);
}
