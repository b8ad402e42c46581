//! The tutorial of TLS with passwords, as its reader does it: openssl and mosquitto_passwd word for word, the broker in
//! mosquitto's place, and clients that others wrote. On a machine without one of them a visible skip; in CI a failure.
//!
//! `files` makes what the reader makes, `programs` runs what the reader runs, `clients` has an exchange for each kind
//! of client, `wrong` tries each thing that can be wrong.

mod clients;
mod files;
mod programs;
mod wrong;

use std::io::Write as _;
use std::process::{Command, Stdio};

use files::{Files, SERVER_PASSPHRASE};
use programs::{Served, loadgen, receive};

/// Whether a program is on this machine; says so on standard error, past the runner's capture, if it is not.
fn is_there(program: &str, argument: &str) -> bool {
    let found = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .output()
        .is_ok();
    is_installed(program, found)
}

fn is_installed(program: &str, found: bool) -> bool {
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "{program} is not installed, and CI must not skip it"
        );
        let line = format!("SKIPPED: {program} is not installed on this machine\n");
        let _written = std::io::stderr().write_all(line.as_bytes());
    }
    found
}

/// The tutorial's two programs, with properties and then with mosquitto's flags.
fn the_two_programs_talk(served: &Served, files: &Files) {
    let by_properties = |word: &str, user: &str| {
        let mut command = loadgen(word);
        command.current_dir(files.folder());
        command.args(["--properties", &format!("{user}.properties")]);
        command.args(["-h", "localhost", "-p", &served.port.to_string()]);
        command.args(["-u", user, "-P", &format!("{user}-pw"), "-t", "m2mqtt/test"]);
        command
    };
    let mut subscriber = by_properties("sub", "subscriber");
    subscriber.args(["-C", "1", "-W", "20", "-v", "-q", "2"]);
    let mut publisher = by_properties("pub", "publisher");
    publisher.args(["-m", "Hello", "-q", "2"]);
    assert_eq!(receive(served, subscriber, publisher), "m2mqtt/test Hello\n");

    let mut subscriber = loadgen("sub");
    subscriber.args(files.flags(served, "subscriber")).args([
        "--cn-fallback",
        "-t",
        "m2mqtt/#",
        "-C",
        "1",
        "-W",
        "20",
    ]);
    subscriber.env("MIDGE_KEY_PASSPHRASE", "subscriber-secret");
    let mut publisher = loadgen("pub");
    publisher.args(files.flags(served, "publisher")).args([
        "--cn-fallback",
        "-t",
        "m2mqtt/flags",
        "-m",
        "by flags",
    ]);
    publisher.env("MIDGE_KEY_PASSPHRASE", "publisher-secret");
    assert_eq!(receive(served, subscriber, publisher), "by flags\n");
}

#[test]
fn word_for_word_with_2048_bits() {
    let Some(files) = Files::new() else { return };
    let served = Served::start(&files, &files.configuration(), SERVER_PASSPHRASE);
    the_two_programs_talk(&served, &files);
    let log = served.end();
    for sentence in ["tlsv1 is not safe any more", "subjectAltName", "version 1"] {
        assert!(log.contains(sentence), "{sentence:?} is not in\n{log}");
    }
    for secret in [
        SERVER_PASSPHRASE,
        "publisher-pw",
        "subscriber-pw",
        "publisher-secret",
    ] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}

/// As the tutorial was written: today nobody takes such keys.
#[test]
fn word_for_word_with_1024_bits() {
    let Some(files) = Files::new() else { return };
    files.make_certificate("m2mqtt_srv", "localhost", SERVER_PASSPHRASE, 1024);
    let ended = programs::broker_ends(&files, &files.configuration(), Some(SERVER_PASSPHRASE));
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    for words in ["m2mqtt_srv", "1024 bits", "openssl genrsa", "2048"] {
        assert!(ended.text.contains(words), "{words:?} is not in\n{}", ended.text);
    }
}

/// The passphrase is typed, at the broker and at a client.
#[test]
fn passphrases_are_typed() {
    let Some(files) = Files::new() else { return };
    if !is_there("script", "--version") {
        return;
    }
    let (configuration, port) = files.configuration_with_port();
    let broker = programs::OnTerminal::broker(&files, &configuration, &format!("{SERVER_PASSPHRASE}\n"));
    broker.serves(port);
    let publish = format!(
        "{} pub -h localhost -p {port} --cafile m2mqtt_ca.crt --cert publisher.crt --key publisher.key --cn-fallback \
         -u publisher -P publisher-pw -t t -m typed -q 1",
        env!("CARGO_BIN_EXE_midge-loadgen")
    );
    let (status, screen) = programs::OnTerminal::start(&files, &publish, "wrong\npublisher-secret\n").end();
    assert!(status.success(), "{screen}");
    assert!(
        screen.contains("Passphrase of the private key publisher.key"),
        "{screen}"
    );
    assert!(screen.contains("Wrong. Passphrase"), "{screen}");
    let screen = broker.terminate();
    assert!(screen.contains("Passphrase of the private key"), "{screen}");
}

/// Each program reads the files of the other.
#[test]
fn password_files_go_both_ways() {
    let Some(files) = Files::new() else { return };
    // Made by mosquitto_passwd, continued by ours.
    files.passwd("broker", &["passfile", "publisher"], "publisher-pw");
    files.passwd("broker", &["-H", "argon2id", "passfile", "third"], "third-pw");
    let served = Served::start(&files, &files.configuration(), SERVER_PASSPHRASE);
    the_two_programs_talk(&served, &files);
    drop(served);
    // Made by ours, continued by theirs: mosquitto before 2.1 does not know argon2id.
    let for_all_versions = ["-c", "-H", "sha512-pbkdf2", "passfile", "subscriber"];
    files.passwd("broker", &for_all_versions, "subscriber-pw");
    files.passwd("mosquitto", &["passfile", "publisher"], "publisher-pw");
    let served = Served::start(&files, &files.configuration(), SERVER_PASSPHRASE);
    the_two_programs_talk(&served, &files);
    drop(served);
    let listed = std::fs::read_to_string(files.path("passfile")).unwrap();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    programs::mosquitto_takes(&files, &["subscriber", "publisher"]);
}

/// The load of the tutorial: each client with a certificate and a user of its own, all of it made for the run.
#[test]
fn the_tutorial_as_a_load() {
    let mut load = Command::new(env!("CARGO_BIN_EXE_midge-loadgen"));
    load.args([
        "run",
        "--scenario",
        "mtls-tutorial",
        "--pubs",
        "20",
        "--subs",
        "20",
    ]);
    load.args([
        "--rate",
        "max",
        "--window",
        "4",
        "--warmup",
        "0.2",
        "--duration",
        "0.5",
        "-q",
        "1",
    ]);
    let ended = load.output().unwrap();
    let text = programs::text_of(&ended);
    // 4: on a busy machine the generator calls itself the bottleneck.
    assert!(matches!(ended.status.code(), Some(0 | 4)), "{text}");
    assert!(text.contains("0 lost, 0 duplicate, 0 reordered"), "{text}");
}

/// Clients with the tutorial's own files, chosen by their number.
#[test]
fn a_load_with_the_tutorials_files() {
    let Some(files) = Files::new() else { return };
    for (number, user) in ["publisher", "subscriber"].into_iter().enumerate() {
        for kind in ["crt", "key"] {
            let name = files.path(&format!("client-{number}.{kind}"));
            std::fs::copy(files.path(&format!("{user}.{kind}")), name).unwrap();
        }
        files.passwd(
            "broker",
            &["-b", "passfile", &format!("user-{number}"), "one-pw"],
            "",
        );
        // One passphrase for all keys.
        files.openssl(
            &format!(
                "pkey -in {user}.key -des3 -out client-{number}.key -passin pass:{user}-secret -passout pass:all-secret"
            ),
            "",
        );
    }
    std::fs::write(files.path("passphrase"), "all-secret\n").unwrap();
    let served = Served::start(&files, &files.configuration(), SERVER_PASSPHRASE);
    let mut load = Command::new(env!("CARGO_BIN_EXE_midge-loadgen"));
    load.current_dir(files.folder());
    load.args([
        "-h",
        "localhost",
        "-p",
        &served.port.to_string(),
        "--cafile",
        "m2mqtt_ca.crt",
    ]);
    load.args([
        "--cert",
        "client-%i.crt",
        "--key",
        "client-%i.key",
        "--key-pass-file",
        "passphrase",
    ]);
    load.args([
        "-u",
        "user-%i",
        "-P",
        "one-pw",
        "--cn-fallback",
        "--pubs",
        "2",
        "--subs",
        "2",
    ]);
    load.args([
        "--rate",
        "max",
        "--window",
        "4",
        "--warmup",
        "0.2",
        "--duration",
        "0.5",
    ]);
    let ended = load.output().unwrap();
    let text = programs::text_of(&ended);
    assert!(matches!(ended.status.code(), Some(0 | 4)), "{text}");
    assert!(text.contains("0 lost, 0 duplicate, 0 reordered"), "{text}");
    let log = served.end();
    for name in ["CN=publisher", "CN=subscriber"] {
        assert!(log.contains(name), "{name} is not in\n{log}");
    }
}
