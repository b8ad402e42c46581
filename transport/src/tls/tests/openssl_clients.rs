//! OpenSSL as the client, for what rustls cannot send: keys of 1024 bits, old versions, plain text.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use super::pki::{Pki, pki};
use super::{Paths, assert_message, demanding};
use crate::stream::SecureStream;
use crate::tls::{ServerTls, TlsVersion, server_config};

/// Serves one connection until its handshake is over and something was read, or failed.
fn serve_one(listener: &TcpListener, config: &Arc<ServerConfig>) -> Result<Vec<u8>, String> {
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut stream = SecureStream::server(Some(config)).unwrap();
    let (mut plain, mut buffer) = (Vec::new(), [0; 4096]);
    while plain.is_empty() {
        let read = socket.read(&mut buffer).unwrap();
        if read == 0 {
            return Err("closed".to_owned());
        }
        let mut answer = Vec::new();
        let opened = stream.open(&buffer[..read], &mut plain, &mut answer);
        socket.write_all(&answer).unwrap();
        opened.map_err(|error| error.to_string())?;
    }
    Ok(plain)
}

/// What the server reports about `openssl s_client` with these options, which sends a line.
fn s_client(pki: &Pki, options: &str) -> Result<Vec<u8>, String> {
    let paths = Paths::of(pki, "localhost");
    s_client_of(pki, &demanding(&paths), options)
}

fn s_client_of(pki: &Pki, server: &ServerTls<'_>, options: &str) -> Result<Vec<u8>, String> {
    let config = server_config(server).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-CAfile", "ca.crt", "-verify_return_error"])
        .args(["-connect", &format!("127.0.0.1:{port}")])
        .args(options.split_whitespace())
        .current_dir(pki.folder())
        .env("OPENSSL_CONF", pki.path("openssl.cnf"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A client that fails at once closes its end.
    let _ = child.stdin.as_mut().unwrap().write_all(b"hello\n");
    let served = serve_one(&listener, &config);
    drop(child.stdin.take());
    child.kill().unwrap();
    child.wait().unwrap();
    served
}

#[test]
fn openssl_with_the_tutorials_certificates() {
    let Some(pki) = pki() else { return };
    for version in ["-tls1_2", "-tls1_3"] {
        for client in ["publisher", "good", "old"] {
            let options =
                format!("{version} -verify_hostname localhost -cert {client}.crt -key {client}.key");
            assert_eq!(
                s_client(pki, &options).as_deref(),
                Ok(&b"hello\n"[..]),
                "{options}"
            );
        }
    }
}

#[test]
fn clients_with_1024_bits_are_refused_in_words() {
    let Some(pki) = pki() else { return };
    for version in ["-tls1_2", "-tls1_3"] {
        for client in ["weak", "weak_old"] {
            let options =
                format!("{version} -cipher DEFAULT@SECLEVEL=0 -cert {client}.crt -key {client}.key");
            let error = s_client(pki, &options).unwrap_err();
            let name = format!("CN={client}");
            assert_message(
                Some(&error),
                &[&name, "1024 bits", "openssl genrsa -out client.key 2048"],
            );
        }
    }
}

#[test]
fn old_versions_of_tls_are_refused_in_words() {
    let Some(pki) = pki() else { return };
    let error = s_client(pki, "-tls1_1 -cipher DEFAULT@SECLEVEL=0").unwrap_err();
    assert_message(Some(&error), &["no version of TLS that is supported", "tlsv1.2"]);
}

#[test]
fn a_listener_of_tls_1_3_says_that_it_takes_no_other() {
    let Some(pki) = pki() else { return };
    let paths = Paths::of(pki, "localhost");
    let server = ServerTls {
        version_min: TlsVersion::V1_3,
        ..ServerTls::new(&paths.certificate, &paths.key)
    };
    let error = s_client_of(pki, &server, "-tls1_2").unwrap_err();
    assert_message(Some(&error), &["requires TLS 1.3", "--tls-version tlsv1.3"]);
}

#[test]
fn no_suite_in_common_is_not_reported_as_no_curve() {
    let Some(pki) = pki() else { return };
    for options in [
        "-tls1_2 -cipher AES128-SHA",
        "-tls1_2 -cipher ECDHE-RSA-AES128-SHA",
    ] {
        let error = s_client(pki, options).unwrap_err();
        assert_message(Some(&error), &["no cipher suite in common", "ECDHE with AES-GCM"]);
        assert!(!error.contains("curve in common"), "{error}");
    }
}

#[test]
fn plain_clients_get_a_reason() {
    let Some(pki) = pki() else { return };
    let paths = Paths::of(pki, "server");
    let config = server_config(&demanding(&paths)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client
        .write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00")
        .unwrap();
    let error = serve_one(&listener, &config).unwrap_err();
    assert_message(Some(&error), &["does not speak TLS"]);
}
