//! Connections before their CONNECT: `connect_timeout` from accept to CONNACK, at most 100,000 bytes, no memory for
//! announced bytes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mqtt::QoS;

use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually};

const LIMIT: std::ops::Range<Duration> = Duration::from_secs(4)..Duration::from_secs(7);

fn open(broker: &Broker) -> TcpStream {
    let socket = TcpStream::connect(broker.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    socket
}

/// Waits for the broker to close.
fn closed_after(mut socket: TcpStream, begin: Instant) -> Duration {
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("not closed after {:?}: {error}", begin.elapsed()),
        }
    }
    begin.elapsed()
}

/// V12: a client that sends no byte, or only a part of a CONNECT.
#[test]
fn v12_slow_clients_are_closed_when_their_time_is_over() {
    let certificates = Certificates::new();
    let plain = Setup::default().global("connect_timeout 5").start();
    let secure = Setup::default()
        .tls(&certificates)
        .global("connect_timeout 5")
        .start();
    let half_connect = &b"\x10\x0d\x00\x04MQTT"[..];
    // A record header that announces a ClientHello of 512 bytes, and its first bytes.
    let half_hello = &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..];
    std::thread::scope(|scope| {
        for (broker, first) in [
            (&plain, &b""[..]),
            (&plain, half_connect),
            (&secure, b""),
            (&secure, half_hello),
        ] {
            scope.spawn(move || {
                let mut socket = open(broker);
                let begin = Instant::now();
                socket.write_all(first).unwrap();
                let elapsed = closed_after(socket, begin);
                assert!(LIMIT.contains(&elapsed), "{first:x?}: {elapsed:?}");
            });
        }
        scope.spawn(|| {
            let mut socket = open(&plain);
            let begin = Instant::now();
            let mut dripping = socket.try_clone().unwrap();
            scope.spawn(move || {
                // One byte a second, until the broker closes.
                for byte in b"\x10\x14\x00\x04MQTT\x04\x02\x00\x00\x00\x08" {
                    if dripping.write_all(&[*byte]).is_err() {
                        break;
                    }
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
            let elapsed = closed_after(socket.try_clone().unwrap(), begin);
            let _gone = socket.flush();
            assert!(LIMIT.contains(&elapsed), "dripping: {elapsed:?}");
        });
    });
}

/// V01, see SECURITY.md: [MQTT-3.1.0-1]
#[test]
fn v01_what_is_not_a_connect_is_closed_at_once() {
    let broker = Broker::start();
    let publish = &b"\x30\x03\x00\x01t"[..];
    let http = &b"GET / HTTP/1.1\r\n\r\n"[..];
    let announces_256_mib = &b"\x10\xff\xff\xff\x7f"[..];
    let five_bytes = &b"\x10\xff\xff\xff\xff\x01"[..];
    for first in [
        publish,
        http,
        announces_256_mib,
        five_bytes,
        b"\xc0\x00",
        b"\xf0\x00",
    ] {
        let mut socket = open(&broker);
        let begin = Instant::now();
        socket.write_all(first).unwrap();
        let elapsed = closed_after(socket, begin);
        assert!(elapsed < Duration::from_secs(1), "{first:x?}: {elapsed:?}");
    }
}

/// A client that connects first and then asks a person for the passphrase of its key has 15 seconds, and the log
/// mentions the key.
#[test]
fn a_client_has_fifteen_seconds_until_its_connect() {
    let broker = Broker::start();
    let mut socket = open(&broker);
    std::thread::sleep(Duration::from_secs(7));
    let late = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
    socket.write_all(late).unwrap();
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    let begin = Instant::now();
    let silent = open(&broker);
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let elapsed = closed_after(silent, begin);
    // Not earlier, and long before the test's own time limit, however busy the machine is.
    let limit = Duration::from_secs(14)..Duration::from_secs(25);
    assert!(limit.contains(&elapsed), "{elapsed:?}");
    eventually("the close is logged", || {
        broker
            .log()
            .contains("no CONNECT within 15 seconds (connect_timeout)")
    });
}

/// The same limit as mosquitto, so that a Will Payload may have the 65,535 bytes of the specification.
#[test]
fn a_connect_may_have_100000_bytes() {
    let broker = Broker::start();
    let will = |bytes: usize| Options::new("a").will("will", &vec![b'x'; bytes], QoS::AtMostOnce, false);
    Client::connect(&broker, &will(65_535)).disconnect();
    let begin = Instant::now();
    for (level, answer) in [(4, &b""[..]), (5, b"\x20\x03\x00\x95\x00")] {
        let mut socket = open(&broker);
        // 100,001 bytes, of which a few have arrived.
        socket
            .write_all(&[&b"\x10\xa1\x8d\x06\x00\x04MQTT"[..], &[level, 2]].concat())
            .unwrap();
        let mut answered = Vec::new();
        socket.read_to_end(&mut answered).unwrap();
        // What follows the Reason Code is a Reason String.
        assert_eq!(answered.is_empty(), answer.is_empty(), "{level}: {answered:x?}");
        assert_eq!(answered.get(2..4), answer.get(2..4), "{level}: {answered:x?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(1));
}

/// The total of bytes of all incomplete CONNECTs is limited: connections with the most for their age are closed, and a
/// client that sends little is accepted.
#[test]
fn unfinished_connects_are_bounded_together() {
    let broker = Setup::default().shards(1).global("log_type error").start();
    let before_kib = {
        Client::connect(&broker, &Options::new("warm")).ping();
        broker.resident_kib()
    };
    let mut body = b"\x10\xa0\x8d\x06\x00\x04MQTT\x04\x06\0\0\0\x01a\0\x01w\xff\xff".to_vec();
    body.resize(65_000, b'x');
    let mut sockets = Vec::new();
    for _ in 0..900 {
        let mut socket = open(&broker);
        // Connections that were closed for it may refuse the bytes.
        let _closed = socket.write_all(&body);
        sockets.push(socket);
    }
    Client::connect(&broker, &Options::new("let in")).ping();
    let grown_kib = broker.resident_kib().saturating_sub(before_kib);
    assert!(
        grown_kib < 64 << 10,
        "{grown_kib} KiB for {} strangers",
        sockets.len()
    );
    let is_closed = |mut socket: &TcpStream| {
        socket.set_nonblocking(true).unwrap();
        let read = socket.read(&mut [0; 8]);
        !matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    // The accepted client did not wait until all of them were examined.
    eventually("those with the most are closed", || {
        sockets.iter().filter(|socket| is_closed(socket)).count() > 300
    });
}

/// V01: nothing is allocated for bytes that were only announced.
#[test]
fn v01_announced_bytes_cost_nothing() {
    let broker = Broker::start();
    Client::connect(&broker, &Options::new("warm")).ping();
    let before_kib = broker.resident_kib();
    let sockets: Vec<_> = (0..500)
        .map(|_| {
            let mut socket = open(&broker);
            // A CONNECT of 60,000 bytes that never arrives.
            socket.write_all(b"\x10\xe0\xd4\x03\x00\x04MQTT").unwrap();
            socket
        })
        .collect();
    Client::connect(&broker, &Options::new("after")).ping();
    let grown_kib = broker.resident_kib().saturating_sub(before_kib);
    assert!(
        grown_kib < 8 << 10,
        "{grown_kib} KiB for {} connections",
        sockets.len()
    );
}

#[test]
fn a_connect_may_come_byte_by_byte() {
    let broker = Broker::start();
    let mut socket = open(&broker);
    socket.set_nodelay(true).unwrap();
    for byte in b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a" {
        socket.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"\x20\x02\x00\x00");
}
