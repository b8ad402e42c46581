//! MQTT over WebSocket: upgrades, frames, pages beside it, and what is refused.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mqtt::QoS;

use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually, http};
use crate::real_clients::{python_with_paho, skip};

fn setup() -> Setup {
    Setup::default().shards(2).listener("protocol websockets")
}

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
const PINGREQ: &[u8] = b"\xc0\x00";

fn open(broker: &Broker) -> TcpStream {
    let socket = http::open(broker.address().port());
    socket.set_nodelay(true).unwrap();
    socket
}

/// What a request is answered with, when the broker closes after it.
fn answer(broker: &Broker, request: &str) -> String {
    http::ask(broker.address().port(), request)
}

fn page(broker: &Broker, target: &str) -> String {
    answer(broker, &http::request("GET", target))
}

/// A frame with its payload masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// The next frame of the broker: its first byte and its payload.
fn next_frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 2];
    socket.read_exact(&mut header).unwrap();
    assert_eq!(header[1] & 0x80, 0, "a server does not mask");
    let mut length = u64::from(header[1]);
    if length == 126 {
        let mut long = [0; 2];
        socket.read_exact(&mut long).unwrap();
        length = u64::from(u16::from_be_bytes(long));
    }
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    socket.read_exact(&mut payload).unwrap();
    (header[0], payload)
}

/// A socket whose upgrade was answered.
fn upgraded(broker: &Broker) -> TcpStream {
    let mut socket = open(broker);
    socket.write_all(REQUEST.as_bytes()).unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        response.push(byte[0]);
    }
    assert!(response.starts_with(b"HTTP/1.1 101 "), "{response:?}");
    socket
}

#[test]
fn messages_pass_between_web_sockets_and_tcp() {
    let certificates = Certificates::new();
    let tcp = crate::harness::free_port();
    let second = format!("listener {tcp} 127.0.0.1\nallow_anonymous true");
    let plain = setup().listener(&second).start();
    let secure = setup().tls(&certificates).start();
    let config = certificates.client_config(&[&rustls::version::TLS13], false);
    for (broker, options) in [
        (&plain, Options::new("a").web_socket()),
        (&secure, Options::new("a").web_socket().tls(config.clone())),
        (&plain, Options::new("a").web_socket().v5()),
    ] {
        // One identifier for each shard: connections move with their frames' state.
        for identifier in ["a", "b", "c", "d"] {
            let mut client = Client::connect(broker, &options.clone().named(identifier));
            client.subscribe("t/#", QoS::ExactlyOnce);
            for (size, qos) in [
                (0, QoS::AtMostOnce),
                (100, QoS::AtLeastOnce),
                (1000, QoS::ExactlyOnce),
                (100_000, QoS::ExactlyOnce),
            ] {
                let payload = vec![b'x'; size];
                client.publish("t/x", &payload, qos);
                assert_eq!(client.message().payload, payload);
            }
            client.disconnect();
        }
    }
    let mut over_tcp = Client::connect_at(tcp, &Options::new("tcp"));
    over_tcp.subscribe("t", QoS::AtLeastOnce);
    let mut over_web_socket = Client::connect(&plain, &Options::new("ws").web_socket());
    over_web_socket.publish("t", b"hello", QoS::AtLeastOnce);
    assert_eq!(over_tcp.message().payload, b"hello");
}

/// [MQTT-6.0.0-2], [MQTT3-6.0.0-2]
#[test]
fn packets_and_frames_need_not_agree() {
    let broker = setup().start();
    // Several packets in a frame, with the request.
    let mut socket = open(&broker);
    let packets = [CONNECT, PINGREQ, PINGREQ].concat();
    socket
        .write_all(&[REQUEST.as_bytes(), &frame(0x82, &packets)].concat())
        .unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\xd0\x00\xd0\x00") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    drop(socket);
    // A packet over many frames and messages, with pings between, byte by byte.
    let mut socket = upgraded(&broker);
    let mut wire = frame(0x02, &CONNECT[..1]);
    for byte in &CONNECT[1..] {
        wire.extend(frame(0x00, &[*byte]));
    }
    wire.extend(frame(0x89, b"between"));
    wire.extend(frame(0x80, b""));
    wire.extend(frame(0x82, &PINGREQ[..1]));
    wire.extend(frame(0x82, &PINGREQ[1..]));
    for byte in wire {
        socket.write_all(&[byte]).unwrap();
    }
    // The CONNACK may be there before the pong, as its last byte came first.
    let (mut packets, mut pongs) = (Vec::new(), Vec::new());
    while packets.len() < 6 || pongs.is_empty() {
        match next_frame(&mut socket) {
            (0x82, payload) => packets.extend(payload),
            (0x8A, payload) => pongs.push(payload),
            other => panic!("{other:x?}"),
        }
    }
    assert_eq!(pongs, [b"between"]);
    assert_eq!(packets, b"\x20\x02\x00\x00\xd0\x00");
    // A ping of a connected client, and the end.
    socket.write_all(&frame(0x89, b"later")).unwrap();
    assert_eq!(next_frame(&mut socket), (0x8A, b"later".to_vec()));
    socket.write_all(&frame(0x88, &1000u16.to_be_bytes())).unwrap();
    assert_eq!(next_frame(&mut socket), (0x88, 1000u16.to_be_bytes().to_vec()));
    assert!(http::read_to_end(&socket).is_empty());
}

/// Before CONNECT and after it [MQTT-6.0.0-1], [MQTT3-6.0.0-1].
#[test]
fn wrong_frames_end_the_connection_with_their_code() {
    let broker = setup().start();
    let unmasked = b"\x82\x02\xc0\x00".to_vec();
    let huge = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec();
    for (wire, code) in [
        (frame(0x81, b"text"), 1003),
        (unmasked, 1002),
        (frame(0xC2, PINGREQ), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x80, b""), 1002),
        (huge, 1009),
    ] {
        for is_connected in [false, true] {
            let mut socket = upgraded(&broker);
            if is_connected {
                socket.write_all(&frame(0x82, CONNECT)).unwrap();
                assert_eq!(next_frame(&mut socket).0, 0x82);
            }
            socket.write_all(&wire).unwrap();
            assert_eq!(
                next_frame(&mut socket),
                (0x88, u16::to_be_bytes(code).to_vec()),
                "{wire:x?}"
            );
            http::read_to_end(&socket);
        }
    }
    // Malformed MQTT in a right frame: the close frame is a plain one.
    let mut socket = upgraded(&broker);
    socket
        .write_all(&frame(0x82, &[CONNECT, b"\xf7\x00"].concat()))
        .unwrap();
    assert_eq!(next_frame(&mut socket).0, 0x82);
    assert_eq!(next_frame(&mut socket).0, 0x88);
    Client::connect(&broker, &Options::new("still there").web_socket()).ping();
}

#[test]
fn v12_web_sockets_have_the_same_time_to_connect() {
    let broker = setup().global("connect_timeout 5").start();
    std::thread::scope(|scope| {
        for first in [&b""[..], b"GET / HT", REQUEST.as_bytes()] {
            let broker = &broker;
            scope.spawn(move || {
                let mut socket = open(broker);
                let begin = Instant::now();
                socket.write_all(first).unwrap();
                http::read_to_end(&socket);
                let elapsed = begin.elapsed();
                assert!(
                    (Duration::from_secs(4)..Duration::from_secs(7)).contains(&elapsed),
                    "{elapsed:?}"
                );
            });
        }
        // Pings do not buy time.
        scope.spawn(|| {
            let mut socket = upgraded(&broker);
            let begin = Instant::now();
            while socket.write_all(&frame(0x89, b"")).is_ok() {
                assert!(begin.elapsed() < Duration::from_secs(7));
                std::thread::sleep(Duration::from_millis(200));
            }
        });
    });
}

#[test]
fn before_connect_a_client_may_have_100000_bytes() {
    let broker = setup().start();
    let mut socket = upgraded(&broker);
    let mut wire = b"\x10\xff\xff\x06\x00\x04MQTT".to_vec();
    wire.resize(1000, 0);
    wire = frame(0x82, &wire);
    for _ in 0..66 {
        wire.extend(frame(0x82, &[0; 1000]));
    }
    // The broker may close before it has read all.
    let begin = Instant::now();
    let _sent = socket.write_all(&wire);
    http::read_to_end(&socket);
    assert!(begin.elapsed() < Duration::from_secs(3));
    eventually("the log says why", || {
        broker.log().contains("a CONNECT of more than 100,000 bytes")
    });
}

#[test]
fn requests_are_refused_by_status() {
    let broker = setup().listener("websockets_origin http://example.org").start();
    let origin = |origin: &str| REQUEST.replace("Host", &format!("Origin: {origin}\r\nHost"));
    let mut socket = open(&broker);
    socket.write_all(origin("http://example.org").as_bytes()).unwrap();
    let mut begin = [0; 12];
    socket.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 101");
    for (request, status) in [
        (origin("http://evil.example"), "403"),
        (REQUEST.to_owned(), "403"),
        (origin("http://example.org").replace(": mqtt", ": soap"), "400"),
        (origin("http://example.org").replace(": 13", ": 12"), "426"),
        (origin("http://example.org").replace("GET", "POST"), "400"),
        (
            origin("http://example.org").replace("Host", &format!("Cookie: {}\r\nHost", "c".repeat(5000))),
            "431",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "426"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = answer(&broker, &request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request} -> {answer}"
        );
    }
    assert_eq!(
        answer(&broker, "\x10\x0d\0\x04MQTT"),
        "",
        "MQTT without WebSocket gets no answer"
    );
    eventually("the log says why", || {
        let log = broker.log();
        [
            "websockets_origin",
            "websockets_headers_size",
            "http_dir",
            "protocol websockets",
        ]
        .iter()
        .all(|why| log.contains(why))
    });
}

#[test]
fn headers_may_be_as_long_as_it_is_said() {
    let broker = setup().global("websockets_headers_size 20000").start();
    let request = REQUEST.replace("Host", &format!("Cookie: {}\r\nHost", "c".repeat(15_000)));
    let mut socket = open(&broker);
    socket.write_all(request.as_bytes()).unwrap();
    let mut begin = [0; 12];
    socket.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 101");
}

fn folder_of_pages() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let pages = place.path().join("pages");
    std::fs::create_dir_all(pages.join("sub")).unwrap();
    std::fs::write(place.path().join("secret.txt"), "secret").unwrap();
    std::fs::write(pages.join("index.html"), "<p>hello</p>").unwrap();
    std::fs::write(pages.join("sub/app.js"), "x".repeat(3_000_000)).unwrap();
    std::os::unix::fs::symlink("../secret.txt", pages.join("link.txt")).unwrap();
    (place, pages)
}

#[test]
fn pages_are_served_from_their_folder_alone() {
    let (_place, pages) = folder_of_pages();
    let broker = setup().listener(&format!("http_dir {}", pages.display())).start();
    let index = page(&broker, "/");
    assert!(
        index.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html"),
        "{index}"
    );
    assert!(
        index.contains("Content-Length: 12\r\n") && index.ends_with("\r\n\r\n<p>hello</p>"),
        "{index}"
    );
    assert_eq!(page(&broker, "/index.html?x=1"), index);
    let script = page(&broker, "/sub/app.js");
    assert!(script.contains("text/javascript"));
    assert_eq!(script.split_once("\r\n\r\n").unwrap().1.len(), 3_000_000);
    assert!(page(&broker, "/sub").contains("301 Moved Permanently\r\n"));
    assert!(page(&broker, "/sub").contains("Location: /sub/\r\n"));
    for target in [
        "/link.txt",
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "//etc/passwd",
        "/sub/",
        "/nothing",
    ] {
        let answer = page(&broker, target);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{target}: {answer}");
        assert!(!answer.contains("secret\n") && !answer.ends_with("secret"));
    }
    let head = answer(&broker, &http::request("HEAD", "/"));
    assert!(
        head.contains("Content-Length: 12\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert!(answer(&broker, &http::request("PUT", "/")).starts_with("HTTP/1.1 405 "));
    Client::connect(&broker, &Options::new("beside").web_socket()).ping();
}

#[test]
fn pages_over_tls() {
    let (_place, pages) = folder_of_pages();
    let certificates = Certificates::new();
    let broker = setup()
        .tls(&certificates)
        .listener(&format!("http_dir {}", pages.display()))
        .start();
    let mut client = Client::open_tls(
        &broker,
        certificates.client_config(&[&rustls::version::TLS13], false),
    );
    client.send(b"GET /sub/app.js HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.read_to_end();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(answer.len() > 3_000_000);
}

#[test]
fn a_load_balancer_may_stand_before_web_sockets() {
    let broker = setup().listener("enable_proxy_protocol 1").start();
    let mut socket = open(&broker);
    let header = "PROXY TCP4 192.0.2.7 192.0.2.8 4660 1883\r\n";
    let wire = [header.as_bytes(), REQUEST.as_bytes(), &frame(0x82, CONNECT)].concat();
    for piece in wire.chunks(7) {
        socket.write_all(piece).unwrap();
    }
    eventually("the client is connected", || {
        broker.log().contains("192.0.2.7:4660 as a")
    });
    let mut begin = [0; 12];
    socket.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 101");
}

/// Pongs wait for room in the socket, so a client that only asks is cut.
#[test]
fn a_client_that_pings_and_does_not_read_is_cut() {
    let broker = setup().start();
    let mut socket = upgraded(&broker);
    socket.write_all(&frame(0x82, CONNECT)).unwrap();
    Client::connect(&broker, &Options::new("warm").web_socket()).ping();
    let before_kib = broker.resident_kib();
    let pings = frame(0x89, &[b'p'; 125]).repeat(2000);
    socket.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let begin = Instant::now();
    while socket.write_all(&pings).is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never cut");
    }
    let grown_kib = broker.resident_kib().saturating_sub(before_kib);
    // Two shards touch their receive buffers, 4 MiB each.
    assert!(grown_kib < 24 << 10, "{grown_kib} KiB");
    Client::connect(&broker, &Options::new("other").web_socket()).ping();
}

#[test]
fn paho_python_over_web_sockets() {
    let Some(python) = python_with_paho() else {
        return skip("paho-mqtt (Python)");
    };
    let certificates = Certificates::new();
    let plain = setup().start();
    let secure = setup().tls(&certificates).start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/paho_client.py");
    for (broker, ca) in [(&plain, None), (&secure, Some(certificates.path("ca.crt")))] {
        let mut command = Command::new(&python);
        command
            .arg(&script)
            .arg(broker.port().to_string())
            .args(ca)
            .arg("--websockets");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && text.contains("all passed"), "{text}");
    }
}
