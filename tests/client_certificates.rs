//! Clients that are identified by their certificates, with the certificates of `broker certs`; and what is logged
//! about refused ones.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use mqtt::packet::Packet;
use mqtt::{QoS, ReasonCode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::harness::{Broker, Client, Options, Received, Setup, eventually, run};

fn certs(folder: &Path, clients: &[&str]) -> String {
    let folder = folder.display().to_string();
    let mut arguments = vec!["certs", &folder, "--name", "localhost"];
    for client in clients {
        arguments.extend(["--client", client]);
    }
    let ended = run(&arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

/// A broker with the lines that `broker certs` printed.
fn broker(printed: &str) -> Broker {
    let lines = printed.lines().filter(|line| {
        !line.starts_with("listener ") && !line.starts_with('#') && !line.starts_with("mosquitto")
    });
    lines
        .fold(Setup::default().shards(2), |setup, line| setup.listener(line))
        .start()
}

fn config(trusted: &Path, own: &Path, client: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(trusted.join("ca.crt")).unwrap())
        .unwrap();
    let chain = CertificateDer::from_pem_file(own.join(format!("{client}.crt"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(own.join(format!("{client}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(builder.with_client_auth_cert(vec![chain], key).unwrap())
}

#[test]
fn the_printed_configuration_serves_the_made_clients() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = broker(&certs(folder, &["publisher", "subscriber"]));
    let options = |name: &str| Options::new(name).tls(config(folder, folder, name));
    let mut subscriber = Client::connect(&broker, &options("subscriber"));
    subscriber.subscribe("t", QoS::AtLeastOnce);
    let mut publisher = Client::connect(&broker, &options("publisher"));
    publisher.publish("t", b"hello", QoS::AtLeastOnce);
    assert_eq!(subscriber.payloads(1), ["hello"]);
    for name in ["ca.key", "server.key", "publisher.key"] {
        let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let again = run(&["certs", &folder.display().to_string()]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("exists"), "{}", again.stderr);
}

/// V21 of the operators' table: a session belongs to the user that created it, here by certificate.
#[test]
fn v21_another_certificate_cannot_take_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = broker(&certs(folder, &["a", "b"]));
    let as_user = |name: &str| {
        Options::new("the-client")
            .persistent()
            .tls(config(folder, folder, name))
    };
    let mut owner = Client::connect(&broker, &as_user("a"));
    let (_thief, answer) = Client::try_connect(&broker, &as_user("b"));
    match answer.as_ref().map(Received::packet) {
        Some(Packet::ConnAck(connack)) => assert_eq!(connack.reason, ReasonCode::NotAuthorized),
        other => panic!("{other:?}"),
    }
    owner.ping();
}

/// In TLS 1.3 the client believes at first that it is connected, so the log must be checked.
#[test]
fn a_refused_client_is_named_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let others = tempfile::tempdir().unwrap();
    let broker = broker(&certs(folder.path(), &["a"]));
    certs(others.path(), &["intruder"]);
    let options = Options::new("x").tls(config(folder.path(), others.path(), "intruder"));
    let (_client, accepted) = Client::try_connect(&broker, &options);
    assert!(accepted.is_none());
    eventually("the log", || broker.log().contains("CN=intruder is refused"));
    let log = broker.log();
    for word in ["did not sign it", "openssl x509 -req"] {
        assert!(log.contains(word), "{word:?} is not in {log}");
    }
}
