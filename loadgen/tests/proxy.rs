//! The verdict where the path between the generator and the broker cheats: a proxy that drops messages, and one that
//! carries half of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "each test program uses some of it")]
mod harness;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{PROGRAM, free_port, number, outcome};
use mqtt::frame::{self, PacketType};
use serde_json::Value;

/// What the proxy does to what the broker sends.
#[derive(Clone, Copy)]
enum Path {
    /// It drops each PUBLISH whose turn it is.
    DropsOneIn(u32),
    /// It passes on so many bytes a second.
    BytesPerSecond(f64),
}

/// Our own broker, ended with the test.
struct Broker(Child);

impl Broker {
    fn start(port: u16) -> Broker {
        let process = Command::new(PROGRAM)
            .args(["broker", &std::process::id().to_string(), "any"])
            .args(["-p", &port.to_string(), "--shards", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let broker = Broker(process);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "the broker does not listen"
            );
            thread::sleep(Duration::from_millis(20));
        }
        broker
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy on a free port, until the test process ends.
fn proxy(broker_port: u16, path: Path) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let broker = TcpStream::connect(("127.0.0.1", broker_port)).unwrap();
            let (from, to) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
            thread::spawn(move || copy(from, to));
            thread::spawn(move || match path {
                Path::DropsOneIn(turn) => drop_publishes(broker, client, turn),
                Path::BytesPerSecond(rate) => pass_slowly(broker, client, rate),
            });
        }
    });
    port
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Either end may close: the other then sees it.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn drop_publishes(mut from: TcpStream, mut to: TcpStream, turn: u32) {
    let (mut unread, mut chunk, mut count) = (Vec::new(), [0; 16 * 1024], 0);
    while let Ok(bytes @ 1..) = from.read(&mut chunk) {
        unread.extend_from_slice(&chunk[..bytes]);
        let (mut taken, mut passed) = (0, Vec::new());
        while let Ok(Some(frame)) = frame::split(&unread[taken..], u32::MAX) {
            count += u32::from(frame.packet_type == PacketType::Publish);
            let dropped = frame.packet_type == PacketType::Publish && count.is_multiple_of(turn);
            if !dropped {
                passed.extend_from_slice(&unread[taken..taken + frame.wire_bytes]);
            }
            taken += frame.wire_bytes;
        }
        unread.drain(..taken);
        if to.write_all(&passed).is_err() {
            return;
        }
    }
}

fn pass_slowly(mut from: TcpStream, mut to: TcpStream, bytes_per_s: f64) {
    let (began, mut passed, mut chunk) = (Instant::now(), 0.0, [0; 512]);
    while let Ok(bytes @ 1..) = from.read(&mut chunk) {
        passed = f64::max(passed, bytes_per_s * (began.elapsed().as_secs_f64() - 0.1)) + bytes as f64;
        if to.write_all(&chunk[..bytes]).is_err() {
            return;
        }
        let due = Duration::from_secs_f64(passed / bytes_per_s);
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

const LOAD: &str = "--pubs 2 --subs 2 --rate 400 --warmup 0.2 --duration 2 --drain 1";

#[test]
fn what_a_proxy_drops_is_lost_and_no_backlog() {
    let port = free_port();
    let _broker = Broker::start(port);
    for turn in [60, 5, 2] {
        let through = proxy(port, Path::DropsOneIn(turn));
        let outcome = outcome(&format!("run -h 127.0.0.1 -p {through} {LOAD}"), &[1]);
        let findings = outcome.pointer("/verdict/findings").unwrap().to_string();
        assert!(
            findings.contains("although no socket was full"),
            "1 in {turn}: {findings}"
        );
        let percent = number(&outcome, "/never_came/percent");
        let dropped = 100.0 / f64::from(turn);
        assert!(
            (percent - dropped).abs() < 0.3 * dropped,
            "1 in {turn}: {percent} %"
        );
    }
    // A busy machine may make it invalid.
    let through = proxy(port, Path::DropsOneIn(5));
    outcome(
        &format!("run -h 127.0.0.1 -p {through} {LOAD} --allow-loss"),
        &[0, 4],
    );
}

#[test]
fn a_path_that_carries_half_is_saturated_and_what_never_came_is_late() {
    let port = free_port();
    let _broker = Broker::start(port);
    // A PUBLISH of 64 B is about 85 B on the wire; each subscriber is due 200 a second.
    let through = proxy(port, Path::BytesPerSecond(200.0 * 85.0 / 2.0));
    let outcome = outcome(&format!("run -h 127.0.0.1 -p {through} {LOAD}"), &[5, 4]);
    if outcome.pointer("/verdict/exit_code") == Some(&Value::from(4)) {
        eprintln!("skipped: the machine is too busy for the generator");
        return;
    }
    let findings = outcome.pointer("/verdict/findings").unwrap().to_string();
    assert!(findings.contains("did not carry the offered rate"), "{findings}");
    assert!(!findings.contains("were lost"), "{findings}");
    assert!(number(&outcome, "/never_came/percent") > 5.0);
    let latency = |figure: &str| number(&outcome, &format!("/latency/{figure}"));
    assert!(latency("p99_ns") >= 0.9e9, "{}", latency("p99_ns"));
}
