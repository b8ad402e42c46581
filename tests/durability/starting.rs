//! A start that takes a while, as the store has much in it.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mqtt::QoS;
use mqtt::frame::PacketType;

use super::Restarted;
use crate::harness::http::{open, request};
use crate::harness::{Client, Options, TIMEOUT, free_port, program};

const MESSAGES: usize = 60_000;

/// Ends the process when the test is over.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A store with messages for a client that is away.
fn filled() -> Restarted {
    let restarted = Restarted::new(1);
    let broker = restarted.start();
    Client::connect(&broker, &Options::new("away").persistent()).subscribe("t", QoS::AtLeastOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    let payload = [b'x'; 1000];
    for sent in 0..MESSAGES {
        publisher.send_publish("t", &payload, QoS::AtLeastOnce, false);
        if sent >= 1000 {
            publisher.expect(PacketType::PubAck);
        }
    }
    for _ in 0..1000 {
        publisher.expect(PacketType::PubAck);
    }
    broker.kill();
    restarted
}

/// What `/readyz` answers, if anybody listens there.
fn readiness(port: u16) -> Option<String> {
    use std::io::Write as _;
    std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    let mut socket = open(port);
    socket.write_all(request("GET", "/readyz").as_bytes()).ok()?;
    let answer = crate::harness::http::read_to_end(&socket);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.trim_end().to_owned())
}

/// Until the store is read the broker is not ready, and says so to all who ask: operators and systemd.
#[test]
fn a_start_that_reads_much_reports_how_far_it_is() {
    let restarted = filled();
    let folder = restarted.folder.path();
    let socket = folder.join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(TIMEOUT)).unwrap();
    let (port, api) = (free_port(), free_port());
    let path = folder.join("broker.conf");
    let text = format!(
        "user root\npersistence true\npersistence_location {}\nmax_queued_messages 0\nmax_queued_bytes 0\n\
         listener {port} 127.0.0.1\nallow_anonymous true\nlistener {api} 127.0.0.1\nprotocol http_api\n",
        folder.display()
    );
    std::fs::write(&path, text).unwrap();
    let child = Command::new(program())
        .args(["-c", path.to_str().unwrap(), "--shards", "1"])
        .env("NOTIFY_SOCKET", &socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _started = Started(child);
    let mut answers = Vec::new();
    let deadline = Instant::now() + TIMEOUT;
    while answers.last().is_none_or(|last| last != "ok") {
        assert!(Instant::now() < deadline, "{answers:?}");
        if let Some(answer) = readiness(api).filter(|answer| answers.last() != Some(answer)) {
            answers.push(answer);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(answers, ["the broker is starting", "ok"]);
    let mut notified = String::new();
    while !notified.contains("READY=1") {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).unwrap();
        notified.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    let (starting, _) = notified.split_once("READY=1").unwrap();
    assert!(starting.contains("STATUS=Reading the store: 0 of "), "{starting}");
    assert!(starting.contains("EXTEND_TIMEOUT_USEC="), "{starting}");
    let mut client = Client::connect_at(port, &Options::new("away").persistent());
    assert_eq!(client.message().payload.len(), 1000);
}
