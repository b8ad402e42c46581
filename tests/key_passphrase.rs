//! A listener whose private key is encrypted: on a terminal, from a file, from the environment, from systemd, and from
//! nowhere.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustls::version::TLS13;

use crate::harness::{Certificates, Client, Options, Setup, eventually, free_port, program};

/// Certificates whose server key has the passphrase `secret`; `None`, with a word on stderr, without an openssl.
fn encrypted() -> Option<Certificates> {
    let certificates = Certificates::new();
    let (plain, key) = (certificates.path("plain.key"), certificates.path("server.key"));
    std::fs::rename(&key, &plain).unwrap();
    let made = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-v2", "des3", "-passout", "pass:secret", "-in"])
        .args([plain.as_os_str(), "-out".as_ref(), key.as_os_str()])
        .status();
    if is_there("openssl", made.is_ok_and(|status| status.success())) {
        Some(certificates)
    } else {
        None
    }
}

fn is_there(program: &str, found: bool) -> bool {
    if !found {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "{program} is not installed"
        );
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

/// A configuration beside the certificates, and its port.
fn configuration(certificates: &Certificates) -> (std::path::PathBuf, u16) {
    let port = free_port();
    let path = |name: &str| certificates.path(name).display().to_string();
    let text = format!(
        "pid_file {}\nlistener {port} 127.0.0.1\nallow_anonymous true\ncertfile {}\nkeyfile {}\n",
        path("pid"),
        path("server.crt"),
        path("server.key")
    );
    std::fs::write(certificates.path("broker.conf"), text).unwrap();
    (certificates.path("broker.conf"), port)
}

/// The broker without a terminal, run to its end.
fn without_terminal(configuration: &Path, variable: Option<&str>) -> Output {
    let mut command = Command::new("setsid");
    command
        .args(["--wait", program(), "-c"])
        .arg(configuration)
        .env_remove("MIDGE_KEY_PASSPHRASE")
        .stdin(Stdio::null());
    if let Some(passphrase) = variable {
        command.env("MIDGE_KEY_PASSPHRASE", passphrase);
    }
    command.output().unwrap()
}

#[test]
fn without_a_terminal_the_ways_out_are_named() {
    let Some(certificates) = encrypted() else { return };
    let (configuration, _) = configuration(&certificates);
    let ended = without_terminal(&configuration, None);
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{log}");
    for word in [
        "server.key is encrypted, and there is no terminal",
        "key_passphrase_file",
        "MIDGE_KEY_PASSPHRASE",
        "LoadCredential=midge-key-passphrase",
    ] {
        assert!(log.contains(word), "{word:?} is not in {log}");
    }
    assert!(!log.contains("listen socket"), "something was opened: {log}");
}

#[test]
fn a_wrong_passphrase_is_one_sentence() {
    let Some(certificates) = encrypted() else { return };
    let (configuration, _) = configuration(&certificates);
    let ended = without_terminal(&configuration, Some("not-it"));
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{log}");
    assert!(log.contains("wrong passphrase for the private key"), "{log}");
    assert!(!log.contains("not-it") && !log.contains("listen socket"), "{log}");
}

#[test]
fn from_a_file() {
    let Some(certificates) = encrypted() else { return };
    let file = certificates.path("passphrase");
    std::fs::write(&file, "secret\n").unwrap();
    let broker = Setup::default()
        .tls(&certificates)
        .listener(&format!("key_passphrase_file {}", file.display()))
        .start();
    let config = certificates.client_config(&[&TLS13], false);
    Client::connect(&broker, &Options::new("a").tls(config)).disconnect();
    assert!(!broker.log().contains("secret"));
}

/// Runs the broker on a terminal of its own, answers its question, and ends it when `port` is listened on.
fn on_a_terminal(certificates: &Certificates, typed: &str) -> Option<(Output, bool)> {
    let found = Command::new("script").arg("--version").output();
    if !is_there("script", found.is_ok()) {
        return None;
    }
    let (configuration, port) = configuration(certificates);
    let broker = format!("{} -c {}", program(), configuration.display());
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &broker, "/dev/null"])
        .env_remove("MIDGE_KEY_PASSPHRASE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
    let mut serves = false;
    eventually("it serves or ends", || {
        serves = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        serves || child.try_wait().unwrap().is_some()
    });
    if serves {
        let pid_file = certificates.path("pid");
        eventually("the pid_file", || pid_file.exists());
        let pid = std::fs::read_to_string(pid_file).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }
    let mut stdout = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    let status = child.wait().unwrap();
    let stderr = Vec::new();
    Some((
        Output {
            status,
            stdout,
            stderr,
        },
        serves,
    ))
}

#[test]
fn the_terminal_is_asked() {
    let Some(certificates) = encrypted() else { return };
    let Some((ended, serves)) = on_a_terminal(&certificates, "wrong\nsecret\n") else {
        return;
    };
    let screen = String::from_utf8_lossy(&ended.stdout);
    assert!(serves, "{screen}");
    assert!(ended.status.success(), "{screen}");
    assert!(screen.contains("Passphrase of the private key"), "{screen}");
    assert!(screen.contains("Wrong. Passphrase"), "{screen}");
}

#[test]
fn the_terminal_is_asked_three_times_at_most() {
    let Some(certificates) = encrypted() else { return };
    let Some((ended, serves)) = on_a_terminal(&certificates, "a\nb\nc\n") else {
        return;
    };
    let screen = String::from_utf8_lossy(&ended.stdout);
    assert!(!serves && ended.status.code() == Some(1), "{screen}");
    assert_eq!(
        screen.matches("Passphrase of the private key").count(),
        3,
        "{screen}"
    );
    assert!(screen.contains("wrong passphrase"), "{screen}");
}
