//! The files of the tutorial, made by its own commands with typed answers.
//!
//! Invariant: each test has a folder of its own; the commands run once for all tests, because keys take time.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::is_there;
use super::programs::Served;
use crate::harness::{free_port, program};

pub(super) const SERVER_PASSPHRASE: &str = "server-secret";
const CA_PASSPHRASE: &str = "authority-secret";

/// A folder with all that the tutorial makes before the broker is started.
pub(super) struct Files {
    folder: TempDir,
}

type Made = Vec<(String, Vec<u8>)>;

impl Files {
    /// The tutorial's files with keys of 2048 bits; `None`, and a word about it, without openssl or mosquitto_passwd.
    pub(super) fn new() -> Option<Self> {
        static MADE: OnceLock<Option<Made>> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            // All are asked for, so that all that is missing is named.
            let there = ["openssl", "mosquitto_passwd", "setsid"].map(|program| is_there(program, "--help"));
            there.iter().all(|there| *there).then(Self::make)
        });
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in made.as_ref()? {
            write_private(&folder.path().join(name), bytes);
        }
        Some(Self { folder })
    }

    fn make() -> Made {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        files.openssl(
            "req -new -x509 -days 3650 -keyout m2mqtt_ca.key -out m2mqtt_ca.crt",
            &format!("{CA_PASSPHRASE}\n{CA_PASSPHRASE}\n{}", subject("authority")),
        );
        files.make_certificate("m2mqtt_srv", "localhost", SERVER_PASSPHRASE, 2048);
        for user in ["publisher", "subscriber"] {
            files.make_certificate(user, user, &format!("{user}-secret"), 2048);
            let properties = format!(
                "# TLS of the {user}\nssl.ca.certificate.path=m2mqtt_ca.crt\nssl.client.certificate.path={user}.crt\n\
                 ssl.client.key.path={user}.key\nssl.client.key.passphrase={user}-secret\n"
            );
            write_private(&files.path(&format!("{user}.properties")), properties.as_bytes());
        }
        files.passwd("mosquitto", &["-c", "passfile", "subscriber"], "subscriber-pw");
        files.passwd("mosquitto", &["passfile", "publisher"], "publisher-pw");
        let entries = std::fs::read_dir(files.folder()).unwrap();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                let bytes = std::fs::read(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), bytes)
            })
            .collect()
    }

    /// Key, request and certificate, with the tutorial's three commands.
    pub(super) fn make_certificate(&self, name: &str, common_name: &str, passphrase: &str, bits: u32) {
        self.make_request(name, common_name, passphrase, bits);
        self.sign(name, "");
    }

    /// A key, and the request for its certificate.
    pub(super) fn make_request(&self, name: &str, common_name: &str, passphrase: &str, bits: u32) {
        self.openssl(
            &format!("genrsa -des3 -out {name}.key {bits}"),
            &format!("{passphrase}\n{passphrase}\n"),
        );
        self.openssl(
            &format!("req -new -out {name}.csr -key {name}.key"),
            &format!("{passphrase}\n{}", subject(common_name)),
        );
    }

    /// The certificate of a request; `more` are further options.
    pub(super) fn sign(&self, name: &str, more: &str) {
        self.openssl(
            &format!(
                "x509 -req -in {name}.csr -CA m2mqtt_ca.crt -CAkey m2mqtt_ca.key -CAcreateserial -out {name}.crt -days \
                 3650 {more}"
            ),
            &format!("{CA_PASSPHRASE}\n"),
        );
    }

    /// Runs openssl in the folder, without a terminal, so that it reads its answers from standard input.
    pub(super) fn openssl(&self, line: &str, typed: &str) {
        let mut command = Command::new("setsid");
        command.args(["--wait", "openssl"]).args(line.split_whitespace());
        let ended = self.typed(&mut command, typed);
        assert!(
            ended.status.success(),
            "openssl {line}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }

    /// A list that revokes a certificate, in crl.pem.
    pub(super) fn revoke(&self, name: &str) {
        std::fs::write(self.path("index.txt"), "").unwrap();
        std::fs::write(self.path("crlnumber"), "01\n").unwrap();
        let configuration = "[ca]\ndefault_ca = authority\n[authority]\ndatabase = index.txt\ndefault_md = \
                             sha256\ndefault_crl_days = 30\ncrlnumber = crlnumber\ncertificate = \
                             m2mqtt_ca.crt\nprivate_key = m2mqtt_ca.key\n";
        std::fs::write(self.path("ca.cnf"), configuration).unwrap();
        let typed = format!("{CA_PASSPHRASE}\n");
        self.openssl(&format!("ca -config ca.cnf -revoke {name}.crt"), &typed);
        self.openssl("ca -config ca.cnf -gencrl -out crl.pem", &typed);
    }

    /// `mosquitto_passwd`, or `broker passwd`, with a password that is typed twice.
    pub(super) fn passwd(&self, whose: &str, arguments: &[&str], password: &str) {
        let mut command = Command::new("setsid");
        command.arg("--wait");
        match whose {
            "mosquitto" => command.arg("mosquitto_passwd"),
            _ => command.args([program(), "passwd"]),
        };
        let ended = self.typed(command.args(arguments), &format!("{password}\n{password}\n"));
        assert!(
            ended.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }

    fn typed(&self, command: &mut Command, typed: &str) -> Output {
        let mut child = command
            .current_dir(self.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let written = child.stdin.take().unwrap().write_all(typed.as_bytes());
        let ended = child.wait_with_output().unwrap();
        assert!(written.is_ok() || !ended.status.success(), "{written:?}");
        ended
    }

    /// The tutorial's configuration on a free port.
    pub(super) fn configuration(&self) -> String {
        self.configuration_with_port().0
    }

    pub(super) fn configuration_with_port(&self) -> (String, u16) {
        let port = free_port();
        let text = format!(
            "bind_address localhost\nport {port}\npassword_file passfile\ncafile m2mqtt_ca.crt\ncertfile \
             m2mqtt_srv.crt\nkeyfile m2mqtt_srv.key\ntls_version tlsv1\nrequire_certificate true\n"
        );
        (text, port)
    }

    /// The letters of mosquitto_pub for a user.
    pub(super) fn flags(&self, served: &Served, user: &str) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let port = served.port.to_string();
        let password = format!("{user}-pw");
        [
            ("-h", "localhost".to_owned()),
            ("-p", port),
            ("--cafile", path("m2mqtt_ca.crt")),
            ("--cert", path(&format!("{user}.crt"))),
            ("--key", path(&format!("{user}.key"))),
            ("-u", user.to_owned()),
            ("-P", password),
        ]
        .into_iter()
        .flat_map(|(letter, value)| [letter.to_owned(), value])
        .collect()
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// What `openssl req` asks for: country, state, place, organization, unit, common name, address; then, for a request,
/// a challenge and a company.
fn subject(common_name: &str) -> String {
    format!("FR\n.\nBrest\nUBO\n.\n{common_name}\n.\n\n\n")
}

fn write_private(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
}
