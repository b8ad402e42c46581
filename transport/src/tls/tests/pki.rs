//! The certificates of these tests, created once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

pub(super) struct Pki(TempDir);

/// Configuration of `openssl ca`, the only command that sets dates and revokes.
const CONFIGURATION: &str = "
[ca]
default_ca = the_ca
[the_ca]
dir = .
database = ./index.txt
new_certs_dir = .
serial = ./serial
crlnumber = ./crlnumber
certificate = ./ca.crt
private_key = ./ca.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = optional
[req]
distinguished_name = dn
[dn]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:FALSE
[local]
subjectAltName = DNS:localhost,IP:127.0.0.1
[named_otherwise]
subjectAltName = DNS:broker.example
[authority_leaf]
basicConstraints = CA:TRUE
[server_only]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
";

/// The certificates; `None`, with a line on stderr, if there is no openssl.
pub(super) fn pki() -> Option<&'static Pki> {
    static PKI: OnceLock<Option<Pki>> = OnceLock::new();
    PKI.get_or_init(|| {
        let found = Command::new("openssl")
            .arg("version")
            .stdout(Stdio::null())
            .status();
        if found.is_ok_and(|status| status.success()) {
            return Some(make());
        }
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "openssl is not installed"
        );
        eprintln!("SKIPPED: openssl is not installed (package openssl)");
        None
    })
    .as_ref()
}

impl Pki {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs openssl in the folder.
    pub(super) fn openssl(&self, arguments: &str) {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub(super) fn openssl_text(&self, arguments: &str) -> String {
        String::from_utf8(self.run(arguments).stdout).unwrap()
    }

    fn run(&self, arguments: &str) -> std::process::Output {
        Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .env("OPENSSL_CONF", self.path("openssl.cnf"))
            .output()
            .unwrap()
    }

    pub(super) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Creates a P-256 key and a request for it.
    fn request(&self, name: &str, subject: &str) {
        self.openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -utf8 -subj {subject} -keyout {name}.key \
             -out {name}.csr"
        ));
    }

    /// Creates an RSA key as in the tutorial, without the passphrase, and a request for it.
    fn rsa_request(&self, name: &str, bits: u32) {
        self.openssl(&format!("genrsa -out {name}.key {bits}"));
        self.openssl(&format!(
            "req -new -key {name}.key -subj /CN={name} -out {name}.csr"
        ));
    }

    /// `openssl x509 -req`, with a section of extensions, or as in the tutorial: version 1.
    fn sign(&self, name: &str, section: Option<&str>, more: &str) {
        self.sign_by("ca", name, section, more);
    }

    fn sign_by(&self, ca: &str, name: &str, section: Option<&str>, more: &str) {
        let common = format!("-in {name}.csr -CA {ca}.crt -CAkey {ca}.key -days 365 -out {name}.crt {more}");
        match section {
            Some(section) => self.openssl(&format!(
                "x509 -req {common} -CAcreateserial -extfile openssl.cnf -extensions {section}"
            )),
            // From 3.2 on `x509 -req` creates version 3.
            None if self.has_x509v1() => self.openssl(&format!("req -x509v1 {common}")),
            None => self.openssl(&format!("x509 -req {common} -CAcreateserial")),
        }
    }

    fn has_x509v1(&self) -> bool {
        let help = self.run("req -help");
        String::from_utf8_lossy(&help.stderr).contains("-x509v1")
    }

    fn sign_with_dates(&self, name: &str, from: &str, to: &str) {
        self.openssl(&format!(
            "ca -config openssl.cnf -batch -notext -extensions leaf -startdate {from} -enddate {to} -in {name}.csr \
             -out {name}.crt"
        ));
    }
}

fn make() -> Pki {
    let pki = Pki(TempDir::new().unwrap());
    fs::write(pki.path("openssl.cnf"), CONFIGURATION).unwrap();
    fs::write(pki.path("index.txt"), "").unwrap();
    fs::write(pki.path("serial"), "1000\n").unwrap();
    fs::write(pki.path("crlnumber"), "01\n").unwrap();
    authorities(&pki);
    servers(&pki);
    clients(&pki);
    revoked(&pki);
    pki
}

fn authorities(pki: &Pki) {
    // The namesake has the name of the first and a different key.
    for (name, subject) in [
        ("ca", "/CN=Test-CA"),
        ("other", "/CN=Other-CA"),
        ("namesake", "/CN=Test-CA"),
    ] {
        pki.openssl(&format!(
            "req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj {subject} -extensions \
             authority -keyout {name}.key -out {name}.crt"
        ));
    }
}

fn servers(pki: &Pki) {
    pki.request("server", "/CN=localhost");
    pki.sign("server", Some("local"), "");
    pki.request("cn_only", "/CN=localhost");
    pki.sign("cn_only", Some("leaf"), "");
    pki.request("other_name", "/CN=localhost");
    pki.sign("other_name", Some("named_otherwise"), "");
    pki.rsa_request("localhost", 2048);
    pki.sign("localhost", None, "");
    pki.request("server_sha1", "/CN=localhost");
    pki.sign("server_sha1", Some("local"), "-sha1");
    pki.request("server_ca_true", "/CN=localhost");
    pki.sign("server_ca_true", Some("authority_leaf"), "");
    pki.request("client_only", "/CN=localhost");
}

fn clients(pki: &Pki) {
    pki.request("good", "/CN=good");
    pki.sign("good", Some("leaf"), "");
    pki.rsa_request("publisher", 2048);
    pki.sign("publisher", None, "");
    pki.request("old", "/CN=old");
    pki.sign("old", None, "");
    for name in ["weak", "weak_old"] {
        pki.rsa_request(name, 1024);
    }
    pki.sign("weak", Some("leaf"), "");
    pki.sign("weak_old", None, "");
    pki.request("expired", "/CN=expired");
    pki.sign_with_dates("expired", "20200101000000Z", "20210101000000Z");
    pki.request("early", "/CN=early");
    pki.sign_with_dates("early", "20990101000000Z", "20990201000000Z");
    pki.request("old_expired", "/CN=old_expired");
    pki.sign("old_expired", None, "-days -1");
    pki.request("ca_true", "/CN=ca_true");
    pki.sign("ca_true", Some("authority_leaf"), "");
    pki.request("server_only", "/CN=server_only");
    pki.sign("server_only", Some("server_only"), "");
    pki.request("sha1", "/CN=sha1");
    pki.sign("sha1", Some("leaf"), "-sha1");
    pki.request("old_sha1", "/CN=old_sha1");
    pki.sign("old_sha1", None, "-sha1");
    pki.openssl(
        "req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=lonely -extensions leaf -keyout \
         lonely.key -out lonely.crt",
    );
    for (ca, suffix) in [("other", "stranger"), ("namesake", "impostor")] {
        pki.request(suffix, &format!("/CN={suffix}"));
        pki.sign_by(ca, suffix, Some("leaf"), "");
        pki.request(&format!("old_{suffix}"), &format!("/CN=old_{suffix}"));
        pki.sign_by(ca, &format!("old_{suffix}"), None, "");
    }
    for (name, subject) in super::identities::SUBJECTS {
        pki.request(name, subject);
        pki.sign(name, Some("leaf"), "");
    }
}

fn revoked(pki: &Pki) {
    pki.request("gone", "/CN=gone");
    pki.sign("gone", Some("leaf"), "");
    pki.request("old_gone", "/CN=old_gone");
    pki.sign("old_gone", None, "");
    pki.openssl(
        "ca -config openssl.cnf -gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z \
    -out stale.pem",
    );
    for name in ["gone", "old_gone"] {
        pki.openssl(&format!("ca -config openssl.cnf -revoke {name}.crt"));
    }
    pki.openssl("ca -config openssl.cnf -gencrl -out crl.pem");
    pki.openssl("ca -config openssl.cnf -gencrl -cert other.crt -keyfile other.key -out other.pem");
    pki.openssl("ca -config openssl.cnf -gencrl -keyfile namesake.key -cert namesake.crt -out forged.pem");
}
