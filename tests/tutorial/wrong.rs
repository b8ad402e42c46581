//! Each thing that can be wrong in the tutorial, tried once: the message names the cause and how to fix it.

use std::process::Command;

use super::files::{Files, SERVER_PASSPHRASE};
use super::programs::{self, Served, loadgen, text_of};

const CONNECT_FAILED: Option<i32> = Some(3);

fn serve(files: &Files) -> Served {
    Served::start(files, &files.configuration(), SERVER_PASSPHRASE)
}

/// `loadgen pub` with these options besides the server's name.
fn publish(files: &Files, served: &Served, options: &[&str]) -> Command {
    let mut command = loadgen("pub");
    command
        .current_dir(files.folder())
        .args(["-h", "localhost", "-p", &served.port.to_string(), "--cn-fallback"])
        .args(["-t", "t", "-m", "x", "-q", "1"])
        .args(options)
        .env("MIDGE_KEY_PASSPHRASE", "publisher-secret");
    command
}

const CERTIFIED: [&str; 6] = [
    "--cafile",
    "m2mqtt_ca.crt",
    "--cert",
    "publisher.crt",
    "--key",
    "publisher.key",
];

fn fails(mut command: Command, words: &[&str]) {
    let ended = command.output().unwrap();
    let text = text_of(&ended);
    assert_eq!(ended.status.code(), CONNECT_FAILED, "{command:?}: {text}");
    for words in words {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

/// A client whose certificate the broker refuses: the broker's log says why, the client that it was refused.
fn is_refused(served: &Served, command: Command, words: &[&str]) {
    fails(
        command,
        &["the server refuses the client's certificate; the server's log says why"],
    );
    words.iter().for_each(|words| served.has_logged(words));
}

#[test]
fn no_certificate() {
    let Some(files) = Files::new() else { return };
    let served = serve(&files);
    fails(
        publish(&files, &served, &["--cafile", "m2mqtt_ca.crt"]),
        &["requires a client's certificate", "--cert FILE --key FILE"],
    );
    served.has_logged("the client sent no certificate and this listener requires one");
}

#[test]
fn another_authority() {
    let Some(files) = Files::new() else { return };
    let served = serve(&files);
    files.openssl(
        "req -new -x509 -days 30 -nodes -subj /CN=stranger -keyout other.key -out other_ca.crt",
        "",
    );
    let mut mistrusting = CERTIFIED;
    mistrusting[1] = "other_ca.crt";
    fails(
        publish(&files, &served, &mistrusting),
        &["the server's certificate", "its issuer", "other_ca.crt"],
    );
    served.has_logged("does not trust the authority of this server's certificate");
    files.openssl(
        "x509 -req -in publisher.csr -CA other_ca.crt -CAkey other.key -CAcreateserial -days 30 -out publisher.crt",
        "",
    );
    is_refused(
        &served,
        publish(&files, &served, &CERTIFIED),
        &["CN=publisher", "its issuer", "CN=stranger", "m2mqtt_ca.crt"],
    );
}

/// Certificates that the authority has signed in ways that are not good enough.
#[test]
fn certificates_of_clients() {
    let Some(files) = Files::new() else { return };
    let served = serve(&files);
    files.sign("publisher", "-days -1");
    is_refused(&served, publish(&files, &served, &CERTIFIED), &["it expired at"]);
    for (extension, words) in [
        ("basicConstraints=CA:TRUE", "(CA:TRUE) and not a client's"),
        ("extendedKeyUsage=serverAuth", "lacks clientAuth"),
    ] {
        std::fs::write(files.path("extension"), extension).unwrap();
        files.sign("publisher", "-extfile extension");
        is_refused(&served, publish(&files, &served, &CERTIFIED), &[words]);
    }
    files.sign("publisher", "-sha1");
    fails(
        publish(&files, &served, &CERTIFIED),
        &["publisher.crt", "signed with SHA-1", "-sha256"],
    );
    files.make_certificate("publisher", "publisher", "publisher-secret", 1024);
    fails(
        publish(&files, &served, &CERTIFIED),
        &["publisher", "1024 bits", "openssl genrsa"],
    );
}

#[test]
fn certificates_of_version_1_can_be_refused() {
    let Some(files) = Files::new() else { return };
    let strict = files.configuration() + "allow_v1_certificates false\n";
    let served = Served::start(&files, &strict, SERVER_PASSPHRASE);
    is_refused(
        &served,
        publish(&files, &served, &CERTIFIED),
        &["CN=publisher", "X.509 version 1", "basicConstraints=CA:FALSE"],
    );
}

#[test]
fn a_server_with_a_cn_only() {
    let Some(files) = Files::new() else { return };
    let served = serve(&files);
    let mut strict = loadgen("pub");
    strict
        .current_dir(files.folder())
        .args([
            "-h",
            "localhost",
            "-p",
            &served.port.to_string(),
            "-t",
            "t",
            "-m",
            "x",
        ])
        .args(CERTIFIED)
        .env("MIDGE_KEY_PASSPHRASE", "publisher-secret");
    fails(strict, &["the server's certificate", "--cn-fallback"]);
    served.has_logged("subjectAltName=DNS:localhost");
}

#[test]
fn a_revoked_client() {
    let Some(files) = Files::new() else { return };
    files.revoke("publisher");
    let configuration = files.configuration() + "crlfile crl.pem\n";
    let served = Served::start(&files, &configuration, SERVER_PASSPHRASE);
    is_refused(
        &served,
        publish(&files, &served, &CERTIFIED),
        &["CN=publisher", "it is revoked in", "crl.pem"],
    );
    let mut subscriber = loadgen("sub");
    subscriber
        .args(files.flags(&served, "subscriber"))
        .args(["--cn-fallback", "-t", "t", "-E"])
        .env("MIDGE_KEY_PASSPHRASE", "subscriber-secret");
    let ended = subscriber.output().unwrap();
    assert!(ended.status.success(), "{}", text_of(&ended));
}

#[test]
fn users_and_passwords() {
    let Some(files) = Files::new() else { return };
    let served = serve(&files);
    for user in [
        &["-u", "publisher", "-P", "not-it"][..],
        &["-u", "nobody", "-P", "not-it"],
        &[],
    ] {
        let options = [&CERTIFIED[..], user].concat();
        fails(
            publish(&files, &served, &options),
            &[
                "the broker refused the connection",
                "check the user name (-u) and the password (-P)",
            ],
        );
    }
    served.has_logged("publisher");
    served.has_logged("nobody");
    let log = served.end();
    assert!(!log.contains("not-it"), "{log}");
}

#[test]
fn a_servers_files() {
    let Some(files) = Files::new() else { return };
    let refused = |words: &[&str], passphrase: Option<&str>| {
        let ended = programs::broker_ends(&files, &files.configuration(), passphrase);
        assert_eq!(ended.code, Some(1), "{}", ended.text);
        for words in words {
            assert!(ended.text.contains(words), "{words:?} is not in {}", ended.text);
        }
        assert!(
            !ended.text.contains("listen socket"),
            "half started: {}",
            ended.text
        );
    };
    refused(
        &["wrong passphrase for the private key", "m2mqtt_srv.key"],
        Some("not-it"),
    );
    refused(
        &["no terminal", "MIDGE_KEY_PASSPHRASE", "key_passphrase_file"],
        None,
    );
    files.sign("m2mqtt_srv", "-sha1");
    refused(&["m2mqtt_srv.crt", "SHA-1", "-sha256"], Some(SERVER_PASSPHRASE));
    std::fs::copy(files.path("publisher.crt"), files.path("m2mqtt_srv.crt")).unwrap();
    refused(&["do not belong together"], Some(SERVER_PASSPHRASE));
    std::fs::write(files.path("passfile"), "subscriber:plain text\n").unwrap();
    files.sign("m2mqtt_srv", "");
    let ended = programs::broker_ends(&files, &files.configuration(), Some(SERVER_PASSPHRASE));
    assert!(ended.code.is_some_and(|code| code != 0), "{}", ended.text);
    for words in ["passfile:1", "broker passwd"] {
        assert!(ended.text.contains(words), "{words:?} is not in {}", ended.text);
    }
}

#[test]
fn a_clients_files() {
    let Some(files) = Files::new() else { return };
    let served = serve(&files);
    let mut wrong = publish(&files, &served, &CERTIFIED);
    wrong.env("MIDGE_KEY_PASSPHRASE", "not-it");
    fails(wrong, &["wrong passphrase for the private key publisher.key"]);
    let mut nobody = publish(&files, &served, &CERTIFIED);
    nobody.env_remove("MIDGE_KEY_PASSPHRASE");
    fails(
        nobody,
        &[
            "no terminal",
            "--key-pass-file",
            "ssl.client.key.passphrase",
            "MIDGE_KEY_PASSPHRASE",
        ],
    );
    let mut missing = CERTIFIED;
    missing[3] = "gone.crt";
    fails(publish(&files, &served, &missing), &["gone.crt", "No such file"]);
    let mut plain = loadgen("pub");
    plain.args(["-h", "localhost", "-p", &served.port.to_string(), "-t", "t", "-n"]);
    fails(plain, &["--cafile"]);
}

#[test]
fn files_of_properties() {
    let Some(files) = Files::new() else { return };
    let served = serve(&files);
    let properties = std::fs::read_to_string(files.path("publisher.properties")).unwrap();
    let publish = |text: &str| {
        std::fs::write(files.path("own.properties"), text).unwrap();
        let mut command = loadgen("pub");
        command
            .args(["--properties"])
            .arg(files.path("own.properties"))
            .args([
                "-p",
                &served.port.to_string(),
                "--cn-fallback",
                "-t",
                "t",
                "-n",
                "-q",
                "1",
            ])
            .args(["-u", "publisher", "-P", "publisher-pw"]);
        let ended = command.output().unwrap();
        (ended.status.code(), text_of(&ended))
    };
    // Paths are those of the file's folder, for the working directory is another.
    let (code, text) = publish(&format!("{properties}ssl.client.keys=x\n"));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("own.properties:6: unknown key \"ssl.client.keys\" is ignored: did you mean"),
        "{text}"
    );
    assert!(text.contains("chmod 600"), "{text}");
    let (code, text) = publish(&properties.replace("publisher-secret", "not-it"));
    assert_eq!(code, CONNECT_FAILED, "{text}");
    assert!(
        text.contains("wrong passphrase") && !text.contains("not-it"),
        "{text}"
    );
    let (code, text) = publish(&format!("{properties}port=x\n"));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("own.properties:6: port \"x\""), "{text}");
}
