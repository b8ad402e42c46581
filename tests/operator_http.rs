//! How `protocol http_api` speaks HTTP/1.1 and TLS: with clients that are slow, that ask before they send, and that
//! nobody lets in.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::SupportedProtocolVersion;

use crate::harness::api::{metric, start_with_api};
use crate::harness::http::{self, ask, get, open, read_to_end};
use crate::harness::{Certificates, Setup, eventually, free_port, run};

/// More than the connections of a listener whose requests have not come.
const TOO_MANY: usize = 300;

/// Those who send nothing are answered when they are too many, and nobody else waits for them.
#[test]
fn those_beyond_the_bound_are_answered() {
    let (_broker, port) = start_with_api(Setup::default(), 1, "");
    let mut silent: Vec<TcpStream> = (0..TOO_MANY).map(|_| open(port)).collect();
    assert_eq!(get(port, "/healthz").status, "200");
    let newest = silent.split_off(100);
    let answered = silent.iter().filter(|socket| {
        let answer = String::from_utf8(read_to_end(socket)).unwrap();
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n")
            && answer.contains("\r\nRetry-After: 1\r\n")
    });
    // The oldest were turned away, and of the others those whose time was over while this looked at them.
    assert!(answered.count() >= 40);
    assert!(metric(port, "midge_api_requests_refused_total") >= 40.0);
    drop(newest);
}

/// A request that has begun and does not end is answered with 408: in its header and in its body.
#[test]
fn slow_requests_get_408() {
    let (_broker, port) = start_with_api(Setup::default(), 1, "");
    for (begin, at_least_ms) in [
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\n", 900),
        (
            "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
            4900,
        ),
    ] {
        let begun = Instant::now();
        let answer = ask(port, begin);
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert!(
            answer.contains("\"error\": \"the request was not complete in time"),
            "{answer}"
        );
        let took = begun.elapsed();
        assert!(
            took.as_millis() >= at_least_ms && took.as_millis() < at_least_ms + 3000,
            "{took:?}"
        );
    }
}

/// A broker whose `http_api` wants the user `operator` with the password `right`; the login as a field.
fn with_password(folder: &std::path::Path) -> (crate::harness::Broker, u16, String) {
    let passwords = folder.join("passwords").display().to_string();
    let made = run(&[
        "passwd", "-b", "-c", "-H", "sha512", &passwords, "operator", "right",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let setup = Setup::default().global("per_listener_settings true");
    let (broker, port) = start_with_api(setup, 1, &format!("password_file {passwords}"));
    let login = format!(
        "Authorization: Basic {}\r\n",
        BASE64_STANDARD.encode("operator:right")
    );
    (broker, port, login)
}

fn publish_head(login: &str, fields: &str) -> String {
    format!("POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\n{login}{fields}\r\n")
}

/// Reads until the header of an answer is there.
fn head_of_answer(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

/// Who waits for `100 Continue` gets it when the body is wanted, and the answer else; a body that nobody may send is
/// not waited for, and takes the answer of none that sends it all the same.
#[test]
fn a_body_is_asked_for_when_its_client_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, port, login) = with_password(folder.path());
    let body = "{\"topic\": \"t\"}";
    let expecting = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    let mut socket = open(port);
    socket
        .write_all(publish_head(&login, &expecting).as_bytes())
        .unwrap();
    assert_eq!(head_of_answer(&mut socket), "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body.as_bytes()).unwrap();
    let answer = String::from_utf8(read_to_end(&socket)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // Nobody is asked for a body that is there, or that he may not send.
    let whole = ask(port, &(publish_head(&login, &expecting) + body));
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{whole}");
    let wrong = login.replace("Basic ", "Basic x");
    for login in ["", &wrong] {
        let begun = Instant::now();
        let refused = ask(port, &publish_head(login, &expecting));
        assert!(refused.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{refused}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    // One that is sent without a question: the answer comes to its end.
    let long = vec![b' '; 1 << 20];
    let mut socket = open(port);
    let head = publish_head("", &format!("Content-Length: {}\r\n", long.len()));
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(&long).unwrap();
    let refused = String::from_utf8(read_to_end(&socket)).unwrap();
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(refused.trim_end().ends_with('}'), "{refused}");
}

/// A body whose end is not known is not read.
#[test]
fn bodies_without_a_length_are_refused() {
    let (_broker, port) = start_with_api(Setup::default(), 1, "");
    for (fields, status) in [
        ("Transfer-Encoding: chunked\r\n", "411 Length Required"),
        ("Content-Length: +5\r\n", "400 Bad Request"),
        ("Content-Length: \r\n", "400 Bad Request"),
        ("Content-Length: 1048577\r\n", "413 Content Too Large"),
        (
            "Content-Length: 99999999999999999999999\r\n",
            "413 Content Too Large",
        ),
    ] {
        let answer = ask(port, &publish_head("", fields));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{fields}: {answer}"
        );
    }
}

/// Handshakes of an `http_api` listener are counted by how they end, and those that do not end keep nobody waiting.
#[test]
fn handshakes_of_operators_are_counted() {
    let certificates = Certificates::new();
    let own = free_port();
    let setup = Setup::default().listener(&format!("listener {own} 127.0.0.1\nprotocol http_api"));
    let path = |name: &str| certificates.path(name).display().to_string();
    let keys = format!("certfile {}\nkeyfile {}", path("server.crt"), path("server.key"));
    let (_broker, port) = start_with_api(setup, 1, &keys);
    let counted = |result: &str| metric(own, &format!("midge_tls_handshakes_total{{result=\"{result}\"}}"));
    eventually("it serves", || get(own, "/readyz").status == "200");
    for (version, result) in [
        (&rustls::version::TLS13, "TLSv1.3"),
        (&rustls::version::TLS12, "TLSv1.2"),
    ] {
        let answer = over_tls(&certificates, version, port);
        assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
        assert_eq!(counted(result), 1.0, "{result}");
    }
    // Not TLS at all, and clients that leave in the middle.
    let _alert = ask(port, &http::request("GET", "/healthz"));
    eventually("it has failed", || counted("failed") == 1.0);
    let begin = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for mut socket in (0..3).map(|_| open(port)) {
        socket.write_all(begin).unwrap();
    }
    eventually("they are unfinished", || counted("unfinished") == 3.0);
    // As many as wait, each in the middle of its handshake.
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut socket = open(port);
            socket.write_all(begin).unwrap();
            socket
        })
        .collect();
    let begun = Instant::now();
    let answer = over_tls(&certificates, &rustls::version::TLS13, port);
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    eventually("their time is over", || counted("unfinished") == 103.0);
    drop(slow);
}

fn over_tls(certificates: &Certificates, version: &'static SupportedProtocolVersion, port: u16) -> String {
    let config = certificates.client_config(&[version], false);
    let connection = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, open(port));
    stream
        .write_all(http::request("GET", "/healthz").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A page of a browser and a few programs ask at once, and all are answered.
#[test]
fn many_ask_at_once() {
    let (_broker, port) = start_with_api(Setup::default(), 1, "");
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                for path in ["/metrics", "/api/v1/clients", "/dashboard/"] {
                    assert_eq!(get(port, path).status, "200", "{path}");
                }
            });
        }
    });
}
