//! The tutorial's exchange with clients that others wrote: each receives what `loadgen pub` sends, and sends what
//! `loadgen sub` receives, with its certificate, its passphrase, its user and its password.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::files::{Files, SERVER_PASSPHRASE};
use super::programs::{Served, loadgen, receive, text_of};
use super::{is_installed, is_there};

/// A client program for a user, publishing the text or printing one message.
type Client<'a> = dyn Fn(&Files, &Served, &str, Option<&str>) -> Command + 'a;

fn exchange(files: &Files, client: &Client<'_>) {
    let served = Served::start(files, &files.configuration(), SERVER_PASSPHRASE);
    let own = |word: &str, user: &str| {
        let mut command = loadgen(word);
        command
            .args(files.flags(&served, user))
            .args(["--cn-fallback", "-t", "m2mqtt/test", "-q", "1"])
            .env("MIDGE_KEY_PASSPHRASE", format!("{user}-secret"));
        command
    };
    let mut publisher = own("pub", "publisher");
    publisher.args(["-m", "from ours"]);
    let received = receive(&served, client(files, &served, "subscriber", None), publisher);
    assert_eq!(received.trim_end(), "from ours");
    let mut subscriber = own("sub", "subscriber");
    subscriber.args(["-C", "1", "-W", "60"]);
    let received = receive(
        &served,
        subscriber,
        client(files, &served, "publisher", Some("from theirs")),
    );
    assert_eq!(received, "from theirs\n");
    served.end();
}

/// The arguments of the programs in tests/clients: pub or sub, port, folder, user, topic, text.
fn arguments(files: &Files, served: &Served, user: &str, text: Option<&str>) -> Vec<String> {
    let word = if text.is_some() { "pub" } else { "sub" };
    [
        word,
        &served.port.to_string(),
        &files.folder().display().to_string(),
        user,
        "m2mqtt/test",
        text.unwrap_or_default(),
    ]
    .map(str::to_owned)
    .to_vec()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// mosquitto_pub cannot be given a passphrase but on a terminal, so it has its key in plain.
#[test]
fn mosquitto_clients() {
    let Some(files) = Files::new() else { return };
    if !is_there("mosquitto_pub", "--help") || !is_there("mosquitto_sub", "--help") {
        return;
    }
    for user in ["publisher", "subscriber"] {
        let key = files.path(&format!("{user}.key"));
        let plain = files.path("plain.key");
        files.openssl(
            &format!("pkey -in {user}.key -out plain.key -passin pass:{user}-secret"),
            "",
        );
        std::fs::rename(plain, key).unwrap();
    }
    exchange(&files, &|files, served, user, text| {
        let mut command = match text {
            Some(text) => {
                let mut command = Command::new("mosquitto_pub");
                command.args(["-m", text]);
                command
            }
            None => {
                let mut command = Command::new("mosquitto_sub");
                command.args(["-C", "1", "-W", "20"]);
                command
            }
        };
        command
            .args(files.flags(served, user))
            .args(["-t", "m2mqtt/test", "-q", "1"]);
        command
    });
}

#[test]
fn paho_python() {
    let Some(files) = Files::new() else { return };
    let of_ci = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/bin/python");
    let python = [of_ci, PathBuf::from("python3")].into_iter().find(|python| {
        let import = Command::new(python)
            .args(["-c", "import paho.mqtt.client"])
            .output();
        import.is_ok_and(|output| output.status.success())
    });
    if !is_installed("paho-mqtt (Python)", python.is_some()) {
        return;
    }
    exchange(&files, &|files, served, user, text| {
        let mut command = Command::new(python.as_ref().unwrap());
        command
            .arg(source("tutorial_paho.py"))
            .args(arguments(files, served, user, text));
        command
    });
}

#[test]
fn paho_c() {
    let Some(files) = Files::new() else { return };
    let has_header = Path::new("/usr/include/MQTTClient.h").exists();
    if !is_there("gcc", "--version") || !is_installed("libpaho-mqtt-dev", has_header) {
        return;
    }
    let program = files.path("paho_c");
    let compiled = Command::new("gcc")
        .args(["-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(source("tutorial_paho.c"))
        .arg("-lpaho-mqtt3cs")
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", text_of(&compiled));
    exchange(&files, &|files, served, user, text| {
        let mut command = Command::new(&program);
        command.args(arguments(files, served, user, text));
        command
    });
}

/// FuseSource's client over JSSE, which reads PKCS#12.
#[test]
fn java() {
    let Some(files) = Files::new() else { return };
    let jars = ["mqtt-client", "hawtdispatch", "hawtdispatch-transport", "hawtbuf"]
        .map(|name| format!("/usr/share/java/{name}.jar"));
    let has_jars = jars.iter().all(|jar| Path::new(jar).exists());
    if !is_there("javac", "-version") || !is_installed("libmqtt-client-java", has_jars) {
        return;
    }
    for user in ["publisher", "subscriber"] {
        files.openssl(
            &format!(
                "pkcs12 -export -in {user}.crt -inkey {user}.key -passin pass:{user}-secret -out {user}.p12 -passout \
                 pass:{user}-secret"
            ),
            "",
        );
    }
    let classes = format!("{}:{}", jars.join(":"), files.folder().display());
    let compiled = Command::new("javac")
        .args(["-cp", &classes, "-d"])
        .arg(files.folder())
        .arg(source("TutorialClient.java"))
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", text_of(&compiled));
    exchange(&files, &|files, served, user, text| {
        let mut command = Command::new("java");
        command
            .args(["-cp", &classes, "TutorialClient"])
            .args(arguments(files, served, user, text));
        command
    });
}
