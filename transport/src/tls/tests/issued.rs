//! Runs the advised commands, and uses what they create.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::pki::{Pki, pki};
use super::{assert_message, certificate};
use crate::tls::certificate::{Certificate, Purpose};
use crate::tls::issue::Issue;
use crate::tls::{NoPassphrase, ServerTls, files, server_config_with};

/// A folder with the authority, and a request and its key under the name in the advice.
fn folder(pki: &Pki, purpose: Purpose, of: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| fs::copy(pki.path(from), folder.path().join(to)).unwrap();
    copy("ca.crt", "ca.crt");
    copy("ca.key", "ca.key");
    copy(&format!("{of}.csr"), &format!("{}.csr", purpose.word()));
    copy(&format!("{of}.key"), &format!("{}.key", purpose.word()));
    folder
}

/// Runs the commands in a POSIX shell, and reads the certificate.
fn run(pki: &Pki, folder: &Path, purpose: Purpose, commands: &str) -> Certificate {
    let output = Command::new("sh")
        .args(["-c", commands])
        .current_dir(folder)
        .env("OPENSSL_CONF", pki.path("openssl.cnf"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{commands}: {errors}");
    let path = folder.join(format!("{}.crt", purpose.word()));
    let chain = files::certificates(&path, "the certificate file").unwrap();
    Certificate::parse(&chain[0]).unwrap()
}

fn assert_taken(folder: &Path) {
    let [certificate, key, authority] = ["server.crt", "server.key", "ca.crt"].map(|name| folder.join(name));
    let server = ServerTls {
        client_ca: Some(&authority),
        ..ServerTls::new(&certificate, &key)
    };
    let made = server_config_with(&server, &NoPassphrase).unwrap();
    let others = made.warnings.iter().filter(|warning| !warning.contains("chmod"));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn each_command_makes_a_certificate_that_is_taken() {
    let Some(pki) = pki() else { return };
    for (name, expected) in [
        ("server", &["localhost", "127.0.0.1"][..]),
        ("cn_only", &["localhost"]),
        ("localhost", &["localhost"]),
        ("server_sha1", &["localhost", "127.0.0.1"]),
    ] {
        let old = certificate(pki, name);
        let issue = || Issue::again(Purpose::Server, Some(&old));
        for commands in [
            issue().sign(),
            issue().new_key(),
            issue().with_usage("serverAuth").sign(),
        ] {
            let folder = folder(pki, Purpose::Server, name);
            let made = run(pki, folder.path(), Purpose::Server, &commands);
            let names = made.alternative_names().unwrap();
            assert_eq!(
                (made.version(), &names[..]),
                (
                    3,
                    &expected.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..]
                ),
                "{commands}"
            );
            assert_taken(folder.path());
        }
    }
    for name in ["publisher", "old", "weak"] {
        let old = certificate(pki, name);
        let issue = || Issue::again(Purpose::Client, Some(&old));
        for commands in [issue().sign(), issue().new_key()] {
            let folder = folder(pki, Purpose::Client, name);
            let made = run(pki, folder.path(), Purpose::Client, &commands);
            assert_eq!(
                (made.version(), made.is_authority()),
                (3, Some(false)),
                "{commands}"
            );
            assert!(made.allows(Purpose::Client));
            assert_eq!(made.common_name(), old.common_name());
        }
    }
}

#[test]
fn a_name_is_never_a_command() {
    for name in ["$(reboot)", "a;b", "a b", "", "a,b", "\u{e9}"] {
        let commands = Issue::for_server(name).new_key();
        assert_message(Some(&commands), &["subjectAltName=DNS:NAME", "-subj /CN=NAME"]);
    }
    let commands = Issue::for_server("::1").sign();
    assert_message(Some(&commands), &["subjectAltName=IP:::1"]);
    let unreadable = Issue::again(Purpose::Server, None).sign();
    assert_message(
        Some(&unreadable),
        &["subjectAltName=DNS:NAME", "basicConstraints=CA:FALSE"],
    );
}
